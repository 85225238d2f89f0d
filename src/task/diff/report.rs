//! The differences as tables for a terminal, or as JSON.

use indicatif::HumanCount;
use jiff::Timestamp;
use serde::Serialize;

use crate::config::local_zone;
use crate::error::{Error, Kind, Result};
use crate::format::second;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::difference::Differences;
use crate::restore::difference::kind::DiffKind;
use crate::restore::difference::tables::TableDifference;
use crate::{stdout, table};

/// Two sides and what differs.
#[derive(Serialize)]
pub struct DiffReport {
    /// The first.
    pub before: SideReport,
    /// The second.
    pub after: SideReport,
    /// What differs.
    #[serde(flatten)]
    pub differences: Differences,
}

/// A side: one of the names is known.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SideReport {
    /// Id of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Name of a dump without a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Database that was backed up, or that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<String>,
    /// When the backup began.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
}

impl SideReport {
    /// A backup or a dump.
    pub fn archive(archive: &Archive) -> Self {
        match &archive.manifest {
            Some(manifest) => SideReport {
                id: Some(manifest.id.clone()),
                database: Some(manifest.database.clone()),
                started: Some(manifest.started),
                file: None,
            },
            None => SideReport { file: Some(archive.name.clone()), ..SideReport::default() },
        }
    }

    /// A living database.
    pub fn database(name: &str) -> Self {
        SideReport { database: Some(name.to_owned()), ..SideReport::default() }
    }

    fn in_words(&self) -> String {
        let name = [&self.id, &self.file].into_iter().flatten().next();
        match (name, &self.database, self.started) {
            (Some(id), _, Some(started)) => format!("{}, {}", printable(id), second(started, &local_zone())),
            (Some(file), ..) => printable(file),
            (None, database, _) => format!("the database {}", printable(database.as_deref().unwrap_or_default())),
        }
    }
}

impl DiffReport {
    /// Prints the differences, and returns whether there are none. What was not compared is logged.
    ///
    /// # Errors
    /// A failed write.
    pub fn print(&self, json: bool) -> Result<bool> {
        let equal = self.differences.is_empty();
        self.differences.not_compared.iter().for_each(|note| log::warn!("{}", printable(note)));
        if json {
            let text = serde_json::to_string_pretty(self).map_err(|error| {
                Error::new(Kind::Internal, format!("cannot write the differences as JSON: {error}"))
            })?;
            return stdout::print(text + "\n").map(|()| equal);
        }
        if equal {
            log::info!("{} and {} are equal", self.before.in_words(), self.after.in_words());
            return Ok(equal);
        }
        stdout::print(self.text()).map(|()| equal)
    }

    fn text(&self) -> String {
        let mut text = format!("before  {}\nafter   {}\n", self.before.in_words(), self.after.in_words());
        let Differences { tables, .. } = &self.differences;
        if !tables.is_empty() {
            let headings = vec!["TABLE", "CHANGE", "ROWS BEFORE", "ROWS AFTER", "DIFFERENCE"];
            text += &format!("\n{}", table::table(headings, tables.iter().map(table_row), &[2, 3]));
        }
        let others = self.others();
        if !others.is_empty() {
            text += &format!("\n{}", table::table(vec!["PART", "NAME", "CHANGE", "BEFORE", "AFTER"], others, &[]));
        }
        text
    }

    fn others(&self) -> Vec<Vec<String>> {
        let Differences { tables, sequences, large_objects, extensions, objects, .. } = &self.differences;
        let row = |part: &str, name: String, change: DiffKind, [before, after]: [Option<String>; 2]| {
            let cell = |value: Option<String>| value.map_or_else(|| "-".to_owned(), |value| printable(&value));
            vec![printable(part), printable(&name), change.name().to_owned(), cell(before), cell(after)]
        };
        let mut rows = Vec::new();
        for table in tables.iter().filter(|table| table.change == DiffKind::Changed) {
            rows.extend(table.columns.iter().cloned().map(|column| {
                row(
                    "column",
                    format!("{}.{}", table.name, column.name),
                    column.change,
                    [column.type_before, column.type_after],
                )
            }));
        }
        for (part, values) in [("sequence", sequences), ("extension", extensions)] {
            rows.extend(
                values.iter().cloned().map(|value| row(part, value.name, value.change, [value.before, value.after])),
            );
        }
        rows.extend(large_objects.iter().map(|range| {
            let name = match range.first == range.last {
                true => range.first.to_string(),
                false => format!("{} to {}", range.first, range.last),
            };
            let bytes = |objects: u64, bytes: u64| (objects > 0).then(|| format!("{} bytes", HumanCount(bytes)));
            let both = [bytes(range.objects_before, range.bytes_before), bytes(range.objects_after, range.bytes_after)];
            row("large object", name, range.change, both)
        }));
        rows.extend(objects.iter().map(|object| {
            let name = match object.schema.as_str() {
                "" => object.name.clone(),
                schema => format!("{schema}.{}", object.name),
            };
            row(&object.kind, name, object.change, [None, None])
        }));
        rows
    }
}

fn table_row(table: &TableDifference) -> Vec<String> {
    let rows = |rows: Option<u64>| rows.map_or_else(|| "-".to_owned(), |rows| HumanCount(rows).to_string());
    let mut what = Vec::new();
    match (table.rows_before, table.rows_after) {
        (Some(before), Some(after)) if before < after => what.push(format!("+{}", HumanCount(after - before))),
        (Some(before), Some(after)) if before > after => what.push(format!("-{}", HumanCount(before - after))),
        (Some(_), Some(_)) if table.content_changed == Some(true) => what.push("other rows".to_owned()),
        _ => {}
    }
    if table.definition_changed == Some(true) {
        what.push("other definition".to_owned());
    }
    vec![
        printable(&table.name),
        table.change.name().to_owned(),
        rows(table.rows_before),
        rows(table.rows_after),
        what.join(", "),
    ]
}
