//! The end of a process, with or without the power, and what of it must be there afterwards.

use std::fs;
use std::io;
use std::path::Path;

use super::Host;
use crate::oracle::ground::{canary, reported_in};
use crate::oracle::life::Life;
use crate::oracle::origin::{Beginning, at};
use crate::oracle::process::Process;

/// What is in a file that is not synced before the power is cut.
const LOST: &str = "to be lost";

impl Host<'_> {
    /// Ends a process with SIGKILL, and the power with it where that is to be.
    pub(super) fn kill(
        &mut self,
        mut process: Process,
        life: Life,
        log: &Path,
    ) -> Result<(), String> {
        self.report.kills += 1;
        self.cut()?;
        let wrong = |error: io::Error| at(log, &error);
        if self.disk.is_some() {
            // It may find out by itself, and must not tell of anything that is not so.
            let until = process.age() + life.outlives;
            process.live(until).map_err(wrong)?;
        }
        process.kill().map_err(wrong)?;
        self.power_is_back(log)?;
        self.origin.killed()
    }

    /// A process has ended by itself where it was to: as if it had been killed, and the power goes with it where that
    /// is to be.
    pub(super) fn crashed(&mut self, log: &Path) -> Result<(), String> {
        self.cut()?;
        self.power_is_back(log)?;
        self.origin.killed()
    }

    /// Loses the power behind a process that has ended well, where it is to be lost: all it has written must last.
    pub(super) fn power_after(&mut self, log: &Path) -> Result<(), String> {
        self.outputs.are_back()?;
        self.visible.look(&self.outputs)?;
        self.visible.must_last();
        self.cut()?;
        self.power_is_back(log)
    }

    /// Cuts the power, if it can be cut.
    fn cut(&mut self) -> Result<(), String> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        let canary = canary(&self.ground, self.report.power_cuts);
        fs::write(&canary, LOST).map_err(|error| at(&canary, &error))?;
        disk.cut()
    }

    /// The power is back, and no process runs: what a process has reported must be there.
    fn power_is_back(&mut self, log: &Path) -> Result<(), String> {
        let Some(disk) = &mut self.disk else {
            return Ok(());
        };
        disk.back()?;
        let canary = fs::read_to_string(canary(&self.ground, self.report.power_cuts));
        self.report.forgotten += u64::from(!canary.is_ok_and(|text| text == LOST));
        self.report.power_cuts += 1;
        let (count, reported) = reported_in(log)?;
        self.report.reported += count;
        // One that has come to its end has removed its own.
        let there = self.origin.newest()?;
        let is_over = self.is_over || self.origin.beginning()? == Beginning::Mark;
        let log = log.display();
        match there < reported && !is_over {
            true => Err(format!(
                "checkpoint {reported} was reported as complete, and the newest after a loss of power is {there}: \
                 see {log}"
            )),
            false => self.visible.power_was_lost(&self.outputs),
        }
    }
}
