//! What a limit run asks of the machine: its cores, its clocks, its large pages.
//!
//! Every call is a hint or a question: where the system refuses, the run goes on slower.

use std::alloc::{self, Layout};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::time::Instant;

const HUGE_PAGE: usize = 2 << 20;

/// Binds the calling thread to the `index`-th of the CPUs it is allowed to run on.
pub(super) fn pin(index: usize) {
    let size = mem::size_of::<libc::cpu_set_t>();
    // SAFETY: a CPU set is plain bits, for which zero is valid.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the pointer is to a live CPU set of the size given.
    if unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) } != 0 {
        return;
    }
    let bits = 8 * size;
    // SAFETY: the CPU asked for is below the number of bits of the set.
    let cpus = (0..bits).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &allowed) });
    let cpus: Vec<usize> = cpus.collect();
    let Some(&cpu) = cpus.get(index % cpus.len().max(1)) else {
        return;
    };
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the CPU comes from a set of the same size.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: the pointer is to a live CPU set of the size given.
    unsafe { libc::sched_setaffinity(0, size, &raw const one) };
}

/// CPU seconds this process has used so far, over all its threads.
#[must_use]
pub fn process_cpu_seconds() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    if answer != 0 {
        return f64::NAN;
    }
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Wall and CPU time of a piece of work.
pub struct Stopwatch {
    start: Instant,
    cpu: f64,
}

impl Stopwatch {
    /// Starts counting.
    #[allow(clippy::disallowed_methods, reason = "measuring needs the real clock")]
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            cpu: process_cpu_seconds(),
        }
    }

    /// Wall seconds and process CPU seconds since the start.
    #[must_use]
    pub fn seconds(&self) -> (f64, f64) {
        (
            self.start.elapsed().as_secs_f64(),
            process_cpu_seconds() - self.cpu,
        )
    }
}

/// A fixed array on large pages where the system gives them.
pub(super) struct HugeArray<T: Copy> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: the array owns its memory as a `Box<[T]>` would.
unsafe impl<T: Copy + Send> Send for HugeArray<T> {}

impl<T: Copy> HugeArray<T> {
    /// An array of `len` times `value`.
    pub(super) fn filled(len: usize, value: T) -> Self {
        assert!(
            len > 0 && mem::size_of::<T>() > 0,
            "an array has something in it"
        );
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not zero, by the assertion above.
        let start = unsafe { alloc::alloc(layout) }.cast::<T>();
        let Some(start) = NonNull::new(start) else {
            alloc::handle_alloc_error(layout)
        };
        // SAFETY: advice on whole pages of memory just allocated changes nothing but its speed.
        unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        for at in 0..len {
            // SAFETY: the element lies in the allocation.
            let element = unsafe { start.as_ptr().add(at) };
            // SAFETY: it is aligned and nobody else knows of it.
            unsafe { element.write(value) };
        }
        Self { start, len }
    }

    fn layout(len: usize) -> Layout {
        let bytes = (len * mem::size_of::<T>()).next_multiple_of(HUGE_PAGE);
        let Ok(layout) = Layout::from_size_align(bytes, HUGE_PAGE) else {
            unreachable!("a table is smaller than the address space")
        };
        layout
    }
}

impl<T: Copy> Drop for HugeArray<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `filled` with the same layout; `T` is `Copy`, so nothing else to drop.
        unsafe { alloc::dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
    }
}

impl<T: Copy> Deref for HugeArray<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `filled` initialised `len` elements from `start`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for HugeArray<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for reading, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Asks for the cache line at `line` to be brought near, for writing soon.
#[inline(always)]
pub(super) fn prefetch<T>(line: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
