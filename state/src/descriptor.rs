//! What a state is called and made of: name, kind, types, version.
//!
//! Made by the operator that declares the state, kept with every copy of it, compared when a copy is
//! restored. Invariant: an operator has at most one state of a name. Plain data, lives on any thread.

use std::any::type_name;
use std::fmt;

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
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Value => "value",
            StateKind::Reducing => "reducing",
            StateKind::List => "list",
            StateKind::Map => "map",
            StateKind::Aggregating => "aggregating",
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
    name: String,
    kind: StateKind,
    value_type: &'static str,
    version: u32,
    ttl: Option<StateTtl>,
}

impl StateDescriptor {
    /// A state `name` that holds `V` per key, version 1.
    #[must_use]
    pub fn new<V>(name: impl Into<String>, kind: StateKind) -> StateDescriptor {
        StateDescriptor {
            name: name.into(),
            kind,
            value_type: type_name::<V>(),
            version: 1,
            ttl: None,
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

    /// The time to live of its values, if they have one.
    #[must_use]
    pub fn ttl(&self) -> Option<StateTtl> {
        self.ttl
    }

    /// A state `name` that holds one `V` per key.
    #[must_use]
    pub fn value<V>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::Value)
    }

    /// A state `name` that folds values into one `V` per key.
    #[must_use]
    pub fn reducing<V>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::Reducing)
    }

    /// A state `name` that holds a list of `V` per key.
    #[must_use]
    pub fn list<V>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<V>(name, StateKind::List)
    }

    /// A state `name` that holds a map from `UK` to `UV` per key.
    #[must_use]
    pub fn map<UK, UV>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<(UK, UV)>(name, StateKind::Map)
    }

    /// A state `name` that gathers values in one `ACC` per key.
    #[must_use]
    pub fn aggregating<ACC>(name: impl Into<String>) -> StateDescriptor {
        StateDescriptor::new::<ACC>(name, StateKind::Aggregating)
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
    pub fn value_type(&self) -> &'static str {
        self.value_type
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
            value_type,
            version,
            ttl: _,
        } = self;
        write!(
            f,
            "{kind} state '{name}' of {value_type}, version {version}"
        )
    }
}
