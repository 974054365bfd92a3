//! Safe doors to what the CPU can do beyond plain code: prefetching, and code compiled for its features.
//!
//! Entered by the hot tables before they touch a batch of keys, and by tasks around the loops in which
//! records are made and applied. Lives on any thread. Invariant: nothing
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

/// Calls `work` compiled for the vector and bit instructions this CPU has.
///
/// The program is built for the baseline of its architecture; here the closure, and all that is inlined
/// into it, is compiled once more for the wider instructions, and the CPU is asked which it has. Worth it
/// around loops over many records; inside, mark what should be part of the loop `#[inline(always)]`, and
/// first of all the closure itself, or it stays one function compiled for the baseline:
///
/// ```
/// use thalweg_core::simd::on_this_cpu;
/// let squares = on_this_cpu(#[inline(always)] || (0..1000_u64).map(|i| i * i).sum::<u64>());
/// assert_eq!(squares, 332_833_500);
/// ```
///
/// In builds with debug assertions it is `work` alone: they are not built to be fast, and every pipeline compiled
/// three times is most of what they take to build.
#[inline(always)]
pub fn on_this_cpu<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(all(target_arch = "x86_64", not(debug_assertions)))]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi2")
        {
            // SAFETY: the CPU has just been asked for every feature the function is compiled with.
            return unsafe { with_avx512(work) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") {
            // SAFETY: as above.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

#[cfg(all(target_arch = "x86_64", not(debug_assertions)))]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(all(target_arch = "x86_64", not(debug_assertions)))]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_this_cpu_answers_what_plain_work_does() {
        let sum = |from: u64| (from..from + 10_000).fold(0_u64, |sum, i| sum.wrapping_add(i * i));
        for from in [0, 7, 1 << 20] {
            assert_eq!(on_this_cpu(|| sum(from)), sum(from));
        }
    }

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
