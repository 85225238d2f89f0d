//! The headings that pg_dump writes before each object of a script: `-- Name: …; Type: …; Schema: …; Owner: …`,
//! or `-- Data for Name: …` or `-- Statistics for Name: …` (`_printTocEntry` in `src/bin/pg_dump/pg_backup_archiver.c`). They are comments: good enough to be shown, and used for nothing else.

use std::io::{BufRead, Read};

use crate::error::Result;
use crate::host::progress::Counter;
use crate::restore::archive::Archive;
use crate::stop::Stop;

/// How many bytes of a line are read: a COPY statement with 1600 columns fits.
const LINE: u64 = 256 << 10;

/// How headings begin.
const HEADINGS: &[&[u8]] = &[b"-- Name: ", b"-- Data for Name: ", b"-- Statistics for Name: "];

/// Calls `visit` with kind, schema (empty for none) and name of each object of the script.
pub fn read(archive: &Archive, stop: &Stop, visit: impl FnMut(&str, &str, &str)) -> Result<()> {
    let file = archive.file()?;
    let plain = archive.open(file, &Counter::default())?;
    match each(plain, stop, visit) {
        Err(error) => Err(archive.unreadable(&file.key, &error)),
        Ok(()) if stop.requested() => Err(stop.error()),
        Ok(()) => Ok(()),
    }
}

fn each(mut script: impl BufRead, stop: &Stop, mut visit: impl FnMut(&str, &str, &str)) -> std::io::Result<()> {
    let (mut line, mut at_start, mut rows) = (Vec::new(), true, false);
    while !stop.requested() {
        line.clear();
        if (&mut script).take(LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let whole = at_start;
        at_start = line.ends_with(b"\n");
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if !whole {
            continue;
        }
        if rows {
            rows = text != b"\\.";
        } else if text.starts_with(b"COPY ") && text.ends_with(b" FROM stdin;") {
            rows = true;
        } else if let Some(heading) = HEADINGS.iter().find_map(|begin| text.strip_prefix(*begin)) {
            let heading = String::from_utf8_lossy(heading);
            if let Some((kind, schema, name)) = parts(&heading) {
                visit(kind, schema, name);
            }
        }
    }
    Ok(())
}

/// A name may itself contain such text, so the last `; Type: ` counts.
fn parts(heading: &str) -> Option<(&str, &str, &str)> {
    let (rest, _) = heading.rsplit_once("; Owner: ")?;
    let (name, rest) = rest.rsplit_once("; Type: ")?;
    let (kind, schema) = rest.split_once("; Schema: ")?;
    Some((kind, if schema == "-" { "" } else { schema }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> Vec<String> {
        let mut found = Vec::new();
        let visit = |kind: &str, schema: &str, name: &str| found.push(format!("{kind}|{schema}|{name}"));
        each(script.as_bytes(), &Stop::default(), visit).unwrap();
        found
    }

    #[test]
    fn headings() {
        let script = "--\n-- Name: shop; Type: SCHEMA; Schema: -; Owner: a\n--\n\nCREATE SCHEMA shop;\n\n\
             -- Name: odd; Type: x; Type: TABLE; Schema: a b; Owner: a; Tablespace: fast\n\
             -- Data for Name: t; Type: TABLE DATA; Schema: a b; Owner: a\n\
             COPY shop.t (x) FROM stdin;\n-- Name: fake; Type: TABLE; Schema: s; Owner: a\n\\.\n\
             -- Name: last; Type: INDEX; Schema: s; Owner: \n\
             -- Statistics for Name: t; Type: STATISTICS DATA; Schema: s; Owner: -\n";
        assert_eq!(
            found(script),
            ["SCHEMA||shop", "TABLE|a b|odd; Type: x", "TABLE DATA|a b|t", "INDEX|s|last", "STATISTICS DATA|s|t"]
        );
    }

    #[test]
    fn the_middle_of_a_long_line_is_no_line() {
        let long = "x".repeat(usize::try_from(LINE).unwrap());
        assert!(found(&format!("{long}-- Name: fake; Type: TABLE; Schema: s; Owner: a\n")).is_empty());
    }
}
