//! The description of a state as bytes, as it lies beside the rows of the state.
//!
//! Entered when a copy is written and when one is opened. Invariant: what is decoded equals what was
//! encoded; anything else is an error, never a panic. A stored format: [`VERSION`] names it; version 1, which says
//! what types are called and not what they are made of, is read. Plain data, lives on any thread.

use std::time::Duration;

use thalweg_memory::record::order;
use thalweg_memory::{DamagedKey, Schema};

use crate::descriptor::{StateDescriptor, StateKind};
use crate::state_type::StateType;
use crate::ttl::{StateTtl, TtlUpdate, TtlVisibility};

/// The version of the encoding.
const VERSION: u8 = 2;
/// The version without what types are made of.
const WITHOUT_FIELDS: u8 = 1;

/// Bytes that describe no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamagedDescriptor {
    /// They were written by a newer engine.
    #[error(
        "the description of a state has version {version}, and this engine reads up to {VERSION}: restore \
         it with the engine that wrote it, or a newer one"
    )]
    Newer {
        /// The version found.
        version: u8,
    },
    /// They are cut off, or hold what cannot be.
    #[error(
        "the description of a state is damaged ({what}): restore from another copy, which is whole"
    )]
    Damaged {
        /// What is wrong.
        what: String,
    },
}

impl From<DamagedKey> for DamagedDescriptor {
    fn from(damaged: DamagedKey) -> Self {
        let what = damaged.to_string();
        DamagedDescriptor::Damaged { what }
    }
}

/// The kinds by their numbers in the encoding.
const KINDS: [StateKind; 7] = [
    StateKind::Value,
    StateKind::Reducing,
    StateKind::List,
    StateKind::Map,
    StateKind::Aggregating,
    StateKind::Timers,
    StateKind::Broadcast,
];

fn number_of(kind: StateKind) -> u8 {
    match kind {
        StateKind::Value => 0,
        StateKind::Reducing => 1,
        StateKind::List => 2,
        StateKind::Map => 3,
        StateKind::Aggregating => 4,
        StateKind::Timers => 5,
        StateKind::Broadcast => 6,
    }
}

impl StateDescriptor {
    /// Appends the description as bytes.
    ///
    /// ```
    /// use thalweg_state::StateDescriptor;
    /// let clicks = StateDescriptor::value::<u64>("clicks").of_keys::<String, ()>();
    /// let mut bytes = Vec::new();
    /// clicks.encode(&mut bytes);
    /// let mut rest = &bytes[..];
    /// assert_eq!(StateDescriptor::decode(&mut rest), Ok(clicks));
    /// assert!(rest.is_empty());
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) {
        let types = [&self.keys, &self.namespaces, &self.values];
        // One out of a copy of before knows no more than was written there.
        let schemas = types.map(|it| it.schema.as_ref());
        let version = match schemas.iter().all(Option::is_some) {
            true => VERSION,
            false => WITHOUT_FIELDS,
        };
        order::encode_u8(version, out);
        order::encode_u8(number_of(self.kind), out);
        order::encode_bytes(self.name.as_bytes(), out);
        for known in types {
            order::encode_bytes(known.name.as_bytes(), out);
        }
        order::encode_u32(self.version, out);
        order::encode_presence(self.ttl.is_some(), out);
        if let Some(ttl) = self.ttl {
            let on_read = ttl.update() == TtlUpdate::OnReadAndWrite;
            let shows = ttl.visibility() == TtlVisibility::ReturnExpiredIfNotCleanedUp;
            order::encode_i64(ttl.milliseconds(), out);
            order::encode_presence(on_read, out);
            order::encode_presence(shows, out);
        }
        if version > WITHOUT_FIELDS {
            for schema in schemas.into_iter().flatten() {
                order::encode_bytes(schema.as_str().as_bytes(), out);
            }
        }
    }

    /// Takes a description off the front of `input`.
    ///
    /// # Errors
    /// When there is none, or one of a newer version.
    pub fn decode(input: &mut &[u8]) -> Result<StateDescriptor, DamagedDescriptor> {
        let format = order::decode_u8(input)?;
        if format > VERSION {
            return Err(DamagedDescriptor::Newer { version: format });
        }
        let kind = order::decode_u8(input)?;
        let Some(&kind) = KINDS.get(usize::from(kind)) else {
            let what = format!("there is no kind {kind} of state");
            return Err(DamagedDescriptor::Damaged { what });
        };
        let name = text(input)?;
        let names = [text(input)?, text(input)?, text(input)?];
        let version = order::decode_u32(input)?;
        let ttl = if order::decode_presence(input)? {
            Some(time_to_live(input)?)
        } else {
            None
        };
        let schemas = match format > WITHOUT_FIELDS {
            true => [schema(input)?, schema(input)?, schema(input)?].map(Some),
            false => [None, None, None],
        };
        let [keys, namespaces, values] = types(names, schemas);
        Ok(StateDescriptor {
            name,
            kind,
            keys,
            namespaces,
            values,
            version,
            ttl,
            migrations: Vec::new(),
        })
    }
}

fn types(names: [String; 3], schemas: [Option<Schema>; 3]) -> [StateType; 3] {
    let [keys, namespaces, values] = names;
    let [of_keys, of_namespaces, of_values] = schemas;
    [
        (keys, of_keys),
        (namespaces, of_namespaces),
        (values, of_values),
    ]
    .map(|(name, schema)| StateType { name, schema })
}

fn schema(input: &mut &[u8]) -> Result<Schema, DamagedDescriptor> {
    Schema::stored(text(input)?).ok_or_else(|| DamagedDescriptor::Damaged {
        what: "what a type is made of is longer than it can be".to_owned(),
    })
}

fn text(input: &mut &[u8]) -> Result<String, DamagedDescriptor> {
    String::from_utf8(order::decode_bytes(input)?).map_err(|_| DamagedDescriptor::Damaged {
        what: "a name is not UTF-8".to_owned(),
    })
}

fn time_to_live(input: &mut &[u8]) -> Result<StateTtl, DamagedDescriptor> {
    let Ok(milliseconds) = u64::try_from(order::decode_i64(input)?) else {
        let what = "a time to live is negative".to_owned();
        return Err(DamagedDescriptor::Damaged { what });
    };
    let mut ttl = StateTtl::new(Duration::from_millis(milliseconds));
    if order::decode_presence(input)? {
        ttl = ttl.with_update(TtlUpdate::OnReadAndWrite);
    }
    if order::decode_presence(input)? {
        ttl = ttl.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
    }
    Ok(ttl)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ttl() -> impl Strategy<Value = StateTtl> {
        (any::<u64>(), any::<bool>(), any::<bool>()).prop_map(|(time, on_read, shows)| {
            let mut ttl = StateTtl::new(Duration::from_millis(time));
            if on_read {
                ttl = ttl.with_update(TtlUpdate::OnReadAndWrite);
            }
            if shows {
                ttl = ttl.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
            }
            ttl
        })
    }

    fn descriptor() -> impl Strategy<Value = StateDescriptor> {
        let kind = prop::sample::select(&KINDS[..]);
        (any::<String>(), kind, any::<u32>(), prop::option::of(ttl())).prop_map(
            |(name, kind, version, ttl)| {
                let state = StateDescriptor::new::<Vec<u8>>(name, kind)
                    .of_keys::<String, u64>()
                    .with_version(version);
                match ttl {
                    Some(ttl) => state.with_ttl(ttl),
                    None => state,
                }
            },
        )
    }

    #[test]
    fn kinds_have_the_numbers_they_are_found_by() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(usize::from(number_of(kind)), number);
        }
    }

    #[test]
    fn what_changed_is_named() {
        let old = StateDescriptor::value::<u64>("sum").of_keys::<String, ()>();
        assert_eq!(old.check_restore(&old), Ok(()));
        let hour = StateTtl::new(Duration::from_secs(3_600));
        for (new, what) in [
            (
                StateDescriptor::list::<u64>("sum").of_keys::<String, ()>(),
                "kind",
            ),
            (
                StateDescriptor::value::<u64>("sum").of_keys::<u64, ()>(),
                "keys",
            ),
            (
                StateDescriptor::value::<u64>("sum").of_keys::<String, u64>(),
                "namespaces",
            ),
            (
                StateDescriptor::value::<u32>("sum").of_keys::<String, ()>(),
                "values",
            ),
            (old.clone().with_version(2), "version"),
            (old.clone().with_ttl(hour), "time to live"),
        ] {
            let refused = old.check_restore(&new).unwrap_err().to_string();
            assert!(
                refused.contains(what) && refused.contains("'sum'"),
                "{refused}"
            );
        }
    }

    /// Golden: what is appended to a description of version 1.
    #[test]
    fn what_types_are_made_of_stands_behind_the_rest() {
        let state = StateDescriptor::value::<Option<u8>>("s").of_keys::<String, i64>();
        let mut bytes = Vec::new();
        state.encode(&mut bytes);
        let behind = b"\0String\0\x01i64\0\x01Option<u8>\0\x01";
        assert_eq!(
            (bytes[0], &bytes[bytes.len() - behind.len()..]),
            (2, &behind[..])
        );
        // One that is too long is none.
        let (mut long, at) = (bytes.clone(), bytes.len() - 2);
        long.splice(at..at, [b'x'; 9_000]);
        let refused = StateDescriptor::decode(&mut &long[..]).unwrap_err();
        assert!(refused.to_string().contains("longer than"), "{refused}");
        bytes[0] = 3;
        let newer = StateDescriptor::decode(&mut &bytes[..]);
        assert_eq!(newer, Err(DamagedDescriptor::Newer { version: 3 }));
    }

    proptest! {
        #[test]
        fn descriptions_come_back_and_damage_does_no_harm(
            state in descriptor(),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut bytes = Vec::new();
            state.encode(&mut bytes);
            let whole = bytes.clone();
            let mut rest = &bytes[..];
            prop_assert_eq!(StateDescriptor::decode(&mut rest), Ok(state));
            prop_assert!(rest.is_empty());
            for end in 0..bytes.len() {
                prop_assert!(StateDescriptor::decode(&mut &whole[..end]).is_err());
            }
            bytes[at.index(whole.len())] ^= 1_u8 << bit;
            let mut rest = &bytes[..];
            if let Ok(other) = StateDescriptor::decode(&mut rest) {
                let mut again = Vec::new();
                other.encode(&mut again);
                let taken = bytes.len() - rest.len();
                // Only the version may say that it is older than it is.
                prop_assert_eq!(&again[1..], &bytes[1..taken]);
            }
        }
    }
}
