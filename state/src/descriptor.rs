//! What a state is called and made of: name, kind, types, version.
//!
//! Made by the operator that declares the state, kept with every copy of it, compared when a copy is
//! restored. The types of keys and namespaces are filled in by what keeps the state. Invariant: an
//! operator has at most one state of a name. Plain data, lives on any thread.

use std::fmt;

use thalweg_memory::{Key, Record};

use crate::error::StateError;
use crate::migration::Migration;
use crate::state_type::{StateType, TypeOf};
use crate::table::Namespace;
use crate::ttl::StateTtl;

/// The shape of a state: what one key of it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// One value.
    Value,
    /// One value into which every added value is folded.
    Reducing,
    /// A list of values.
    List,
    /// A map from user keys to values.
    Map,
    /// One accumulator into which every added value is folded, and of which a result is read.
    Aggregating,
    /// Times at which a key is to be woken.
    Timers,
    /// A map that is the same in every subtask.
    Broadcast,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Value => "value",
            StateKind::Reducing => "reducing",
            StateKind::List => "list",
            StateKind::Map => "map",
            StateKind::Aggregating => "aggregating",
            StateKind::Timers => "timer",
            StateKind::Broadcast => "broadcast",
        })
    }
}

/// The description of one state of an operator.
///
/// ```
/// use thalweg_state::{StateDescriptor, StateKind};
/// let clicks = StateDescriptor::new::<u64>("clicks", StateKind::Value);
/// assert_eq!(clicks.to_string(), "value state 'clicks' of u64, version 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescriptor {
    pub(crate) name: String,
    pub(crate) kind: StateKind,
    pub(crate) keys: StateType,
    pub(crate) namespaces: StateType,
    pub(crate) values: StateType,
    pub(crate) version: u32,
    pub(crate) ttl: Option<StateTtl>,
    /// How values of former types become those of now; no part of what is written.
    pub(crate) migrations: Vec<Migration>,
}

impl StateDescriptor {
    /// A state `name` that holds `V` per key, version 1; of keys and namespaces `()` until they are named.
    #[must_use]
    pub fn new<V: Record>(name: impl Into<String>, kind: StateKind) -> StateDescriptor {
        StateDescriptor {
            name: name.into(),
            kind,
            keys: StateType::of_key::<()>(),
            namespaces: StateType::of_namespace::<()>(),
            values: StateType::of::<V>(),
            version: 1,
            ttl: None,
            migrations: Vec::new(),
        }
    }

    /// The same state with a time to live.
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_state::{StateDescriptor, StateKind, StateTtl};
    /// let seen = StateDescriptor::new::<u64>("seen", StateKind::Value)
    ///     .with_ttl(StateTtl::new(Duration::from_secs(60)));
    /// assert!(seen.ttl().is_some());
    /// ```
    #[must_use]
    pub fn with_ttl(mut self, ttl: StateTtl) -> StateDescriptor {
        self.ttl = Some(ttl);
        self
    }

    /// Whether all entries of a key are sought at once, so that filters of runs have to know its keys.
    #[must_use]
    pub fn is_sought_by_key(&self) -> bool {
        self.kind == StateKind::Map && self.namespaces.is_still(&StateType::of_namespace::<()>())
    }

    /// The time to live of its values, if they have one.
    #[must_use]
    pub fn ttl(&self) -> Option<StateTtl> {
        self.ttl
    }

    /// A state `name` that holds one `V` per key.
    #[must_use]
    pub fn value<V: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::Value)
    }

    /// A state `name` that folds values into one `V` per key.
    #[must_use]
    pub fn reducing<V: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::Reducing)
    }

    /// A state `name` that holds a list of `V` per key.
    #[must_use]
    pub fn list<V: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::List)
    }

    /// A state `name` that holds a map from `UK` to `UV` per key.
    #[must_use]
    pub fn map<UK: Record, UV: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<(UK, UV)>(name, StateKind::Map)
    }

    /// A state `name` that gathers values in one `ACC` per key.
    #[must_use]
    pub fn aggregating<ACC: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<ACC>(name, StateKind::Aggregating)
    }

    /// The timers `name`.
    #[must_use]
    pub fn timers(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<()>(name, StateKind::Timers)
    }

    /// A state `name` that holds a map from `K` to `V` which is the same in every subtask.
    #[must_use]
    pub fn broadcast<K: Record, V: Record>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor {
            keys: StateType::of::<K>(),
            ..StateDescriptor::new::<V>(name, StateKind::Broadcast)
        }
    }

    /// The same state with keys `K` and namespaces `N`.
    #[must_use]
    pub fn of_keys<K: Key, N: Namespace>(mut self) -> StateDescriptor {
        self.keys = StateType::of_key::<K>();
        self.namespaces = StateType::of_namespace::<N>();
        self
    }

    /// The same state with values `V`: what is held decides, whatever the declaration was made for.
    pub(crate) fn of_values<V: Record>(mut self) -> StateDescriptor {
        self.values = StateType::of::<V>();
        self
    }

    /// The same state under another name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> StateDescriptor {
        self.name = name.into();
        self
    }

    /// The same state with another version of its value type.
    #[must_use]
    pub fn with_version(mut self, version: u32) -> StateDescriptor {
        self.version = version;
        self
    }

    /// The name, unique within an operator.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape.
    #[must_use]
    pub fn kind(&self) -> StateKind {
        self.kind
    }

    /// The Rust type of the values, as the compiler names it.
    #[must_use]
    pub fn value_type(&self) -> &str {
        &self.values.name
    }

    /// The Rust type of the keys, as the compiler names it.
    #[must_use]
    pub fn key_type(&self) -> &str {
        &self.keys.name
    }

    /// The Rust type of what entries are kept under besides the key, as the compiler names it.
    #[must_use]
    pub fn namespace_type(&self) -> &str {
        &self.namespaces.name
    }

    /// Whether it says what its types are made of, and not only what they are called: descriptions of before, out of
    /// copies, do not.
    #[must_use]
    pub fn tells_fields(&self) -> bool {
        self.values.schema.is_some()
    }

    /// Makes `self`, if it does not tell what its types are made of, tell what `other` does: another description of the
    /// same state out of the same copy. Rows of both were taken for those of one type when the later was written.
    pub fn learn_fields(&mut self, other: &StateDescriptor) {
        let names = |it: &StateDescriptor| {
            let names = [&it.keys, &it.namespaces, &it.values].map(|it| it.name.clone());
            (names, it.kind, it.version)
        };
        if !self.tells_fields() && names(self) == names(other) {
            self.keys.clone_from(&other.keys);
            self.namespaces.clone_from(&other.namespaces);
            self.values.clone_from(&other.values);
        }
    }

    /// Whether rows that were written under `self` can be taken back by the state `now` declares.
    ///
    /// # Errors
    /// Names what has changed.
    pub fn check_restore(&self, now: &StateDescriptor) -> Result<(), StateError> {
        let same = |what, old: String, new: String| match old == new {
            true => Ok(()),
            false => Err(StateError::Changed {
                state: now.name.clone(),
                what,
                old,
                new,
            }),
        };
        same("kind", self.kind.to_string(), now.kind.to_string())?;
        for (of, old, new) in [
            (TypeOf::Keys, &self.keys, &now.keys),
            (TypeOf::Namespaces, &self.namespaces, &now.namespaces),
            (TypeOf::Values, &self.values, &now.values),
        ] {
            if !old.is_still(new) {
                return Err(old.refusal(new, of, &now.name));
            }
        }
        same("version", self.version.to_string(), now.version.to_string())?;
        let ages = |ttl: Option<StateTtl>| if ttl.is_some() { "with" } else { "without" };
        let (old, new) = (ages(self.ttl), ages(now.ttl));
        same("time to live", old.to_owned(), new.to_owned())
    }

    /// The version of the value type, raised by the user who changes it.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Display for StateDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StateDescriptor {
            name,
            kind,
            values,
            version,
            ..
        } = self;
        write!(f, "{kind} state '{name}' of {values}, version {version}")
    }
}
