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
