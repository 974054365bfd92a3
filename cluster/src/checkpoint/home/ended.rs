//! The end of a job, as the last pointer in the directory of its checkpoints says it.
//!
//! Plain data. Invariant: it takes less room than a pointer may have, however long the job's name is.

use std::fmt;

use crate::checkpoint::storage::Location;

/// More of a job's name is not kept.
const MOST_OF_NAME: usize = 1_024;

/// When a job came to its end, and how its user called it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When that was: ms since 1970.
    pub at_ms: i64,
    job_name: String,
}

impl Ended {
    /// The end of a job of this name; of a long one the beginning is kept.
    #[must_use]
    pub fn new(at_ms: i64, job_name: &str) -> Ended {
        Ended {
            at_ms,
            job_name: beginning(job_name).to_owned(),
        }
    }

    /// How its user called it.
    #[must_use]
    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    /// Whether a job of this name may be the one.
    #[must_use]
    pub fn is_of(&self, job_name: &str) -> bool {
        self.job_name == beginning(job_name)
    }

    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.at_ms.to_le_bytes());
        // It is bounded where it is made.
        bytes.extend_from_slice(&(self.job_name.len() as u16).to_le_bytes());
        bytes.extend_from_slice(self.job_name.as_bytes());
    }

    /// Reads it from the beginning of `bytes`; answers what is behind it too.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Ended, &[u8])> {
        let (at_ms, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes(*length));
        if length > MOST_OF_NAME {
            return None;
        }
        let (job_name, rest) = rest.split_at_checked(length)?;
        let ended = Ended {
            at_ms: i64::from_le_bytes(*at_ms),
            job_name: str::from_utf8(job_name).ok()?.to_owned(),
        };
        Some((ended, rest))
    }
}

fn beginning(job_name: &str) -> &str {
    &job_name[..job_name.floor_char_boundary(MOST_OF_NAME)]
}

/// A job that has ended, and where that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedJob {
    /// What was the directory of its checkpoints, in which the mark of its end is all there is.
    pub home: Location,
    /// The mark.
    pub pointer: Location,
    /// When it ended, and how it was called.
    pub ended: Ended,
    /// The savepoint it was stopped by; it has finished if there is none.
    pub savepoint: Option<Location>,
}

impl fmt::Display for EndedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, home) = (self.ended.job_name(), &self.home);
        match &self.savepoint {
            None => write!(f, "the job {name} has finished, as what is in {home} says"),
            Some(savepoint) => write!(
                f,
                "the job {name} was stopped with the savepoint {savepoint}, as what is in {home} says"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_beginning_is_kept_and_it_is_the_same_job() {
        let long = "ä".repeat(800);
        let ended = Ended::new(7, &long);
        assert_eq!(ended.job_name().len(), MOST_OF_NAME);
        assert!(ended.is_of(&long) && !ended.is_of("ä"));
        let mut bytes = Vec::new();
        ended.encode(&mut bytes);
        bytes.extend_from_slice(b"more");
        assert_eq!(Ended::decode(&bytes), Some((ended, &b"more"[..])));
        for cut in 0..bytes.len() - 4 {
            assert_eq!(Ended::decode(&bytes[..cut]), None);
        }
        // One byte more is none that this writes.
        bytes[8..10].copy_from_slice(&1_025_u16.to_le_bytes());
        assert_eq!(Ended::decode(&bytes), None);
    }
}
