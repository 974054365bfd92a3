//! The real clock and the real entropy, for the drivers that are not simulated.
//!
//! Entered by the glommio and epoll drivers, by the bench and by threads that are no shard. Invariant:
//! the monotonic clock is the same for all threads of a host, so that times may be compared across
//! shards. Callable from any thread.

/// Nanoseconds of the monotonic clock (`CLOCK_MONOTONIC`): never goes back, no relation to the date.
#[inline]
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Milliseconds since 1970-01-01 UTC; may jump when the host's clock is set.
pub fn wall_ms() -> i64 {
    i64::try_from(read(libc::CLOCK_REALTIME) / 1_000_000).unwrap_or(i64::MAX)
}

#[inline]
fn read(clock: libc::clockid_t) -> u64 {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `at` is a valid timespec to write to, and both clocks exist on every Linux.
    let answer = unsafe { libc::clock_gettime(clock, &raw mut at) };
    debug_assert_eq!(answer, 0, "the clock cannot be missing");
    // Seconds since boot or since 1970: in range until the year 2554.
    (at.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(at.tv_nsec as u64)
}

/// A seed from the kernel; from the clock if the kernel refuses.
pub fn entropy() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: writes at most 8 bytes into a buffer of 8.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        u64::from_ne_bytes(bytes)
    } else {
        monotonic_ns() ^ 0x9E37_79B9_7F4A_7C15
    }
}

/// A small, fast, seedable generator (splitmix64). Not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from `seed` alone.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number, uniform over all 64 bits.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `per_million` of a million cases.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_go_back_and_the_date_is_this_century() {
        let first = monotonic_ns();
        assert!(monotonic_ns() >= first);
        assert!(wall_ms() > 1_577_836_800_000);
        assert_ne!(entropy(), entropy());
    }

    #[test]
    fn numbers_follow_from_the_seed() {
        let mut a = Random::new(7);
        let mut b = Random::new(7);
        let drawn: Vec<u64> = (0..100).map(|_| a.below(10)).collect();
        assert!(drawn.iter().all(|n| *n < 10 && *n == b.below(10)));
        assert!(drawn.iter().any(|n| *n != drawn[0]));
    }
}
