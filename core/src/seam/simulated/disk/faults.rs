//! What goes wrong on a simulated disk, and when.
//!
//! Invariant: operations are counted over the disk's life, so that a fault can be put before any of them; after
//! the power was cut nothing works until it is back.

use std::collections::BTreeMap;
use std::io;

use crate::seam::clock::Random;

/// The faults of a disk, drawn per operation.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct DiskFaults {
    /// Reads, writes and syncs that fail with EIO, of a million.
    pub error_per_million: u32,
    /// Reads and writes that do only a part, of a million.
    pub short_per_million: u32,
    /// Bytes that fit; beyond it writes fail with ENOSPC.
    pub capacity: u64,
    /// Whether a file can have two names: on some file systems it cannot.
    pub links: bool,
}

impl DiskFaults {
    /// A disk that always works and is never full.
    pub const NONE: DiskFaults = DiskFaults {
        error_per_million: 0,
        short_per_million: 0,
        capacity: u64::MAX,
        links: true,
    };
}

/// What of the things that were not synced is there after a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Names without their content: files of the right length, full of zeros.
    Names,
    /// Content without its names.
    Content,
    /// By chance: of each directory the changes up to some point, of each file its sectors one by one.
    Drawn(
        /// Where chance comes from.
        u64,
    ),
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. Half of a write has happened; a sync has lost what it should have made durable, and the next
    /// sync of that file will not say so.
    Io,
    /// ENOSPC. Half of a write has happened.
    Full,
}

#[derive(Debug)]
pub(super) struct Faults {
    random: Random,
    pub(super) drawn: DiskFaults,
    operations: u64,
    cut_before: Option<u64>,
    planned: BTreeMap<u64, Fault>,
}

impl Faults {
    pub(super) fn new(seed: u64, drawn: DiskFaults) -> Faults {
        Faults {
            random: Random::new(seed),
            drawn,
            operations: 0,
            cut_before: None,
            planned: BTreeMap::new(),
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn cut_before(&mut self, operation: u64) {
        self.cut_before = Some(operation);
    }

    pub(super) fn plan(&mut self, operation: u64, fault: Fault) {
        self.planned.insert(operation, fault);
    }

    pub(super) fn mend(&mut self) {
        self.planned.clear();
    }

    /// Power is there again.
    pub(super) fn restore(&mut self) {
        self.cut_before = None;
        self.planned.clear();
    }

    /// Whether an operation was tried after the cut.
    pub(super) fn is_off(&self) -> bool {
        self.cut_before.is_some_and(|cut| self.operations > cut)
    }

    /// Counts an operation on names.
    pub(super) fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        if self.cut_before.is_some_and(|cut| number >= cut) {
            return Err(io::Error::other("power is gone"));
        }
        match self.planned.remove(&number) {
            Some(Fault::Io) => Err(os(libc::EIO)),
            Some(Fault::Full) => Err(os(libc::ENOSPC)),
            None => Ok(()),
        }
    }

    /// Counts an operation that moves bytes or makes something durable.
    pub(super) fn on_device(&mut self) -> io::Result<()> {
        self.operation()?;
        match self.random.chance(self.drawn.error_per_million) {
            true => Err(os(libc::EIO)),
            false => Ok(()),
        }
    }

    /// How many of so many bytes are moved.
    pub(super) fn shorten(&mut self, count: usize) -> usize {
        if count > 1 && self.random.chance(self.drawn.short_per_million) {
            return 1 + self.random.below(count as u64 - 1) as usize;
        }
        count
    }
}

pub(super) fn os(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}
