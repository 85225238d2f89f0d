//! The protocol of a drill and its sandbox over one stream: frames of a kind, a length and so many bytes.
//!
//! The drill sends an order, waits until the sandbox is ready, and sends the roles and the plain archive. The sandbox sends
//! messages about the result. It has run code of the database's users by then, so the size of each message is bounded, and a message
//! proves something only if it could not be made without the restored rows.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::DatabaseProperties;
use crate::catalogue::records::rehearsal::RefusedObject;
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{ObservedRows, Value};
use crate::fingerprint::{Fingerprints, LargeObjects, Sum};
use crate::task::drill::libraries::PreloadLibrary;

/// Version of the protocol. Both sides are of one installation, and a sandbox refuses any other version.
pub const VERSION: u32 = 4;

/// Bytes of a file in one frame.
pub const PIECE: usize = 256 << 10;

/// Largest order in bytes: that of about a million tables.
const LONGEST_ORDER: u32 = 512 << 20;

/// Largest message of a sandbox in bytes.
const LONGEST_MESSAGE: u32 = 16 << 20;

/// Tables or sequences in one message.
pub const BATCH: usize = 1000;

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The [`Order`].
    Order,
    /// A piece of the roles' script.
    Globals,
    /// The [`Head`] of a file of the archive.
    File,
    /// A piece of that file.
    Data,
    /// That file's end.
    End,
    /// The end of the archive, whose files match the manifest.
    Whole,
    /// A [`Message`] of the sandbox.
    Message,
}

const FRAMES: &[(Frame, u8)] = &[
    (Frame::Order, b'O'),
    (Frame::Globals, b'G'),
    (Frame::File, b'F'),
    (Frame::Data, b'D'),
    (Frame::End, b'E'),
    (Frame::Whole, b'W'),
    (Frame::Message, b'M'),
];

/// The backup to restore, and the objects to examine.
#[derive(Debug, Serialize, Deserialize)]
pub struct DrillOrder {
    /// [`VERSION`].
    pub version: u32,
    /// Id of the backup.
    pub id: String,
    /// Name of the database.
    pub database: String,
    /// Format of the archive.
    pub format: Format,
    /// Version of pg_dump.
    pub pg_dump: String,
    /// Major version of the server that was backed up.
    pub major: u32,
    /// Major version of the server to rehearse an upgrade to; none for a drill.
    pub rehearsal: Option<u32>,
    /// Name of the role with OID 10; empty if unknown.
    pub bootstrap_role: String,
    /// The properties of the database.
    pub properties: DatabaseProperties,
    /// Its extensions.
    pub extensions: Vec<String>,
    /// The version of TimescaleDB, if it is among them.
    pub timescaledb: Option<String>,
    /// The libraries that the throwaway server preloads.
    pub libraries: Vec<PreloadLibrary>,
    /// Further parameters of that server.
    pub settings: BTreeMap<String, String>,
    /// Size of the plain archive, in bytes.
    pub plain_bytes: u64,
    /// Size of the database that was backed up, in bytes; 0 if unknown.
    pub database_bytes: u64,
    /// Tables whose rows are in the archive.
    pub tables: u64,
    /// Large objects in the archive.
    pub large_objects: u64,
    /// Whether options left data out.
    pub partial: bool,
    /// Options of pg_dump that the user passed.
    pub dump_options: Vec<String>,
    /// Parallel jobs; none means one for each processor.
    pub jobs: Option<usize>,
    /// The objects to examine, without their sums; none if the backup has no fingerprints.
    pub look_at: Option<Fingerprints>,
}

impl DrillOrder {
    /// Major version of the throwaway server.
    pub fn server(&self) -> u32 {
        self.rehearsal.unwrap_or(self.major)
    }
}

/// The head of a file of the archive.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// Name of a file of a directory archive, without a folder; empty for an archive in one file.
    pub name: String,
}

/// A message of the sandbox.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The drill of this backup cannot be run on this host.
    Cannot {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The throwaway server runs; the archive may be sent.
    Ready {
        /// `server_version`.
        postgres: String,
    },
    /// The database is restored.
    Restored {
        /// What could not be done for reasons outside of the backup.
        notes: Vec<String>,
        /// How many materialized views could not be refreshed.
        not_refreshed: u64,
        /// Size of the database, in bytes; 0 if unknown.
        #[serde(default)]
        database_bytes: u64,
    },
    /// Progress: the bytes examined so far.
    Looked {
        /// Bytes.
        bytes: u64,
    },
    /// The contents of the next tables, in the order of [`DrillOrder`].
    Tables {
        /// One of each.
        found: Vec<FoundTable>,
    },
    /// The values of the next sequences, in the order of [`DrillOrder`].
    Sequences {
        /// One of each.
        found: Vec<Option<Position>>,
    },
    /// The large objects.
    LargeObjects {
        /// All of them.
        found: LargeObjects,
    },
    /// The number of entries of each kind in the table of contents that pg_dump writes of the restored database.
    Objects {
        /// Their numbers.
        found: BTreeMap<String, u64>,
    },
    /// What the server of a rehearsal refuses.
    Refused {
        /// The objects.
        found: Vec<RefusedObject>,
        /// The number of further ones.
        more: u64,
    },
    /// The backup cannot be restored.
    Failed {
        /// Why.
        reason: String,
    },
    /// Another error, which is not about the backup.
    Broken {
        /// Whether the disk was full.
        full: bool,
        /// The error.
        reason: String,
    },
    /// The sandbox was stopped, which is not about the backup.
    Stopped,
    /// The drill is complete.
    Done,
}

/// The contents of a table.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FoundTable {
    /// Its rows.
    All(Sum),
    /// Rows in which object numbers print as names.
    Named(Sum),
    /// The number of its rows.
    Counted(u64),
    /// There is no such table.
    Absent,
    /// A foreign table.
    Foreign,
    /// A table without one of the columns.
    OtherColumns,
    /// An object without rows.
    NoTable,
    /// Its name cannot be expressed in the server's encoding.
    Unnamed,
}

/// The value of a sequence.
#[derive(Debug, Serialize, Deserialize)]
pub struct Position {
    /// `last_value`.
    pub last_value: String,
    /// `is_called`.
    pub is_called: bool,
}

impl From<&ObservedRows> for FoundTable {
    fn from(rows: &ObservedRows) -> Self {
        match rows {
            ObservedRows::All(sum) => FoundTable::All(*sum),
            ObservedRows::Named(sum) => FoundTable::Named(*sum),
            ObservedRows::Counted(rows) => FoundTable::Counted(*rows),
            ObservedRows::Absent => FoundTable::Absent,
            ObservedRows::Foreign => FoundTable::Foreign,
            ObservedRows::OtherColumns => FoundTable::OtherColumns,
            ObservedRows::NoTable(_) => FoundTable::NoTable,
            ObservedRows::Unnamed => FoundTable::Unnamed,
        }
    }
}

impl From<FoundTable> for ObservedRows {
    fn from(found: FoundTable) -> Self {
        match found {
            FoundTable::All(sum) => ObservedRows::All(sum),
            FoundTable::Named(sum) => ObservedRows::Named(sum),
            FoundTable::Counted(rows) => ObservedRows::Counted(rows),
            FoundTable::Absent => ObservedRows::Absent,
            FoundTable::Foreign => ObservedRows::Foreign,
            FoundTable::OtherColumns => ObservedRows::OtherColumns,
            FoundTable::NoTable => ObservedRows::NoTable("thing without rows"),
            FoundTable::Unnamed => ObservedRows::Unnamed,
        }
    }
}

impl From<&Value> for Position {
    fn from(value: &Value) -> Self {
        Position { last_value: value.last_value.clone(), is_called: value.is_called }
    }
}

impl From<Position> for Value {
    fn from(position: Position) -> Self {
        Value { last_value: position.last_value, is_called: position.is_called }
    }
}

/// Writes a frame.
pub fn write(to: &mut impl Write, frame: Frame, bytes: &[u8]) -> io::Result<()> {
    let kind = FRAMES.iter().find(|(known, _)| *known == frame).map_or(0, |(_, kind)| *kind);
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a message is too long"))?;
    let mut head = [kind, 0, 0, 0, 0];
    for (to, byte) in head.iter_mut().skip(1).zip(length.to_be_bytes()) {
        *to = byte;
    }
    to.write_all(&head)?;
    to.write_all(bytes)
}

/// Writes a frame with a document.
pub fn write_json(to: &mut impl Write, frame: Frame, document: &impl Serialize) -> io::Result<()> {
    write(to, frame, &serde_json::to_vec(document)?)
}

/// Reads a frame into `bytes`; none at the end of the stream.
///
/// # Errors
/// `InvalidData` for one of an unknown kind or that is too long; those of the reader.
pub fn read(from: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    let read = from.read(&mut head[..1])?;
    if read == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..])?;
    let [kind, a, b, c, d] = head;
    let length = u32::from_be_bytes([a, b, c, d]);
    let frame = FRAMES.iter().find(|(_, known)| *known == kind).map(|(frame, _)| *frame);
    let longest = match frame {
        Some(Frame::Order) => LONGEST_ORDER,
        Some(Frame::Message) => LONGEST_MESSAGE,
        _ => PIECE as u32,
    };
    let frame = frame.filter(|_| length <= longest).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    bytes.clear();
    // Memory grows with the bytes that arrive, and not with the announced length.
    if from.take(u64::from(length)).read_to_end(bytes)? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(frame))
}

/// The document of a frame.
pub fn document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::new(Kind::Internal, format!("a message between the drill and its sandbox cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back() {
        let mut stream = Vec::new();
        write(&mut stream, Frame::Data, b"rows").unwrap();
        write(&mut stream, Frame::End, b"").unwrap();
        let message = Message::Tables {
            found: vec![FoundTable::All(Sum { rows: 1, bytes: 2, hash: u128::MAX }), FoundTable::Absent],
        };
        write_json(&mut stream, Frame::Message, &message).unwrap();
        let (mut from, mut bytes) = (stream.as_slice(), Vec::new());
        assert_eq!(read(&mut from, &mut bytes).unwrap(), Some(Frame::Data));
        assert_eq!(bytes, b"rows");
        assert_eq!(read(&mut from, &mut bytes).unwrap(), Some(Frame::End));
        assert_eq!(read(&mut from, &mut bytes).unwrap(), Some(Frame::Message));
        let Message::Tables { found } = document(&bytes).unwrap() else { panic!("another message") };
        assert!(matches!(found[..], [FoundTable::All(Sum { rows: 1, bytes: 2, hash: u128::MAX }), FoundTable::Absent]));
        assert_eq!(read(&mut from, &mut bytes).unwrap(), None);
    }

    #[test]
    fn malformed_frames_are_refused() {
        let refused = |stream: &[u8]| read(&mut &*stream, &mut Vec::new()).unwrap_err().kind();
        assert_eq!(refused(b"X\0\0\0\0"), io::ErrorKind::InvalidData);
        assert_eq!(refused(b"M\xff\xff\xff\xff"), io::ErrorKind::InvalidData);
        assert_eq!(refused(b"D\0\x10\0\0"), io::ErrorKind::InvalidData);
        assert_eq!(refused(b"M\0\0\0\x05{"), io::ErrorKind::UnexpectedEof);
        assert_eq!(refused(b"M\0"), io::ErrorKind::UnexpectedEof);
    }
}
