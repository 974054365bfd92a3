//! The records the engine brings along: numbers, text, options, collections, tuples.
//!
//! Implementations only, explicit and not blanket, so that a missing one reads as "cannot travel".
//! Lives on any thread.
//!
//! Invariant: `OUT_OF_LINE` is false only for types whose serialisation writes nothing; the buffer
//! enforces it by giving such types no room beside the root.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::{
    NonZeroI8, NonZeroI16, NonZeroI32, NonZeroI64, NonZeroI128, NonZeroU8, NonZeroU16, NonZeroU32,
    NonZeroU64, NonZeroU128,
};
use std::time::Duration;

use rkyv::Archive;

use super::{Record, SchemaWriter};

macro_rules! plain_records {
    ($($type:ty)*) => {$(
        impl Record for $type {
            const OUT_OF_LINE: bool = false;

            fn describe(to: &mut SchemaWriter) {
                to.text(stringify!($type));
            }

            #[inline(always)]
            fn plain_copy(&self) -> Option<Self> {
                Some(*self)
            }
        }
    )*};
}

plain_records! {
    () bool char u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64
    NonZeroU8 NonZeroU16 NonZeroU32 NonZeroU64 NonZeroU128
    NonZeroI8 NonZeroI16 NonZeroI32 NonZeroI64 NonZeroI128
    Duration
}

/// The heap bytes of all `records`, for collections whose own memory is counted apart.
fn held_by<'a, T: Record>(records: impl IntoIterator<Item = &'a T>) -> usize {
    if T::OUT_OF_LINE {
        records.into_iter().map(T::heap_bytes).sum()
    } else {
        0
    }
}

impl Record for String {
    fn describe(to: &mut SchemaWriter) {
        to.text("String");
    }

    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl Record for Box<str> {
    fn describe(to: &mut SchemaWriter) {
        to.text("Box<str>");
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl<T: Record> Record for Option<T> {
    const OUT_OF_LINE: bool = T::OUT_OF_LINE;

    fn describe(to: &mut SchemaWriter) {
        to.text("Option<");
        T::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }

    #[inline]
    fn plain_copy(&self) -> Option<Self> {
        match self {
            None => Some(None),
            Some(value) => value.plain_copy().map(Some),
        }
    }
}

impl<T: Record, E: Record> Record for Result<T, E> {
    const OUT_OF_LINE: bool = T::OUT_OF_LINE || E::OUT_OF_LINE;

    fn describe(to: &mut SchemaWriter) {
        to.text("Result<");
        T::describe(to);
        to.text(", ");
        E::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Ok(value) => value.heap_bytes(),
            Err(error) => error.heap_bytes(),
        }
    }
}

impl<T: Record> Record for Box<T> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("Box<");
        T::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        size_of::<T>() + T::heap_bytes(self)
    }
}

impl<T: Record> Record for Box<[T]> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("Box<[");
        T::describe(to);
        to.text("]>");
    }

    fn heap_bytes(&self) -> usize {
        size_of_val::<[T]>(self) + held_by(self.iter())
    }
}

impl<T: Record> Record for Vec<T> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("Vec<");
        T::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + held_by(self)
    }
}

impl<T: Record> Record for VecDeque<T> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("VecDeque<");
        T::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + held_by(self)
    }
}

impl<T: Record, const N: usize> Record for [T; N] {
    const OUT_OF_LINE: bool = T::OUT_OF_LINE;

    fn describe(to: &mut SchemaWriter) {
        to.text("[");
        T::describe(to);
        to.text("; ");
        to.number(N);
        to.text("]");
    }

    fn heap_bytes(&self) -> usize {
        held_by(self)
    }
}

impl<K, V> Record for BTreeMap<K, V>
where
    K: Record + Ord + Archive<Archived: Ord>,
    V: Record,
{
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("BTreeMap<");
        K::describe(to);
        to.text(", ");
        V::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        // Nodes of eleven places are on average two thirds full.
        let places = self.len() + self.len() / 2;
        places * (size_of::<K>() + size_of::<V>()) + held_by(self.keys()) + held_by(self.values())
    }
}

impl<K: Record + Ord + Archive<Archived: Ord>> Record for BTreeSet<K> {
    const OUT_OF_LINE: bool = true;

    fn describe(to: &mut SchemaWriter) {
        to.text("BTreeSet<");
        K::describe(to);
        to.text(">");
    }

    fn heap_bytes(&self) -> usize {
        (self.len() + self.len() / 2) * size_of::<K>() + held_by(self)
    }
}

macro_rules! tuple_records {
    ($($($name:ident $index:tt)+;)*) => {$(
        impl<$($name: Record),+> Record for ($($name,)+) {
            const OUT_OF_LINE: bool = $($name::OUT_OF_LINE)||+;

            fn describe(to: &mut SchemaWriter) {
                let parts: &[fn(&mut SchemaWriter)] = &[$($name::describe),+];
                to.text("(");
                for (at, part) in parts.iter().enumerate() {
                    to.text(if at == 0 { "" } else { ", " });
                    part(to);
                }
                to.text(if parts.len() == 1 { ",)" } else { ")" });
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                [$(self.$index.heap_bytes()),+].iter().sum()
            }

            #[inline]
            fn plain_copy(&self) -> Option<Self> {
                Some(($(self.$index.plain_copy()?,)+))
            }
        }
    )*};
}

tuple_records! {
    A 0;
    A 0 B 1;
    A 0 B 1 C 2;
    A 0 B 1 C 2 D 3;
    A 0 B 1 C 2 D 3 E 4;
    A 0 B 1 C 2 D 3 E 4 F 5;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10;
    A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11;
}
