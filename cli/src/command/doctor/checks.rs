//! The checks: each reads one fact of the host and judges it.
//!
//! Reading and judging are apart, so that judgements are tested without the host. Invariant: what is
//! not ok comes with its mend; a fact that cannot be read is a warning, never a crash.

use std::fs;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use thalweg::config::{Configuration, options};
use thalweg_core::seam::probe::{Refusal, probe};
use thalweg_core::shard::placement::{allowed_cpus, usable_cores};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The oldest kernel whose io_uring serves the default driver.
const OLDEST_KERNEL: (u32, u32) = (5, 8);
/// Locked memory the default driver needs for each shard's rings.
const MEMLOCK_PER_SHARD: u64 = 512 * KIB;
/// Below this a job with default settings can hardly hold its state.
const LEAST_MEMORY: u64 = 128 * MIB;
const LEAST_DISK: u64 = 64 * MIB;
const ENOUGH_DISK: u64 = GIB;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    Warn,
    Fail,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
        }
    }
}

/// One fact of the host, judged.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) status: Status,
    pub(super) found: String,
    pub(super) mend: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            status: Status::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn bad(
        name: &'static str,
        status: Status,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        debug_assert_ne!(status, Status::Ok, "what is well needs no mend");
        Self {
            name,
            status,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }
}

/// All checks, in the order they are shown.
pub(super) fn all() -> Vec<Check> {
    let cores = usable_cores();
    let folder = std::env::temp_dir();
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map(|(soft, _)| soft);
    vec![
        kernel(&read("/proc/sys/kernel/osrelease")),
        io_uring(probe().io_uring),
        memlock(limit.ok(), cores as u64),
        cpus(allowed_cpus().unwrap_or_default().len(), cores),
        memory(available_memory(), managed_memory()),
        disk(&folder, free_bytes(&folder)),
        huge_pages(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
    ]
}

/// A small file of the kernel; empty if it is not there.
fn read(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (number(), number()) else {
        let mend = "the engine is built for Linux 5.8 or newer with /proc mounted";
        return Check::bad(NAME, Status::Warn, "its version is not known", mend);
    };
    if (major, minor) >= OLDEST_KERNEL {
        return Check::ok(NAME, format!("Linux {release}"));
    }
    let mend = "use Linux 5.8 or newer for io_uring; older ones run on epoll, which is slower";
    Check::bad(NAME, Status::Warn, format!("Linux {release}"), mend)
}

fn io_uring(answer: Result<(), Refusal>) -> Check {
    const NAME: &str = "io_uring";
    match answer {
        Ok(()) => Check::ok(NAME, "can be used"),
        Err(Refusal { cause, mend }) => {
            let found = format!("cannot be used ({cause}); the engine falls back to epoll");
            Check::bad(NAME, Status::Warn, found, mend)
        }
    }
}

fn memlock(limit: Option<u64>, cores: u64) -> Check {
    const NAME: &str = "locked memory";
    let needed = MEMLOCK_PER_SHARD * cores.max(1);
    match limit {
        Some(RLIM_INFINITY) => Check::ok(NAME, "no limit"),
        Some(limit) if limit >= needed => Check::ok(NAME, format!("up to {}", size(limit))),
        limit => {
            let found = limit.map_or_else(
                || "the limit is not known".to_owned(),
                |limit| format!("only up to {}", size(limit)),
            );
            let mend = format!(
                "raise it to {} or more for {cores} shards on io_uring (ulimit -l {}, or LimitMEMLOCK= of \
                 the service)",
                size(needed),
                needed / KIB
            );
            Check::bad(NAME, Status::Warn, found, mend)
        }
    }
}

fn cpus(allowed: usize, usable: usize) -> Check {
    const NAME: &str = "cores";
    match (allowed, usable) {
        (0, _) => {
            let mend = "shards are not pinned then; set thalweg.shard.count to the cores there are";
            Check::bad(NAME, Status::Warn, "the host does not tell them", mend)
        }
        (allowed, usable) if usable < allowed => {
            let found =
                format!("{allowed} may be used, but the control group grants time for {usable}");
            let mend = format!(
                "set thalweg.shard.count to {usable}, or raise cpu.max of the control group"
            );
            Check::bad(NAME, Status::Warn, found, mend)
        }
        (1, _) => {
            let mend = "give it two or more for jobs with a parallelism above 1";
            Check::bad(NAME, Status::Warn, "1 may be used", mend)
        }
        (allowed, _) => Check::ok(NAME, format!("{allowed} may be used")),
    }
}

/// Memory this process may still take: of the host, and within its control groups.
fn available_memory() -> Option<u64> {
    let host = meminfo(&read("/proc/meminfo"));
    let groups = read("/proc/self/cgroup");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let mut left = Vec::from_iter(host);
    let mut group = Path::new("/sys/fs/cgroup").join(own.unwrap_or("/").trim_start_matches('/'));
    while group.starts_with("/sys/fs/cgroup") {
        let number = |file: &str| {
            read(&group.join(file).to_string_lossy())
                .parse::<u64>()
                .ok()
        };
        if let Some(limit) = number("memory.max") {
            left.push(limit.saturating_sub(number("memory.current").unwrap_or(0)));
        }
        if !group.pop() {
            break;
        }
    }
    left.into_iter().min()
}

/// What `/proc/meminfo` says is available, in bytes.
fn meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * KIB)
}

fn managed_memory() -> u64 {
    Configuration::new().get(&options::MANAGED_MEMORY_SIZE).0
}

fn memory(available: Option<u64>, managed: u64) -> Check {
    const NAME: &str = "memory";
    let Some(available) = available else {
        let mend = "see that /proc is mounted; jobs fail by name when memory runs out";
        return Check::bad(NAME, Status::Warn, "what is available is not known", mend);
    };
    let found = format!("{} available", size(available));
    if available < LEAST_MEMORY {
        let mend = format!("free {} or more", size(LEAST_MEMORY));
        return Check::bad(NAME, Status::Fail, found, mend);
    }
    if available < managed {
        let mend = format!(
            "lower taskmanager.memory.managed.size (default {}), or free memory",
            size(managed)
        );
        return Check::bad(NAME, Status::Warn, found, mend);
    }
    Check::ok(NAME, found)
}

/// Free bytes for this user on the disk of a folder that can be written to.
fn free_bytes(folder: &Path) -> Result<u64, String> {
    let probe = folder.join(format!(".thalweg-doctor-{}", std::process::id()));
    let written = fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe));
    written.map_err(|error| error.to_string())?;
    let disk = statvfs(folder).map_err(|error| error.to_string())?;
    Ok(disk.blocks_available() as u64 * disk.fragment_size() as u64)
}

fn disk(folder: &Path, free: Result<u64, String>) -> Check {
    const NAME: &str = "temporary disk";
    let place = folder.display();
    let mend = "free space there, or set TMPDIR to a folder on a disk with room";
    match free {
        Err(cause) => {
            let found = format!("{place} cannot be written to ({cause})");
            Check::bad(
                NAME,
                Status::Fail,
                found,
                "set TMPDIR to a folder you may write to",
            )
        }
        Ok(free) => {
            let found = format!("{} free in {place}", size(free));
            match free {
                ..LEAST_DISK => Check::bad(NAME, Status::Fail, found, mend),
                LEAST_DISK..ENOUGH_DISK => Check::bad(NAME, Status::Warn, found, mend),
                ENOUGH_DISK.. => Check::ok(NAME, found),
            }
        }
    }
}

fn huge_pages(setting: &str) -> Check {
    const NAME: &str = "huge pages";
    let chosen = setting.split(['[', ']']).nth(1);
    match chosen {
        Some(word @ ("always" | "madvise")) => Check::ok(NAME, format!("transparent, {word}")),
        found => {
            let found = found.map_or_else(
                || "this kernel has no transparent ones".to_owned(),
                |word| format!("transparent ones are set to {word}"),
            );
            let mend =
                "for large state: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
            Check::bad(NAME, Status::Warn, found, mend)
        }
    }
}

/// Bytes for people: three digits at least, in binary units.
fn size(bytes: u64) -> String {
    let units = [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not ok must say how to mend it.
    fn status(check: Check) -> Status {
        assert_eq!(
            check.mend.is_none(),
            check.status == Status::Ok,
            "{check:?}"
        );
        check.status
    }

    #[test]
    fn old_and_unknown_kernels_are_warned_of() {
        assert_eq!(status(kernel("6.18.44-fc")), Status::Ok);
        assert_eq!(status(kernel("5.8.0-rc1")), Status::Ok);
        assert_eq!(status(kernel("5.4.0-150-generic")), Status::Warn);
        assert_eq!(status(kernel("")), Status::Warn);
    }

    #[test]
    fn a_refused_ring_is_a_warning_with_cause_and_mend() {
        let refusal = Refusal {
            cause: "io_uring_setup answers: EPERM".to_owned(),
            mend: "allow it",
        };
        let check = io_uring(Err(refusal));
        assert!(check.found.contains("EPERM") && check.mend.as_deref() == Some("allow it"));
        assert_eq!(status(io_uring(Ok(()))), Status::Ok);
    }

    #[test]
    fn locked_memory_is_needed_for_every_shard() {
        assert_eq!(status(memlock(Some(8 * MIB), 16)), Status::Ok);
        assert_eq!(status(memlock(Some(8 * MIB), 17)), Status::Warn);
        assert_eq!(status(memlock(Some(RLIM_INFINITY), 4096)), Status::Ok);
        assert_eq!(status(memlock(None, 1)), Status::Warn);
    }

    #[test]
    fn cores_granted_are_told_from_cores_allowed() {
        assert_eq!(status(cpus(4, 4)), Status::Ok);
        assert!(
            cpus(4, 2)
                .mend
                .unwrap()
                .contains("thalweg.shard.count to 2")
        );
        assert_eq!(status(cpus(1, 1)), Status::Warn);
        assert_eq!(status(cpus(0, 1)), Status::Warn);
    }

    #[test]
    fn too_little_memory_fails_and_little_is_warned_of() {
        assert_eq!(
            meminfo("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"),
            Some(2 * MIB)
        );
        assert_eq!(meminfo("nothing"), None);
        assert_eq!(status(memory(Some(GIB), 512 * MIB)), Status::Ok);
        assert_eq!(status(memory(Some(256 * MIB), 512 * MIB)), Status::Warn);
        assert_eq!(status(memory(Some(64 * MIB), 512 * MIB)), Status::Fail);
        assert_eq!(status(memory(None, 512 * MIB)), Status::Warn);
    }

    #[test]
    fn a_full_or_forbidden_disk_fails() {
        let folder = Path::new("/tmp");
        assert_eq!(status(disk(folder, Ok(2 * GIB))), Status::Ok);
        assert_eq!(status(disk(folder, Ok(100 * MIB))), Status::Warn);
        assert_eq!(status(disk(folder, Ok(0))), Status::Fail);
        assert_eq!(status(disk(folder, Err("EROFS".to_owned()))), Status::Fail);
        assert!(free_bytes(Path::new("/no/such/folder")).is_err());
    }

    #[test]
    fn huge_pages_are_read_from_the_brackets() {
        assert_eq!(status(huge_pages("always [madvise] never")), Status::Ok);
        assert_eq!(status(huge_pages("always madvise [never]")), Status::Warn);
        assert_eq!(status(huge_pages("")), Status::Warn);
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!(size(8 * MIB), "8.0 MiB");
        assert_eq!(size(1536 * MIB), "1.5 GiB");
        assert_eq!(size(12), "12 bytes");
    }
}
