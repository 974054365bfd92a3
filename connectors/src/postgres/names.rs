//! The ids of transactions, what writers remember and prepare, and names as SQL writes them.
//!
//! Plain data, on any thread. An id reads `thalweg:<sink>:<line>:<attempt>:<subtask>:<number>:<checkpoint>`:
//! the *line* is drawn when a job starts from nothing and handed on through its checkpoints; the attempt is
//! drawn at every start; transactions of a writer are numbered; the last word is for those who read it.
//! Invariant: nothing in an id or an identifier can end the quotes it stands in.

use thalweg_core::error::ErrorKind;
use thalweg_core::ids::CheckpointId;
use thalweg_core::seam::clock::entropy;
use thalweg_dataflow::sink::{Committable, SinkError};

/// What every id, and the name of every session, begins with.
const OURS: &str = "thalweg";
/// The longest name of a sink: with line and attempt it is the name of a session, which is cut at 63 bytes.
const LONGEST_NAME: usize = 24;
/// The first byte of what is encoded here.
const VERSION: u8 = 1;

/// A random number that tells one line or attempt from all others: 48 bits, never 0.
pub(super) fn draw() -> u64 {
    entropy() >> 16 | 1
}

/// The attempt of a job that transactions and sessions belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) sink: String,
    pub(super) line: u64,
    pub(super) attempt: u64,
}

impl Origin {
    /// What the ids of all transactions of the sink begin with, whatever job they are of.
    pub(super) fn of_sink(&self) -> String {
        format!("{OURS}:{}:", self.sink)
    }

    /// … of all attempts of the job.
    pub(super) fn of_line(&self) -> String {
        format!("{}{:012x}:", self.of_sink(), self.line)
    }

    /// … of the attempt.
    pub(super) fn of_attempt(&self) -> String {
        format!("{}{:012x}:", self.of_line(), self.attempt)
    }
}

/// The id of one transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TransactionId {
    pub(super) origin: Origin,
    pub(super) subtask: u32,
    /// From 1, in the order in which its writer prepares them.
    pub(super) number: u64,
    /// None for what comes after the last checkpoint.
    pub(super) checkpoint: Option<CheckpointId>,
}

impl TransactionId {
    /// As the server knows it.
    pub(super) fn gid(&self) -> String {
        let (writer, number) = (self.origin.of_attempt(), self.number);
        let subtask = self.subtask;
        match self.checkpoint {
            Some(CheckpointId(checkpoint)) => format!("{writer}{subtask}:{number}:c{checkpoint}"),
            None => format!("{writer}{subtask}:{number}:end"),
        }
    }

    /// Reads an id back; none if it is not one of ours.
    pub(super) fn parse(gid: &str) -> Option<Self> {
        let fields: Vec<&str> = gid.split(':').collect();
        let [ours, sink, line, attempt, subtask, number, last] = fields[..] else {
            return None;
        };
        let checkpoint = match last.strip_prefix('c') {
            Some(number) => Some(CheckpointId(number.parse().ok()?)),
            None => None,
        };
        let id = TransactionId {
            origin: Origin {
                sink: sink.to_owned(),
                line: u64::from_str_radix(line, 16).ok()?,
                attempt: u64::from_str_radix(attempt, 16).ok()?,
            },
            subtask: subtask.parse().ok()?,
            number: number.parse().ok()?,
            checkpoint,
        };
        // What is not written as we write it is of somebody else.
        let own = ours == OURS && is_name(sink) && id.gid() == gid;
        own.then_some(id)
    }
}

/// A transaction that is prepared, with how many rows were written in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreparedTransaction {
    pub(super) id: TransactionId,
    pub(super) rows: u64,
}

impl PreparedTransaction {
    pub(super) fn encode(&self) -> Committable {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.rows.to_le_bytes());
        bytes.extend_from_slice(self.id.gid().as_bytes());
        Committable(bytes)
    }

    pub(super) fn decode(Committable(bytes): &Committable) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (rows, gid) = rest.split_first_chunk()?;
        Some(Self {
            id: TransactionId::parse(std::str::from_utf8(gid).ok()?)?,
            rows: u64::from_le_bytes(*rows),
        })
    }
}

pub(super) fn decode_all(prepared: &[Committable]) -> Result<Vec<PreparedTransaction>, SinkError> {
    let decoded = prepared.iter().map(PreparedTransaction::decode);
    let decoded: Option<Vec<_>> = decoded.collect();
    decoded.ok_or_else(|| unreadable("prepared"))
}

/// What a writer remembers at a checkpoint: the job's line.
pub(super) fn encode_line(line: u64) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&line.to_le_bytes());
    bytes
}

pub(super) fn decode_line(bytes: &[u8]) -> Result<u64, SinkError> {
    let line = match bytes.split_first() {
        Some((&VERSION, line)) => line.try_into().ok().map(u64::from_le_bytes),
        _ => None,
    };
    line.ok_or_else(|| unreadable("remembered"))
}

fn unreadable(what: &str) -> SinkError {
    let message = format!(
        "what a PostgreSQL sink {what} cannot be read back; was it written by another version?"
    );
    SinkError::new(ErrorKind::Internal, message)
}

/// Whether this may be the name of a sink.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// The name of a sink that was given none.
pub(super) fn name_of_table(table: &str) -> String {
    let fitting = |letter: char| match letter.is_ascii_alphanumeric() || "_.-".contains(letter) {
        true => letter,
        false => '_',
    };
    let name: String = table.chars().map(fitting).take(LONGEST_NAME).collect();
    match name.is_empty() {
        true => "rows".to_owned(),
        false => name,
    }
}

/// An identifier of one part, in quotes.
pub(super) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The name of a table, perhaps with its schema before a dot, in quotes.
pub(super) fn quoted_table(table: &str) -> String {
    let parts: Vec<String> = table.split('.').map(quoted).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(checkpoint: Option<u64>) -> TransactionId {
        TransactionId {
            origin: Origin {
                sink: "shop.orders-1_x".to_owned(),
                line: 0xAB,
                attempt: 0xCDEF_0123_4567,
            },
            subtask: 3,
            number: 12,
            checkpoint: checkpoint.map(CheckpointId),
        }
    }

    #[test]
    fn an_id_says_whose_it_is_and_reads_back_and_what_is_not_ours_does_not() {
        assert_eq!(
            id(Some(7)).gid(),
            "thalweg:shop.orders-1_x:0000000000ab:cdef01234567:3:12:c7"
        );
        for id in [id(Some(7)), id(None)] {
            let gid = id.gid();
            assert_eq!(TransactionId::parse(&gid), Some(id.clone()));
            assert!(gid.starts_with(&id.origin.of_attempt()));
            for cut in 0..gid.len() {
                let cut = TransactionId::parse(&gid[..cut]);
                assert!(cut.is_none_or(|cut| cut != id));
            }
        }
        for other in [
            "",
            "thalweg",
            "other:a:0000000000ab:cdef01234567:3:12:c7",
            "thalweg:a'b:0000000000ab:cdef01234567:3:12:c7",
            "thalweg:a:ab:cdef01234567:3:12:c7",
            "thalweg:a:0000000000ab:cdef01234567:03:12:c7",
            "thalweg:a:0000000000ab:cdef01234567:3:12:7",
            "thalweg:a:0000000000ab:cdef01234567:3:12:c7:",
        ] {
            assert_eq!(TransactionId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_id_and_session_fit_what_the_server_keeps_of_them() {
        let longest = TransactionId {
            origin: Origin {
                sink: "x".repeat(LONGEST_NAME),
                line: draw(),
                attempt: u64::MAX >> 16,
            },
            subtask: u32::MAX,
            number: u64::MAX,
            checkpoint: Some(CheckpointId(u64::MAX)),
        };
        assert!(longest.gid().len() < 200);
        assert!(longest.origin.of_attempt().len() <= 63);
    }

    #[test]
    fn what_was_prepared_reads_back_and_what_is_damaged_does_not() {
        let prepared = PreparedTransaction {
            id: id(Some(1)),
            rows: 1 << 40,
        };
        let encoded = prepared.encode();
        assert_eq!(
            decode_all(std::slice::from_ref(&encoded)).unwrap(),
            std::slice::from_ref(&prepared)
        );
        for cut in 0..encoded.0.len() {
            let cut = PreparedTransaction::decode(&Committable(encoded.0[..cut].to_vec()));
            assert!(cut.is_none_or(|cut| cut != prepared));
        }
        let line = encode_line(0xAB);
        assert_eq!(decode_line(&line).unwrap(), 0xAB);
        for damaged in [&line[..8], &[&line[..], &[0]].concat(), &[9; 9], &[]] {
            let refused = decode_line(damaged).unwrap_err();
            assert!(refused.message.contains("another version"), "{refused}");
        }
    }

    #[test]
    fn identifiers_are_quoted_and_names_are_made_of_tables() {
        assert_eq!(quoted_table("a.b\"c"), "\"a\".\"b\"\"c\"");
        assert_eq!(name_of_table("shop.Orders of '24"), "shop.Orders_of__24");
        for table in ["", "ä'\"", &"long".repeat(40)] {
            assert!(is_name(&name_of_table(table)), "{table}");
        }
        assert!(!is_name("a:b") && !is_name(""));
    }
}
