//! Takes readers and writers through turns drawn by dice, with snapshots in between.
//!
//! Every loop is bounded: what gets stuck fails.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_core::config::{Configuration, MemorySize, options};
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::VertexId;
use thalweg_core::key_group::MaxParallelism;
use thalweg_core::seam::reactor::Reactor;
use thalweg_core::shard::step::{TaskWaker, TurnContext};
use thalweg_core::shard::timer::TimerQueue;
use thalweg_dataflow::RuntimeMode;
use thalweg_dataflow::sink::{Committable, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::source::{Source, SourceError, SourceOutput, SourceReader, SourceStatus};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

use crate::reactor::{Dice, LocalReactor};

/// Turns after which something that has not ended is stuck.
pub(crate) const MOST_TURNS: usize = 200_000;

/// What runs the futures of writers over asynchronous clients: those that there are need threads.
#[cfg(feature = "postgres")]
type Futures = crate::postgres::threads::Threads;
#[cfg(not(feature = "postgres"))]
type Futures = thalweg_dataflow::task::InlineRuntime;

/// One shard's surroundings.
pub(crate) struct Surroundings {
    pub(crate) futures: Rc<Futures>,
    pub(crate) reactor: LocalReactor,
    pub(crate) timers: TimerQueue,
    waker: TaskWaker,
}

impl Surroundings {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            futures: Rc::default(),
            reactor: LocalReactor::new(seed),
            timers: TimerQueue::new(),
            waker: TaskWaker::noop(),
        }
    }

    /// As after a failure: nothing is open, nothing is in flight, time goes on.
    fn restarted(mut self) -> Self {
        let mut fresh = Self::new(self.reactor.random() % 1000);
        fresh.reactor.clock.set(self.reactor.clock.get());
        fresh.reactor.portion = self.reactor.portion;
        fresh
    }

    /// One turn, of the length `budget` in ns of a clock that stands still: 0 is always used up.
    pub(crate) fn turn<R>(
        &mut self,
        budget: u64,
        turn: impl FnOnce(&mut TurnContext<'_>) -> R,
    ) -> R {
        let now = self.reactor.now();
        let mut context = TurnContext::new(
            now,
            budget,
            &mut self.reactor,
            &mut self.timers,
            &self.waker,
        );
        turn(&mut context)
    }

    /// Lets time pass and operations complete.
    pub(crate) fn wait(&mut self) {
        let completed = self.reactor.poll();
        #[cfg(feature = "postgres")]
        if completed == 0 {
            self.futures.wait();
        }
        if completed == 0
            && let Some(next) = self.timers.next_deadline()
        {
            let now = self.reactor.clock.get().max(next);
            self.reactor.clock.set(now);
            self.timers.expire(now);
        }
    }
}

/// Subtask `index` of `parallelism`, with a limit to the length of lines.
pub(crate) fn subtask(index: u32, parallelism: u32, longest_line: u64) -> SubtaskInfo {
    let mut configuration = Configuration::default();
    configuration.set(&options::MAX_LINE_LENGTH, MemorySize(longest_line));
    SubtaskInfo {
        vertex: VertexId(0),
        vertex_name: "connector".into(),
        index,
        parallelism,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::from(["connector".to_owned()]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(configuration),
    }
}

/// An output that wants so many records.
pub(crate) struct Kept<I, F> {
    left: usize,
    pub(crate) kept: Vec<String>,
    keep: F,
    item: PhantomData<fn(I)>,
}

impl<I, F> Kept<I, F> {
    pub(crate) fn new(keep: F) -> Self {
        Kept {
            left: 0,
            kept: Vec::new(),
            keep,
            item: PhantomData,
        }
    }

    pub(crate) fn want(&mut self, count: usize) {
        self.left = count;
    }
}

impl<I: Item, F: for<'a> Fn(I::Of<'a>, Timestamp) -> String> SourceOutput<I> for Kept<I, F> {
    fn wanted(&self) -> bool {
        self.left > 0
    }
    fn emit(&mut self, item: I::Of<'_>, at: Timestamp) {
        assert!(self.left > 0, "a reader stops when nothing is wanted");
        self.left -= 1;
        self.kept.push((self.keep)(item, at));
    }
    fn mark(&mut self, _mark: thalweg_memory::Mark) {
        panic!("no connector marks event time yet");
    }
}

/// How a source is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) parallelism: u32,
    pub(crate) seed: u64,
    /// The most records wanted at once.
    pub(crate) most: usize,
    /// Of so many polls one is followed by a snapshot from which a new reader goes on. 0: none.
    pub(crate) reopen: usize,
    pub(crate) longest_line: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Reading {
            parallelism: 1,
            seed: 1,
            most: 100,
            reopen: 0,
            longest_line: 1 << 20,
        }
    }
}

/// What each subtask emits.
pub(crate) fn read<S, F>(
    source: &S,
    reading: Reading,
    keep: F,
) -> Result<Vec<Vec<String>>, SourceError>
where
    S: Source,
    F: for<'a> Fn(<S::Item as Item>::Of<'a>, Timestamp) -> String + Copy,
{
    let parallelism = source.parallelism().unwrap_or(reading.parallelism);
    let mut dealt: Vec<Vec<S::Split>> = (0..parallelism).map(|_| Vec::new()).collect();
    for (index, split) in source.splits(parallelism)?.into_iter().enumerate() {
        dealt[index % parallelism as usize].push(split);
    }
    let subtasks = dealt.into_iter().zip(0..);
    subtasks
        .map(|(splits, index)| read_subtask(source, splits, index, reading, keep))
        .collect()
}

fn read_subtask<S, F>(
    source: &S,
    splits: Vec<S::Split>,
    index: u32,
    reading: Reading,
    keep: F,
) -> Result<Vec<String>, SourceError>
where
    S: Source,
    F: for<'a> Fn(<S::Item as Item>::Of<'a>, Timestamp) -> String,
{
    let info = subtask(index, reading.parallelism, reading.longest_line);
    let mut around = Surroundings::new(reading.seed + u64::from(index));
    around.reactor.portion = 1 << (4 + reading.seed % 16);
    let mut dice = Dice::new(reading.seed);
    let mut out = Kept::<S::Item, F>::new(keep);
    let mut reader = source.open(splits, &info)?;
    for _ in 0..MOST_TURNS {
        out.want(dice.below(reading.most + 1));
        let before = out.kept.len();
        let budget = [0, 1000][dice.below(2)];
        match around.turn(budget, |context| reader.poll(&mut out, context))? {
            SourceStatus::Finished => {
                assert!(
                    reader.snapshot().is_empty(),
                    "nothing is left when it has ended"
                );
                assert_eq!(around.reactor.open_handles(), 0, "closes what it opens");
                return Ok(out.kept);
            }
            SourceStatus::Waiting => around.wait(),
            SourceStatus::More => {}
        }
        // Mostly after records, or a reader that needs many turns for its first would never get there.
        let rarely = if out.kept.len() > before { 1 } else { 200 };
        if reading.reopen > 0 && dice.below(reading.reopen * rarely) == 0 {
            reader = source.open(reader.snapshot(), &info)?;
            around = around.restarted();
        }
    }
    panic!("the reader is stuck after {} records", out.kept.len());
}

/// Holds the contract of a source against it: `whole` is what it has to give, in order.
pub(crate) fn holds<S, F>(source: &S, whole: &[String], keep: F)
where
    S: Source,
    F: for<'a> Fn(<S::Item as Item>::Of<'a>, Timestamp) -> String + Copy,
{
    let mut sorted = whole.to_vec();
    sorted.sort();
    for seed in 1..=24 {
        for (most, reopen) in [(1000, 0), (3, 0), (5, 7), (40, 2)] {
            let parallelism = 1 + (seed as u32 - 1) % 8;
            let reading = Reading {
                parallelism,
                seed,
                most,
                reopen,
                ..Reading::default()
            };
            let of_subtasks = read(source, reading, keep).unwrap();
            if parallelism == 1 {
                assert_eq!(
                    of_subtasks[0], whole,
                    "in order, seed {seed}, {most}, {reopen}"
                );
            }
            let mut all = of_subtasks.concat();
            all.sort();
            assert_eq!(all, sorted, "all of it, seed {seed}, {most}, {reopen}");
        }
    }
}

/// Takes the writer of one subtask to its end; answers what it prepared.
pub(crate) fn write<I, S>(
    sink: &S,
    info: &SubtaskInfo,
    items: Vec<I::Of<'static>>,
    around: &mut Surroundings,
    seed: u64,
) -> Result<Vec<Committable>, SinkError>
where
    I: Item,
    S: Sink<I>,
{
    let mut dice = Dice::new(seed);
    let mut writer = sink.open(info)?;
    writer.attach(around.futures.clone());
    let mut items = items.into_iter().peekable();
    for _ in 0..MOST_TURNS {
        let mut left = dice.below(50);
        while left > 0 && writer.ready() {
            let Some(item) = items.next() else { break };
            writer.write(item, Timestamp::NONE)?;
            left -= 1;
        }
        let input = match items.peek() {
            None => InputStatus::Ended,
            Some(_) => [InputStatus::Available, InputStatus::Idle][dice.below(2)],
        };
        let status = around.turn(1000, |context| writer.end_turn(context, input))?;
        if status == SinkStatus::Done && input == InputStatus::Ended {
            let prepared = writer.prepared().unwrap_or_default();
            assert_eq!(prepared.checkpoint, None);
            assert_eq!(writer.prepared(), None, "prepares once");
            return Ok(prepared.committables);
        }
        if status == SinkStatus::Waiting {
            around.wait();
        }
    }
    panic!("the writer is stuck");
}
