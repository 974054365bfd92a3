//! Canonical keys: any bytes as keys of a run.
//!
//! Equal keys have equal bytes, so what is taken off the front and encoded again is what stood there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg_memory::{Key, Str};

fn check<K: Key>(bytes: &[u8]) {
    let mut rest = bytes;
    if let Ok(key) = K::decode(&mut rest) {
        let mut again = Vec::new();
        K::encode(&K::lend(&key), &mut again);
        assert_eq!(again, bytes[..bytes.len() - rest.len()]);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind % 6 {
        0 => check::<u64>(bytes),
        1 => check::<i128>(bytes),
        2 => check::<Str>(bytes),
        3 => check::<(bool, String)>(bytes),
        4 => check::<(char, Option<i16>)>(bytes),
        _ => check::<((), (u8, String), String)>(bytes),
    }
});
