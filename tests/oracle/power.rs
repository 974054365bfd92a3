//! A disk whose power can be cut: an ext4 file system in a file, mounted through a loop device.
//!
//! Lives on the oracle's thread, which waits for the tools that do it; needs root and a mount namespace of its own,
//! so that nothing stays mounted whatever becomes of the process ([`apart`]). Invariant: after a cut nothing is there
//! that was not synced, but for what the file system wrote of its own accord.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use thalweg_core::seam::clock::monotonic_ns;

use super::origin::at;

/// Bytes of the disk; only what is written takes space.
const SIZE: u64 = 2 << 30;
/// How long files of a killed process may keep the disk busy.
const BUSY: Duration = Duration::from_secs(20);

/// EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal is written any more.
const CUT: &str = "open my $place, '<', $ARGV[0] or die $!; my $how = pack('L', 2); <STDIN>; \
                   ioctl($place, 0x8004587d, $how) or die $!";

/// The disk, mounted.
pub(super) struct Disk {
    image: PathBuf,
    /// Where it is mounted.
    pub(super) place: PathBuf,
    /// Who cuts the power when its input is closed: a process that has been started, so that it is quick.
    cutter: Option<Child>,
}

impl Disk {
    /// An empty disk in this directory, mounted there.
    pub(super) fn make(directory: &Path) -> Result<Disk, String> {
        let (image, place) = (directory.join("disk.img"), directory.join("disk"));
        let made = File::create_new(&image).and_then(|file| file.set_len(SIZE));
        made.and_then(|()| fs::create_dir(&place))
            .map_err(|error| at(&image, &error))?;
        tool("mkfs.ext4", &["-q", "-F", &image.display().to_string()])?;
        let mut disk = Disk {
            image,
            place,
            cutter: None,
        };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<(), String> {
        let (image, place) = (self.image.display(), self.place.display());
        tool(
            "mount",
            &["-o", "loop", &image.to_string(), &place.to_string()],
        )?;
        let mut cutter = Command::new("perl");
        cutter.args(["-e", CUT]).arg(&self.place);
        let cutter = cutter.stdin(Stdio::piped()).spawn();
        self.cutter = Some(cutter.map_err(|error| format!("perl: {error}"))?);
        Ok(())
    }

    /// Cuts the power: from here on every operation on the disk fails.
    pub(super) fn cut(&mut self) -> Result<(), String> {
        // To wait for it closes its input.
        let cut = self.cutter.take().map(|mut cutter| cutter.wait());
        match cut {
            Some(Ok(status)) if status.success() => Ok(()),
            other => Err(format!("the power was not cut: {other:?}")),
        }
    }

    /// The power is back: what is on the disk now is what was.
    pub(super) fn back(&mut self) -> Result<(), String> {
        let from = monotonic_ns();
        let place = self.place.display().to_string();
        while let Err(busy) = tool("umount", &[&place]) {
            // Files that a killed process had open in a ring are closed a little later.
            if monotonic_ns() - from > BUSY.as_nanos() as u64 {
                return Err(busy);
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.mount()
    }

    /// Copies all that is on it to a new directory elsewhere.
    pub(super) fn keep(&self, elsewhere: &Path) -> Result<(), String> {
        let (place, elsewhere) = (self.place.display(), elsewhere.display());
        tool("cp", &["-a", &place.to_string(), &elsewhere.to_string()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever waits on it to cut the power keeps it busy, and need not.
        if let Some(mut cutter) = self.cutter.take() {
            let _ = cutter.kill().and_then(|()| cutter.wait());
        }
        // If it cannot be, it is when the namespace ends.
        let _ = tool("umount", &[&self.place.display().to_string()]);
    }
}

/// Why power cannot be cut on this host, if it cannot.
#[must_use]
pub fn lacking() -> Option<String> {
    let needed: [(&str, &[&str]); 4] = [
        ("unshare", &["--mount", "true"]),
        ("mkfs.ext4", &["-V"]),
        ("perl", &["-e", "1"]),
        ("losetup", &["--find"]),
    ];
    let tried = needed.iter().map(|(name, arguments)| tool(name, arguments));
    tried.filter_map(Result::err).next()
}

/// Runs this executable with these arguments in a mount namespace of its own.
///
/// # Errors
/// When it cannot be started.
pub fn apart(arguments: &[String]) -> Result<ExitStatus, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command.arg("--mount").arg(own).args(arguments);
    command
        .status()
        .map_err(|error| format!("unshare: {error}"))
}

fn tool(name: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(name).args(arguments).output();
    let output = output.map_err(|error| format!("{name}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{name} {}: {}", arguments.join(" "), said.trim()))
        }
    }
}
