//! What writing a record into a segment and reading it there costs.
//!
//! A round fills one segment; `write` includes lease, seal and return, `read` scans by chunks as an input
//! turn does and touches each record in place. Figures are per record.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use thalweg_bench::workload::definitions::sum_record;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::ShardId;
use thalweg_core::key_group::KeyHash;
use thalweg_memory::{
    Buffer, BufferWriter, Cursor, Entry, EntryLayout, SegmentPool, Str, View, Wire, record,
};

const SEGMENT_BYTES: usize = 32 << 10;
const CHUNK: usize = 64;
/// As on an edge into a keyed operator.
const LAYOUT: EntryLayout = EntryLayout {
    hash: true,
    timestamp: false,
};

/// A bid of an auction.
#[record(crate = thalweg_memory)]
struct Bid {
    auction: u64,
    bidder: u64,
    price: u64,
    at: i64,
    channel: String,
}

fn bid(i: u64) -> Bid {
    let (auction, price) = sum_record(i);
    Bid {
        auction,
        bidder: i,
        price,
        at: i.cast_signed(),
        channel: format!("channel-{}", i % 1000),
    }
}

/// Puts items until the segment is full; answers how many.
fn fill<W: Wire>(writer: &mut BufferWriter, items: &[W::Of<'_>]) -> usize {
    let mut written = 0;
    for item in items.iter().cycle() {
        let hash = KeyHash(written as u64);
        if writer
            .put::<W>(LAYOUT, hash, Timestamp::NONE, item)
            .is_err()
        {
            break;
        }
        written += 1;
    }
    written
}

fn writer(pool: &mut SegmentPool) -> BufferWriter {
    let Some(segment) = pool.lease() else {
        unreachable!("every round gives its segment back");
    };
    BufferWriter::new(segment)
}

/// Reads all records in place; answers how many.
fn drain<W: Wire>(buffer: &Buffer, touch: impl Fn(W::Of<'_>) -> u64) -> usize {
    let mut cursor = Cursor::default();
    let mut entries = [Entry::default(); CHUNK];
    let mut read = 0;
    loop {
        let found = buffer.scan::<W>(LAYOUT, &mut cursor, &mut entries);
        if found == 0 {
            return read;
        }
        for entry in &entries[..found] {
            black_box(touch(buffer.item::<W>(entry)));
        }
        read += found;
    }
}

/// Benches items written as `W` and read as `R`, which has the same archive.
fn both<W: Wire, R: Wire>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    items: &[W::Of<'_>],
    touch: impl Fn(R::Of<'_>) -> u64 + Copy,
) {
    let mut pool = match SegmentPool::with_own_arena(ShardId(0), SEGMENT_BYTES, 2) {
        Ok(pool) => pool,
        Err(error) => panic!("no memory for a bench: {error}"),
    };
    let mut full = writer(&mut pool);
    let records = fill::<W>(&mut full, items);
    let buffer = full.seal();
    group.throughput(Throughput::Elements(records as u64));
    group.bench_function(format!("write {name}"), |bencher| {
        bencher.iter(|| {
            let mut writer = writer(&mut pool);
            let written = fill::<W>(&mut writer, black_box(items));
            assert_eq!(written, records, "segments are of one size");
            if let Some(segment) = writer.seal().into_segment() {
                pool.give_back(segment);
            }
        });
    });
    group.bench_function(format!("read {name}"), |bencher| {
        bencher.iter(|| {
            let read = drain::<R>(black_box(&buffer), touch);
            assert_eq!(read, records, "what was written is read");
        });
    });
    if let Some(segment) = buffer.into_segment() {
        pool.give_back(segment);
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("archive");
    let pairs: Vec<_> = (0..1024).map(sum_record).collect();
    both::<(u64, u64), (u64, u64)>(&mut group, "(u64, u64)", &pairs, |(key, value)| key ^ value);
    let words: Vec<_> = (0..1024)
        .map(|i| format!("word-{}", sum_record(i).0))
        .collect();
    both::<String, Str>(&mut group, "String", &words, |word| {
        word.len() as u64 ^ u64::from(word.as_bytes()[0])
    });
    let bids: Vec<_> = (0..1024).map(bid).collect();
    both::<Bid, View<Bid>>(&mut group, "Bid", &bids, |bid| {
        bid.price.to_native() ^ bid.channel.len() as u64
    });
    group.finish();
    criterion.final_summary();
}
