//! The source of text files: lines as `&str`, lent out of the blocks they were read into.
//!
//! A [`TextFiles`] is written down in a program; its splits are enumerated on the submitting thread and
//! read by a [`TextReader`] on each subtask's shard, one split after the other. Invariants: no line is
//! allocated for, unless it is long and straddles two blocks; a position is always the beginning of a
//! line; a reader never waits, its reads wake the task.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_core::seam::reactor::OpId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Str;

use super::decompress::{Step, Unpacker};
use super::feed::{Fed, FeedFault, FileFeed};
use super::lines::{HEADROOM, LineFault, Lines};
use super::split::{self, Packing, TextSplit};

/// Files are not cut into smaller pieces, unless asked to, in bytes.
const LEAST_SPLIT: u64 = 1 << 20;

/// Reads text files line by line.
///
/// A path may be a file or a directory, of which all files are read whose names begin with neither `.`
/// nor `_`, sorted by name. `.gz` and `.zst` files are unpacked. Lines are without their newline and
/// without a carriage return before it. Files are cut into splits of at least 1 MiB, so that several
/// subtasks read one file; one subtask reads all lines in order.
///
/// The longest line accepted is `thalweg.text.max-line-length`.
#[derive(Clone, Debug)]
pub struct TextFiles {
    paths: Vec<PathBuf>,
    recursive: bool,
    lossy: bool,
    least_split: u64,
}

impl TextFiles {
    /// Reads one file or directory.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self::all([path.as_ref()])
    }

    /// Reads several files or directories, in this order.
    pub fn all<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Self {
        let paths = paths.into_iter();
        Self {
            paths: paths.map(|path| path.as_ref().to_owned()).collect(),
            recursive: false,
            lossy: false,
            least_split: LEAST_SPLIT,
        }
    }

    /// Reads the directories within directories too.
    pub fn recursive(mut self) -> Self {
        self.recursive = true;
        self
    }

    /// Replaces what is not UTF-8 by U+FFFD instead of failing.
    pub fn lossy(mut self) -> Self {
        self.lossy = true;
        self
    }

    /// The least size of a split in bytes, instead of 1 MiB.
    pub fn least_split(mut self, bytes: u64) -> Self {
        self.least_split = bytes;
        self
    }
}

impl Source for TextFiles {
    type Item = Str;
    type Split = TextSplit;
    type Reader = TextReader;

    fn name(&self) -> String {
        match self.paths.as_slice() {
            [path] => format!("text {}", path.display()),
            paths => format!("text of {} paths", paths.len()),
        }
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<TextSplit>, SourceError> {
        split::cut(&self.paths, self.recursive, parallelism, self.least_split)
    }

    fn open(
        &self,
        splits: Vec<TextSplit>,
        subtask: &SubtaskInfo,
    ) -> Result<TextReader, SourceError> {
        let limit = subtask.configuration.get(&options::MAX_LINE_LENGTH).0;
        Ok(TextReader {
            splits: splits.into(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            lossy: self.lossy,
            current: None,
            idle: None,
            closing: Vec::new(),
            ended: 0,
        })
    }
}

/// The split being read, the front one.
struct Current {
    feed: FileFeed,
    unpacking: Option<Unpacking>,
    lines: Lines,
    ended: bool,
}

/// What stands between the blocks of a packed file and its lines.
struct Unpacking {
    unpacker: Unpacker,
    /// Unpacked bytes still to pass over: a position is found again only from the beginning.
    before: u64,
    spare: Vec<u8>,
}

/// Reads the splits of one subtask.
pub struct TextReader {
    splits: VecDeque<TextSplit>,
    limit: usize,
    lossy: bool,
    current: Option<Current>,
    /// The open file of the last split: the next one is often of the same.
    idle: Option<FileFeed>,
    closing: Vec<OpId>,
    /// How many splits were read to their end: what the one in work is called.
    ended: u64,
}

impl SourceReader for TextReader {
    type Item = Str;
    type Split = TextSplit;

    #[inline(always)]
    fn poll<O: SourceOutput<Str>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        loop {
            let Some(split) = self.splits.front() else {
                return Ok(self.finish(context));
            };
            let current = match &mut self.current {
                Some(current) => current,
                None => {
                    out.begin_split(self.ended);
                    let idle = self.idle.take();
                    let current = enter(
                        split,
                        self.limit,
                        self.lossy,
                        idle,
                        &mut self.closing,
                        context,
                    );
                    self.current.insert(current)
                }
            };
            let lines = current.lines.emit(out, split.end);
            lines.map_err(|fault| refused(split, fault))?;
            if current.is_over(split) {
                out.end_split(self.ended);
                self.ended += 1;
                self.leave(context);
                continue;
            }
            if !current.lines.is_exhausted() || !out.wanted() {
                return Ok(SourceStatus::More);
            }
            if !current.refill(split, context)? {
                return Ok(SourceStatus::Waiting);
            }
            if context.expired() {
                return Ok(SourceStatus::More);
            }
        }
    }

    fn snapshot(&self) -> Vec<TextSplit> {
        let mut splits: Vec<TextSplit> = self.splits.iter().cloned().collect();
        if let (Some(current), Some(split)) = (&self.current, splits.first_mut())
            && let Some(position) = current.lines.position()
        {
            debug_assert!(
                position >= split.position || !split.at_line,
                "never backwards"
            );
            split.position = position;
            split.at_line = true;
        }
        splits
    }
}

/// Begins a split.
#[inline(never)]
fn enter(
    split: &TextSplit,
    limit: usize,
    lossy: bool,
    idle: Option<FileFeed>,
    closing: &mut Vec<OpId>,
    context: &mut TurnContext<'_>,
) -> Current {
    // Amid a line, the byte before tells whether one begins right here.
    let from = split.position - u64::from(!split.at_line);
    let (offset, unpacker) = match split.packing {
        Packing::Plain => (from, None),
        Packing::Gzip => (0, Some(Unpacker::gzip())),
        Packing::Zstd => (0, Some(Unpacker::zstd())),
    };
    let feed = match idle {
        Some(mut feed) if *feed.path() == split.path => {
            feed.restart(offset, split.end);
            feed
        }
        other => {
            closing.extend(other.and_then(|feed| feed.close(context)));
            FileFeed::new(Arc::clone(&split.path), offset, split.end)
        }
    };
    Current {
        feed,
        unpacking: unpacker.map(|unpacker| Unpacking {
            unpacker,
            before: from,
            spare: Vec::new(),
        }),
        lines: Lines::new(from, split.at_line, limit, lossy),
        ended: false,
    }
}

impl TextReader {
    /// Ends the front split; its file may serve the next one.
    #[inline(never)]
    fn leave(&mut self, context: &mut TurnContext<'_>) {
        self.splits.pop_front();
        let Some(current) = self.current.take() else {
            return;
        };
        if current.feed.is_quiet() && current.unpacking.is_none() {
            self.idle = Some(current.feed);
        } else {
            self.closing.extend(current.feed.close(context));
        }
    }

    /// Nothing is left to read: waits for the files to be closed.
    #[inline(never)]
    fn finish(&mut self, context: &mut TurnContext<'_>) -> SourceStatus {
        if let Some(feed) = self.idle.take() {
            self.closing.extend(feed.close(context));
            context.reactor().poll();
        }
        // What was read was read: that a close failed is of no concern.
        self.closing
            .retain(|op| context.reactor().take(*op).is_none());
        match self.closing.is_empty() {
            true => SourceStatus::Finished,
            false => SourceStatus::Waiting,
        }
    }
}

impl Current {
    fn is_over(&self, split: &TextSplit) -> bool {
        self.lines.reached() >= split.end || (self.ended && self.lines.is_exhausted())
    }

    /// Gets the next block to the lines; false when it has to be waited for.
    #[inline(never)]
    fn refill(
        &mut self,
        split: &TextSplit,
        context: &mut TurnContext<'_>,
    ) -> Result<bool, SourceError> {
        debug_assert!(!self.ended, "an ended file was asked for more");
        while let Some(block) = self.lines.take_spent() {
            match &mut self.unpacking {
                Some(unpacking) => unpacking.spare = block,
                None => self.feed.recycle(block),
            }
        }
        let fed = match &mut self.unpacking {
            None => self.feed.poll(context),
            Some(unpacking) => {
                let fed = unpacking.poll(&mut self.feed, context);
                return self.load(fed.map_err(|fault| fault.told(split))?, split);
            }
        };
        let fed = fed.map_err(|fault| unreadable(&fault))?;
        if matches!(fed, Fed::End) && self.feed.offset() < split.end {
            return Err(shrunk(split, self.feed.offset()));
        }
        self.load(fed, split)
    }

    fn load(&mut self, fed: Fed, split: &TextSplit) -> Result<bool, SourceError> {
        let loaded = match fed {
            Fed::Waiting => return Ok(false),
            Fed::Block(block, data) => self.lines.feed(block, data),
            Fed::End => {
                self.ended = true;
                self.lines.end()
            }
        };
        loaded.map_err(|fault| refused(split, fault))?;
        Ok(true)
    }
}

/// Why there is no unpacked block.
enum UnpackFault {
    Feed(FeedFault),
    Packed(io::Error),
}

impl From<FeedFault> for UnpackFault {
    fn from(fault: FeedFault) -> Self {
        UnpackFault::Feed(fault)
    }
}

impl From<io::Error> for UnpackFault {
    fn from(error: io::Error) -> Self {
        UnpackFault::Packed(error)
    }
}

impl UnpackFault {
    fn told(&self, split: &TextSplit) -> SourceError {
        match self {
            UnpackFault::Feed(fault) => unreadable(fault),
            UnpackFault::Packed(error) => damaged(split, error),
        }
    }
}

impl Unpacking {
    /// The next unpacked block.
    fn poll(
        &mut self,
        feed: &mut FileFeed,
        context: &mut TurnContext<'_>,
    ) -> Result<Fed, UnpackFault> {
        let mut out = std::mem::take(&mut self.spare);
        out.clear();
        out.resize(HEADROOM, 0);
        loop {
            let step = self.unpacker.step(&mut out)?;
            let there = out.len() - HEADROOM;
            let passed = self.before.min(there as u64);
            if passed < there as u64 {
                self.before -= passed;
                let data = HEADROOM + passed as usize..out.len();
                return Ok(Fed::Block(out, data));
            }
            self.before -= passed;
            out.truncate(HEADROOM);
            match step {
                // Passing over takes time too: give the turn back.
                Step::More if context.expired() => {
                    context.waker().wake();
                    break;
                }
                Step::More => {}
                Step::End => return Ok(Fed::End),
                Step::Hungry => match feed.poll(context)? {
                    Fed::Waiting => break,
                    Fed::End => self.unpacker.end(),
                    Fed::Block(block, data) => {
                        self.unpacker.feed(&block[data]);
                        feed.recycle(block);
                    }
                },
            }
        }
        self.spare = out;
        Ok(Fed::Waiting)
    }
}

fn refused(split: &TextSplit, fault: LineFault) -> SourceError {
    let unpacked = match split.packing {
        Packing::Plain => "",
        Packing::Gzip | Packing::Zstd => " (unpacked)",
    };
    let message = format!("`{}`{unpacked}: {fault}", split.path.display());
    SourceError::new(ErrorKind::Data, message)
}

fn unreadable(fault: &FeedFault) -> SourceError {
    let message = format!(
        "{fault}; check that the file is still there, its disk, and the limit of open files"
    );
    SourceError::new(ErrorKind::Resource, message)
}

fn damaged(split: &TextSplit, error: &io::Error) -> SourceError {
    let message = format!(
        "cannot unpack `{}`: {error}; make the file anew or take it out of the input",
        split.path.display()
    );
    SourceError::new(ErrorKind::Data, message)
}

fn shrunk(split: &TextSplit, len: u64) -> SourceError {
    let message = format!(
        "`{}` ended at byte {len} though it was longer when the job started: something changed it \
         while it was read; run the job again on a file that stays as it is",
        split.path.display()
    );
    SourceError::new(ErrorKind::Data, message)
}
