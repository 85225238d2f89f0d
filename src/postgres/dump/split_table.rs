//! A table whose rows several sessions read, in ranges of its pages.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::postgres::archive::DataEntry;
use crate::postgres::client::literal;

/// Most bytes of a range on the server's disk, large values included: enough that a statement costs nothing beside its rows, and few
/// enough that all sessions are busy until the end of a table.
const RANGE: u64 = 4 << 20;

/// Bytes of a range where tables of at least `least` bytes are split, so that a larger table has several. Without a least size a range
/// stays large, because a statement for each page takes many times as long.
pub fn range_size(least: u64) -> u64 {
    if least == 0 { RANGE } else { RANGE.min(least) }
}

/// A table whose rows several sessions read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitTable {
    /// Dump id of its rows.
    pub dump_id: u32,
    /// OID of the table.
    pub oid: u32,
    /// Its name as SQL.
    pub name: String,
    /// The columns of its rows as SQL.
    pub columns: String,
    /// Pages of the heap.
    pub pages: u64,
    /// Pages of a range.
    step: u64,
}

impl SplitTable {
    /// The table of an entry with this many pages, and so many bytes with its large values, in ranges of `range` bytes.
    pub fn new(entry: &DataEntry, name: String, columns: String, pages: u64, bytes: u64, range: u64) -> Self {
        let share = u128::from(pages) * u128::from(range) / u128::from(bytes.max(1));
        let step = u64::try_from(share).unwrap_or(u64::MAX).max(1);
        SplitTable { dump_id: entry.dump_id, oid: entry.oid, name, columns, pages, step }
    }

    /// Number of ranges.
    pub fn ranges(&self) -> u64 {
        self.pages.div_ceil(self.step).max(1)
    }

    /// Copies the rows of a range, from the first page to the last. The last range has no end, because the heap may have grown
    /// since its size was read.
    pub fn copy(&self, range: u64, encoding: &str) -> String {
        let SplitTable { name, columns, step, .. } = self;
        let page = |range: u64| format!("'({},0)'::pg_catalog.tid", range * step);
        let end = match range + 1 < self.ranges() {
            true => format!(" AND ctid < {}", page(range + 1)),
            false => String::new(),
        };
        let rows = format!("SELECT {columns} FROM ONLY {name} WHERE ctid >= {}{end}", page(range));
        format!("COPY ({rows}) TO STDOUT WITH (ENCODING {})", literal(encoding))
    }
}

/// The option with which pg_dump leaves out the rows of a table. In a pattern, quotes make all other characters literal
/// (`patternToSQLRegex` in `src/fe_utils/string_utils.c`).
pub fn exclusion(entry: &DataEntry) -> OsString {
    let mut option = b"--exclude-table-data=".to_vec();
    for (before, name) in [(&b"\""[..], &entry.schema), (b"\".\"", &entry.tag)] {
        option.extend_from_slice(before);
        name.iter().for_each(|byte| option.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 })));
    }
    option.push(b'"');
    OsString::from_vec(option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pages: u64, large: u64) -> SplitTable {
        SplitTable::new(
            &entry(),
            "a.b".to_owned(),
            "x, \"y)\"".to_owned(),
            pages,
            pages * 8192 + large,
            range_size(64 << 20),
        )
    }

    fn entry() -> DataEntry {
        DataEntry {
            dump_id: 1,
            oid: 2,
            desc: b"TABLE DATA".to_vec(),
            schema: b"A.b".to_vec(),
            tag: b"*\"\xff".to_vec(),
            copy_statement: Vec::new(),
        }
    }

    #[test]
    fn ranges_leave_no_page_out() {
        assert_eq!((table(0, 0).ranges(), table(1, 0).ranges(), table(512, 0).ranges()), (1, 1, 1));
        assert_eq!((table(513, 0).ranges(), table(1024, 0).ranges()), (2, 2));
        let copy = |range| table(1025, 0).copy(range, "UTF8");
        let select = "COPY (SELECT x, \"y)\" FROM ONLY a.b WHERE ctid >= ";
        let end = ") TO STDOUT WITH (ENCODING 'UTF8')";
        assert_eq!(copy(0), format!("{select}'(0,0)'::pg_catalog.tid AND ctid < '(512,0)'::pg_catalog.tid{end}"));
        assert_eq!(copy(2), format!("{select}'(1024,0)'::pg_catalog.tid{end}"));
    }

    #[test]
    fn ranges_of_large_values_have_fewer_pages() {
        assert_eq!((table(3, 30 << 20).ranges(), table(1024, 24 << 20).ranges()), (3, 8));
        assert_eq!(table(4_294_967_295, 1 << 45).ranges() / 1_000_000, 16);
    }

    #[test]
    fn a_least_size_makes_ranges_smaller() {
        assert_eq!([0, 1, 64 << 10, 64 << 20].map(range_size), [RANGE, 1, 64 << 10, RANGE]);
        let table = SplitTable::new(&entry(), String::new(), String::new(), 5, 5 * 8192, range_size(1));
        assert_eq!(table.ranges(), 5);
    }

    #[test]
    fn patterns_match_one_name() {
        assert_eq!(exclusion(&entry()).into_vec(), b"--exclude-table-data=\"A.b\".\"*\"\"\xff\"");
    }
}
