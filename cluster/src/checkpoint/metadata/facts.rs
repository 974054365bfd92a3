//! The length and the checksum by which a pointer knows the metadata of its checkpoint again.
//!
//! Metadata ends in the checksum of its body, behind a header that ends in its own. The CRC-32C of all of that
//! would be the same for any metadata of one length, because a checksum behind what it is of cancels it out. So
//! the last four bytes are left out. Pure functions.

use crc32c::{crc32c, crc32c_append};

use super::model::FileFacts;

/// Bytes of the checksum at the end.
const OWN_CHECKSUM: usize = 4;

/// The facts of one metadata file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataFacts {
    facts: FileFacts,
    of_all: u32,
}

impl MetadataFacts {
    /// Those of the bytes of a metadata file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> MetadataFacts {
        let (content, own) = bytes.split_at(bytes.len().saturating_sub(OWN_CHECKSUM));
        let checksum = crc32c(content);
        MetadataFacts {
            facts: FileFacts {
                bytes: bytes.len() as u64,
                checksum,
            },
            of_all: crc32c_append(checksum, own),
        }
    }

    /// What a pointer says.
    #[must_use]
    pub fn facts(&self) -> FileFacts {
        self.facts
    }

    /// Whether these are what a pointer says. In pointers written before, the checksum is that of all bytes: of them
    /// nothing but the length is told apart.
    #[must_use]
    pub fn are(&self, said: FileFacts) -> bool {
        let FileFacts { bytes, checksum } = self.facts;
        said.bytes == bytes && [checksum, self.of_all].contains(&said.checksum)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ids::{CheckpointId, JobId};

    use super::*;
    use crate::checkpoint::metadata::{CheckpointKind, CheckpointMetadata, encode};

    #[test]
    fn metadata_of_one_length_is_told_apart() {
        let of = |started_ms| {
            let metadata = CheckpointMetadata {
                job: JobId(1),
                job_name: "job".to_owned(),
                checkpoint: CheckpointId(1),
                kind: CheckpointKind::Checkpoint,
                started_ms,
                vertices: Vec::new(),
                committables: Vec::new(),
                in_flight: Vec::new(),
            };
            encode(&metadata).unwrap()
        };
        let (one, other) = (of(1), of(2));
        assert_eq!(one.len(), other.len());
        assert_eq!(crc32c(&one), crc32c(&other), "which is why it is not used");
        let (one, other) = (MetadataFacts::of(&one), MetadataFacts::of(&other));
        assert!(one.are(one.facts()) && !one.are(other.facts()));
        // As pointers said before.
        let before = FileFacts {
            checksum: one.of_all,
            ..one.facts()
        };
        assert!(one.are(before));
    }
}
