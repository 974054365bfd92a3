//! The bytes of a file of records in flight, version 1.
//!
//! All numbers are little-endian. A file begins with `THALWEGF` and its version in 32 bits; sections follow, each
//! of one channel. Where they begin and what their checksums are is in the metadata of the checkpoint.
//!
//! | a section | how |
//! |---|---|
//! | layout | 8 bits: 1 a hash beside each record, 2 a time |
//! | buffers | count 32 bits, and each |
//! | a buffer | count of marks 32, and each; length of entries 32, entries as they are in segments |
//! | a mark | index of the entry it stands before 32, kind 8 (0 watermark, 1 idle, 2 active), time 64 signed, 0 but for watermarks |
//!
//! Pure functions, callable from any thread. Invariant: damage of any kind is an error; nothing here panics or
//! allocates beyond the size of its input.

use crc32c::crc32c;
use thalweg_core::event_time::{Timestamp, Watermark};
use thalweg_memory::{EntryLayout, Mark, Remainder};
use thalweg_state::run::ReadAt;

/// How a file begins.
const MAGIC: &[u8; 8] = b"THALWEGF";
/// The version that is written.
const VERSION: u32 = 1;
/// Bytes before the first section.
const HEADER: usize = 12;
/// Bytes of one mark.
const MARK: usize = 13;
/// Bytes checked at once.
const CHUNK: usize = 256 << 10;

/// Why a section cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the records in flight make no sense at byte {at} of their section: {what}")]
pub struct SectionDamage {
    /// Where.
    pub at: usize,
    /// What.
    pub what: String,
}

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum FileDamage {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] std::io::Error),
    /// It is none of these files, or of another version.
    #[error("it does not begin as a file of records in flight of version {VERSION} does")]
    Foreign,
}

/// What is in a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionContent {
    /// What stands beside each record.
    pub layout: EntryLayout,
    /// The rests of buffers, oldest first.
    pub buffers: Vec<Remainder>,
}

/// The begin of a file.
pub(super) fn header() -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&VERSION.to_le_bytes());
    debug_assert_eq!(file.len(), HEADER);
    file
}

/// Adds a section; answers its checksum.
pub(super) fn write_section(content: &SectionContent, file: &mut Vec<u8>) -> u32 {
    let start = file.len();
    file.push(u8::from(content.layout.hash) | u8::from(content.layout.timestamp) << 1);
    // Buffers, marks and entries of a channel are bounded by its credits.
    file.extend_from_slice(&(content.buffers.len() as u32).to_le_bytes());
    for buffer in &content.buffers {
        file.extend_from_slice(&(buffer.marks.len() as u32).to_le_bytes());
        for (index, mark) in &buffer.marks {
            let (kind, at) = match mark {
                Mark::Watermark(Watermark(at)) => (0, at.0),
                Mark::Idle => (1, 0),
                Mark::Active => (2, 0),
            };
            file.extend_from_slice(&index.to_le_bytes());
            file.push(kind);
            file.extend_from_slice(&at.to_le_bytes());
        }
        file.extend_from_slice(&(buffer.bytes.len() as u32).to_le_bytes());
        file.extend_from_slice(&buffer.bytes);
    }
    crc32c(&file[start..])
}

/// Reads a section.
///
/// # Errors
/// Where it makes no sense.
pub fn read_section(bytes: &[u8]) -> Result<SectionContent, SectionDamage> {
    let mut from = Reader { bytes, at: 0 };
    let layout = match from.array::<1>()? {
        [bits @ 0..=3] => EntryLayout {
            hash: bits & 1 != 0,
            timestamp: bits & 2 != 0,
        },
        [other] => return from.refuse(format!("there is no layout {other}")),
    };
    let count = from.count(8)?;
    let mut buffers = Vec::with_capacity(count);
    for _ in 0..count {
        let marks = from.count(MARK)?;
        let marks = (0..marks).map(|_| from.mark()).collect::<Result<_, _>>()?;
        let length = from.count(1)?;
        let bytes = from.take(length)?.to_vec();
        buffers.push(Remainder { bytes, marks });
    }
    match from.at == bytes.len() {
        true => Ok(SectionContent { layout, buffers }),
        false => from.refuse(format!("{} bytes follow the end", bytes.len() - from.at)),
    }
}

/// Sees whether a file begins as one of this version does.
///
/// # Errors
/// When it does not, or cannot be read.
pub(super) fn check_begin(file: &impl ReadAt) -> Result<(), FileDamage> {
    let mut begin = [0; HEADER];
    if file.length() < HEADER as u64 {
        return Err(FileDamage::Foreign);
    }
    file.read_at(0, &mut begin)?;
    match begin[..] == header()[..] {
        true => Ok(()),
        false => Err(FileDamage::Foreign),
    }
}

/// Reads every byte of a file; answers their number and the CRC-32C over them.
///
/// # Errors
/// When it cannot be read, or does not begin as such a file does.
pub fn check_file(file: &impl ReadAt) -> Result<(u64, u32), FileDamage> {
    let length = file.length();
    let mut piece = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let (mut at, mut checksum) = (0, 0);
    while at < length {
        let left = usize::try_from(length - at).unwrap_or(CHUNK);
        let piece = &mut piece[..left.min(CHUNK)];
        file.read_at(at, piece)?;
        if at == 0 && !piece.starts_with(&header()) {
            return Err(FileDamage::Foreign);
        }
        checksum = crc32c::crc32c_append(checksum, piece);
        at += piece.len() as u64;
    }
    match length < HEADER as u64 {
        true => Err(FileDamage::Foreign),
        false => Ok((length, checksum)),
    }
}

/// A section being read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn refuse<T>(&self, what: String) -> Result<T, SectionDamage> {
        Err(SectionDamage { at: self.at, what })
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], SectionDamage> {
        let Some(taken) = self.bytes[self.at..].get(..count) else {
            return self.refuse(format!("{count} bytes are announced, {} left", self.left()));
        };
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SectionDamage> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, least: usize) -> Result<usize, SectionDamage> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        match count > self.left() / least {
            true => self.refuse(format!("{count} are announced, {} bytes left", self.left())),
            false => Ok(count),
        }
    }

    fn mark(&mut self) -> Result<(u32, Mark), SectionDamage> {
        let index = u32::from_le_bytes(self.array()?);
        let [kind] = self.array()?;
        let at = Timestamp(i64::from_le_bytes(self.array()?));
        match (kind, at) {
            (0, at) => Ok((index, Mark::Watermark(Watermark(at)))),
            (1, Timestamp(0)) => Ok((index, Mark::Idle)),
            (2, Timestamp(0)) => Ok((index, Mark::Active)),
            (other, at) => self.refuse(format!("there is no mark {other} at {}", at.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content() -> impl Strategy<Value = SectionContent> {
        let mark = prop_oneof![
            any::<i64>().prop_map(|at| Mark::Watermark(Watermark(Timestamp(at)))),
            Just(Mark::Idle),
            Just(Mark::Active),
        ];
        let marks = proptest::collection::vec((any::<u32>(), mark), 0..4);
        let bytes = proptest::collection::vec(any::<u8>(), 0..64);
        let buffer = (bytes, marks).prop_map(|(bytes, marks)| Remainder { bytes, marks });
        let buffers = proptest::collection::vec(buffer, 0..5);
        (any::<bool>(), any::<bool>(), buffers).prop_map(|(hash, timestamp, buffers)| {
            SectionContent {
                layout: EntryLayout { hash, timestamp },
                buffers,
            }
        })
    }

    proptest! {
        /// What was written is read; every cut is refused; a changed byte changes the checksum, and whatever is
        /// read then was asked for by the bytes.
        #[test]
        fn sections_come_back_and_damage_is_noticed(content in content(), at: usize, bit in 0..8_u8, cut: usize) {
            let mut bytes = Vec::new();
            let checksum = write_section(&content, &mut bytes);
            prop_assert_eq!(read_section(&bytes), Ok(content));
            prop_assert!(read_section(&bytes[..cut % bytes.len()]).is_err());
            let place = at % bytes.len();
            bytes[place] ^= 1 << bit;
            prop_assert_ne!(crc32c(&bytes), checksum);
            if let Ok(read) = read_section(&bytes) {
                let mut again = Vec::new();
                write_section(&read, &mut again);
                prop_assert_eq!(again, bytes);
            }
        }

        /// Whatever the bytes are, the answer is one.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_section(&bytes);
            let _ = check_file(&&bytes[..]);
        }
    }

    #[test]
    fn a_file_is_told_by_its_begin() {
        let mut file = header();
        assert_eq!(check_file(&&file[..]).unwrap(), (12, crc32c(&file)));
        assert!(matches!(check_file(&&file[..11]), Err(FileDamage::Foreign)));
        file[8] = 2;
        assert!(matches!(check_file(&&file[..]), Err(FileDamage::Foreign)));
    }
}
