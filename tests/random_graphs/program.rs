//! What a drawn program is: input, steps, an end, settings. Plain data, printed when a seed fails.

/// A program with everything that decides its result.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) batch: bool,
    pub(crate) parallelism: u32,
    pub(crate) shards: u32,
    pub(crate) segment: &'static str,
    pub(crate) exclusive: u32,
    pub(crate) floating: u32,
    pub(crate) turn_budget_us: u64,
    /// How long half-full buffers wait.
    pub(crate) buffer_timeout: &'static str,
    pub(crate) input: Input,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    pub(crate) host: Host,
}

/// How the host behaves on which the program is simulated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// The most that one reading of the clock moves it.
    pub(crate) tick_ns: u64,
    /// The most an operation waits before it happens.
    pub(crate) latency_ns: u64,
    /// Rounds after which a shard is held up, of a million, and for how many rounds at most.
    pub(crate) stalls: u32,
    pub(crate) stall_rounds: u64,
}

/// A source: its records follow from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) pairs: bool,
    pub(crate) count: u64,
    pub(crate) seed: u64,
    /// The longest text of a pair, bytes.
    pub(crate) text: u64,
    /// Whether it is a collection in one subtask instead of a generator in many.
    pub(crate) collection: bool,
    pub(crate) parallelism: Option<u32>,
}

/// One operator or a few that belong together.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Map(u64),
    Filter(u64),
    FlatMap(u64),
    Inspect,
    /// An unkeyed process that counts its records in the accumulator `processed`.
    Process,
    /// Numbers become pairs, pairs become numbers.
    Convert(u64),
    Exchange(Exchange),
    /// The chain ends; what follows runs as tasks of its own.
    NewChain {
        disable: bool,
    },
    /// A keyed operator whose rows do not depend on the order of records.
    Keyed(Keyed),
    /// Another source joined to the stream.
    Union(Input, Vec<Step>),
    /// The stream read twice and joined again.
    Diamond(Vec<Step>, Vec<Step>),
    /// Records of one residue take a side output and come back.
    Side {
        modulus: u64,
        tag: usize,
        steps: Vec<Step>,
    },
}

/// A repartitioning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) by: Partitioner,
    pub(crate) parallelism: Option<u32>,
    /// Whether the records behind it are read in place.
    pub(crate) view: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partitioner {
    Forward,
    Rebalance,
    Rescale,
    Shuffle,
    Broadcast,
    Global,
    Custom,
}

/// A keyed operator that counts: rows of `(key, "n")`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    pub(crate) by: Counting,
    pub(crate) modulus: u64,
    pub(crate) parallelism: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    Count,
    CountInPlace,
    CountByText,
    SumOfOnes,
    Fold,
    ValueState,
    ReducingState,
}

impl Counting {
    /// Whether it emits for every record even as a batch.
    pub(crate) fn always_runs(self) -> bool {
        matches!(self, Self::ValueState | Self::ReducingState)
    }
}

/// How the program ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// Every record is gathered.
    Collect,
    /// A keyed aggregate whose rows are gathered in their order per key.
    Last(Last),
}

/// A keyed aggregate whose last row per key does not depend on the order of records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) by: Aggregate,
    pub(crate) modulus: u64,
    pub(crate) parallelism: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Count,
    Sum,
    Min,
    Max,
    MinBy,
    MaxBy,
    Average,
    Fold,
    Reduce,
    ValueState,
    ReducingState,
}

impl Aggregate {
    /// Whether it emits for every record even as a batch.
    pub(crate) fn always_runs(self) -> bool {
        matches!(self, Self::ValueState | Self::ReducingState)
    }
}
