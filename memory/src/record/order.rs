//! The canonical bytes of a key: equal keys have equal bytes, and bytes compare as keys do.
//!
//! Used where keys are sorted and merged (runs, snapshots). A stored format: [`KEY_ENCODING_VERSION`]
//! names it and golden values hold it; a change is a new version, never an edit. Pure functions, on any
//! thread.
//!
//! - unsigned integers: big-endian; signed: the same with the sign bit flipped; `bool`: 0 or 1;
//!   `char`: its number as `u32`; `()`: nothing;
//! - text and bytes: each 0x00 becomes 0x00 0xFF, and 0x00 0x01 ends it, so that a prefix sorts first
//!   whatever follows and no encoding is the beginning of another;
//! - options: 0 for `None`, 1 and the value for `Some`; tuples and structs: their parts in order; enums:
//!   the variant's number as `u32`, then its fields.
//!
//! Invariant: no encoding of a type is a proper prefix of another of that type, so parts may simply be
//! written one after the other.

/// The version of the key encoding; part of every saved state.
pub const KEY_ENCODING_VERSION: u16 = 1;

macro_rules! unsigned {
    ($($name:ident $type:ty;)*) => {$(
        #[doc = concat!("Appends a `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(value: $type, out: &mut Vec<u8>) {
            out.extend_from_slice(&value.to_be_bytes());
        }
    )*};
}

macro_rules! signed {
    ($($name:ident $type:ty;)*) => {$(
        #[doc = concat!("Appends an `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(value: $type, out: &mut Vec<u8>) {
            // Flipping the sign bit puts the negative numbers below the others.
            out.extend_from_slice(&(value ^ <$type>::MIN).to_be_bytes());
        }
    )*};
}

unsigned! { encode_u8 u8; encode_u16 u16; encode_u32 u32; encode_u64 u64; encode_u128 u128; }
signed! { encode_i8 i8; encode_i16 i16; encode_i32 i32; encode_i64 i64; encode_i128 i128; }

/// Appends a byte string (for text: its UTF-8 bytes).
#[inline]
pub fn encode_bytes(value: &[u8], out: &mut Vec<u8>) {
    out.reserve(value.len() + 2);
    for piece in value.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(piece);
        if piece.last() == Some(&0) {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// Appends whether an option holds a value; the value follows.
#[inline]
pub fn encode_presence(some: bool, out: &mut Vec<u8>) {
    out.push(some.into());
}

/// Bytes that are no canonical key of the type they should be of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bytes are not the canonical bytes of a key ({what}): they were damaged, or written for another \
     type of key; restore from a copy that is whole, with the job's own types"
)]
pub struct DamagedKey {
    what: &'static str,
}

impl DamagedKey {
    /// Damage described by `what`.
    #[must_use]
    pub fn new(what: &'static str) -> DamagedKey {
        DamagedKey { what }
    }
}

/// Takes the next `N` bytes off the front.
#[inline]
fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], DamagedKey> {
    let Some((taken, rest)) = input.split_first_chunk() else {
        return Err(DamagedKey::new("it ends too early"));
    };
    *input = rest;
    Ok(*taken)
}

macro_rules! decode_unsigned {
    ($($name:ident $type:ty;)*) => {$(
        #[doc = concat!("Takes a `", stringify!($type), "` off the front.")]
        ///
        /// # Errors
        /// When there are too few bytes.
        #[inline]
        pub fn $name(input: &mut &[u8]) -> Result<$type, DamagedKey> {
            take(input).map(<$type>::from_be_bytes)
        }
    )*};
}

macro_rules! decode_signed {
    ($($name:ident $type:ty;)*) => {$(
        #[doc = concat!("Takes an `", stringify!($type), "` off the front.")]
        ///
        /// # Errors
        /// When there are too few bytes.
        #[inline]
        pub fn $name(input: &mut &[u8]) -> Result<$type, DamagedKey> {
            take(input).map(|bytes| <$type>::from_be_bytes(bytes) ^ <$type>::MIN)
        }
    )*};
}

decode_unsigned! { decode_u8 u8; decode_u16 u16; decode_u32 u32; decode_u64 u64; decode_u128 u128; }
decode_signed! { decode_i8 i8; decode_i16 i16; decode_i32 i32; decode_i64 i64; decode_i128 i128; }

/// Takes a byte string off the front.
///
/// # Errors
/// When it has no end, or a 0 in it that means nothing.
pub fn decode_bytes(input: &mut &[u8]) -> Result<Vec<u8>, DamagedKey> {
    let mut value = Vec::new();
    loop {
        let Some(zero) = input.iter().position(|byte| *byte == 0) else {
            return Err(DamagedKey::new("a text has no end"));
        };
        let Some(after) = input.get(zero + 1) else {
            return Err(DamagedKey::new("a text has no end"));
        };
        value.extend_from_slice(&input[..zero]);
        *input = &input[zero + 2..];
        match after {
            1 => return Ok(value),
            0xFF => value.push(0),
            _ => return Err(DamagedKey::new("a text has a 0 that means nothing")),
        }
    }
}

/// Takes off the front whether an option holds a value.
///
/// # Errors
/// When it says neither.
#[inline]
pub fn decode_presence(input: &mut &[u8]) -> Result<bool, DamagedKey> {
    match decode_u8(input)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DamagedKey::new("a yes or no is neither")),
    }
}
