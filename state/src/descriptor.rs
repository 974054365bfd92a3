//! What a state is called and made of: name, kind, types, version.
//!
//! Made by the operator that declares the state, kept with every copy of it, compared when a copy is
//! restored. Invariant: an operator has at most one state of a name. Plain data, lives on any thread.

use std::any::type_name;
use std::fmt;

/// The shape of a state: what one key of it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// One value.
    Value,
    /// One value into which every added value is folded.
    Reducing,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Value => "value",
            StateKind::Reducing => "reducing",
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
        }
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
        } = self;
        write!(
            f,
            "{kind} state '{name}' of {value_type}, version {version}"
        )
    }
}
