//! What a trial comes to when its job has ended.

use super::Host;
use crate::oracle::job::OUTPUTS;
use crate::oracle::output::Wrong;

impl Host<'_> {
    /// What must be true in the end.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        // Where records are counted, those that come twice make other lines.
        let outputs = match self.trial.at_least_once {
            true => &OUTPUTS[2..],
            false => &OUTPUTS[..],
        };
        let (lost, doubled) = self.visible.judge(&self.outputs, outputs)?;
        let (leak_lost, leaked_twice) = self.visible.judge_leaked(&self.outputs)?;
        let report = &mut self.report;
        report.lines = self.visible.lines();
        (report.files, report.transactions) = self.visible.parts();
        report.hidden = self.outputs.hidden()?;
        (report.lost, report.doubled) = (lost.count, doubled.count);
        report.leaked_twice = leaked_twice.count;
        let told = |wrong: Wrong, how: &str| match wrong.line {
            Some(line) => Err(format!("{} lines are {how}, as `{line}`", wrong.count)),
            None => Ok(()),
        };
        told(lost, "lost")?;
        if let Some(database) = &self.outputs.database {
            database.judge()?;
        }
        if self.trial.at_least_once {
            return Ok(());
        }
        told(doubled, "doubled")?;
        told(leak_lost, "lost where writing is not transactional")?;
        if report.power_cuts > 0 && report.reported == 0 {
            return Err("no checkpoint was reported: the power cuts prove nothing".to_owned());
        }
        if report.power_cuts > 0 && report.forgotten == 0 {
            return Err("the disk forgot nothing: the power cuts prove nothing".to_owned());
        }
        if report.outages > 0 && report.restarts == 0 {
            return Err("no job began again when its server died: that proves nothing".to_owned());
        }
        if report.leaked_twice == 0 {
            let what = "nothing was written twice where writing is not transactional: the kills prove nothing";
            return Err(what.to_owned());
        }
        Ok(())
    }
}
