//! What the disk does by itself: a file written from front to back, and blocks read anywhere in one.
//!
//! What the engine does with the disk is measured against these, in the same run and on the same file system. On the
//! program's thread and some of its own, which end before a function returns. Invariant: every file made here is
//! removed here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use crate::limit::Stopwatch;
use crate::workload::definitions::mix;

/// To what direct reads are aligned, bytes.
const ALIGNED: usize = 4_096;
/// Bytes written at once where only reading is measured.
const FILLING: usize = 1 << 20;

/// A file that goes when it is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn make(directory: &Path, what: &str) -> io::Result<Scratch> {
        let path = directory.join(format!("thalweg-bench-{what}-{}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path)?;
        Ok(Scratch { path, file })
    }

    /// Writes so many bytes, of which no block is like another, and makes them durable.
    fn fill(&mut self, bytes: u64, block: usize) -> io::Result<()> {
        let mut content = vec![0; block];
        let mut left = bytes;
        for number in 0.. {
            let now = block.min(usize::try_from(left).unwrap_or(usize::MAX));
            if now == 0 {
                break;
            }
            // A word in eight is enough that nobody between here and the disk has seen the block before.
            for (at, word) in content.chunks_exact_mut(64).enumerate() {
                word[..8].copy_from_slice(&mix(number << 32 | at as u64).to_le_bytes());
            }
            self.file.write_all(&content[..now])?;
            left -= now as u64;
        }
        self.file.sync_all()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The directory is the user's: what cannot be removed is seen there.
        let _ = fs::remove_file(&self.path);
    }
}

/// Seconds for so many bytes, written in blocks into one file in `directory` and synced.
///
/// # Errors
/// What the system says.
pub fn write_seconds(directory: &Path, bytes: u64, block: usize) -> io::Result<f64> {
    let mut scratch = Scratch::make(directory, "write")?;
    let since = Stopwatch::start();
    scratch.fill(bytes, block)?;
    Ok(since.seconds().0)
}

/// Reads of one block a second, with `depth` under way at any time, past the cache of the system, anywhere in a file of
/// so many bytes in `directory`; none where reads cannot go past it.
///
/// # Errors
/// What the system says.
pub fn reads_per_second(
    directory: &Path,
    bytes: u64,
    depth: usize,
    seconds: f64,
) -> io::Result<Option<f64>> {
    let mut scratch = Scratch::make(directory, "read")?;
    let blocks = (bytes / ALIGNED as u64).max(1);
    scratch.fill(blocks * ALIGNED as u64, FILLING)?;
    let mut options = OpenOptions::new();
    let direct = options.read(true).custom_flags(libc::O_DIRECT);
    let file = match direct.open(&scratch.path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
        opened => opened?,
    };
    let since = Stopwatch::start();
    let read = read_on_threads(depth, |reader| {
        read_blocks(&file, blocks, reader, &since, seconds)
    })?;
    Ok(Some(read as f64 / since.seconds().0))
}

#[allow(
    clippy::disallowed_methods,
    reason = "reads that wait side by side: there is no shard"
)]
fn read_on_threads(depth: usize, read: impl Fn(u64) -> io::Result<u64> + Sync) -> io::Result<u64> {
    thread::scope(|scope| {
        let read = &read;
        let readers = (0..depth as u64).map(|reader| scope.spawn(move || read(reader)));
        let readers: Vec<_> = readers.collect();
        readers
            .into_iter()
            .map(|reader| match reader.join() {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .sum()
    })
}

/// Reads blocks one after the other until the time is over; how many.
fn read_blocks(
    file: &File,
    blocks: u64,
    reader: u64,
    since: &Stopwatch,
    seconds: f64,
) -> io::Result<u64> {
    let mut room = vec![0_u8; 2 * ALIGNED];
    let skipped = room.as_ptr().align_offset(ALIGNED);
    let block = &mut room[skipped..skipped + ALIGNED];
    let mut read = 0;
    while since.seconds().0 < seconds {
        let at = mix(reader << 40 | read) % blocks;
        file.read_exact_at(block, at * ALIGNED as u64)?;
        read += 1;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_measured_and_nothing_left_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let seconds = write_seconds(directory.path(), 1_000_000, 4_096).unwrap();
        assert!(seconds > 0.0);
        let reads = reads_per_second(directory.path(), 1 << 20, 4, 0.02).unwrap();
        assert!(reads.is_none_or(|reads| reads > 0.0));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_is_as_long_as_it_should_be_whatever_the_block() {
        let directory = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::make(directory.path(), "test").unwrap();
        scratch.fill(10_001, 4_096).unwrap();
        assert_eq!(fs::metadata(&scratch.path).unwrap().len(), 10_001);
    }
}
