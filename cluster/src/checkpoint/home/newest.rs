//! What the pointers in the directory of a job's checkpoints say together.
//!
//! Entered by whoever looks for the newest checkpoint or takes the job over. Blocking. A pointer is written under
//! its own name, so one whose writer died on the way is no damage: it is shorter than a pointer, or full of zeros
//! where power was lost, and the one before it counts. Everything else that is no pointer is damage, and so is a
//! directory with checkpoints in which no pointer is left: what is the newest is not known then.
//!
//! Invariant: damage is never taken for "there is none".

use super::damage::Damage;
use super::find::FindError;
use super::layout::JobLayout;
use super::pointer::{MOST_BYTES, Pointer, PointerBytes, of_version};
use crate::checkpoint::storage::{
    CheckpointStorage, Entry, Location, StorageError, StorageErrorKind,
};

/// How often others may change the directory while it is looked at.
const LOOKS: u32 = 8;

/// The pointers of a job.
pub(super) struct Pointers {
    /// What is in the directory.
    pub(super) entries: Vec<Entry>,
    /// The highest number any of them has; 0 if there is none.
    pub(super) highest: u64,
    /// The highest that was written to its end; none if no leader has begun yet.
    pub(super) counts: Option<Pointer>,
    /// Those above it, whose writers died.
    pub(super) unfinished: Vec<Location>,
}

impl Pointers {
    /// A writer of a pointer has died, which is worth a word: nobody knows but for the pointer what became of its
    /// checkpoint.
    pub(super) fn tell_unfinished(&self) {
        for at in &self.unfinished {
            tracing::warn!(
                pointer = %at,
                "it was not written to its end, so the checkpoint it was to name counts for nothing"
            );
        }
    }
}

/// Reads the pointers in a directory.
///
/// # Errors
/// When storage fails, one that would count is damaged, or there are checkpoints and none.
pub(super) fn pointers(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
) -> Result<Pointers, FindError> {
    let mut looks = 0;
    loop {
        let entries = storage.list(home)?;
        looks += 1;
        match among(storage, home, entries) {
            // Overtaken and deleted since it was listed.
            Err(FindError::Storage(error))
                if error.kind == StorageErrorKind::Missing && looks < LOOKS => {}
            // Overtaken and deleted before it was listed, by one that was made too late to be.
            Err(FindError::Damaged(damage))
                if matches!(*damage, Damage::NoPointer { .. } | Damage::Pointer { .. })
                    && looks < LOOKS => {}
            other => return other,
        }
    }
}

fn among(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    entries: Vec<Entry>,
) -> Result<Pointers, FindError> {
    let layout = JobLayout::at(home.clone());
    let mut sequences: Vec<u64> = (entries.iter())
        .filter_map(|entry| JobLayout::pointer_of(&entry.name))
        .collect();
    sequences.sort_unstable();
    let highest = sequences.last().copied().unwrap_or(0);
    let mut unfinished = Vec::new();
    for sequence in sequences.into_iter().rev() {
        let at = layout.pointer(sequence);
        match bytes_of(storage, &at, sequence)? {
            PointerBytes::Whole(pointer) => {
                return Ok(Pointers {
                    entries,
                    highest,
                    counts: Some(pointer),
                    unfinished,
                });
            }
            PointerBytes::Unfinished => unfinished.push(at),
            PointerBytes::OtherVersion(version) => {
                let what = of_version(version);
                return Err(Damage::OtherRelease { at, what }.into());
            }
            PointerBytes::Damaged => return Err(Damage::Pointer { at }.into()),
        }
    }
    // A checkpoint is begun only under a pointer, and the highest is never deleted before the last checkpoint.
    let begun = (entries.iter()).find_map(|entry| JobLayout::checkpoint_of(&entry.name));
    if let Some(begun) = begun {
        let damage = match unfinished.into_iter().next() {
            Some(at) => Damage::Pointer { at },
            None => Damage::NoPointer {
                home: home.clone(),
                checkpoint: layout.checkpoint(begun),
            },
        };
        return Err(damage.into());
    }
    Ok(Pointers {
        entries,
        highest,
        counts: None,
        unfinished,
    })
}

fn bytes_of(
    storage: &mut dyn CheckpointStorage,
    at: &Location,
    sequence: u64,
) -> Result<PointerBytes, StorageError> {
    match storage.read(at, MOST_BYTES) {
        Err(error) if error.kind == StorageErrorKind::Damaged => Ok(PointerBytes::Damaged),
        other => Ok(PointerBytes::of(&other?, sequence)),
    }
}

/// What the pointers in a directory say that can be read, the highest first, whatever the others are.
///
/// # Errors
/// When storage fails.
pub(super) fn readable(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    entries: &[Entry],
) -> Result<Vec<Pointer>, StorageError> {
    let layout = JobLayout::at(home.clone());
    let mut readable = Vec::new();
    for sequence in (entries.iter()).filter_map(|entry| JobLayout::pointer_of(&entry.name)) {
        match bytes_of(storage, &layout.pointer(sequence), sequence) {
            Ok(PointerBytes::Whole(pointer)) => readable.push(pointer),
            Ok(_) => {}
            Err(error) if error.kind == StorageErrorKind::Missing => {}
            Err(error) => return Err(error),
        }
    }
    readable.sort_unstable_by_key(|pointer| std::cmp::Reverse(pointer.sequence));
    Ok(readable)
}
