//! What goes in: numbers with a key and an event time each, the same whenever they are read.
//!
//! A key's records all come from one stride of its source, whatever the parallelism, so that their order is theirs
//! alone; what is written depends on no other order. Plain functions, used by the job and by the model.

/// Keys there are.
pub(super) const KEYS: u64 = 60;
/// Numbers that differ by a multiple of this are of one stride, at every parallelism up to 4.
const STRIDES: u64 = 12;
/// Records that share an instant, before they are put out of order.
const DENSITY: u64 = 4;
/// How many instants event time is out of order, at most.
const DISORDER: u64 = 9;

/// The pause that ends a session, ms.
pub(super) const GAP: i64 = 31;
/// How far apart joined records are at most, ms.
pub(super) const REACH: i64 = 3;
/// The size of tumbling windows, ms.
pub(super) const WINDOW: i64 = 100;
/// The size of sliding windows, ms.
pub(super) const SIZE: i64 = 120;
/// How far they slide, ms.
pub(super) const SLIDE: i64 = 40;
/// Every so manieth record of a key is told of.
pub(super) const TOLD: u64 = 10;
/// How long after it its timer fires, ms.
pub(super) const LATER: i64 = 40;
/// How many numbers in a row share a rule.
pub(super) const RULED: u64 = 200;

/// Numbers, mixed.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = (number ^ 0x9E37_79B9).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33
}

/// The key of a number: strides share none.
pub(super) fn key_of(number: u64) -> u64 {
    number % STRIDES + STRIDES * (mix(number) % (KEYS / STRIDES))
}

/// The event time of a number, ms. It is even, so that no two records are apart by [`GAP`] itself: whether they
/// are of one session would depend on when the watermark passes between them.
pub(super) fn time_of(number: u64) -> i64 {
    2 * (number / DENSITY + DISORDER - mix(number) % (DISORDER + 1)) as i64
}

/// How far event time is out of order at most, ms.
pub(super) fn disorder_ms() -> u64 {
    2 * DISORDER
}

/// What travels with a record and tells whether it is still the one that was sent.
pub(super) fn seal_of(key: u64, number: u64) -> u64 {
    mix(key << 40 ^ number)
}

/// The rule for the numbers of a row.
pub(super) fn rule_of(row: u64) -> u64 {
    mix(row) % 1_000
}
