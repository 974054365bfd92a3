//! The text of a word count, cut into ranges at newlines and read block by block.
//!
//! Threads take ranges from a shared counter, so that none waits for a slower one at the end. A line
//! belongs to the range its first byte lies in: both neighbours of a cut compute the same cut.
//! Invariant: every byte is in exactly one block, and a block ends with a separator.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LimitError;
use super::words::{SLACK, is_separator};

/// Bytes of a range before its ends are moved to newlines.
const RANGE: u64 = 8 << 20;
/// Bytes asked for at a time; a block stays in the second-level cache.
const READ: usize = 32 << 10;

/// A file that is being read.
struct Source {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
        })
    }

    /// The first line start at or after `at`.
    fn cut(&self, at: u64) -> io::Result<u64> {
        if at == 0 || at >= self.len {
            return Ok(at.min(self.len));
        }
        let mut block = [0; 4096];
        let mut from = at - 1;
        loop {
            let got = self.file.read_at(&mut block, from)?;
            if got == 0 {
                return Ok(self.len);
            }
            if let Some(newline) = block[..got].iter().position(|&byte| byte == b'\n') {
                return Ok((from + newline as u64 + 1).min(self.len));
            }
            from += got as u64;
        }
    }
}

/// All the text there is, and what of it nobody has taken yet.
pub(super) struct Text {
    sources: Vec<Source>,
    ranges: Vec<(usize, u64)>,
    next: AtomicUsize,
}

impl Text {
    /// Opens the files, and of directories every file in them.
    pub(super) fn open(inputs: &[PathBuf]) -> Result<Self, LimitError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LimitError::Read { path, source }
        };
        let mut paths = Vec::new();
        for input in inputs {
            if input.is_dir() {
                let entries = fs::read_dir(input).and_then(Iterator::collect::<io::Result<Vec<_>>>);
                let entries = entries.map_err(failed(input))?;
                paths.extend(
                    entries
                        .iter()
                        .map(fs::DirEntry::path)
                        .filter(|path| path.is_file()),
                );
            } else {
                paths.push(input.clone());
            }
        }
        paths.sort_unstable();
        let mut sources = Vec::new();
        for path in &paths {
            sources.push(Source::open(path).map_err(failed(path))?);
        }
        let ranges = sources.iter().enumerate().flat_map(|(number, source)| {
            (0..source.len.div_ceil(RANGE)).map(move |range| (number, range * RANGE))
        });
        Ok(Self {
            ranges: ranges.collect(),
            sources,
            next: AtomicUsize::new(0),
        })
    }

    /// A reader of ranges nobody else reads.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            text: self,
            range: None,
            block: Vec::new(),
            filled: 0,
            taken: 0,
        }
    }

    fn take(&self) -> Option<(&Source, u64)> {
        let range = self.next.fetch_add(1, Ordering::Relaxed);
        let &(source, at) = self.ranges.get(range)?;
        Some((&self.sources[source], at))
    }
}

/// The range being read.
struct Open<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
}

/// Reads ranges block by block.
pub(super) struct Reader<'a> {
    text: &'a Text,
    range: Option<Open<'a>>,
    block: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl Reader<'_> {
    /// The next block: its bytes with [`SLACK`] readable bytes behind it, and its length.
    pub(super) fn block(&mut self) -> Result<Option<(&[u8], usize)>, LimitError> {
        self.block.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        while self.taken == 0 {
            let Some(range) = &mut self.range else {
                let Some((source, at)) = self.text.take() else {
                    return Ok(None);
                };
                self.range = Some(open(source, at).map_err(|error| failed(source, error))?);
                continue;
            };
            let want = usize::try_from(range.end - range.at)
                .unwrap_or(READ)
                .min(READ);
            self.block
                .resize(self.block.len().max(self.filled + READ + SLACK), 0);
            let into = &mut self.block[self.filled..self.filled + want];
            let got = range
                .source
                .file
                .read_at(into, range.at)
                .map_err(|e| failed(range.source, e))?;
            range.at += got as u64;
            if got == 0 {
                // A last line without its newline, or a file that shrank: the end is a separator.
                self.range = None;
                if self.filled > 0 {
                    self.block[self.filled] = b'\n';
                    self.filled += 1;
                    self.taken = self.filled;
                }
                continue;
            }
            let fresh = self.filled;
            self.filled += got;
            let last = self.block[fresh..self.filled]
                .iter()
                .rposition(|&byte| is_separator(byte));
            self.taken = last.map_or(0, |last| fresh + last + 1);
        }
        Ok(Some((&self.block[..self.taken + SLACK], self.taken)))
    }
}

fn open(source: &Source, at: u64) -> io::Result<Open<'_>> {
    let start = source.cut(at)?;
    let end = source.cut(at + RANGE)?;
    Ok(Open {
        source,
        at: start,
        end: end.max(start),
    })
}

fn failed(source: &Source, error: io::Error) -> LimitError {
    LimitError::Read {
        path: source.path.clone(),
        source: error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &Text) -> Vec<u8> {
        let mut reader = text.reader();
        let mut all = Vec::new();
        while let Some((bytes, len)) = reader.block().unwrap() {
            assert!(is_separator(bytes[len - 1]) && bytes.len() == len + SLACK);
            all.extend_from_slice(&bytes[..len]);
        }
        all
    }

    #[test]
    fn every_byte_is_read_once() {
        let directory = tempfile::tempdir().unwrap();
        // Lines longer than a read and than a range, none at the end.
        let long = "x".repeat(300_000);
        let bytes = format!(
            "{}{long} {long}\n{}last",
            "ab c\n".repeat(3),
            "y".repeat(9 << 20)
        );
        fs::write(directory.path().join("a"), &bytes).unwrap();
        fs::write(directory.path().join("b"), "one line\n".repeat(1 << 20)).unwrap();
        fs::write(directory.path().join("c"), "").unwrap();
        let text = Text::open(&[directory.path().to_owned()]).unwrap();
        let all = read(&text);
        let expected = format!("{bytes}\n{}", "one line\n".repeat(1 << 20));
        assert!(
            all == expected.as_bytes(),
            "{} bytes instead of {}",
            all.len(),
            expected.len()
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Text::open(&[PathBuf::from("/nowhere/at-all")])
            .err()
            .unwrap();
        assert!(error.to_string().contains("/nowhere/at-all"), "{error}");
    }
}
