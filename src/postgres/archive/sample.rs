//! Writes archives for tests, by the layout in the module's description, also of versions for which no server is
//! installed.

use super::primitive::encode;

/// One entry of a table of contents.
#[derive(Debug, Clone, Default)]
pub struct SampleEntry {
    pub dump_id: i64,
    pub data: bool,
    pub oid: u32,
    pub tag: String,
    pub desc: String,
    pub defn: String,
    pub copy: Option<String>,
    pub namespace: String,
    pub tablespace: Option<String>,
    pub owner: String,
    pub deps: Vec<u32>,
    /// Flag and offset.
    pub offset: (u8, u64),
    pub file: String,
}

/// One block: of a table, or of large objects with their OIDs. Data is given as its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SampleBlock {
    Table(i64, Vec<Vec<u8>>),
    LargeObjects(i64, Vec<(i64, Vec<Vec<u8>>)>),
}

/// A whole archive.
#[derive(Debug, Clone)]
pub struct SampleArchive {
    pub minor: u8,
    pub format: u8,
    pub compression: i8,
    pub items: Vec<SampleEntry>,
    pub blocks: Vec<SampleBlock>,
}

fn string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => {
            out.extend(encode(text.len() as i64));
            out.extend(text.as_bytes());
        }
        None => out.extend(encode(-1)),
    }
}

impl SampleArchive {
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"PGDMP".to_vec();
        out.extend([1, self.minor, 0, 4, 8, self.format]);
        if self.minor < 15 {
            out.extend(encode(i64::from(self.compression)));
        } else {
            out.push(self.compression.unsigned_abs());
        }
        for part in [7, 30, 12, 24, 11, 125, 0] {
            out.extend(encode(part));
        }
        string(&mut out, Some("shop"));
        string(&mut out, Some("13.14"));
        string(&mut out, Some("15.18 (Debian)"));
        out
    }

    pub fn toc(&self) -> Vec<u8> {
        let mut out = encode(self.items.len() as i64).to_vec();
        for item in &self.items {
            out.extend(encode(item.dump_id));
            out.extend(encode(i64::from(item.data)));
            string(&mut out, Some("1259"));
            string(&mut out, Some(&item.oid.to_string()));
            string(&mut out, Some(&item.tag));
            string(&mut out, Some(&item.desc));
            out.extend(encode(if item.data { 3 } else { 2 }));
            string(&mut out, Some(&item.defn));
            string(&mut out, Some(""));
            string(&mut out, item.copy.as_deref());
            string(&mut out, Some(&item.namespace));
            string(&mut out, item.tablespace.as_deref());
            string(&mut out, None);
            if self.minor >= 16 {
                out.extend(encode(i64::from(b'r')));
            }
            string(&mut out, Some(&item.owner));
            string(&mut out, Some("false"));
            for dep in &item.deps {
                string(&mut out, Some(&dep.to_string()));
            }
            string(&mut out, None);
            if self.format == 1 {
                out.push(item.offset.0);
                out.extend(item.offset.1.to_le_bytes());
            } else {
                string(&mut out, Some(&item.file));
            }
        }
        out
    }

    pub fn data(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for block in &self.blocks {
            match block {
                SampleBlock::Table(id, data) => {
                    out.push(1);
                    out.extend(encode(*id));
                    chunks(&mut out, data);
                }
                SampleBlock::LargeObjects(id, objects) => {
                    out.push(3);
                    out.extend(encode(*id));
                    for (oid, data) in objects {
                        out.extend(encode(*oid));
                        chunks(&mut out, data);
                    }
                    out.extend(encode(0));
                }
            }
        }
        out
    }

    /// Everything up to the blocks.
    pub fn front(&self) -> Vec<u8> {
        [self.header(), self.toc()].concat()
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.front(), self.data()].concat()
    }

    /// Writes the true offsets into the entries.
    pub fn with_offsets(mut self) -> Self {
        let mut at = self.front().len();
        for (n, block) in self.blocks.iter().enumerate() {
            let (SampleBlock::Table(id, _) | SampleBlock::LargeObjects(id, _)) = block;
            for item in self.items.iter_mut().filter(|item| item.dump_id == *id) {
                item.offset = (2, at as u64);
            }
            at += Self { blocks: vec![self.blocks[n].clone()], ..self.clone() }.data().len();
        }
        self
    }
}

fn chunks(out: &mut Vec<u8>, data: &[Vec<u8>]) {
    for chunk in data {
        out.extend(encode(chunk.len() as i64));
        out.extend(chunk);
    }
    out.extend(encode(0));
}

pub fn rows(rows: &[&str]) -> Vec<Vec<u8>> {
    rows.iter().copied().chain(["\\.\n\n\n"]).map(|row| row.as_bytes().to_vec()).collect()
}

/// A database with a bit of everything.
pub fn shop(minor: u8) -> SampleArchive {
    let copy = Some("COPY s.t (a, b) FROM stdin;\n".to_owned());
    let item = |dump_id, desc: &str, tag: &str| SampleEntry {
        dump_id,
        desc: desc.to_owned(),
        tag: tag.to_owned(),
        oid: 16_000 + dump_id as u32,
        offset: (3, 0),
        ..SampleEntry::default()
    };
    let data = |dump_id, oid, copy: &Option<String>, file: &str| SampleEntry {
        data: true,
        oid,
        copy: copy.clone(),
        namespace: "s".to_owned(),
        owner: "clerk".to_owned(),
        offset: (1, 0),
        file: file.to_owned(),
        deps: vec![4, 5],
        ..item(dump_id, "TABLE DATA", "t")
    };
    let large: Vec<SampleEntry> = if minor < 16 {
        vec![item(30, "BLOB", "20001"), item(31, "BLOB", "3000000000")]
    } else {
        let defn = "20001\n3000000000\n".to_owned();
        vec![SampleEntry { defn, ..item(30, "BLOB METADATA", "BLOBS 20001..3000000000") }]
    };
    let mut items = vec![
        SampleEntry { defn: "SET client_encoding = 'UTF8';\n".to_owned(), ..item(1, "ENCODING", "ENCODING") },
        item(2, "EXTENSION", "pg_trgm"),
        SampleEntry { owner: "clerk".to_owned(), tablespace: Some("fast".to_owned()), ..item(4, "TABLE", "t") },
        SampleEntry { owner: "Ünder".to_owned(), defn: "x".repeat(5000), ..item(5, "TABLE", "e") },
        SampleEntry { tag: format!("f({})", "integer, ".repeat(2000)), ..item(6, "FUNCTION", "") },
        data(10, 16_004, &copy, "10.dat"),
        data(11, 16_005, &copy, "11.dat"),
        data(12, 16_006, &None, "12.dat"),
        SampleEntry { oid: 0, copy: None, file: "blobs.toc".to_owned(), ..data(13, 0, &None, "") },
    ];
    items[8].desc = "BLOBS".to_owned();
    items.extend(large);
    items.push(item(40, "INDEX", "t_pkey"));
    let objects = vec![(20_001, vec![vec![7; 16_384], vec![8; 100]]), (3_000_000_000_u32 as i32 as i64, Vec::new())];
    let blocks = vec![
        SampleBlock::Table(10, rows(&["1\tone\n", "2\ttwo\n"])),
        SampleBlock::Table(11, rows(&[])),
        SampleBlock::Table(12, vec![b"INSERT INTO s.u VALUES (1);\n".to_vec(), b"\n\n".to_vec()]),
        SampleBlock::LargeObjects(13, objects),
    ];
    SampleArchive { minor, format: 1, compression: 0, items, blocks }
}
