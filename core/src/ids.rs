//! Identity and nothing else: the names by which jobs, vertices, subtasks, slots, shards and checkpoints
//! are told apart.
//!
//! All are small `Copy` numbers, ordered and hashable, and live on any thread. Invariant: an id is never
//! reinterpreted as another kind of id, which is why each is its own type.

use crate::key_group::KeyHash;
use std::fmt;
use std::str::FromStr;

/// Defines one id: a number in a type of its own, with a word before it when displayed.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($number:ty), $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(
            /// The bare number.
            pub $number,
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, "-{}"), self.0)
            }
        }
    };
}

id!(
    /// A vertex of the job graph: one chain of operators. Dense from 0 within a job.
    VertexId(u32), "vertex"
);
id!(
    /// One try at running a subtask; counts up from 0.
    AttemptId(u32), "attempt"
);
id!(
    /// A slot of a process; dense from 0.
    SlotId(u32), "slot"
);
id!(
    /// A shard of a process, so a core and its thread; dense from 0.
    ShardId(u16), "shard"
);
id!(
    /// A checkpoint of a job; counts up from 1 over the job's whole life.
    CheckpointId(u64), "checkpoint"
);
id!(
    /// The stretch of a stream between two cuts; counts up. State entries are stamped with it.
    Epoch(u64), "epoch"
);

impl ShardId {
    /// The shard's place in arrays that hold one entry per shard.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Epoch {
    /// The epoch after this one.
    ///
    /// # Panics
    /// After 2^64 - 1 epochs, so never.
    #[must_use]
    pub const fn next(self) -> Epoch {
        assert!(self.0 < u64::MAX, "epochs never run out");
        Epoch(self.0 + 1)
    }
}

/// A submitted job. Shown as 32 hexadecimal digits, as Flink shows its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(
    /// The bare number.
    pub u128,
);

/// How the ids of jobs end that have an identity.
const OF_IDENTITY: u32 = 0x1d1d_1d1d;

impl JobId {
    /// The id of the job to which its user gave this identity: stable for ever.
    #[must_use]
    pub fn of_identity(identity: &str) -> JobId {
        let half = |mark: u8| {
            let marked = [identity.as_bytes(), &[mark]].concat();
            u128::from(KeyHash::of_bytes(&marked).0)
        };
        JobId((half(1) << 64 | half(2)) & !u128::from(u32::MAX) | u128::from(OF_IDENTITY))
    }

    /// Whether it is the id of a job to which its user gave an identity, and not one that was drawn: of those one in
    /// 2^32 looks like it.
    #[must_use]
    pub fn is_of_identity(self) -> bool {
        self.0 as u32 == OF_IDENTITY
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is not the id it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    text: String,
    what: &'static str,
    digits: usize,
}

/// Reads exactly `digits` hexadecimal digits.
fn parse_hex(text: &str, what: &'static str, digits: usize) -> Result<u128, ParseIdError> {
    let refused = || ParseIdError {
        text: text.chars().take(64).collect(),
        what,
        digits,
    };
    let well_formed = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !well_formed {
        return Err(refused());
    }
    u128::from_str_radix(text, 16).map_err(|_| refused())
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text, "job id", 32).map(JobId)
    }
}

/// An operator, by the name its state keeps across versions of a program. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorId(
    /// The bare number.
    pub u64,
);

impl OperatorId {
    /// The id of the operator a user named `uid`: the key hash of its bytes, so stable for ever.
    #[must_use]
    pub fn from_uid(uid: &str) -> OperatorId {
        OperatorId(KeyHash::of_bytes(uid.as_bytes()).0)
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for OperatorId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let number = parse_hex(text, "operator id", 16)?;
        // 16 hexadecimal digits are 64 bits, so nothing is cut off.
        Ok(OperatorId(number as u64))
    }
}

/// One parallel instance of a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubtaskId {
    /// The vertex it is an instance of.
    pub vertex: VertexId,
    /// Which instance, from 0 to parallelism - 1.
    pub index: u32,
}

impl SubtaskId {
    /// Instance `index` of `vertex`.
    #[must_use]
    pub const fn new(vertex: VertexId, index: u32) -> SubtaskId {
        SubtaskId { vertex, index }
    }
}

impl fmt::Display for SubtaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vertex, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_show_what_they_name() {
        assert_eq!(VertexId(3).to_string(), "vertex-3");
        assert_eq!(SubtaskId::new(VertexId(3), 1).to_string(), "vertex-3/1");
        assert_eq!(ShardId(7).to_string(), "shard-7");
        assert_eq!(JobId(0xab).to_string(), format!("{:0>32}", "ab"));
        let named = ["clicks", "clicks-2", "", "click"].map(JobId::of_identity);
        assert_eq!(std::collections::BTreeSet::from(named).len(), 4);
        assert!(named.iter().all(|id| id.is_of_identity()));
        assert!(!JobId(7).is_of_identity());
        assert_eq!(named[0].to_string(), "12c8e66150df327d2ea886131d1d1d1d");
        assert_eq!(OperatorId(0xab).to_string(), format!("{:0>16}", "ab"));
    }

    #[test]
    fn shown_ids_are_read_back() {
        let job = JobId(u128::MAX - 5);
        assert_eq!(job.to_string().parse(), Ok(job));
        let operator = OperatorId::from_uid("count words");
        assert_eq!(operator.to_string().parse(), Ok(operator));
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_the_expected_form() {
        for text in [
            "",
            "12",
            "+0000000000000000000000000000012",
            &"g".repeat(32),
        ] {
            let refusal = text.parse::<JobId>().unwrap_err().to_string();
            assert!(refusal.contains("32 hexadecimal digits"), "{refusal}");
        }
        assert!("00000000000000001".parse::<OperatorId>().is_err());
    }

    #[test]
    fn operator_ids_are_stable() {
        assert_eq!(
            OperatorId::from_uid("count").0,
            KeyHash::of_bytes(b"count").0
        );
        assert_ne!(
            OperatorId::from_uid("count"),
            OperatorId::from_uid("count ")
        );
    }

    #[test]
    fn subtasks_order_by_vertex_then_index() {
        let earlier = SubtaskId::new(VertexId(1), 9);
        let later = SubtaskId::new(VertexId(2), 0);
        assert!(earlier < later);
        assert_eq!(Epoch(4).next(), Epoch(5));
    }
}
