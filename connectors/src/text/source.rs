//! The source of text files: lines as `&str`, lent out of the blocks they were read into.
//!
//! A [`TextFiles`] is written down in a program; its splits are enumerated on the submitting thread and
//! read by a [`TextReader`] on each subtask's shard, one split after the other. Invariants: no line is
//! allocated for, unless it is long and straddles two blocks; a position is always the beginning of a
//! line; a reader never waits, its reads wake the task.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_core::config::options;
use thalweg_core::seam::reactor::OpId;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::operator::SplitReader;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Str;

use super::decompress::Unpacker;
use super::feed::{Fed, FeedFault, FileFeed, Wanted};
use super::lines::Lines;
use super::split::{self, Packing, Search, TextSplit};
use super::trouble::{self, RefillFault, refused, shrunk};
use super::unpacking::Unpacking;
use crate::monitor::OnChange;

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
    search: Search,
    on_change: OnChange,
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
            search: Search::default(),
            on_change: OnChange::default(),
            lossy: false,
            least_split: LEAST_SPLIT,
        }
    }

    /// Reads the directories within directories too.
    pub fn recursive(mut self) -> Self {
        self.search.recursive = true;
        self
    }

    /// Reads those files of directories only that this pattern means; several are alternatives.
    ///
    /// `*` is any part of a name and `**` of a path, `?` one byte, `[a-z]` one of a set. A pattern with a
    /// `/` is about the path below the directory, one without about the name: `*.log`, `2024/**/*.csv`.
    pub fn include(mut self, pattern: impl Into<String>) -> Self {
        self.search.filter.include(pattern.into());
        self
    }

    /// Does not read the files of directories that this pattern means, see [`TextFiles::include`].
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.search.filter.exclude(pattern.into());
        self
    }

    /// Reads those files of directories only for which this answers yes; it is given the path below the
    /// directory.
    pub fn filter(mut self, wanted: impl Fn(&Path) -> bool + Send + Sync + 'static) -> Self {
        self.search.filter.wanted(wanted);
        self
    }

    /// What to do about a file that was changed other than by appending to it, when directories are
    /// monitored: see [`Sources::monitor_text`](crate::Sources::monitor_text).
    pub fn on_change(mut self, policy: OnChange) -> Self {
        self.on_change = policy;
        self
    }

    pub(crate) fn parts(&self) -> (&[PathBuf], &Search, OnChange) {
        (&self.paths, &self.search, self.on_change)
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
        split::cut(&self.paths, &self.search, parallelism, self.least_split)
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
            on_change: self.on_change,
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

/// Reads the splits of one subtask.
pub struct TextReader {
    splits: VecDeque<TextSplit>,
    limit: usize,
    lossy: bool,
    on_change: OnChange,
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
            match current.refill(split, context) {
                Ok(true) => {}
                Ok(false) => return Ok(SourceStatus::Waiting),
                Err(RefillFault::Failed(error)) => return Err(error),
                Err(RefillFault::Gone(fault)) => {
                    self.let_go(&fault)?;
                    out.end_split(self.ended);
                    self.ended += 1;
                    self.leave(context);
                    continue;
                }
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
        Some(mut feed) if &**feed.path() == split.path() && split.identity().is_none() => {
            feed.restart(offset, split.end);
            feed
        }
        other => {
            closing.extend(other.into_iter().flat_map(|feed| feed.close(context)));
            let wanted = Wanted {
                identity: split.identity(),
                limit: split.closed.then_some(split.end),
            };
            FileFeed::new(Arc::from(split.path()), offset, split.end, wanted)
        }
    };
    Current {
        feed,
        unpacking: unpacker.map(|unpacker| Unpacking::new(unpacker, from)),
        lines: Lines::new(from, split.at_line, limit, lossy),
        ended: false,
    }
}

impl SplitReader for TextReader {
    fn add(&mut self, split: TextSplit) {
        self.splits.push_back(split);
    }

    fn unread(&self) -> usize {
        self.splits.len()
    }
}

impl TextReader {
    /// A file is gone before it was read.
    #[cold]
    fn let_go(&self, fault: &FeedFault) -> Result<(), SourceError> {
        if self.on_change == OnChange::Fail {
            return Err(trouble::gone(fault));
        }
        tracing::warn!(%fault, "a file was removed before all that was found in it was read");
        Ok(())
    }

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
    ) -> Result<bool, RefillFault> {
        debug_assert!(!self.ended, "an ended file was asked for more");
        while let Some(block) = self.lines.take_spent() {
            match &mut self.unpacking {
                Some(unpacking) => unpacking.recycle(block),
                None => self.feed.recycle(block),
            }
        }
        let fed = match &mut self.unpacking {
            None => self.feed.poll(context),
            Some(unpacking) => {
                let fed = unpacking.poll(&mut self.feed, context);
                let fed = fed.map_err(|fault| fault.told(split))?;
                return Ok(self.load(fed, split)?);
            }
        };
        let fed = fed?;
        if matches!(fed, Fed::End) && self.feed.offset() < split.end {
            return Err(shrunk(split, self.feed.offset()).into());
        }
        Ok(self.load(fed, split)?)
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
