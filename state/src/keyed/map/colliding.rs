//! User keys that share their hashes with others, for tests.
//!
//! Made by [`user_key`], which is told the hash of a number. Invariant: keys of different numbers are different keys.

/// A user key that is a number, with the hash that is said of it.
macro_rules! user_key {
    ($(#[$about:meta])* $visibility:vis $name:ident, $hash_of:expr) => {
        $(#[$about])*
        #[thalweg_memory::record(crate = thalweg_memory)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        $visibility struct $name(u64);

        impl thalweg_memory::record::RecordKey for $name {
            type Stored = u64;

            fn key_hash(&self) -> thalweg_core::KeyHash {
                let hash_of: fn(u64) -> thalweg_core::KeyHash = $hash_of;
                hash_of(self.0)
            }
            fn is_stored(&self, stored: &u64) -> bool {
                self.0 == *stored
            }
            fn to_stored(&self) -> u64 {
                self.0
            }
            fn from_stored(stored: &u64) -> Self {
                $name(*stored)
            }
            fn encode_key(&self, out: &mut Vec<u8>) {
                self.0.encode_key(out);
            }
            fn decode_stored(input: &mut &[u8]) -> Result<u64, thalweg_memory::DamagedKey> {
                u64::decode_stored(input)
            }
        }
    };
}

pub(crate) use user_key;
