//! Archives of records: any bytes as a buffer that another process sent.
//!
//! What is adopted is read, in place and owned; the addresses read are watched by AddressSanitizer.
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use thalweg_core::ids::ShardId;
use thalweg_memory::{
    Buffer, Cursor, Entry, EntryLayout, KeyValue, Record, Segment, Str, View, Wire,
};

const LAYOUT: EntryLayout = EntryLayout {
    hash: true,
    timestamp: true,
};
const SEGMENT: usize = 1_024;

fn adopt<R: Record + std::fmt::Debug>(bytes: &[u8]) {
    let mut segment = Segment::overdraft(ShardId(0), SEGMENT);
    segment.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    let Ok(buffer) = Buffer::adopt::<R>(segment, LAYOUT, bytes.len(), &[]) else {
        return;
    };
    let (mut cursor, mut entries) = (Cursor::default(), [Entry::default(); 8]);
    loop {
        let count = buffer.scan::<R>(LAYOUT, &mut cursor, &mut entries);
        if count == 0 {
            return;
        }
        for entry in &entries[..count] {
            black_box(format!("{:?}", buffer.item::<R>(entry)));
            black_box(buffer.item::<View<R>>(entry));
        }
    }
}

type Texts = (Vec<String>, Box<str>, Option<String>);
type Tables = (BTreeMap<String, Vec<u16>>, Result<u8, String>);
type Wide = (u128, Option<char>, [bool; 3], Duration);

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    let bytes = &bytes[..bytes.len().min(SEGMENT)];
    match kind % 5 {
        0 => adopt::<Texts>(bytes),
        1 => adopt::<Tables>(bytes),
        2 => adopt::<Wide>(bytes),
        3 => adopt::<(u64, u64)>(bytes),
        _ => {
            let root = bytes.first().map_or(0, |byte| usize::from(*byte));
            let _ = <KeyValue<Str, u64> as Wire>::check(bytes, root);
            let _ = <Texts as Wire>::check(bytes, root);
        }
    }
}
