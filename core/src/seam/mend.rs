//! What a user can do about an error of the operating system, where that is known.
//!
//! Entered by whoever words an error. Invariant: a mend follows what happened in the same sentence, and names
//! the limit in force where there is one. Callable from any thread.

use std::io;

/// How to mend it; `None` where the error alone does not say.
#[must_use]
pub fn mend_of(error: &io::Error) -> Option<String> {
    let mend = match error.raw_os_error()? {
        libc::EMFILE => format!(
            "this process may have {} files open: raise that (ulimit -n)",
            shown(soft_limit(Limited::OpenFiles))
        ),
        libc::ENFILE => {
            "the host has no room for more open files: raise sysctl fs.file-max".to_owned()
        }
        libc::EAGAIN => format!(
            "the system gives no more threads, its user may have {}: raise that (ulimit -u), or pids.max \
             of the control group",
            shown(soft_limit(Limited::Threads))
        ),
        libc::ENOMEM => {
            "free memory, or raise what this process may take (ulimit -v, ulimit -l, memory.max of the \
             control group)"
                .to_owned()
        }
        libc::ELOOP => "its symbolic links lead in a circle: let them end at a file".to_owned(),
        libc::ENAMETOOLONG => "shorten the path".to_owned(),
        _ => return None,
    };
    Some(mend)
}

/// What the system limits for a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limited {
    OpenFiles,
    /// Of all processes of its user.
    Threads,
    LockedMemory,
}

/// The limit in force for this process.
pub(crate) fn soft_limit(of: Limited) -> Option<u64> {
    let resource = match of {
        Limited::OpenFiles => libc::RLIMIT_NOFILE,
        Limited::Threads => libc::RLIMIT_NPROC,
        Limited::LockedMemory => libc::RLIMIT_MEMLOCK,
    };
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit to a valid place.
    let answer = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (answer == 0).then_some(limit.rlim_cur)
}

fn shown(limit: Option<u64>) -> String {
    match limit {
        Some(libc::RLIM_INFINITY) => "any number of".to_owned(),
        Some(limit) => limit.to_string(),
        None => "an unknown number of".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(code: i32) -> Option<String> {
        mend_of(&io::Error::from_raw_os_error(code))
    }

    #[test]
    fn limits_are_named_with_their_number() {
        let files = mend(libc::EMFILE).unwrap();
        let limit = soft_limit(Limited::OpenFiles).unwrap();
        assert!(files.contains("ulimit -n"), "{files}");
        assert!(files.contains(&shown(Some(limit))), "{files}");
        assert!(mend(libc::EAGAIN).unwrap().contains("ulimit -u"));
        assert!(mend(libc::ENOMEM).unwrap().contains("ulimit -v"));
    }

    #[test]
    fn what_the_error_does_not_say_is_left_to_others() {
        assert_eq!(mend(libc::EIO), None);
        assert_eq!(mend_of(&io::Error::other("words")), None);
    }
}
