//! Safe doors to what the CPU can do beyond plain code: prefetching.
//!
//! Entered by the hot tables before they touch a batch of keys. Lives on any thread. Invariant: nothing
//! here changes what a program computes, only how soon its data is near; on other CPUs it is nothing.

/// Asks for the cache line at `place` to be brought near for reading.
///
/// Never faults and never waits. A value longer than a cache line has only its first line fetched.
#[inline(always)]
pub fn prefetch_read<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of the x86_64 baseline, and a prefetch neither faults nor writes.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(place).cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        let address = core::ptr::from_ref(place);
        // SAFETY: `prfm` is a hint: it neither faults nor changes registers, flags or memory.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{address}]", address = in(reg) address, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}

/// Asks for the cache line at `place` to be brought near for writing, taken from other cores that hold
/// it.
///
/// Takes a shared reference: nothing is written, so many places may be asked for before one is changed.
#[inline(always)]
pub fn prefetch_write<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: `prefetchw` is a hint that every x86_64 CPU takes (at worst as a no-op); it neither
        // faults nor writes.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(core::ptr::from_ref(place).cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    {
        let address = core::ptr::from_ref(place);
        // SAFETY: `prfm` is a hint: it neither faults nor changes registers, flags or memory.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{address}]", address = in(reg) address, options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetching_changes_nothing_whatever_the_place() {
        let values: Vec<u64> = (0..1_000).collect();
        for value in &values {
            prefetch_read(value);
            prefetch_write(value);
        }
        prefetch_read(&());
        prefetch_write(values.as_slice().first_chunk::<64>().unwrap());
        assert_eq!(values.iter().sum::<u64>(), 499_500);
    }
}
