//! What a seed draws: the job's size and settings, how the host behaves, and how often it goes down.
//!
//! Plain data, printed when a seed fails. Invariant: everything follows from the seed.

use thalweg_core::seam::clock::Random;
use thalweg_core::seam::simulated::{DiskFaults, SimOptions};

/// Everything about a run that is drawn before it begins.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Records of each source.
    pub records: u64,
    /// Keys there are.
    pub keys: u64,
    /// How far event time is out of order, ms.
    pub disorder: i64,
    /// Records that fall into one ms of event time.
    pub density: u64,
    /// Records of each source a second of virtual time.
    pub rate: f64,
    /// Of the first process; each later one draws its own.
    pub parallelism: u32,
    /// Shards, at most one for each subtask.
    pub shards: u32,
    /// Bytes of a segment.
    pub segment: &'static str,
    /// Credits of a channel.
    pub exclusive: u32,
    /// Between two checkpoints.
    pub interval_ms: u64,
    /// From the end of one to the start of the next.
    pub pause_ms: u64,
    /// Checkpoints that may be under way at once.
    pub concurrent: u32,
    /// Checkpoints that are kept.
    pub retained: u32,
    /// After how long one is given up.
    pub timeout_ms: u64,
    /// How many may fail in a row.
    pub tolerable: u32,
    /// Processes that are killed.
    pub kills: u32,
    /// Rounds of a process before it is killed, at most.
    pub life: u64,
    /// The function fails at records whose number is this one below a multiple of it.
    pub poison_every: u64,
    /// How often it does, in all.
    pub poison: u32,
    /// The host.
    pub options: SimOptions,
    /// After how long barriers overtake records, ms; none if they never do.
    pub overtakes_after: Option<u64>,
    /// Memory for state, where the job is the one whose state is larger than that.
    pub memory: Option<&'static str>,
    /// Whether the job is the one of several parts that nothing connects.
    pub apart: bool,
    /// Whether state is kept on disk at first, where it fits memory. After each savepoint it is the other way round.
    pub on_disk: bool,
    /// How often the job is stopped with a savepoint and begins again from it, at most.
    pub stops: u32,
    /// What the job does, where its state is larger than its memory.
    pub larger: Larger,
    /// Room that the disk is left at times, in bytes at most.
    pub room: Option<u64>,
    /// Whether state that is to be in memory comes back while the job is at work.
    pub late: bool,
}

/// What a job does whose state is larger than its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Larger {
    /// Counts in a fold.
    Folding,
    /// Counts by a list and a map of each key.
    Collecting,
    /// Joins what is near in time.
    Pairing,
    /// Joins rows with the versions of their times.
    Looking,
    /// Registers many timers for each record, and deletes some when another fires.
    Waking,
}

impl Larger {
    /// All there are.
    const ALL: [Larger; 5] = [
        Larger::Folding,
        Larger::Pairing,
        Larger::Collecting,
        Larger::Looking,
        Larger::Waking,
    ];

    /// How much memory that is, where it is so little for a job that counts: what records ahead need of two streams is
    /// more.
    pub(super) fn memory(self, little: &'static str) -> &'static str {
        match self {
            Larger::Folding | Larger::Collecting | Larger::Waking => little,
            Larger::Pairing | Larger::Looking => "4mb",
        }
    }
}

/// Memory that is too little for the state of the job whose state is to be larger.
pub const LITTLE_MEMORY: &str = "2mb";

impl Knobs {
    /// Those of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Knobs {
        let dice = &mut Random::new(seed ^ 0x5EED_0F5E_ED00);
        let parallelism = 1 + dice.below(4) as u32;
        let records = 400 + 200 * dice.below(8);
        Knobs {
            records,
            keys: pick(dice, &[12, 36, 120]),
            disorder: pick(dice, &[0, 3, 20]),
            density: pick(dice, &[2, 8, 30]),
            rate: pick(dice, &[20_000.0, 60_000.0, 200_000.0]),
            parallelism,
            shards: 1 + dice.below(3) as u32,
            segment: pick(dice, &["512b", "1kb", "4kb"]),
            exclusive: pick(dice, &[1, 1, 2]),
            interval_ms: pick(dice, &[1, 2, 3, 6]),
            pause_ms: pick(dice, &[0, 0, 1]),
            concurrent: pick(dice, &[1, 1, 2, 3]),
            retained: pick(dice, &[1, 1, 2, 3]),
            timeout_ms: pick(dice, &[15, 60, 1_000]),
            tolerable: pick(dice, &[0, 3, 1_000]),
            kills: 1 + dice.below(6) as u32,
            life: pick(dice, &[40, 150, 600]),
            poison_every: 1 + dice.below(records),
            poison: pick(dice, &[0, 0, 1, 3]),
            options: Self::host(dice),
            memory: pick(dice, &[None, None, None, None, None, Some(LITTLE_MEMORY)]),
            overtakes_after: pick(dice, &[None, None, Some(0), Some(0), Some(1), Some(4)]),
            apart: false,
            on_disk: pick(dice, &[false, false, true]),
            stops: pick(dice, &[0, 0, 1, 3]),
            room: pick(dice, &[None, None, None, Some(2_000), Some(60_000)]),
            larger: pick(dice, &Larger::ALL),
            late: pick(dice, &[false, true, true]),
        }
    }

    fn host(dice: &mut Random) -> SimOptions {
        SimOptions {
            turn_budget_ns: pick(dice, &[1_000, 20_000, 200_000]),
            max_tick_ns: pick(dice, &[2_000, 20_000]),
            max_latency_ns: pick(dice, &[1_000, 200_000, 3_000_000]),
            stall_per_million: pick(dice, &[0, 2_000, 20_000]),
            max_stall_rounds: pick(dice, &[20, 200, 2_000]),
            disk: DiskFaults {
                error_per_million: pick(dice, &[0, 0, 0, 500, 5_000]),
                short_per_million: pick(dice, &[0, 100_000]),
                links: pick(dice, &[true, true, false]),
                ..DiskFaults::NONE
            },
            ..SimOptions::default()
        }
    }
}

/// One of these.
pub(super) fn pick<T: Copy>(dice: &mut Random, among: &[T]) -> T {
    among[dice.below(among.len() as u64) as usize]
}
