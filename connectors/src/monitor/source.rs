//! The source that looks at directories and gives out what is new in their files.
//!
//! A [`DirectoryMonitor`] has one subtask, whose records are splits of text files: whole lines that were
//! not given out before. Invariants: what was given out changes with the record that gives it, so a
//! snapshot is exact at every record; a round begins when the one before was given out whole; the task
//! sleeps in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::reactor::{FileAbout, FileIdentity};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::source::{
    Boundedness, Source, SourceError, SourceOutput, SourceReader, SourceStatus,
};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::record;

use super::round::{self, Round};
use super::seen::{Broken, Grown, Memory, Seen};
use super::tail::{Looked, Tail};
use crate::text::{Packing, TextFiles, TextSplit};

/// A last line without a newline is taken for whole when its file has rested for so long, by default.
const UNFINISHED_AFTER: Duration = Duration::from_secs(60);

/// How often directories are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileProcessing {
    /// Once: what is there is read, to its end, and then the stream ends.
    Once,
    /// Again and again, until the job is stopped.
    Continuously {
        /// From one look to the next.
        interval: Duration,
    },
}

/// Looks at the directories of a [`TextFiles`] and emits what is new in their files, as splits for
/// readers.
#[derive(Clone, Debug)]
pub struct DirectoryMonitor {
    files: TextFiles,
    processing: FileProcessing,
    unfinished_after: Duration,
}

impl DirectoryMonitor {
    /// A monitor of these directories.
    pub fn new(files: TextFiles, processing: FileProcessing) -> Self {
        Self {
            files,
            processing,
            unfinished_after: UNFINISHED_AFTER,
        }
    }

    /// Takes a last line without a newline for whole when its file has not changed for so long, instead
    /// of a minute. What is appended to it later is a line of its own.
    pub fn unfinished_after(mut self, rest: Duration) -> Self {
        self.unfinished_after = rest;
        self
    }
}

/// What was given out of which file.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorSplit {
    files: Vec<Seen>,
}

impl Source for DirectoryMonitor {
    type Item = TextSplit;
    type Split = MonitorSplit;
    type Reader = MonitorReader;

    fn name(&self) -> String {
        format!("monitor of {}", self.files.name())
    }

    fn boundedness(&self) -> Boundedness {
        match self.processing {
            FileProcessing::Once => Boundedness::Bounded,
            FileProcessing::Continuously { .. } => Boundedness::Unbounded,
        }
    }

    fn parallelism(&self) -> Option<u32> {
        Some(1)
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<MonitorSplit>, SourceError> {
        let (roots, ..) = self.files.parts();
        roots.iter().try_for_each(|root| round::check(root))?;
        Ok(vec![MonitorSplit { files: Vec::new() }])
    }

    fn open(
        &self,
        splits: Vec<MonitorSplit>,
        _subtask: &SubtaskInfo,
    ) -> Result<MonitorReader, SourceError> {
        let (roots, ..) = self.files.parts();
        let absolute = |root: &PathBuf| std::path::absolute(root).unwrap_or_else(|_| root.clone());
        Ok(MonitorReader {
            monitor: self.clone(),
            roots: roots.iter().map(absolute).collect(),
            // No split: nothing is left to this subtask.
            state: match splits.is_empty() {
                true => State::Finished,
                false => State::Resting { until: 0 },
            },
            memory: Memory::restore(splits.into_iter().flat_map(|split| split.files)),
            quiet: BTreeMap::new(),
            began: 0,
        })
    }
}

enum State {
    /// Until the time has come (monotonic ns) for the next round.
    Resting {
        until: u64,
    },
    Listing(Round),
    /// Files that were found, of which those before `at` were met.
    Meeting {
        found: Vec<(PathBuf, FileAbout)>,
        at: usize,
        grown: VecDeque<Grown>,
    },
    /// What has grown: the first one is looked at, or ready up to the byte `to`.
    Giving {
        grown: VecDeque<Grown>,
        tail: Option<Tail>,
        ready: Option<(Grown, u64)>,
    },
    Finished,
}

/// Looks at directories.
pub struct MonitorReader {
    monitor: DirectoryMonitor,
    roots: Vec<PathBuf>,
    memory: Memory,
    state: State,
    /// Files whose last line is unfinished, and since when (monotonic ns) they have not changed.
    quiet: BTreeMap<FileIdentity, u64>,
    /// When the round in work began, monotonic ns.
    began: u64,
}

impl SourceReader for MonitorReader {
    type Item = TextSplit;
    type Split = MonitorSplit;

    fn poll<O: SourceOutput<TextSplit>>(
        &mut self,
        out: &mut O,
        context: &mut TurnContext<'_>,
    ) -> Result<SourceStatus, SourceError> {
        loop {
            if let State::Giving { ready, .. } = &mut self.state
                && ready.is_some()
            {
                if !out.wanted() {
                    return Ok(SourceStatus::More);
                }
                if let Some((grown, to)) = ready.take() {
                    let split = TextSplit::found(&grown.path, grown.identity, grown.from..to);
                    self.memory.give(grown.identity, to);
                    out.emit(split, Timestamp::NONE);
                }
            }
            if let Some(status) = self.step(context)? {
                return Ok(status);
            }
            if context.expired() {
                return Ok(SourceStatus::More);
            }
        }
    }

    fn snapshot(&self) -> Vec<MonitorSplit> {
        match self.state {
            State::Finished => Vec::new(),
            _ => vec![MonitorSplit {
                files: self.memory.files(),
            }],
        }
    }
}

impl MonitorReader {
    /// One step of a round; `None` if a split may be ready or another step may follow at once.
    fn step(&mut self, context: &mut TurnContext<'_>) -> Result<Option<SourceStatus>, SourceError> {
        let waiting = Ok(Some(SourceStatus::Waiting));
        match &mut self.state {
            State::Finished => return Ok(Some(SourceStatus::Finished)),
            State::Resting { until } => {
                let now = context.now();
                if now < *until {
                    return waiting;
                }
                self.began = now;
                self.state = State::Listing(Round::new(&self.roots));
            }
            State::Listing(round) => {
                let (_, search, _) = self.monitor.files.parts();
                let Some(found) = round.drive(search, context)? else {
                    return waiting;
                };
                for (_, about) in &found {
                    self.memory.note(about.identity);
                }
                self.state = State::Meeting {
                    found,
                    at: 0,
                    grown: VecDeque::new(),
                };
            }
            State::Meeting { .. } => self.meet(context)?,
            State::Giving { tail: None, .. } => return Ok(self.next_grown(context)),
            State::Giving { .. } => return self.look(context),
        }
        Ok(None)
    }

    /// Looks at files that were found, until the turn is over.
    fn meet(&mut self, context: &mut TurnContext<'_>) -> Result<(), SourceError> {
        let State::Meeting { found, at, grown } = &mut self.state else {
            return Ok(());
        };
        let (.., policy) = self.monitor.files.parts();
        while let Some((path, about)) = found.get(*at) {
            let met = self.memory.meet(path, about, policy);
            grown.extend(met.map_err(told)?);
            *at += 1;
            if *at % 64 == 0 && context.expired() {
                return Ok(());
            }
        }
        let grown = std::mem::take(grown);
        self.memory.end_round(context.reactor().wall_ms());
        let growing: BTreeSet<FileIdentity> = grown.iter().map(|file| file.identity).collect();
        self.quiet.retain(|identity, _| growing.contains(identity));
        self.state = State::Giving {
            grown,
            tail: None,
            ready: None,
        };
        Ok(())
    }

    /// Turns to the next file that has grown; after the last one, rests.
    fn next_grown(&mut self, context: &mut TurnContext<'_>) -> Option<SourceStatus> {
        let State::Giving { grown, tail, ready } = &mut self.state else {
            return None;
        };
        let FileProcessing::Continuously { interval } = self.monitor.processing else {
            match grown.pop_front() {
                Some(file) => {
                    let len = file.len;
                    *ready = Some((file, len));
                }
                None => self.state = State::Finished,
            }
            return None;
        };
        let Some(file) = grown.pop_front() else {
            let interval = nanoseconds(interval);
            let until = self.began.saturating_add(interval).max(context.now());
            context.wake_at(until);
            self.state = State::Resting { until };
            return Some(SourceStatus::Waiting);
        };
        if Packing::of(&file.path) != Packing::Plain {
            // It is read whole: not before it is.
            if file.rested {
                let len = file.len;
                *ready = Some((file, len));
            }
            return None;
        }
        if !file.rested {
            self.quiet.remove(&file.identity);
        }
        match self.quiet.get(&file.identity) {
            None => *tail = Some(Tail::new(file, context)),
            Some(since) => {
                let rest = context.now().saturating_sub(*since);
                if rest >= nanoseconds(self.monitor.unfinished_after) {
                    let len = file.len;
                    *ready = Some((file, len));
                }
            }
        }
        None
    }

    /// Looks for the end of a growing file's last whole line.
    fn look(&mut self, context: &mut TurnContext<'_>) -> Result<Option<SourceStatus>, SourceError> {
        let State::Giving { tail, ready, .. } = &mut self.state else {
            return Ok(None);
        };
        let Some(mut looking) = tail.take() else {
            return Ok(None);
        };
        match looking.drive(context)? {
            Looked::Waiting => {
                *tail = Some(looking);
                return Ok(Some(SourceStatus::Waiting));
            }
            Looked::EndsAt(to) => *ready = Some((looking.into_grown(), to)),
            Looked::NoLine => {
                let identity = looking.into_grown().identity;
                self.quiet.insert(identity, context.now());
            }
            Looked::Changed => {}
        }
        Ok(None)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn told(Broken { path, what }: Broken) -> SourceError {
    let message = format!(
        "`{}` {what}: a monitored file may be appended to and renamed only; have it read again or passed \
         over with .on_change(..), or write to a new file",
        path.display()
    );
    SourceError::new(ErrorKind::Data, message)
}
