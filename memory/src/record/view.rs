//! What flows through a pipe: owned records, and borrowings from a segment or a line.
//!
//! [`Item`] names a family of values by lifetime; [`Wire`] says how a member of it is written into and
//! read out of a segment. Entered from the buffer for every record, so everything is inlined and nothing
//! allocates but reviving an owned value that itself owns memory.
//!
//! Invariant: `read(archive of x)` equals `x` for every item; the archive is that of `Wire::Form`,
//! whoever wrote it. Lives on one shard's thread.

use std::marker::PhantomData;

use rkyv::munge::munge;
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::tuple::ArchivedTuple2;
use rkyv::{Archive, Place, Serialize};

use super::archive::{Archiver, Damaged, Full, check_archive, revive};
use super::{Checker, Record};

/// A family of values that may borrow: `Of<'a>` is what a function is handed.
///
/// For a [`Record`] it is the record itself. Never bound a type by both `Record` and `Item`: the
/// compiler could then no longer tell that `Of` is the type itself.
pub trait Item: 'static {
    /// The value, borrowing for `'a` at most.
    type Of<'a>;

    /// The same value with a shorter borrowing.
    fn shorten<'short, 'long: 'short>(item: Self::Of<'long>) -> Self::Of<'short>;
}

impl<T: Record> Item for T {
    type Of<'a> = T;

    #[inline(always)]
    fn shorten<'short, 'long: 'short>(item: T) -> T {
        item
    }
}

/// Text, borrowed: `Of<'a>` is `&'a str`. Archived exactly as `String`.
#[derive(Clone, Copy, Debug)]
pub struct Str;

impl Item for Str {
    type Of<'a> = &'a str;

    #[inline(always)]
    fn shorten<'short, 'long: 'short>(item: &'long str) -> &'short str {
        item
    }
}

/// A record read where it lies: `Of<'a>` is `&'a T::Archived`.
#[derive(Clone, Copy, Debug)]
pub struct View<T>(PhantomData<fn() -> T>);

impl<T: Record> Item for View<T> {
    type Of<'a> = &'a T::Archived;

    #[inline(always)]
    fn shorten<'short, 'long: 'short>(item: &'long T::Archived) -> &'short T::Archived {
        item
    }
}

/// A key that may be borrowed with a value that is owned: `Of<'a>` is `(K::Of<'a>, V)`. Archived as the
/// tuple of both.
#[derive(Clone, Copy, Debug)]
pub struct KeyValue<K, V>(PhantomData<fn() -> (K, V)>);

impl<K: Item, V: Record> Item for KeyValue<K, V> {
    type Of<'a> = (K::Of<'a>, V);

    #[inline(always)]
    fn shorten<'short, 'long: 'short>((key, value): (K::Of<'long>, V)) -> (K::Of<'short>, V) {
        (K::shorten(key), value)
    }
}

/// The archive of an item.
pub(crate) type ArchivedOf<W> = <<W as Wire>::Form as Archive>::Archived;

/// An item that can be written into a segment and read there.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written into a segment",
    note = "what crosses an exchange is a `Record`, `Str`, `View<Record>` or `KeyValue<_, Record>`"
)]
pub trait Wire: Item {
    /// The owned record with the same archive.
    type Form: Record;
    /// What writing hands to the resolving of the root.
    type Resolver;

    /// The size of an archive that is never more than its root; `None` when there may be other parts.
    const FIXED: Option<usize> = match <Self::Form as Record>::OUT_OF_LINE {
        true => None,
        false => Some(size_of::<<Self::Form as Archive>::Archived>()),
    };
    /// The alignment of the archive, bytes.
    const ALIGN: usize = align_of::<<Self::Form as Archive>::Archived>();

    /// Writes the parts beside the root.
    ///
    /// # Errors
    /// When they do not fit.
    fn serialize(item: &Self::Of<'_>, to: &mut Archiver) -> Result<Self::Resolver, Full>;

    /// Writes the root.
    fn resolve(
        item: &Self::Of<'_>,
        resolver: Self::Resolver,
        out: Place<<Self::Form as Archive>::Archived>,
    );

    /// The item in its archive.
    fn read(archived: &<Self::Form as Archive>::Archived) -> Self::Of<'_>;

    /// Writes the item; answers the position of the root.
    ///
    /// # Errors
    /// When it does not fit; what was written then is to be forgotten.
    #[inline]
    fn write(item: &Self::Of<'_>, to: &mut Archiver) -> Result<usize, Full> {
        let resolver = Self::serialize(item, to)?;
        let out = to.place::<<Self::Form as Archive>::Archived>()?;
        Self::resolve(item, resolver, out);
        Ok(out.pos())
    }

    /// Whether `bytes` (from another process, aligned as they were written) hold a valid archive with
    /// its root at `root` and every other part before it.
    ///
    /// # Errors
    /// When they do not.
    fn check(bytes: &[u8], root: usize) -> Result<(), Damaged> {
        check_archive::<<Self::Form as Archive>::Archived>(bytes, root)
    }
}

impl<T: Record> Wire for T {
    type Form = T;
    type Resolver = <T as Archive>::Resolver;

    #[inline(always)]
    fn serialize(item: &T, to: &mut Archiver) -> Result<Self::Resolver, Full> {
        Serialize::serialize(item, to)
    }

    #[inline(always)]
    fn resolve(item: &T, resolver: Self::Resolver, out: Place<T::Archived>) {
        Archive::resolve(item, resolver, out);
    }

    #[inline(always)]
    fn read(archived: &T::Archived) -> T {
        revive(archived)
    }
}

impl Wire for Str {
    type Form = String;
    type Resolver = StringResolver;

    #[inline]
    fn serialize(item: &&str, to: &mut Archiver) -> Result<StringResolver, Full> {
        ArchivedString::serialize_from_str(item, to)
    }

    #[inline]
    fn resolve(item: &&str, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(item, resolver, out);
    }

    #[inline]
    fn read(archived: &ArchivedString) -> &str {
        archived.as_str()
    }
}

impl<T: Record> Wire for View<T> {
    type Form = T;
    /// The revived record: an archive holds relative offsets and cannot be copied as it is.
    type Resolver = (T, <T as Archive>::Resolver);

    #[inline]
    fn serialize(item: &&T::Archived, to: &mut Archiver) -> Result<Self::Resolver, Full> {
        let record: T = revive(*item);
        let resolver = Serialize::serialize(&record, to)?;
        Ok((record, resolver))
    }

    #[inline]
    fn resolve(_: &&T::Archived, (record, resolver): Self::Resolver, out: Place<T::Archived>) {
        Archive::resolve(&record, resolver, out);
    }

    #[inline(always)]
    fn read(archived: &T::Archived) -> &T::Archived {
        archived
    }
}

impl<K: Wire, V: Record> Wire for KeyValue<K, V> {
    type Form = (K::Form, V);
    type Resolver = (K::Resolver, <V as Archive>::Resolver);

    #[inline]
    fn serialize((key, value): &(K::Of<'_>, V), to: &mut Archiver) -> Result<Self::Resolver, Full> {
        Ok((K::serialize(key, to)?, Serialize::serialize(value, to)?))
    }

    #[inline]
    fn resolve(
        (key, value): &(K::Of<'_>, V),
        resolver: Self::Resolver,
        out: Place<ArchivedTuple2<ArchivedOf<K>, V::Archived>>,
    ) {
        munge!(let ArchivedTuple2(out_key, out_value) = out);
        K::resolve(key, resolver.0, out_key);
        Archive::resolve(value, resolver.1, out_value);
    }

    #[inline]
    fn read(archived: &ArchivedTuple2<ArchivedOf<K>, V::Archived>) -> (K::Of<'_>, V) {
        (K::read(&archived.0), revive(&archived.1))
    }
}

/// Held by the compiler: the checker needs no lifetime, so `Record` has no higher-ranked bounds.
const _: fn() = || {
    fn checked<A: rkyv::bytecheck::CheckBytes<Checker>>() {}
    checked::<ArchivedString>();
};
