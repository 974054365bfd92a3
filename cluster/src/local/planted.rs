//! What a job's control thread does wrong when a bug is planted in it, so that it is seen to be found.
//!
//! Entered where the coordination would do it right. Invariant: without a [`Defect`], which only the simulator
//! gives, nothing of this happens.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::checkpoint::Defect;
use thalweg_dataflow::sink::Committable;
use thalweg_state::TaskSnapshot;
use thalweg_state::run::ReadAt;

use super::coordination::{Coordination, shapes_of};
use crate::checkpoint::RestorePoint;
use crate::checkpoint::restore::RestorePlan;
use crate::checkpoint::storage::simulated::{SimulatedDisk, SimulatedFile};
use crate::checkpoint::storage::{Disk, Entry, StorageCommand, perform};

impl Coordination<'_> {
    pub(super) fn has_defect(&self, defect: Defect) -> bool {
        self.ground.defect() == Some(defect)
    }

    /// Commits what a task prepared, though its checkpoint may never be complete.
    pub(super) fn commit_too_early(&mut self, snapshot: &TaskSnapshot) {
        for operator in &snapshot.operators {
            let prepared: Vec<Committable> = operator
                .committables
                .iter()
                .cloned()
                .map(Committable)
                .collect();
            if let Some(committer) = self.committers.get_mut(&operator.operator)
                && let Err(error) = committer.commit(&prepared)
            {
                tracing::warn!(%error, "could not even be committed too early");
            }
        }
    }

    /// Forgets all keyed state, if the parallelism has changed.
    pub(super) fn forget_after_rescale(&self, point: &RestorePoint, plan: &mut RestorePlan) {
        let now: Vec<u32> = (shapes_of(self.job).iter())
            .map(|shape| shape.parallelism)
            .collect();
        let before = point
            .metadata
            .vertices
            .iter()
            .map(|vertex| vertex.parallelism);
        if before.eq(now) {
            return;
        }
        let tasks = plan.tasks.values_mut();
        for operator in tasks.flat_map(|task| &mut task.operators) {
            operator.runs.clear();
        }
    }

    /// Deletes all runs but those that were written for this checkpoint.
    pub(super) fn delete_shared_runs(&mut self, checkpoint: CheckpointId) {
        let shared = self.layout.shared();
        let own = format!("-{}.run", checkpoint.0);
        let entries = self.storage.list(&shared).unwrap_or_default().into_iter();
        let others = entries.filter(|entry| !entry.name.ends_with(&own));
        let others = others.map(|entry| shared.child(&entry.name)).collect();
        let deleted = perform(&mut *self.storage, &StorageCommand::Delete(others));
        if let Err(error) = deleted {
            tracing::warn!(%error, "could not be deleted");
        }
    }
}

/// Leaves records in flight that several tasks would read, each its own, to the first of them.
pub(super) fn misdeal_in_flight(plan: &mut RestorePlan) {
    let mut dealt = BTreeSet::new();
    for task in plan.tasks.values_mut() {
        task.in_flight.retain(|part| {
            let section = &part.section;
            part.groups.is_none() || dealt.insert((section.path, section.at_sender))
        });
    }
}

/// A disk whose syncs do nothing.
pub(super) struct Unsynced(pub(super) SimulatedDisk);

impl Disk for Unsynced {
    type File = SimulatedFile;

    fn create_new(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        Disk::create_new(&mut self.0, path)
    }

    fn open(&mut self, path: &Path) -> io::Result<SimulatedFile> {
        Disk::open(&mut self.0, path)
    }

    fn open_run(&mut self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        Disk::open_run(&mut self.0, path)
    }

    fn write(&mut self, file: &mut SimulatedFile, bytes: &[u8]) -> io::Result<()> {
        Disk::write(&mut self.0, file, bytes)
    }

    fn read(&mut self, file: &mut SimulatedFile, buffer: &mut [u8]) -> io::Result<usize> {
        Disk::read(&mut self.0, file, buffer)
    }

    fn sync(&mut self, _file: &mut SimulatedFile) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&mut self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::rename_new(&mut self.0, from, to)
    }

    fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Disk::link_new(&mut self.0, from, to)
    }

    fn draw(&mut self) -> u64 {
        Disk::draw(&mut self.0)
    }

    fn exists(&mut self, path: &Path) -> io::Result<bool> {
        Disk::exists(&mut self.0, path)
    }

    fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        Disk::make_directory(&mut self.0, path)
    }

    fn list(&mut self, path: &Path) -> io::Result<Vec<Entry>> {
        Disk::list(&mut self.0, path)
    }

    fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        Disk::remove_file(&mut self.0, path)
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        Disk::remove_directory(&mut self.0, path)
    }
}
