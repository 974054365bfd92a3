//! Many buckets at once: asked for, and looked into for the slots with given tags.
//!
//! Entered by the keyed table of `state` for a handful of records at a time, some records before they are
//! applied, so that the CPU finds memory and slots for all of them side by side. What is answered are
//! *seats*: four times the bucket and the slot, [`NO_SLOT`] where the bucket has no entry with the tag.
//! Invariant: a seat is a guess for whoever holds it; reading the entry there checks that there is one.
//! Lives on one shard's thread.

use super::buckets::{BucketArray, SLOTS, Tag};

#[cfg(target_arch = "x86_64")]
mod eights;
#[cfg(target_arch = "x86_64")]
mod sixteen;

/// The slot of a seat whose bucket had no entry with the tag.
pub const NO_SLOT: u32 = SLOTS as u32;
const _: () = assert!(SLOTS == 3, "a seat keeps its slot in two bits");

/// Lanes of a vector of seats: how many are looked for at once.
pub const LANES: usize = 16;

/// Where the next entry of a full bucket lies first.
const fn neighbour(bucket: u32) -> u32 {
    bucket ^ 1
}
/// The first of the two buckets where what did not fit into this one's pair lies first.
const fn next_pair(bucket: u32) -> u32 {
    (bucket | 1).wrapping_add(1)
}
const _: () = assert!(
    neighbour(neighbour(4)) == 4 && neighbour(4) == 5,
    "as in the vectors"
);

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// Asks for the cache line of an address, to be changed.
#[inline(always)]
fn prefetch_place(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: it neither faults nor changes memory, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(place.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        // SAFETY: `prfm` is a hint: it neither faults nor changes registers, flags or memory.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{place}]", place = in(reg) place, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}

impl<E> BucketArray<E> {
    /// Asks for the tags of buckets, and for the entries in the same cache line, to be changed. Numbers beyond
    /// the array are harmless.
    #[inline(always)]
    pub fn prefetch(&self, buckets: &[u32]) {
        for bucket in buckets {
            prefetch_place(self.place(*bucket));
        }
    }

    /// Asks for what of the entry at a seat lies in other cache lines than the tags. Seats beyond the array are
    /// harmless.
    #[inline(always)]
    fn prefetch_entry(&self, seat: u32) {
        if Self::BUCKET_BYTES <= CACHE_LINE {
            return;
        }
        let bucket = self.place(seat >> 2);
        let entry = Self::SLOTS_AT + (seat & 3) as usize * size_of::<E>();
        prefetch_place(bucket.wrapping_add(entry + size_of::<E>() - 1));
        if Self::BUCKET_BYTES > 2 * CACHE_LINE {
            prefetch_place(bucket.wrapping_add(entry));
        }
    }

    /// Turns the numbers of buckets into seats: in each the first slot with the tag that stands at the
    /// same place of `tags`. Asks for the entries there, and for the neighbours of buckets that have none; answers
    /// the bits of those.
    ///
    /// # Panics
    /// When there are not as many tags as buckets, or more than [`LANES`].
    #[inline]
    pub fn find_slots(&self, tags: &[Tag], buckets: &mut [u32]) -> u16 {
        let astray = self.find_slots_near(tags, buckets);
        if Self::BUCKET_BYTES > CACHE_LINE {
            buckets.iter().for_each(|seat| self.prefetch_entry(*seat));
        }
        self.prefetch_neighbours(buckets, astray);
        astray
    }

    /// The same for an array that lies in the caches as a whole: nothing is asked for.
    ///
    /// # Panics
    /// As [`BucketArray::find_slots`].
    #[inline(always)]
    pub fn find_slots_near(&self, tags: &[Tag], buckets: &mut [u32]) -> u16 {
        assert_eq!(tags.len(), buckets.len(), "a tag for each bucket");
        assert!(tags.len() <= LANES, "a bit for each bucket");
        #[cfg(target_arch = "x86_64")]
        if self.fits_lanes()
            && is_x86_feature_detected!("avx2")
            && let Ok(tags) = tags.try_into()
            && let Ok(lanes) = (&mut *buckets).try_into()
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                // SAFETY: the CPU has just been asked for the features.
                return unsafe { self.find_sixteen_slots(tags, lanes) };
            }
            // SAFETY: as above.
            return unsafe { self.find_slots_by_eights(tags, lanes) };
        }
        self.find_slots_one_by_one(tags, buckets)
    }

    /// Asks for the neighbours of the buckets of those seats whose bit is set: of four at most, in a fixed number
    /// of steps, because nobody can foretell how many there are. Where there are fewer, buckets that are near
    /// already make up the number.
    #[inline(always)]
    fn prefetch_neighbours(&self, seats: &[u32], astray: u16) {
        let mut left = astray;
        for _ in 0..4 {
            let Some(seat) = seats.get(left.trailing_zeros() as usize % LANES) else {
                return;
            };
            let bucket = seat >> 2;
            let missing = left != 0;
            prefetch_place(self.place(if missing { neighbour(bucket) } else { bucket }));
            left &= left.wrapping_sub(1);
        }
    }

    /// A bucket in steps of 8 bytes, the largest by which a gather multiplies.
    #[cfg(target_arch = "x86_64")]
    const STEP: i32 = (Self::BUCKET_BYTES / 8) as i32;

    /// Whether there are buckets, and every one can be reached by the 31 bits of a lane.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fits_lanes(&self) -> bool {
        (1..=(i32::MAX / Self::STEP) as usize).contains(&self.buckets().len())
    }

    /// Looks in the neighbour of its bucket for each of the entries whose bit is set in `astray`: those that
    /// [`BucketArray::find_slots`] did not find. Where an entry may lie further on, what comes next is asked
    /// for; answers the bits of those.
    ///
    /// # Panics
    /// When a bit is set beyond the tags or seats.
    #[inline]
    pub fn find_beside(&self, tags: &[Tag], seats: &mut [u32], astray: u16) -> u16 {
        let (mut astray, mut further) = (astray, 0);
        while astray != 0 {
            let at = astray.trailing_zeros() as usize;
            astray &= astray - 1;
            let bucket = neighbour(seats[at] >> 2);
            let Some(there) = self.buckets().get(bucket as usize) else {
                continue;
            };
            let slot = there.candidate(tags[at]);
            seats[at] = bucket << 2 | slot;
            if slot != NO_SLOT {
                self.prefetch_entry(seats[at]);
            } else if there.overflows() {
                further |= 1 << at;
                let next = next_pair(bucket);
                self.prefetch(&[next, neighbour(next)]);
            }
        }
        further
    }

    /// Looks in the pair of buckets behind for each of the entries whose bit is set in `astray`: those that
    /// [`BucketArray::find_beside`] did not find.
    ///
    /// # Panics
    /// When a bit is set beyond the tags or seats.
    #[inline]
    pub fn find_in_next_pair(&self, tags: &[Tag], seats: &mut [u32], astray: u16) {
        let mut astray = astray;
        while astray != 0 {
            let at = astray.trailing_zeros() as usize;
            astray &= astray - 1;
            let next = next_pair(seats[at] >> 2);
            for bucket in [next, neighbour(next)] {
                let Some(there) = self.buckets().get(bucket as usize) else {
                    continue;
                };
                let slot = there.candidate(tags[at]);
                if slot != NO_SLOT {
                    seats[at] = bucket << 2 | slot;
                    self.prefetch_entry(seats[at]);
                    break;
                }
            }
        }
    }

    #[inline]
    fn find_slots_one_by_one(&self, tags: &[Tag], buckets: &mut [u32]) -> u16 {
        let mut astray = 0;
        for (number, (tag, at)) in tags.iter().zip(buckets).enumerate() {
            let bucket = *at;
            let there = self.buckets().get(bucket as usize);
            let slot = there.map_or(NO_SLOT, |there| there.candidate(*tag));
            astray |= u16::from(slot == NO_SLOT) << number;
            *at = bucket << 2 | slot;
        }
        astray
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Buckets with none to three entries each; the tag of an entry is its number.
    fn array<E: Copy>(buckets: usize, entry: E) -> BucketArray<E> {
        let mut array = BucketArray::new(buckets).unwrap();
        for (number, bucket) in array.buckets_mut().iter_mut().enumerate() {
            for slot in 0..number % (SLOTS + 1) {
                assert!(
                    bucket
                        .put(Tag::of((number * 3 + slot) as u64), 0, entry)
                        .is_ok()
                );
            }
            // A tag is not mistaken for a count that has the same bits.
            (0..200).for_each(|_| bucket.count_overflow());
        }
        array
    }

    fn check<E: Copy>(buckets: usize, entry: E) {
        let array = array(buckets, entry);
        for first in 0..40 {
            let asked: Vec<u32> = (0..37)
                .map(|i| (first * 31 + i * 17) % (buckets as u32 + 9))
                .collect();
            let tags: Vec<_> = (0..37_u64)
                .map(|i| Tag::of(u64::from(asked[i as usize]) * 3 + (i + u64::from(first)) % 5))
                .collect();
            array.prefetch(&asked);
            for (asked, tags) in asked.chunks(LANES).zip(tags.chunks(LANES)) {
                check_some(&array, asked, tags);
            }
        }
    }

    fn check_some<E>(array: &BucketArray<E>, asked: &[u32], tags: &[Tag]) {
        let slot_of = |bucket: u32, tag: Tag| {
            let there = array.buckets().get(bucket as usize);
            let found = there.and_then(|there| there.find(tag, |_| true));
            found.map_or(NO_SLOT, |slot| slot as u32)
        };
        let (mut wide, mut narrow) = (asked.to_vec(), asked.to_vec());
        let astray = array.find_slots(tags, &mut wide);
        assert_eq!(astray, array.find_slots_one_by_one(tags, &mut narrow));
        assert_eq!(wide, narrow);
        for (number, (seat, bucket)) in wide.iter().zip(asked).enumerate() {
            assert_eq!(seat >> 2, *bucket);
            assert_eq!(
                seat & 3,
                slot_of(*bucket, tags[number]),
                "of bucket {bucket}"
            );
            assert_eq!(seat & 3 == NO_SLOT, astray >> number & 1 == 1);
        }
        array.find_beside(tags, &mut wide, astray);
        for (number, (seat, bucket)) in wide.iter().zip(asked).enumerate() {
            let beside = neighbour(*bucket);
            if narrow[number] & 3 != NO_SLOT || beside as usize >= array.buckets().len() {
                assert_eq!(*seat, narrow[number], "found before, or out of the array");
            } else {
                assert_eq!(*seat, beside << 2 | slot_of(beside, tags[number]));
            }
        }
    }

    #[test]
    fn slots_are_found_whatever_the_size_of_entries_and_however_many_at_once() {
        check(64, (1_u64, 2_u64));
        check(5_000, (1_u64, 2_u64));
        check(64, [0_u64; 9]);
        check(2, 1_u8);
        check(0, 1_u8);
    }

    #[test]
    fn an_entry_beside_its_bucket_is_found_there() {
        let mut array = BucketArray::<u64>::new(6).unwrap();
        assert!(array.buckets_mut()[5].put(Tag::of(7), 0, 1).is_ok());
        let (tags, mut seats) = ([Tag::of(7); 16], [4; 16]);
        assert_eq!(array.find_slots(&tags, &mut seats), u16::MAX);
        assert_eq!(seats, [4 << 2 | NO_SLOT; 16]);
        assert_eq!(array.find_beside(&tags, &mut seats, u16::MAX), 0);
        assert_eq!(seats, [5 << 2; 16]);
    }

    #[test]
    fn an_entry_in_the_pair_behind_is_found_there() {
        let tags = [Tag::of(7); 4];
        // Of the last pair nothing lies behind; where it goes on from the first is not looked at ahead.
        for (home, held_in, found) in [(2, 4, 4 << 2), (3, 5, 5 << 2), (4, 0, 5 << 2 | NO_SLOT)] {
            let mut array = BucketArray::<u64>::new(6).unwrap();
            let buckets = array.buckets_mut();
            assert!(buckets[held_in].put(Tag::of(7), 0, 1).is_ok());
            let mut seats = [home; 4];
            assert_eq!(array.find_slots(&tags, &mut seats), 0b1111);
            assert_eq!(
                array.find_beside(&tags, &mut seats, 0b1111),
                0,
                "nothing went further"
            );
            array.buckets_mut()[neighbour(home) as usize].count_overflow();
            let mut seats = [home << 2 | NO_SLOT; 4];
            let further = array.find_beside(&tags, &mut seats, 0b1111);
            assert_eq!(further, 0b1111);
            array.find_in_next_pair(&tags, &mut seats, further & 0b0111);
            assert_eq!(seats[..3], [found; 3]);
            assert_eq!(seats[3], neighbour(home) << 2 | NO_SLOT, "not asked for");
        }
    }
}
