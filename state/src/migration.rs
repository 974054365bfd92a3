//! Values of a state as an older program kept them, made values as they are kept now.
//!
//! Registered with the declaration of a state, used while an operator opens from a copy. Invariant: a function is
//! used only for rows of the very type and version it was registered for; whatever else does not fit is refused.
//! Plain functions, live on any thread.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use thalweg_memory::{Record, RecordKey, SavedRecord};

use crate::descriptor::{StateDescriptor, StateKind};
use crate::error::StateError;
use crate::keyed::elements_of_part;

/// Makes the archive of a value of now out of one of then; whether beside values stands when they were touched.
type Convert = dyn Fn(&[u8], bool) -> Result<Vec<u8>, StateError> + Send + Sync;

/// The way from one former type and version of a state's values to the present ones.
#[derive(Clone)]
pub struct Migration {
    from_type: &'static str,
    from_version: u32,
    to_type: &'static str,
    convert: Arc<Convert>,
    /// How many elements a part of a list held, without and with a time to live.
    parts: (u64, u64),
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Migration {
            from_type,
            from_version,
            to_type,
            ..
        } = self;
        write!(f, "{from_type}, version {from_version}, to {to_type}")
    }
}

/// Functions cannot be compared: two are the same if they lead from and to the same.
impl PartialEq for Migration {
    fn eq(&self, other: &Migration) -> bool {
        let ends = |it: &Migration| (it.from_type, it.from_version, it.to_type);
        ends(self) == ends(other)
    }
}

impl Eq for Migration {}

impl Migration {
    /// The value of a row as it is kept now; `ages` says whether the state has a time to live.
    ///
    /// # Errors
    /// When the bytes are not of the former type.
    pub fn convert(&self, value: &[u8], ages: bool) -> Result<Vec<u8>, StateError> {
        (self.convert)(value, ages)
    }

    /// How many elements of a list were kept in one part.
    pub(crate) fn part(&self, ages: bool) -> u64 {
        if ages { self.parts.1 } else { self.parts.0 }
    }
}

/// What a value is kept in.
fn revived<Kept: Record, Now: Record>(
    bytes: &[u8],
    change: impl FnOnce(Kept) -> Now,
) -> Result<Vec<u8>, StateError> {
    let mut saved = SavedRecord::new();
    let kept = saved.revive::<Kept>(bytes)?;
    Ok(saved.archive(&change(kept)).to_vec())
}

/// The value alone, or with when it was touched.
fn of_cell<Old: Record, New: Record>(
    convert: &impl Fn(Old) -> New,
    bytes: &[u8],
    ages: bool,
) -> Result<Vec<u8>, StateError> {
    match ages {
        false => revived(bytes, convert),
        true => revived(bytes, |(old, at): (Old, i64)| (convert(old), at)),
    }
}

/// A part of a list: two numbers, and the elements.
fn of_list<Old: Record, New: Record>(
    convert: &impl Fn(Old) -> New,
    bytes: &[u8],
    ages: bool,
) -> Result<Vec<u8>, StateError> {
    match ages {
        false => revived(bytes, |(from, to, old): (u64, u64, Vec<Old>)| {
            let new: Vec<New> = old.into_iter().map(convert).collect();
            (from, to, new)
        }),
        true => revived(bytes, |(from, to, old): (u64, u64, Vec<(Old, i64)>)| {
            let aged = old.into_iter().map(|(old, at)| (convert(old), at));
            let new: Vec<(New, i64)> = aged.collect();
            (from, to, new)
        }),
    }
}

impl StateDescriptor {
    /// The same state, which may be restored from a copy in which its values were of the type `Old` and of
    /// `version`: each is made a `New` by `convert`. `New` is what the state holds now; raise its version
    /// ([`StateDescriptor::with_version`]) where only the meaning of the values has changed and not their type.
    ///
    /// For values, reduced values, accumulators and the elements of lists; for maps see
    /// [`StateDescriptor::entries_migrated_from`].
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// // Seconds were whole in version 1.
    /// let seconds = StateDescriptor::value::<f64>("seconds")
    ///     .with_version(2)
    ///     .migrated_from(1, |whole: u64| whole as f64);
    /// ```
    #[must_use]
    pub fn migrated_from<Old: Record, New: Record>(
        mut self,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor {
        let list = self.kind == StateKind::List;
        self.migrations.push(Migration {
            from_type: type_name::<Old>(),
            from_version: version,
            to_type: type_name::<New>(),
            convert: Arc::new(move |bytes, ages| match list {
                true => of_list(&convert, bytes, ages),
                false => of_cell(&convert, bytes, ages),
            }),
            parts: (
                elements_of_part(size_of::<Old>()),
                elements_of_part(size_of::<(Old, i64)>()),
            ),
        });
        self
    }

    /// The same for a map from `UK`: each of its values was an `Old`, and is made a `New`.
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// let visits = StateDescriptor::map::<String, u64>("visits")
    ///     .entries_migrated_from::<String, u32, u64>(1, u64::from);
    /// ```
    #[must_use]
    pub fn entries_migrated_from<UK, Old, New>(
        mut self,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor
    where
        UK: RecordKey + Eq,
        Old: Record,
        New: Record,
    {
        self.migrations.push(Migration {
            from_type: type_name::<(UK, Old)>(),
            from_version: version,
            to_type: type_name::<(UK, New)>(),
            convert: Arc::new(move |bytes, ages| match ages {
                false => revived(bytes, |(key, old, number): (UK, Old, u64)| {
                    (key, convert(old), number)
                }),
                true => revived(bytes, |(key, (old, at), number): (UK, (Old, i64), u64)| {
                    (key, (convert(old), at), number)
                }),
            }),
            parts: (0, 0),
        });
        self
    }

    /// How rows that were written under `found` are taken back by this state: as they are, or by a function.
    ///
    /// # Errors
    /// Names what has changed, where no function was registered for it.
    pub fn restores_from(&self, found: &StateDescriptor) -> Result<Option<&Migration>, StateError> {
        let Err(changed) = found.check_restore(self) else {
            return Ok(None);
        };
        // All else must be as it was.
        let mut like_now = found.clone();
        like_now.value_type.clone_from(&self.value_type);
        like_now.version = self.version;
        like_now.check_restore(self)?;
        let leads_here = |migration: &&Migration| {
            migration.from_type == found.value_type
                && migration.from_version == found.version
                && migration.to_type == self.value_type
        };
        match self.migrations.iter().find(leads_here) {
            Some(migration) => Ok(Some(migration)),
            None => Err(changed),
        }
    }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
