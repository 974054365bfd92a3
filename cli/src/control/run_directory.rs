//! The directory of the sockets by which this user's jobs are reached.
//!
//! `THALWEG_RUN_DIR` names it; otherwise it is `thalweg` in `XDG_RUNTIME_DIR`, or `thalweg-<uid>` in the
//! directory of temporary files. Invariant: it belongs to this user, who alone may enter it. A socket nobody
//! listens to is left over from a process that was killed, and is removed when it is met.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thalweg_core::ids::JobId;

/// Names the directory.
const RUN_DIRECTORY: &str = "THALWEG_RUN_DIR";

/// What ends the name of a socket; before it stands the job's id.
const SUFFIX: &str = ".sock";

/// Rights of others, of which there must be none.
const OTHERS: u32 = 0o077;

/// The directory's path.
pub(super) fn path() -> io::Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty());
    if let Some(path) = named(RUN_DIRECTORY) {
        return std::path::absolute(path);
    }
    match named("XDG_RUNTIME_DIR") {
        Some(runtime) => Ok(PathBuf::from(runtime).join("thalweg")),
        None => Ok(std::env::temp_dir().join(format!("thalweg-{}", uid()?))),
    }
}

/// The user this process runs as.
fn uid() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// The directory, made if it is not there.
pub(super) fn open() -> io::Result<PathBuf> {
    let path = path()?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    if let Err(error) = made
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    check(&path)?;
    Ok(path)
}

/// Refuses a directory that others can enter: they could put sockets of their own there.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != uid()? || found.mode() & OTHERS != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{} is not a directory that only you can enter: remove it, or name another by {RUN_DIRECTORY}",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// The socket of a job.
pub(super) fn socket(directory: &Path, job: JobId) -> PathBuf {
    directory.join(format!("{job}{SUFFIX}"))
}

/// The jobs that have a socket somebody listens to, with the connection; what is left over is removed.
pub(super) fn jobs(directory: &Path) -> io::Result<Vec<(JobId, UnixStream)>> {
    let mut jobs = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let job = name.and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        let Some(job) = job else { continue };
        match UnixStream::connect(&path) {
            Ok(connection) => jobs.push((job, connection)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Somebody else may have removed it meanwhile.
                let _ = fs::remove_file(&path);
            }
            // It has just ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    jobs.sort_by_key(|(job, _)| *job);
    Ok(jobs)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_directory_others_can_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        DirBuilder::new().mode(0o700).create(&own).unwrap();
        check(&own).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(check(&link).is_err());
        fs::set_permissions(&own, Permissions::from_mode(0o750)).unwrap();
        let refused = check(&own).unwrap_err().to_string();
        assert!(refused.contains(RUN_DIRECTORY), "{refused}");
    }

    #[test]
    fn sockets_of_processes_that_are_gone_are_removed_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (alive, gone) = (JobId(7), JobId(3));
        let _listener = UnixListener::bind(socket(folder.path(), alive)).unwrap();
        drop(UnixListener::bind(socket(folder.path(), gone)).unwrap());
        let other = folder.path().join("other.sock");
        fs::write(&other, "").unwrap();
        let found = jobs(folder.path()).unwrap();
        let found: Vec<JobId> = found.into_iter().map(|(job, _)| job).collect();
        assert_eq!(found, [alive]);
        assert!(!socket(folder.path(), gone).exists() && other.exists());
    }
}
