//! Whether a run is the one a receipt was given for, told without reading its rows.
//!
//! Entered before rows of a run are taken back, or the run is taken over as it is. A run names the checksum of
//! each of its blocks, so that of the whole file follows from its footer and its indexes. Invariant: a run that
//! passes has the bytes that were written, but for those of its blocks, and a block that has others is refused
//! when it is read. Lives where its reader lives.

use crate::run::error::RunError;
use crate::run::format::checksum::{checksum, checksum_joined, checksum_onward};
use crate::run::format::envelope::{HEADER_BYTES, header_of};
use crate::run::format::footer::SectionEntry;
use crate::run::reader::RunReader;
use crate::run::source::ReadAt;

impl<R: ReadAt> RunReader<R> {
    /// Checks that this is the run of this length whose bytes had this checksum when they were written. Reads all of
    /// it but its blocks.
    ///
    /// # Errors
    /// When it is another run, damaged, or cannot be read.
    pub fn check_receipt(&self, bytes: u64, checksum: u32) -> Result<(), RunError> {
        let (found, expected) = ((self.length(), self.claimed_checksum()?), (bytes, checksum));
        match found == expected {
            true => Ok(()),
            false => Err(RunError::Other {
                file: self.file().to_owned(),
                found,
                expected,
            }),
        }
    }

    /// The checksum of the file if each block is what its index says.
    fn claimed_checksum(&self) -> Result<u32, RunError> {
        let mut joined = checksum(&header_of(self.version()));
        let mut bytes = Vec::new();
        for section in self.sections() {
            let index = self.read_index(section, &mut bytes)?;
            for block in &index.blocks {
                joined = checksum_joined(joined, block.checksum, u64::from(block.length));
            }
            joined = checksum_onward(joined, &bytes);
        }
        let sections = self.sections().last();
        let footer = sections.map_or(HEADER_BYTES as u64, SectionEntry::end);
        self.read(footer, self.length() - footer, &mut bytes)?;
        Ok(checksum_onward(joined, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::KeyGroup;

    use super::*;
    use crate::run::{RunOptions, RunWriter, StateHeader};
    use crate::snapshot::{Row, RowSink};

    /// A run of these values, with its receipt.
    fn run(values: &[u64], rows_ascend: bool) -> (Vec<u8>, u64, u32) {
        let options = RunOptions::default()
            .with_block_bytes(64)
            .with_section_bytes(1 << 10);
        let mut writer = RunWriter::new(options);
        let state = writer.declare(StateHeader {
            name: "sum".to_owned(),
            descriptor: vec![1, 2, 3],
            full: true,
        });
        let mut rows = writer.rows_of(state.unwrap()).unwrap();
        for (at, value) in values.iter().enumerate() {
            let key = match rows_ascend {
                true => at as u64,
                false => (at as u64).reverse_bits(),
            };
            let row = Row {
                group: KeyGroup((at % 7) as u16),
                key: &key.to_be_bytes(),
                namespace: b"",
                value: Some(&value.to_le_bytes()),
            };
            rows.row(row);
        }
        let (bytes, summary) = writer.finish().unwrap();
        (bytes, summary.bytes, summary.checksum)
    }

    proptest! {
        /// Of runs of one length, name, and number of rows each is known by its receipt alone.
        #[test]
        fn a_whole_run_of_other_values_is_another(
            values in proptest::collection::vec(any::<u64>(), 1..400),
            at: usize,
            bit in 0..64_u32,
            rows_ascend: bool,
        ) {
            let (bytes, length, checksum) = run(&values, rows_ascend);
            let reader = RunReader::open("run", &bytes[..]).unwrap();
            reader.check_receipt(length, checksum).unwrap();
            prop_assert_eq!(reader.verify().unwrap(), checksum);
            let mut others = values.clone();
            others[at % values.len()] ^= 1 << bit;
            let (other, other_length, other_checksum) = run(&others, rows_ascend);
            prop_assert_eq!(other_length, length);
            let reader = RunReader::open("run", &other[..]).unwrap();
            let refused = reader.check_receipt(length, checksum).unwrap_err();
            prop_assert_eq!(refused, RunError::Other {
                file: "run".to_owned(),
                found: (length, other_checksum),
                expected: (length, checksum),
            });
        }
    }

    #[test]
    fn a_run_of_another_length_is_another() {
        let (bytes, length, checksum) = run(&[1, 2, 3], true);
        let reader = RunReader::open("run", &bytes[..]).unwrap();
        let refused = reader.check_receipt(length + 1, checksum).unwrap_err();
        assert!(refused.to_string().contains("'run'"), "{refused}");
    }
}
