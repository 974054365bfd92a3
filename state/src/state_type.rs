//! One of the types of a state: what it is called and what it is made of.
//!
//! Part of the description of a state. Types whose fields are known on both sides are compared by those, whatever
//! the compiler calls them; one out of a copy that holds only its name, as copies of before do, by the name.
//! Plain data, lives on any thread.

use std::any::type_name;
use std::fmt;

use thalweg_memory::{Key, Record, Schema};

use crate::error::StateError;
use crate::table::Namespace;

/// What there is a type of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TypeOf {
    Keys,
    Namespaces,
    Values,
}

impl TypeOf {
    fn what(self) -> &'static str {
        match self {
            TypeOf::Keys => "type of keys",
            TypeOf::Namespaces => "type of namespaces",
            TypeOf::Values => "type of values",
        }
    }

    /// How a change of its fields is mended.
    fn mending(self) -> &'static str {
        match self {
            TypeOf::Values => {
                "declare it as it was, or keep the former type beside the present one (#[record(name = \"…\")], \
                 under a Rust name of its own) and say how its values are changed (StateDescriptor::migrated_from), or \
                 give the state another name and begin with nothing"
            }
            TypeOf::Keys | TypeOf::Namespaces => {
                "declare it as it was (what is only called otherwise keeps its former name by #[record(name = \"…\")]), \
                 or give the state another name and begin with nothing"
            }
        }
    }
}

/// A type as a declaration or a copy says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateType {
    /// As the compiler calls it.
    pub(crate) name: String,
    /// None in copies of before.
    pub(crate) schema: Option<Schema>,
}

impl StateType {
    fn new<T>(schema: Schema) -> StateType {
        StateType {
            name: type_name::<T>().to_owned(),
            schema: Some(schema),
        }
    }

    pub(crate) fn of<R: Record>() -> StateType {
        StateType::new::<R>(Schema::of::<R>())
    }

    pub(crate) fn of_key<K: Key>() -> StateType {
        StateType::new::<K>(Schema::of_key::<K>())
    }

    pub(crate) fn of_namespace<N: Namespace>() -> StateType {
        StateType::new::<N>(Schema::written(N::describe))
    }

    /// Whether what was written as `self` can be read as `now`, as far as is known.
    pub(crate) fn is_still(&self, now: &StateType) -> bool {
        match (&self.schema, &now.schema) {
            (Some(old), Some(now)) => old == now,
            _ => self.name == now.name,
        }
    }

    /// Why what was written as `self` for `state` cannot be read as `now`.
    pub(crate) fn refusal(&self, now: &StateType, of: TypeOf, state: &str) -> StateError {
        let (state, what) = (state.to_owned(), of.what());
        match (&self.schema, &now.schema) {
            (Some(old), Some(new)) if old.expression() == new.expression() => {
                let (changes, was, is) = (old.changes(new).join("; "), short(old), short(new));
                StateError::OtherFields {
                    state,
                    what,
                    difference: format!("{changes} (it was {was}; it is {is})"),
                    mending: of.mending(),
                }
            }
            // Two types may be called the same by the compiler, and otherwise by their users.
            (Some(old), Some(new)) if self.name == now.name => StateError::Changed {
                state,
                what,
                old: old.expression(),
                new: new.expression(),
            },
            _ => StateError::Changed {
                state,
                what,
                old: self.name.clone(),
                new: now.name.clone(),
            },
        }
    }
}

/// With the fields of the record types in it.
impl fmt::Display for StateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.schema {
            Some(schema) if schema.has_fields() => write!(f, " ({schema})"),
            _ => Ok(()),
        }
    }
}

/// What a type is made of, as much as a line has room for.
pub(crate) fn short(schema: &Schema) -> String {
    const ROOM: usize = 400;
    let mut text = schema.to_string();
    if let Some((at, _)) = text.char_indices().nth(ROOM) {
        text.truncate(at);
        text.push('…');
    }
    text
}
