//! Which CPU a shard lives on.
//!
//! Entered when a process starts its shards. Lives on any thread; pinning acts on the calling one.
//! Invariants: only CPUs the process is allowed to use are ever named (a container's set does not begin
//! at 0 and has holes), and no two shards get the same one.

use std::io;
use std::num::NonZeroUsize;

/// Bits in one word of the kernel's CPU mask.
const WORD_BITS: usize = usize::BITS as usize;
/// The kernel's masks are at most this many words: 8,192 CPUs.
const MASK_WORDS_LIMIT: usize = 8_192 / WORD_BITS;

/// The CPUs the calling thread may run on, ascending.
///
/// # Errors
/// What the operating system says; on Linux it does not fail for the calling thread.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    // `libc::cpu_set_t` holds 1,024 CPUs; larger machines answer EINVAL to it.
    let mut mask = [0_usize; MASK_WORDS_LIMIT];
    // SAFETY: the kernel writes at most the given number of bytes into the mask, which is that large
    // and aligned to its words; 0 names the calling thread.
    let outcome = unsafe {
        libc::sched_getaffinity(
            0,
            size_of_val(&mask),
            mask.as_mut_ptr().cast::<libc::cpu_set_t>(),
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let cpus: Vec<usize> = (0..mask.len() * WORD_BITS)
        .filter(|cpu| mask[cpu / WORD_BITS] >> (cpu % WORD_BITS) & 1 == 1)
        .collect();
    debug_assert!(!cpus.is_empty(), "the calling thread runs somewhere");
    Ok(cpus)
}

/// How many cores the process may keep busy: the allowed CPUs, or fewer if a control group limits its
/// time. At least 1.
#[must_use]
pub fn usable_cores() -> usize {
    let allowed = allowed_cpus().map_or(usize::MAX, |cpus| cpus.len());
    let granted = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    allowed.min(granted).max(1)
}

/// Binds the calling thread to `cpu`.
///
/// # Errors
/// When the process may not use that CPU.
pub fn pin_current_thread(cpu: usize) -> io::Result<()> {
    let mut mask = [0_usize; MASK_WORDS_LIMIT];
    let Some(word) = mask.get_mut(cpu / WORD_BITS) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("there is no CPU {cpu}"),
        ));
    };
    *word |= 1 << (cpu % WORD_BITS);
    // SAFETY: the kernel reads the given number of bytes of the mask, which is that large and aligned to
    // its words; 0 names the calling thread.
    let outcome = unsafe {
        libc::sched_setaffinity(
            0,
            size_of_val(&mask),
            mask.as_ptr().cast::<libc::cpu_set_t>(),
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The CPU of each of `shards` shards: the first allowed ones in order, or none for all of them when
/// `pin` is off or there are more shards than CPUs (two shards bound to one CPU while another is idle
/// would be worse than none bound).
#[must_use]
pub fn place(shards: usize, pin: bool) -> Vec<Option<usize>> {
    let cpus = if pin {
        allowed_cpus().unwrap_or_default()
    } else {
        Vec::new()
    };
    place_on(&cpus, shards)
}

fn place_on(cpus: &[usize], shards: usize) -> Vec<Option<usize>> {
    if shards > cpus.len() {
        return vec![None; shards];
    }
    cpus[..shards].iter().copied().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowed_cpus_are_ascending_and_hold_the_one_we_run_on() {
        let cpus = allowed_cpus().unwrap();
        assert!(cpus.is_sorted_by(|a, b| a < b) && !cpus.is_empty());
        assert!((1..=cpus.len()).contains(&usable_cores()));
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "what is set holds for the thread"
    )]
    fn a_pinned_thread_is_allowed_its_cpu_only() {
        let outcome = std::thread::scope(|scope| {
            let pinned = scope.spawn(|| {
                let last = *allowed_cpus()?.last().unwrap();
                pin_current_thread(last)?;
                Ok::<_, io::Error>((last, allowed_cpus()?))
            });
            pinned.join().unwrap()
        });
        let (cpu, allowed) = outcome.unwrap();
        assert_eq!(allowed, [cpu]);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        assert!(pin_current_thread(8_191).is_err());
        assert!(pin_current_thread(usize::MAX).is_err());
    }

    #[test]
    fn shards_get_allowed_cpus_in_order_or_none_at_all() {
        assert_eq!(place_on(&[3, 5, 9], 2), [Some(3), Some(5)]);
        assert_eq!(place_on(&[3, 5, 9], 3), [Some(3), Some(5), Some(9)]);
        assert_eq!(place_on(&[3, 5, 9], 4), [None; 4]);
        assert_eq!(place(2, false), [None; 2]);
    }
}
