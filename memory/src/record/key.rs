//! What keyed state can be kept under: hashed, compared, stored and lent without copying a record.
//!
//! [`Key`] works on items, so that a word borrowed from a line finds its state without becoming a
//! `String`. [`RecordKey`] is the owned side, what users implement by `#[record(key)]`; every
//! `RecordKey` is a `Key`.
//!
//! Invariants: equal keys hash equally in whatever form (`String`, `Str`); `same`, `hash` and `encode`
//! agree on what is equal; hashing and comparing never allocate. Floating-point numbers are no keys: they
//! have values that are equal but differ, and one that does not equal itself. Lives on any thread.

use compact_str::CompactString;
use thalweg_core::key_group::KeyHash;

use super::order::{self, DamagedKey};
use super::view::{Item, Str};
use super::{Record, SchemaWriter};

/// An item by which a stream is partitioned and state is found.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "keys are integers, `bool`, `char`, text, options and tuples (to 4) of them, and types with `#[record(key)]`",
    note = "floating-point numbers are no keys: use their bits or a rounded integer"
)]
pub trait Key: Item {
    /// What a table keeps of it.
    type Stored: 'static;

    /// The stable hash that decides key group and place.
    fn hash(key: &Self::Of<'_>) -> KeyHash;

    /// Whether `stored` is this key.
    fn same(stored: &Self::Stored, key: &Self::Of<'_>) -> bool;

    /// A copy to keep.
    fn store(key: &Self::Of<'_>) -> Self::Stored;

    /// Makes `stored` this key, in the memory it has where that is enough.
    fn assign(stored: &mut Self::Stored, key: &Self::Of<'_>);

    /// The key back from what is kept.
    fn lend(stored: &Self::Stored) -> Self::Of<'_>;

    /// Bytes `stored` holds on the heap.
    fn stored_heap_bytes(stored: &Self::Stored) -> usize;

    /// Appends the canonical bytes, which compare as the keys do (see [`order`]).
    fn encode(key: &Self::Of<'_>, out: &mut Vec<u8>);

    /// Takes canonical bytes off the front of `input` and answers what a table keeps of their key.
    ///
    /// # Errors
    /// When they are not what [`Key::encode`] writes for any key.
    fn decode(input: &mut &[u8]) -> Result<Self::Stored, DamagedKey>;

    /// Says what the type is made of, as the record of the same keys does.
    fn describe(to: &mut SchemaWriter);
}

/// A record that is a key. Get it by `#[record(key)]`; what the methods promise stands at [`Key`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, or a part of one",
    note = "keys are integers, `bool`, `char`, text, options and tuples (to 4) of them, and types with `#[record(key)]`",
    note = "floating-point numbers are no keys: use their bits or a rounded integer"
)]
pub trait RecordKey: Record {
    /// What a table keeps of it.
    type Stored: 'static;

    /// See [`Key::hash`].
    fn key_hash(&self) -> KeyHash;

    /// See [`Key::same`].
    fn is_stored(&self, stored: &Self::Stored) -> bool;

    /// See [`Key::store`].
    fn to_stored(&self) -> Self::Stored;

    /// See [`Key::assign`].
    #[inline]
    fn assign_to(&self, stored: &mut Self::Stored) {
        *stored = self.to_stored();
    }

    /// See [`Key::lend`].
    fn from_stored(stored: &Self::Stored) -> Self;

    /// See [`Key::stored_heap_bytes`].
    #[inline]
    fn stored_heap_bytes(_: &Self::Stored) -> usize {
        0
    }

    /// See [`Key::encode`].
    fn encode_key(&self, out: &mut Vec<u8>);

    /// See [`Key::decode`].
    ///
    /// # Errors
    /// When the bytes are not those of a key.
    fn decode_stored(input: &mut &[u8]) -> Result<Self::Stored, DamagedKey>;
}

impl<T: RecordKey> Key for T {
    type Stored = <T as RecordKey>::Stored;

    #[inline(always)]
    fn hash(key: &T) -> KeyHash {
        key.key_hash()
    }

    #[inline(always)]
    fn same(stored: &Self::Stored, key: &T) -> bool {
        key.is_stored(stored)
    }

    #[inline(always)]
    fn store(key: &T) -> Self::Stored {
        key.to_stored()
    }

    #[inline(always)]
    fn assign(stored: &mut Self::Stored, key: &T) {
        key.assign_to(stored);
    }

    #[inline(always)]
    fn lend(stored: &Self::Stored) -> T {
        T::from_stored(stored)
    }

    #[inline(always)]
    fn stored_heap_bytes(stored: &Self::Stored) -> usize {
        <T as RecordKey>::stored_heap_bytes(stored)
    }

    #[inline]
    fn encode(key: &T, out: &mut Vec<u8>) {
        key.encode_key(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self::Stored, DamagedKey> {
        T::decode_stored(input)
    }

    fn describe(to: &mut SchemaWriter) {
        <T as Record>::describe(to);
    }
}

impl Key for Str {
    type Stored = CompactString;

    #[inline]
    fn hash(key: &&str) -> KeyHash {
        KeyHash::of_bytes(key.as_bytes())
    }

    #[inline]
    fn same(stored: &CompactString, key: &&str) -> bool {
        stored == key
    }

    #[inline]
    fn store(key: &&str) -> CompactString {
        CompactString::new(key)
    }

    #[inline]
    fn assign(stored: &mut CompactString, key: &&str) {
        stored.clear();
        stored.push_str(key);
    }

    #[inline]
    fn lend(stored: &CompactString) -> &str {
        stored
    }

    #[inline]
    fn stored_heap_bytes(stored: &CompactString) -> usize {
        if stored.is_heap_allocated() {
            stored.capacity()
        } else {
            0
        }
    }

    #[inline]
    fn encode(key: &&str, out: &mut Vec<u8>) {
        order::encode_bytes(key.as_bytes(), out);
    }

    fn decode(input: &mut &[u8]) -> Result<CompactString, DamagedKey> {
        CompactString::from_utf8(order::decode_bytes(input)?)
            .map_err(|_| DamagedKey::new("a text is not UTF-8"))
    }

    fn describe(to: &mut SchemaWriter) {
        <String as Record>::describe(to);
    }
}

/// The methods of a key that is kept as it is.
macro_rules! kept_as_is {
    () => {
        type Stored = Self;

        #[inline(always)]
        fn is_stored(&self, stored: &Self) -> bool {
            self == stored
        }

        #[inline(always)]
        fn to_stored(&self) -> Self {
            *self
        }

        #[inline(always)]
        fn from_stored(stored: &Self) -> Self {
            *stored
        }
    };
}

macro_rules! integer_keys {
    ($($type:ty, $encode:ident, $decode:ident, $hash:ident as $wide:ty;)*) => {$(
        impl RecordKey for $type {
            kept_as_is!();

            #[inline(always)]
            fn key_hash(&self) -> KeyHash {
                KeyHash::$hash(*self as $wide)
            }

            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                order::$encode(*self, out);
            }

            #[inline]
            fn decode_stored(input: &mut &[u8]) -> Result<Self, DamagedKey> {
                order::$decode(input)
            }
        }
    )*};
}

// Signed numbers are extended with their sign: equal numbers of any width up to 64 bits hash equally.
integer_keys! {
    u8, encode_u8, decode_u8, of_u64 as u64;
    u16, encode_u16, decode_u16, of_u64 as u64;
    u32, encode_u32, decode_u32, of_u64 as u64;
    u64, encode_u64, decode_u64, of_u64 as u64;
    u128, encode_u128, decode_u128, of_u128 as u128;
    i8, encode_i8, decode_i8, of_u64 as u64;
    i16, encode_i16, decode_i16, of_u64 as u64;
    i32, encode_i32, decode_i32, of_u64 as u64;
    i64, encode_i64, decode_i64, of_u64 as u64;
    i128, encode_i128, decode_i128, of_u128 as u128;
}

impl RecordKey for bool {
    kept_as_is!();

    #[inline(always)]
    fn key_hash(&self) -> KeyHash {
        KeyHash::of_u64((*self).into())
    }

    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        order::encode_u8((*self).into(), out);
    }

    #[inline]
    fn decode_stored(input: &mut &[u8]) -> Result<bool, DamagedKey> {
        order::decode_presence(input)
    }
}

impl RecordKey for char {
    kept_as_is!();

    #[inline(always)]
    fn key_hash(&self) -> KeyHash {
        KeyHash::of_u64((*self).into())
    }

    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        order::encode_u32((*self).into(), out);
    }

    #[inline]
    fn decode_stored(input: &mut &[u8]) -> Result<char, DamagedKey> {
        char::from_u32(order::decode_u32(input)?).ok_or(DamagedKey::new("a character is none"))
    }
}

impl RecordKey for () {
    kept_as_is!();

    #[inline(always)]
    fn key_hash(&self) -> KeyHash {
        KeyHash::of_u64(0)
    }

    #[inline]
    fn encode_key(&self, _: &mut Vec<u8>) {}

    #[inline]
    fn decode_stored(_: &mut &[u8]) -> Result<(), DamagedKey> {
        Ok(())
    }
}

impl RecordKey for String {
    type Stored = CompactString;

    #[inline]
    fn key_hash(&self) -> KeyHash {
        Str::hash(&self.as_str())
    }

    #[inline]
    fn is_stored(&self, stored: &CompactString) -> bool {
        Str::same(stored, &self.as_str())
    }

    #[inline]
    fn to_stored(&self) -> CompactString {
        Str::store(&self.as_str())
    }

    #[inline]
    fn assign_to(&self, stored: &mut CompactString) {
        Str::assign(stored, &self.as_str());
    }

    #[inline]
    fn from_stored(stored: &CompactString) -> String {
        stored.to_string()
    }

    #[inline]
    fn stored_heap_bytes(stored: &CompactString) -> usize {
        <Str as Key>::stored_heap_bytes(stored)
    }

    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        Str::encode(&self.as_str(), out);
    }

    #[inline]
    fn decode_stored(input: &mut &[u8]) -> Result<CompactString, DamagedKey> {
        Str::decode(input)
    }
}

impl<K: RecordKey> RecordKey for Option<K> {
    type Stored = Option<K::Stored>;

    #[inline]
    fn key_hash(&self) -> KeyHash {
        match self {
            None => KeyHash::of_u64(0),
            Some(key) => KeyHash::of_u64(1).combine(key.key_hash()),
        }
    }

    #[inline]
    fn is_stored(&self, stored: &Self::Stored) -> bool {
        match (self, stored) {
            (None, None) => true,
            (Some(key), Some(stored)) => key.is_stored(stored),
            _ => false,
        }
    }

    #[inline]
    fn to_stored(&self) -> Self::Stored {
        self.as_ref().map(K::to_stored)
    }

    #[inline]
    fn assign_to(&self, stored: &mut Self::Stored) {
        match (self, stored) {
            (Some(key), Some(stored)) => key.assign_to(stored),
            (_, stored) => *stored = self.to_stored(),
        }
    }

    #[inline]
    fn from_stored(stored: &Self::Stored) -> Self {
        stored.as_ref().map(K::from_stored)
    }

    #[inline]
    fn stored_heap_bytes(stored: &Self::Stored) -> usize {
        stored.as_ref().map_or(0, K::stored_heap_bytes)
    }

    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        order::encode_presence(self.is_some(), out);
        if let Some(key) = self {
            key.encode_key(out);
        }
    }

    #[inline]
    fn decode_stored(input: &mut &[u8]) -> Result<Self::Stored, DamagedKey> {
        order::decode_presence(input)?
            .then(|| K::decode_stored(input))
            .transpose()
    }
}

macro_rules! tuple_keys {
    ($($first:ident 0 $($name:ident $index:tt)+;)*) => {$(
        impl<$first: RecordKey, $($name: RecordKey),+> RecordKey for ($first, $($name,)+) {
            type Stored = ($first::Stored, $($name::Stored,)+);

            #[inline]
            fn key_hash(&self) -> KeyHash {
                self.0.key_hash()$(.combine(self.$index.key_hash()))+
            }

            #[inline]
            fn is_stored(&self, stored: &Self::Stored) -> bool {
                self.0.is_stored(&stored.0) $(&& self.$index.is_stored(&stored.$index))+
            }

            #[inline]
            fn to_stored(&self) -> Self::Stored {
                (self.0.to_stored(), $(self.$index.to_stored(),)+)
            }

            #[inline]
            fn assign_to(&self, stored: &mut Self::Stored) {
                self.0.assign_to(&mut stored.0);
                $(self.$index.assign_to(&mut stored.$index);)+
            }

            #[inline]
            fn from_stored(stored: &Self::Stored) -> Self {
                ($first::from_stored(&stored.0), $($name::from_stored(&stored.$index),)+)
            }

            #[inline]
            fn stored_heap_bytes(stored: &Self::Stored) -> usize {
                $first::stored_heap_bytes(&stored.0) $(+ $name::stored_heap_bytes(&stored.$index))+
            }

            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                self.0.encode_key(out);
                $(self.$index.encode_key(out);)+
            }

            #[inline]
            fn decode_stored(input: &mut &[u8]) -> Result<Self::Stored, DamagedKey> {
                Ok(($first::decode_stored(input)?, $($name::decode_stored(input)?,)+))
            }
        }
    )*};
}

tuple_keys! {
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
}
