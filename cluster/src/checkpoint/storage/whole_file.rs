//! Length and checksum of a file of this host, from all its bytes.
//!
//! Entered on the control thread, which waits. A large file is read in as many parts as there are cores, a thread for
//! each: a savepoint is not there before all of it was read once. Blocking. Invariant: of a file that is not being
//! written the answer is the same for any number of parts.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use crc32c::{crc32c_append, crc32c_combine};

use super::disk::PIECE;
use crate::checkpoint::metadata::model::FileFacts;

/// A part is at least as large as this: less is read sooner than a thread starts.
const LEAST_PART: u64 = 16 << 20;
/// More threads than this wait for memory.
const MOST_PARTS: u64 = 4;

/// Reads a file.
///
/// # Errors
/// As the operating system says, and when the file becomes shorter meanwhile.
pub(super) fn facts_of(path: &Path) -> io::Result<FileFacts> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let parts = (bytes / LEAST_PART).clamp(1, cores.min(MOST_PARTS));
    let checksum = checksum_in_parts(&file, bytes, parts)?;
    Ok(FileFacts { bytes, checksum })
}

/// The checksum of the first so many bytes, read in so many parts.
#[allow(
    clippy::disallowed_methods,
    reason = "beside the thread that waits for them, which is no shard's"
)]
fn checksum_in_parts(file: &File, bytes: u64, parts: u64) -> io::Result<u32> {
    let part = bytes.div_ceil(parts);
    let ranges =
        (0..parts).map(|number| (number * part).min(bytes)..((number + 1) * part).min(bytes));
    thread::scope(|scope| {
        let read = |range: Range<u64>| {
            (
                range.end - range.start,
                scope.spawn(|| checksum_of(file, range)),
            )
        };
        let threads: Vec<(u64, ScopedJoinHandle<'_, _>)> = ranges.map(read).collect();
        threads.into_iter().try_fold(0, |before, (bytes, thread)| {
            let checksum = match thread.join() {
                Ok(checksum) => checksum?,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(crc32c_combine(before, checksum, bytes as usize))
        })
    })
}

fn checksum_of(file: &File, range: Range<u64>) -> io::Result<u32> {
    let (mut at, mut checksum) = (range.start, 0);
    let mut buffer = vec![0; PIECE.min((range.end - range.start) as usize)];
    while at < range.end {
        let count = (range.end - at).min(PIECE as u64) as usize;
        file.read_exact_at(&mut buffer[..count], at)?;
        checksum = crc32c_append(checksum, &buffer[..count]);
        at += count as u64;
    }
    Ok(checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_parts_makes_the_same_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        for bytes in [0, 1, 2, 3, 1_000, PIECE, 3 * PIECE + 7] {
            let content: Vec<u8> = (0..bytes).map(|at| (at * 31 + at / 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            let (bytes, checksum) = (bytes as u64, crc32c::crc32c(&content));
            assert_eq!(facts_of(&path).unwrap(), FileFacts { bytes, checksum });
            let file = File::open(&path).unwrap();
            for parts in 1..=5 {
                let found = checksum_in_parts(&file, bytes, parts).unwrap();
                assert_eq!(found, checksum, "{bytes} bytes in {parts} parts");
            }
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_was_said_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        std::fs::write(&path, [7; 100]).unwrap();
        let file = File::open(&path).unwrap();
        for parts in 1..=3 {
            let refused = checksum_in_parts(&file, 101, parts).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
