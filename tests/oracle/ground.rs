//! What a host stands on: the directories its job writes to, what tells whether the power was lost, and logs.
//!
//! Plain functions, called on the oracle's thread.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::job::LEAKED;
use super::origin::at;

/// Makes the directories the job writes to. What is not transactional is no matter of the disk whose power goes.
pub(super) fn lay_out(directory: &Path, ground: &Path) -> Result<(), String> {
    let (out, leaked) = (ground.join("out"), directory.join(LEAKED));
    let made = fs::create_dir(&out)
        .and_then(|()| fs::create_dir(&leaked))
        .and_then(|()| symlink(&leaked, out.join(LEAKED)))
        .and_then(|()| File::open(&out)?.sync_all())
        .and_then(|()| File::open(ground)?.sync_all());
    made.map_err(|error| at(&out, &error))
}

/// A file that is not synced before the power is cut for the `nth` time. Each has a name of its own: what is written
/// over is soon written out.
pub(super) fn canary(ground: &Path, nth: u64) -> PathBuf {
    ground.join(format!("not-synced-{nth}"))
}

/// How many checkpoints and savepoints a process has reported as complete in its log, and the highest number.
pub(super) fn reported_in(log: &Path) -> Result<(u64, u64), String> {
    let text = fs::read_to_string(log).map_err(|error| at(log, &error))?;
    let numbers = text.lines().filter_map(|line| {
        let (_, told) = line.split_once("completed checkpoint=checkpoint-")?;
        told.split(' ').next()?.parse::<u64>().ok()
    });
    let numbers: Vec<u64> = numbers.collect();
    let highest = numbers.iter().max().copied().unwrap_or(0);
    Ok((numbers.len() as u64, highest))
}

/// How often a process has begun its job again, which it may only because the server of its tables was not there.
pub(super) fn restarts_in(log: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(log).map_err(|error| at(log, &error))?;
    let again = text
        .lines()
        .filter(|it| it.contains("the job is started again"));
    let (of_server, others): (Vec<&str>, Vec<&str>) =
        again.partition(|it| it.contains("PostgreSQL"));
    match others.first() {
        Some(other) => Err(format!("{}: {other}", log.display())),
        None => Ok(of_server.len() as u64),
    }
}
