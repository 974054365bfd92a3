//! What the pointers in the directory of a job's checkpoints say together.
//!
//! Entered by whoever looks for the newest checkpoint or takes the job over. Blocking. A pointer has its name only when
//! it is whole, so a highest one that is none is damaged, however it looks: one that is empty may be of a process of an
//! earlier build that died as it wrote it, or still writes, and nobody can tell which. A directory with checkpoints in
//! which no pointer is left is damaged too: what is the newest is not known then.
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
    /// The highest; none if no leader has begun yet.
    pub(super) counts: Option<Pointer>,
    /// The highest number, and the highest term of that pointer and those that were passed over.
    pub(super) highest: (u64, u64),
}

/// Reads the pointers in a directory.
///
/// # Errors
/// When storage fails, one that would count is damaged, or there are checkpoints and none.
pub(super) fn pointers(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
) -> Result<Pointers, FindError> {
    pointers_of_others(storage, home, &[])
}

/// The same, but `own` ones are passed over.
pub(super) fn pointers_of_others(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    own: &[Pointer],
) -> Result<Pointers, FindError> {
    let mut looks = 0;
    loop {
        let entries = storage.list(home)?;
        looks += 1;
        match among(storage, home, entries, own) {
            // Overtaken and deleted since it was listed.
            Err(FindError::Storage(error))
                if error.kind == StorageErrorKind::Missing && looks < LOOKS => {}
            // Overtaken and deleted before it was listed, by one that was made too late to be.
            Err(FindError::Damaged(damage))
                if matches!(*damage, Damage::NoPointer { .. }) && looks < LOOKS => {}
            other => return other,
        }
    }
}

fn among(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    entries: Vec<Entry>,
    own: &[Pointer],
) -> Result<Pointers, FindError> {
    let layout = JobLayout::at(home.clone());
    let numbers = (entries.iter()).filter_map(|entry| JobLayout::pointer_of(&entry.name));
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    let mut highest = (numbers.first().copied().unwrap_or(0), 0);
    for sequence in numbers {
        let at = layout.pointer(sequence);
        match bytes_of(storage, &at, sequence)? {
            PointerBytes::Whole(pointer) => {
                highest.1 = highest.1.max(pointer.term);
                if !own.contains(&pointer) {
                    return Ok(Pointers {
                        entries,
                        counts: Some(pointer),
                        highest,
                    });
                }
            }
            PointerBytes::OtherVersion(version) => {
                let what = of_version(version);
                return Err(Damage::OtherRelease { at, what }.into());
            }
            PointerBytes::Damaged => return Err(Damage::Pointer { at }.into()),
        }
    }
    // A checkpoint is begun only under a pointer, and the highest is never deleted before the last checkpoint.
    let begun = (entries.iter()).find_map(|entry| JobLayout::checkpoint_of(&entry.name));
    match begun {
        Some(begun) => Err(Damage::NoPointer {
            home: home.clone(),
            checkpoint: layout.checkpoint(begun),
        }
        .into()),
        None => Ok(Pointers {
            entries,
            counts: None,
            highest,
        }),
    }
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
