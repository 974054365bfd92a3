//! What a simulated file holds: now, and after the power has been lost.
//!
//! Invariant: what was synced survives; what was not survives as the [`Survival`] says, by sectors where it is
//! drawn. Changes are kept in their order until a sync, so that what survives is a mix the order allows.

use super::Survival;
use crate::seam::clock::Random;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    durable: Vec<u8>,
    current: Vec<u8>,
    pub(super) modified_ns: u64,
    /// Since the last sync, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Content {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8], now: u64) {
        overwrite(&mut self.current, at, bytes);
        self.unsynced.push(Change::Write(at, bytes.to_vec()));
        self.modified_ns = now;
    }

    pub(super) fn set_length(&mut self, length: usize, now: u64) {
        self.current.resize(length, 0);
        self.unsynced.push(Change::Length(length));
        self.modified_ns = now;
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(length) => self.durable.resize(length, 0),
                Change::Write(at, bytes) => overwrite(&mut self.durable, at, &bytes),
            }
        }
    }

    /// As Linux does: after a sync that failed the pages count as clean, and are lost. The next sync will not
    /// say so.
    pub(super) fn fail_sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        self.unsynced.clear();
    }

    pub(super) fn crash(&mut self, survival: Survival, random: &mut Random) {
        let unsynced = std::mem::take(&mut self.unsynced);
        match survival {
            Survival::Nothing => {}
            Survival::Names => self.durable.resize(self.current.len(), 0),
            Survival::Everything | Survival::Content => self.durable.clone_from(&self.current),
            Survival::Drawn(_) => {
                for change in unsynced {
                    survive_by_coin(&mut self.durable, change, random);
                }
            }
        }
        self.current.clone_from(&self.durable);
    }
}

fn survive_by_coin(durable: &mut Vec<u8>, change: Change, random: &mut Random) {
    match change {
        Change::Length(length) => {
            if random.below(2) == 0 {
                durable.resize(length, 0);
            }
        }
        Change::Write(at, bytes) => {
            let mut from = 0;
            while from < bytes.len() {
                let sector_end = (at + from) / SECTOR * SECTOR + SECTOR;
                let to = bytes.len().min(sector_end - at);
                if random.below(2) == 0 {
                    overwrite(durable, at + from, &bytes[from..to]);
                }
                from = to;
            }
        }
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = at + with.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(with);
}
