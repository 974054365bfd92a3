//! Canonical keys: any bytes as keys of a run.
//!
//! Equal keys have equal bytes, so what is taken off the front and encoded again is what stood there.
use thalweg_memory::{Key, Str};

fn check_as<K: Key>(bytes: &[u8]) {
    let mut rest = bytes;
    if let Ok(key) = K::decode(&mut rest) {
        let mut again = Vec::new();
        K::encode(&K::lend(&key), &mut again);
        assert_eq!(again, bytes[..bytes.len() - rest.len()]);
    }
}

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => check_as::<u64>(bytes),
        1 => check_as::<i128>(bytes),
        2 => check_as::<Str>(bytes),
        3 => check_as::<(bool, String)>(bytes),
        4 => check_as::<(char, Option<i16>)>(bytes),
        _ => check_as::<((), (u8, String), String)>(bytes),
    }
}
