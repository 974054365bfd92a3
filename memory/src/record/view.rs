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

/// Keeps [`Wire`] to this room.
mod sealed {
    /// The items that can be written.
    pub trait Sealed {}
}

impl<T: Record> sealed::Sealed for T {}
impl sealed::Sealed for Str {}
impl<T: Record> sealed::Sealed for View<T> {}
impl<K: Wire, V: Record> sealed::Sealed for KeyValue<K, V> {}

/// An item that can be written into a segment and read there.
///
/// Sealed: reading in place is sound because every item with one `Form` writes a whole archive of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written into a segment",
    note = "what crosses an exchange is a `Record`, `Str`, `View<Record>` or `KeyValue<_, Record>`"
)]
pub trait Wire: Item + sealed::Sealed {
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

    /// The archive of an item that is eight bytes with nothing beside them, as a little-endian word: a
    /// short way for what is common. `None` for all others, and for items that have no such form.
    #[inline(always)]
    fn word(item: &Self::Of<'_>) -> Option<u64> {
        let _ = item;
        None
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

    #[inline(always)]
    fn word(item: &&str) -> Option<u64> {
        short_word(item.as_bytes())
    }

    #[inline]
    fn resolve(item: &&str, resolver: StringResolver, out: Place<ArchivedString>) {
        let Some(word) = short_word(item.as_bytes()) else {
            return ArchivedString::resolve_from_str(item, resolver, out);
        };
        // SAFETY: an archived string is 8 bytes without invalid values; the place is writable.
        let place = unsafe { out.ptr() }.cast::<[u8; SHORT]>();
        // SAFETY: as above; bytes need no alignment.
        unsafe { place.write(word.to_le_bytes()) };
    }

    #[inline]
    fn read(archived: &ArchivedString) -> &str {
        let start = std::ptr::from_ref(archived).cast::<[u8; SHORT]>();
        // SAFETY: an archived string is 8 initialised bytes.
        let word = u64::from_le_bytes(unsafe { *start });
        if word & 0b1100_0000 == 0b1000_0000 {
            return archived.as_str();
        }
        // SAFETY: short text starts at the string itself and is at most 8 bytes long.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), short_length(word)) };
        // SAFETY: written from a `str`, or checked to be one; `short_length` is rkyv's own length.
        unsafe { std::str::from_utf8_unchecked(bytes) }
    }
}

/// Text of up to this many bytes lies in the archived string itself, filled up with 0xFF (which occurs
/// in no UTF-8). rkyv writes and measures it byte by byte; words are the commonest key there is.
const SHORT: usize = rkyv::string::repr::INLINE_CAPACITY;
const _: () = assert!(SHORT == 8 && size_of::<ArchivedString>() == 8);

/// Short text as the word it is archived as; `None` for longer text.
#[inline(always)]
fn short_word(text: &[u8]) -> Option<u64> {
    let length = text.len();
    let word = match length {
        0 => 0,
        1 => u64::from(text[0]),
        // One path for all other lengths, four pairs that overlap in shorter text: branches on the
        // length of words are mispredicted.
        2..=SHORT => {
            let last = length - 2;
            [0, last.min(2), last.min(4), last]
                .into_iter()
                .fold(0, |word, at| {
                    let Some(pair) = text[at..].first_chunk() else {
                        unreachable!("a pair begins at `last` at the latest");
                    };
                    word | u64::from(u16::from_le_bytes(*pair)) << (8 * at)
                })
        }
        _ => return None,
    };
    // Twice half of the way: a shift by all 64 bits is none.
    Some(word | u64::MAX << (4 * length) << (4 * length))
}

/// The length of short text: where the first 0xFF stands.
#[inline(always)]
fn short_length(word: u64) -> usize {
    const LOW: u64 = u64::from_le_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    // The lowest byte of `!word` that is 0 is the lowest whose high bit is set here.
    let ends = (!word).wrapping_sub(LOW) & word & HIGH;
    (ends.trailing_zeros() / 8) as usize
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
