//! The ceiling of `wc`: read, find words, partition by word, exchange, count, emit a row per word.
//!
//! Words of up to sixteen bytes travel and are stored inline; longer ones take a slow way beside
//! them. The table holds two words per cache line with their counts and the hash the sink wants.
//! Invariant: every word is counted by the owner of its hash, and each word is one row whose term is
//! computed from the count before and after it.

use std::path::PathBuf;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::level::{Level, per_level};
use super::machine::{HugeArray, prefetch};
use super::ranges::Text;
use super::ring::{End, Exchange, Pause};
use super::words::{NO_WORD, PACKED, Packed, Words, hash, pack, unpack};
use super::{LimitError, on_threads};
use crate::workload::Totals;
use crate::workload::definitions::{java_hash, mix, step};

/// Words packed at a time.
const BLOCK: usize = 256;
/// A batch is sent when it holds this many words.
const FULL: usize = 512;
/// What a batch can hold.
const ROOM: usize = FULL + BLOCK;
/// How many words ahead a line is asked for.
const AHEAD: usize = 16;
/// How many rows are added up at a time.
const GROUP: usize = 32;
/// Lines of a new table.
const LINES: usize = 1 << 15;

struct Batch {
    len: usize,
    last: bool,
    words: [Packed; ROOM],
    /// High bits of the words' hashes.
    hashes: [u32; ROOM + AHEAD],
    /// Words that do not pack, each behind its length.
    long: Vec<u8>,
}

impl Batch {
    fn fresh() -> Box<Self> {
        Box::new(Self {
            len: 0,
            last: false,
            words: [NO_WORD; ROOM],
            hashes: [0; ROOM + AHEAD],
            long: Vec::new(),
        })
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    words: [Packed; 2],
    counts: [u64; 2],
    /// `mix` of the words' Java hashes: what is left of a term is its count.
    mixed: [u64; 2],
}

const EMPTY: Line = Line {
    words: [NO_WORD; 2],
    counts: [0; 2],
    mixed: [0; 2],
};

/// Running counts by word.
struct CountTable {
    lines: HugeArray<Line>,
    words: usize,
    owner_bits: u32,
    /// What of a 32-bit hash the number of lines, a power of two, leaves over.
    shift: u32,
}

impl CountTable {
    fn new(lines: usize, owner_bits: u32) -> Self {
        assert!(
            lines.is_power_of_two() && lines > 1,
            "the number of lines is a power of two"
        );
        Self {
            lines: HugeArray::filled(lines, EMPTY),
            words: 0,
            owner_bits,
            shift: 32 - lines.ilog2(),
        }
    }

    /// Makes sure that `more` new words fit.
    fn reserve(&mut self, more: usize) {
        let slots = 2 * self.lines.len();
        if self.words + more <= slots / 4 {
            return;
        }
        let mut grown = Self::new(2 * self.lines.len(), self.owner_bits);
        // First slots first: they hold the words that came first, which are the frequent ones.
        for slot in 0..2 {
            for line in self.lines.iter().filter(|line| line.words[slot] != NO_WORD) {
                let home = grown.home(line_hash(line.words[slot], self.owner_bits));
                let (at, free) = grown.place(home, line.words[slot]);
                let to = &mut grown.lines[at];
                to.words[free] = line.words[slot];
                to.counts[free] = line.counts[slot];
                to.mixed[free] = line.mixed[slot];
                grown.words += 1;
            }
        }
        assert_eq!(grown.words, self.words, "no word is lost by growing");
        *self = grown;
    }

    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline(always)]
    fn prefetch(&self, hash: u32) {
        prefetch(self.lines.as_ptr().wrapping_add(self.home(hash)));
    }

    /// Counts `word` once more: the mix of its hash, and its new count.
    #[inline(always)]
    fn count<const WIDE: u8>(&mut self, hash: u32, word: &Packed) -> (u64, u64) {
        let home = self.home(hash);
        // SAFETY: a home is a hash without the bits that the number of lines, a power of two fixed at
        // the table's making, leaves over; so it is below that number.
        let line = unsafe { self.lines.get_unchecked_mut(home) };
        let Some(slot) = find::<WIDE>(&line.words, word) else {
            return self.count_far(home, *word);
        };
        let count = &mut line.counts[slot & 1];
        *count += 1;
        (line.mixed[slot & 1], *count)
    }

    /// The word is new or its home line is full of others.
    #[inline(never)]
    fn count_far(&mut self, home: usize, word: Packed) -> (u64, u64) {
        let (at, slot) = self.place(home, word);
        let line = &mut self.lines[at];
        if line.words[slot] == NO_WORD {
            line.words[slot] = word;
            line.mixed[slot] = mix(java_hash(&unpack(word)));
            self.words += 1;
        }
        line.counts[slot] += 1;
        (line.mixed[slot], line.counts[slot])
    }

    /// Where `word` is, or else the free slot it goes to.
    fn place(&self, home: usize, word: Packed) -> (usize, usize) {
        let mut at = home;
        loop {
            let words = &self.lines[at].words;
            if let Some(slot) = words
                .iter()
                .position(|&there| there == word || there == NO_WORD)
            {
                return (at, slot);
            }
            at = if at + 1 == self.lines.len() {
                0
            } else {
                at + 1
            };
            assert_ne!(at, home, "most of the table is free");
        }
    }
}

/// The 32 bits of a word's hash that follow those that chose its owner.
#[inline(always)]
fn line_hash(word: Packed, owner_bits: u32) -> u32 {
    ((hash(word) << owner_bits) >> 32) as u32
}

/// The slot of a line that holds `word`.
#[inline(always)]
fn find<const WIDE: u8>(words: &[Packed; 2], word: &Packed) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if WIDE > 0 {
        use std::arch::x86_64::{
            __m128i, __m256i, _mm_loadu_si128, _mm256_broadcastsi128_si256, _mm256_castsi256_pd,
            _mm256_cmpeq_epi64, _mm256_load_si256, _mm256_movemask_pd,
        };
        // SAFETY: a packed word is 16 bytes.
        let wanted = unsafe { _mm_loadu_si128(word.as_ptr().cast::<__m128i>()) };
        // SAFETY: `WIDE` is above 0 only under a level that has AVX2.
        let wanted = unsafe { _mm256_broadcastsi128_si256(wanted) };
        // SAFETY: the words are the first 32 bytes of a line aligned to 64.
        let stored = unsafe { _mm256_load_si256(words.as_ptr().cast::<__m256i>()) };
        // SAFETY: AVX2, as above.
        let same = unsafe { _mm256_cmpeq_epi64(stored, wanted) };
        // SAFETY: AVX2, as above.
        let same = unsafe { _mm256_castsi256_pd(same) };
        // SAFETY: AVX2, as above.
        let halves = unsafe { _mm256_movemask_pd(same) }.cast_unsigned();
        let hits = halves & (halves >> 1) & 0b0101;
        return (hits != 0).then_some((hits >> 2) as usize);
    }
    let second = words[1] == *word;
    (second || words[0] == *word).then_some(usize::from(second))
}

/// What one thread keeps.
struct Owner {
    level: Level,
    owner_bits: u32,
    table: CountTable,
    long: HashMap<Vec<u8>, u64, FixedState>,
    mixed: Box<[u64; ROOM]>,
    counts: Box<[u64; ROOM]>,
    words: u64,
    rows: u64,
    checksum: u64,
    ended: bool,
}

/// Counts the words of `inputs` on one or two threads.
pub(super) fn run(level: Level, inputs: &[PathBuf], threads: u32) -> Result<Totals, LimitError> {
    let text = Text::open(inputs)?;
    let exchange = Exchange::new();
    let results = on_threads(threads as usize, |thread| {
        let mut owner = Owner::new(level, threads.ilog2());
        let end = (threads == 2).then(|| exchange.end(thread, Batch::fresh));
        let read = owner.work(&text, thread, end);
        read.map(|()| (owner.words, owner.rows, owner.checksum))
    });
    let mut totals = Totals {
        records: 0,
        rows_out: 0,
        checksum: 0,
    };
    for result in results {
        let (words, rows, checksum) = result?;
        totals.records += words;
        totals.rows_out += rows;
        totals.checksum = totals.checksum.wrapping_add(checksum);
    }
    assert_eq!(totals.records, totals.rows_out, "a row per word");
    Ok(totals)
}

impl Owner {
    fn new(level: Level, owner_bits: u32) -> Self {
        Self {
            level,
            owner_bits,
            table: CountTable::new(LINES, owner_bits),
            long: HashMap::with_hasher(FixedState::with_seed(0)),
            mixed: Box::new([0; ROOM]),
            counts: Box::new([0; ROOM]),
            words: 0,
            rows: 0,
            checksum: 0,
            ended: false,
        }
    }

    /// Reads ranges until there are none, then counts what the other thread still sends.
    fn work(
        &mut self,
        text: &Text,
        thread: usize,
        mut end: Option<End<'_, Batch>>,
    ) -> Result<(), LimitError> {
        let mut reader = text.reader();
        let mut words = Words::default();
        let mut parts = [Batch::fresh(), Batch::fresh()];
        let read = loop {
            let (block, len) = match reader.block() {
                Ok(Some(block)) => block,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            find_words(self.level, &mut words, block, len);
            let (starts, ends) = words.spans();
            self.words += starts.len() as u64;
            for (starts, ends) in starts.chunks(BLOCK).zip(ends.chunks(BLOCK)) {
                part(self.level, &mut parts, block, starts, ends, self.owner_bits);
                self.pass_on(&mut parts, thread, end.as_mut());
            }
        };
        // The other thread waits for an end also of one that failed.
        if let Some(end) = &mut end {
            self.consume(&mut parts[thread]);
            let other = &mut parts[1 - thread];
            other.last = true;
            end.send(other, |batch| self.consume(batch));
            let mut pause = Pause::default();
            while !self.ended {
                if !end.receive(|batch| self.consume(batch)) {
                    pause.once_more();
                }
            }
        } else {
            self.consume(&mut parts[0]);
        }
        read
    }

    /// Counts or sends what is full.
    #[inline]
    fn pass_on(
        &mut self,
        parts: &mut [Box<Batch>; 2],
        thread: usize,
        end: Option<&mut End<'_, Batch>>,
    ) {
        if parts[thread].len >= FULL {
            self.consume(&mut parts[thread]);
        }
        let Some(end) = end else { return };
        let other = &mut parts[1 - thread];
        if other.len >= FULL {
            end.send(other, |batch| self.consume(batch));
            end.receive(|batch| self.consume(batch));
        }
    }

    /// Counts a batch's words, emits a row for each, and empties the batch.
    #[inline]
    fn consume(&mut self, batch: &mut Batch) {
        self.table.reserve(batch.len);
        let terms = count(
            self.level,
            &mut self.table,
            &mut self.mixed,
            &mut self.counts,
            batch,
        );
        self.checksum = self.checksum.wrapping_add(terms);
        self.rows += batch.len as u64;
        if !batch.long.is_empty() {
            self.consume_long(&batch.long);
        }
        self.ended |= batch.last;
        batch.len = 0;
        batch.last = false;
        batch.long.clear();
    }

    #[cold]
    fn consume_long(&mut self, mut long: &[u8]) {
        while let Some((len, rest)) = long.split_first_chunk() {
            let (word, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
            long = rest;
            let count = self.long.entry_ref(word).or_insert(0);
            *count += 1;
            self.checksum = self
                .checksum
                .wrapping_add(step(java_hash(word), *count - 1, *count));
            self.rows += 1;
        }
    }
}

per_level! {
    /// Finds the words of a block.
    fn find_words(words: &mut Words, block: &[u8], len: usize) = find_words_body
}

#[inline(always)]
fn find_words_body<const WIDE: u8>(words: &mut Words, block: &[u8], len: usize) {
    words.find::<WIDE>(block, len);
}

per_level! {
    /// Packs words and parts them by owner.
    fn part(
        parts: &mut [Box<Batch>; 2],
        block: &[u8],
        starts: &[u32],
        ends: &[u32],
        owner_bits: u32,
    ) = part_body
}

#[inline(always)]
fn part_body<const WIDE: u8>(
    parts: &mut [Box<Batch>; 2],
    block: &[u8],
    starts: &[u32],
    ends: &[u32],
    owner_bits: u32,
) {
    let [first, second] = parts;
    let mut to = [first.len, second.len];
    assert!(
        starts.len() <= BLOCK && to[0] < FULL && to[1] < FULL,
        "a block fits"
    );
    for (&start, &end) in starts.iter().zip(ends) {
        let (start, len) = (start as usize, (end - start) as usize);
        if len > PACKED {
            let batch = if owner_of_long(&block[start..start + len], owner_bits) == 0 {
                &mut *first
            } else {
                &mut *second
            };
            push_long(batch, &block[start..start + len]);
            continue;
        }
        // SAFETY: the word was found in the block, behind which is slack.
        let word = unsafe { pack(block, start, len) };
        let hash = hash(word);
        let owner = (hash >> 63) as usize & owner_bits as usize;
        let hash = ((hash << owner_bits) >> 32) as u32;
        // Written to both, kept by one: no branch to mispredict.
        first.words[to[0]] = word;
        first.hashes[to[0]] = hash;
        to[0] += 1 - owner;
        if owner_bits > 0 {
            second.words[to[1]] = word;
            second.hashes[to[1]] = hash;
            to[1] += owner;
        }
    }
    (first.len, second.len) = (to[0], to[1]);
}

#[cold]
fn owner_of_long(word: &[u8], owner_bits: u32) -> u64 {
    let halves = word.chunks(8).fold(NO_WORD, |[a, b], bytes| {
        let mut half = [0; 8];
        half[..bytes.len()].copy_from_slice(bytes);
        [hash([a, b]), u64::from_le_bytes(half)]
    });
    (hash(halves) >> 63) & u64::from(owner_bits)
}

#[cold]
fn push_long(batch: &mut Batch, word: &[u8]) {
    let Ok(len) = u32::try_from(word.len()) else {
        unreachable!("a block is shorter than 4 GiB")
    };
    batch.long.extend_from_slice(&len.to_le_bytes());
    batch.long.extend_from_slice(word);
}

per_level! {
    /// Counts the packed words of a batch; the checksum of their rows.
    fn count(
        table: &mut CountTable,
        mixed: &mut [u64; ROOM],
        counts: &mut [u64; ROOM],
        batch: &Batch,
    ) -> u64 = count_body
}

#[inline(always)]
fn count_body<const WIDE: u8>(
    table: &mut CountTable,
    mixed: &mut [u64; ROOM],
    counts: &mut [u64; ROOM],
    batch: &Batch,
) -> u64 {
    let len = batch.len.min(ROOM);
    for &hash in &batch.hashes[..AHEAD.min(len)] {
        table.prefetch(hash);
    }
    let mut sum = 0u64;
    let mut done = 0;
    for from in (0..len).step_by(GROUP) {
        let to = (from + GROUP).min(len);
        for at in from..to {
            table.prefetch(batch.hashes[at + AHEAD]);
            (mixed[at], counts[at]) = table.count::<WIDE>(batch.hashes[at], &batch.words[at]);
        }
        // The group before, as in the sum.
        sum = sum.wrapping_add(terms(&mixed[done..from], &counts[done..from]));
        done = from;
    }
    sum.wrapping_add(terms(&mixed[done..len], &counts[done..len]))
}

/// The terms of rows with these counts.
#[inline(always)]
fn terms(mixed: &[u64], counts: &[u64]) -> u64 {
    let mut sum = 0u64;
    for (&word, &count) in mixed.iter().zip(counts) {
        let now = word.wrapping_add(count);
        sum = sum
            .wrapping_add(mix(now))
            .wrapping_sub(mix(now.wrapping_sub(1)));
    }
    sum
}
