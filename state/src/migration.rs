//! Values of a state as an older program kept them, made values as they are kept now.
//!
//! Registered with the declaration of a state, used while an operator opens from a copy. Invariant: a function is
//! used only for rows of the very type, fields included, and version it was registered for; whatever else does not
//! fit is refused. Only a copy of before says no more than what its types were called. Plain functions, live on any
//! thread.

use std::any::type_name;
use std::fmt;
use std::sync::Arc;

use thalweg_memory::{Record, RecordKey, SavedRecord, Schema};

use crate::descriptor::{StateDescriptor, StateKind};
use crate::error::StateError;
use crate::keyed::elements_of_part;
use crate::state_type::{StateType, short};

/// Makes the archive of a value of now out of one of then; whether beside values stands when they were touched.
type Convert = dyn Fn(&[u8], bool) -> Result<Vec<u8>, StateError> + Send + Sync;

/// The way from one former type and version of a state's values to the present ones.
#[derive(Clone)]
pub struct Migration {
    from: StateType,
    /// What the type was called when the copy was written, if otherwise than `from` is.
    called: Option<Called>,
    from_version: u32,
    to_type: &'static str,
    convert: Arc<Convert>,
    /// How many elements a part of a list held, without and with a time to live.
    parts: (u64, u64),
}

/// A name of a former type, as the compiler gave it and as its user did.
#[derive(Clone, PartialEq)]
struct Called([String; 2]);

impl Called {
    /// Whether that is what the type is called in a copy.
    fn is(&self, found: &StateType) -> bool {
        let [by_compiler, by_user] = &self.0;
        let expression = found.schema.as_ref().map(Schema::expression);
        *by_compiler == found.name || Some(by_user) == expression.as_ref()
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Migration {
            from,
            from_version,
            to_type,
            ..
        } = self;
        write!(f, "{from}, version {from_version}, to {to_type}")
    }
}

/// Functions cannot be compared: two are the same if they lead from and to the same.
impl PartialEq for Migration {
    fn eq(&self, other: &Migration) -> bool {
        let version = self.from_version == other.from_version;
        version
            && self.from == other.from
            && self.called == other.called
            && self.to_type == other.to_type
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

    /// Whether it is for values that were written under `found`.
    fn leads_from(&self, found: &StateDescriptor) -> bool {
        let values = &found.values;
        let fits = match (&values.schema, &self.called) {
            (_, None) => self.from.is_still(values),
            (None, Some(called)) => called.is(values),
            (Some(held), Some(called)) => called.is(values) && self.holds_what(held),
        };
        fits && self.from_version == found.version
    }

    fn holds_what(&self, held: &Schema) -> bool {
        (self.from.schema.as_ref()).is_some_and(|schema| schema.has_same_fields(held))
    }

    /// Whether it is for a type that is called as `values` is, and is made of something else.
    fn is_from_namesake_of(&self, values: &StateType) -> bool {
        match (&self.from.schema, &values.schema) {
            (Some(from), Some(now)) => from != now && from.expression() == now.expression(),
            _ => false,
        }
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
    /// A type whose fields have changed is migrated from what it was, which stands beside what it is under a Rust name
    /// of its own and says by `name` what it was called.
    ///
    /// For values, reduced values, accumulators and the elements of lists; for maps see
    /// [`StateDescriptor::entries_migrated_from`].
    ///
    /// ```
    /// use thalweg_memory::record;
    /// use thalweg_state::StateDescriptor;
    /// // Seconds were whole in version 1.
    /// let seconds = StateDescriptor::value::<f64>("seconds")
    ///     .with_version(2)
    ///     .migrated_from(1, |whole: u64| whole as f64);
    ///
    /// #[record(name = "Order", crate = thalweg_memory)]
    /// struct OrderV1 {
    ///     id: u64,
    /// }
    /// #[record(crate = thalweg_memory)]
    /// struct Order {
    ///     id: u64,
    ///     paid: bool,
    /// }
    /// let orders = StateDescriptor::list::<Order>("orders")
    ///     .migrated_from(1, |OrderV1 { id }| Order { id, paid: false });
    /// ```
    #[must_use]
    pub fn migrated_from<Old: Record, New: Record>(
        self,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor {
        self.values_migrated(None, version, convert)
    }

    /// The same from a type that was called otherwise when the copy was written, and had the fields of `Old`: a type that
    /// was renamed, or one of a copy that says only what its types were called, as those of older engines do. `name` is
    /// what the copy says, which `thalweg checkpoint inspect` shows; the part before the fields where it shows some.
    ///
    /// ```
    /// use thalweg_memory::record;
    /// use thalweg_state::StateDescriptor;
    ///
    /// #[record(crate = thalweg_memory)]
    /// struct Purchase {
    ///     id: u64,
    /// }
    /// let orders = StateDescriptor::value::<Purchase>("orders")
    ///     .migrated_from_named("shop::Order", 1, |same: Purchase| same);
    /// ```
    #[must_use]
    pub fn migrated_from_named<Old: Record, New: Record>(
        self,
        name: &str,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor {
        let called = Called([name.to_owned(), name.to_owned()]);
        self.values_migrated(Some(called), version, convert)
    }

    fn values_migrated<Old: Record, New: Record>(
        mut self,
        called: Option<Called>,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor {
        let list = self.kind == StateKind::List;
        self.migrations.push(Migration {
            from: StateType::of::<Old>(),
            called,
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
        self,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor
    where
        UK: RecordKey + Eq,
        Old: Record,
        New: Record,
    {
        self.entries_migrated::<UK, Old, New>(None, version, convert)
    }

    /// The same for a map whose values were of a type that was called otherwise; see
    /// [`StateDescriptor::migrated_from_named`].
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// let visits = StateDescriptor::map::<String, u64>("visits")
    ///     .entries_migrated_from_named::<String, u32, u64>("shop::Visits", 1, u64::from);
    /// ```
    #[must_use]
    pub fn entries_migrated_from_named<UK, Old, New>(
        self,
        name: &str,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor
    where
        UK: RecordKey + Eq,
        Old: Record,
        New: Record,
    {
        let of_key = [
            type_name::<UK>().to_owned(),
            Schema::of::<UK>().expression(),
        ];
        let called = Called(of_key.map(|key| format!("({key}, {name})")));
        self.entries_migrated::<UK, Old, New>(Some(called), version, convert)
    }

    fn entries_migrated<UK, Old, New>(
        mut self,
        called: Option<Called>,
        version: u32,
        convert: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> StateDescriptor
    where
        UK: RecordKey + Eq,
        Old: Record,
        New: Record,
    {
        self.migrations.push(Migration {
            from: StateType::of::<(UK, Old)>(),
            called,
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
        let as_it_is = found.check_restore(self);
        // All but the values must be as it was.
        let mut like_now = found.clone();
        like_now.values.clone_from(&self.values);
        like_now.version = self.version;
        like_now.check_restore(self)?;
        let ways = || (self.migrations.iter()).filter(|it| it.to_type == self.values.name);
        if !found.tells_fields() {
            // What the user says of a copy that holds only the name counts before the name.
            let mut said = ways().filter(|it| it.called.is_some());
            if let Some(way) = said.find(|it| it.leads_from(found)) {
                return Ok(Some(way));
            }
            let of_version = |it: &&Migration| it.from_version == found.version;
            let mut namesakes = ways().filter(|it| it.is_from_namesake_of(&self.values));
            if as_it_is.is_ok() && namesakes.any(|it| of_version(&it)) {
                return Err(StateError::FieldsUnknown {
                    state: self.name.clone(),
                    old: found.values.name.clone(),
                    version: found.version,
                });
            }
        }
        let Err(changed) = as_it_is else {
            return Ok(None);
        };
        match ways().find(|it| it.leads_from(found)) {
            Some(way) => Ok(Some(way)),
            None => Err(self.other_former(found).unwrap_or(changed)),
        }
    }

    /// The refusal of a copy whose values are called as a former type is, and are made of something else.
    fn other_former(&self, found: &StateDescriptor) -> Option<StateError> {
        let held = found.values.schema.as_ref()?;
        let meant = |it: &&Migration| match &it.called {
            Some(called) => called.is(&found.values),
            None => it.is_from_namesake_of(&found.values),
        };
        let mut ways = self.migrations.iter();
        let way = ways.find(|it| it.from_version == found.version && meant(it))?;
        let named = way.from.schema.as_ref()?;
        Some(StateError::OtherFormer {
            state: self.name.clone(),
            named: short(named),
            changes: held.changes(named).join("; "),
            old: short(held),
        })
    }
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
