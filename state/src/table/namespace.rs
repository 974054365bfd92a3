//! The second key of an entry, such as the window it belongs to.
//!
//! Part of the entry's place in the table but not of its key group: all namespaces of a key move
//! together, though they lie apart. Invariant: equal namespaces spread equally. Plain data, lives on any thread.

use thalweg_core::{KeyHash, Timestamp};
use thalweg_memory::record::order;
use thalweg_memory::{DamagedKey, SchemaWriter};

/// What an entry is kept under besides its key. `()` where there is only the key.
pub trait Namespace: Copy + Eq + 'static {
    /// The only one, where there is only the key.
    const ONLY: Option<Self> = None;

    /// Bits by which entries of one key are spread over the table; 0 for `()`.
    fn spread(&self) -> u64;

    /// Appends the canonical bytes, by which rows of one key are told apart and ordered; no encoding is
    /// the beginning of another. A stored format, as that of keys (see [`order`]).
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes canonical bytes off the front of `input`.
    ///
    /// # Errors
    /// When they are not those of a namespace.
    fn decode(input: &mut &[u8]) -> Result<Self, DamagedKey>;

    /// Says what the type is made of (see [`Schema`](thalweg_memory::Schema)).
    fn describe(to: &mut SchemaWriter);
}

/// The hash of an entry: that of its key, or another for each namespace of a key that may have several.
#[inline(always)]
pub(crate) fn entry_hash<N: Namespace>(key: KeyHash, namespace: &N) -> KeyHash {
    match N::ONLY {
        Some(_) => key,
        None => key.combine(KeyHash(namespace.spread())),
    }
}

impl Namespace for () {
    const ONLY: Option<()> = Some(());

    #[inline(always)]
    fn spread(&self) -> u64 {
        0
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<(), DamagedKey> {
        Ok(())
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("()");
    }
}

impl Namespace for u64 {
    #[inline(always)]
    fn spread(&self) -> u64 {
        KeyHash::of_u64(*self).0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        order::encode_u64(*self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<u64, DamagedKey> {
        order::decode_u64(input)
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("u64");
    }
}

impl Namespace for i64 {
    #[inline(always)]
    fn spread(&self) -> u64 {
        (*self as u64).spread()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        order::encode_i64(*self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<i64, DamagedKey> {
        order::decode_i64(input)
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("i64");
    }
}

impl Namespace for Timestamp {
    #[inline(always)]
    fn spread(&self) -> u64 {
        self.0.spread()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Timestamp, DamagedKey> {
        i64::decode(input).map(Timestamp)
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("Timestamp");
    }
}

/// A window as its start and end.
impl Namespace for (Timestamp, Timestamp) {
    #[inline(always)]
    fn spread(&self) -> u64 {
        KeyHash(self.0.spread()).combine(KeyHash(self.1.spread())).0
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DamagedKey> {
        Ok((Timestamp::decode(input)?, Timestamp::decode(input)?))
    }

    fn describe(to: &mut SchemaWriter) {
        to.text("(Timestamp, Timestamp)");
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn encoded(namespace: &impl Namespace) -> Vec<u8> {
        let mut bytes = Vec::new();
        namespace.encode(&mut bytes);
        bytes
    }

    fn agree<N: Namespace + Ord + Debug>(namespaces: &[N]) {
        for one in namespaces {
            let bytes = encoded(one);
            let mut rest = &bytes[..];
            assert_eq!(N::decode(&mut rest).as_ref(), Ok(one));
            assert!(rest.is_empty());
            for end in 0..bytes.len() {
                assert!(
                    N::decode(&mut &bytes[..end]).is_err(),
                    "{one:?} cut at {end}"
                );
            }
            for other in namespaces {
                assert_eq!(bytes.cmp(&encoded(other)), one.cmp(other));
            }
        }
    }

    #[test]
    fn bytes_compare_as_namespaces_do_and_come_back() {
        let times = [i64::MIN, -5, -1, 0, 1, 256, i64::MAX];
        agree(&[()]);
        agree(&times);
        agree(&times.map(|time| time as u64));
        agree(&times.map(Timestamp));
        let windows = times.map(|from| times.map(|to| (Timestamp(from), Timestamp(to))));
        agree(windows.as_flattened());
    }
}
