//! The simulated disk's directories, and what it tells about files.
//!
//! A directory is there when it was made or when something lies in it. Invariant: making one is durable
//! at once, as nothing depends on an empty directory's loss. One disk per simulation, on its thread.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::disk::{Disk, InodeId, failed};
use crate::seam::reactor::{
    DirectoryEntry, FileAbout, FileId, FileIdentity, FileKind, OpResult, Outcome,
};

impl Disk {
    pub(super) fn about(&mut self, file: FileId) -> OpResult {
        let inode = match self.open.get(&file) {
            Some((inode, _)) => *inode,
            None => return failed(libc::EBADF),
        };
        Ok(Outcome::About(self.about_inode(inode)))
    }

    fn about_inode(&self, inode: InodeId) -> FileAbout {
        let content = self.inodes.get(&inode);
        FileAbout {
            kind: FileKind::File,
            len: content.map_or(0, |content| content.current.len() as u64),
            modified_ns: content.map_or(0, |content| content.modified_ns),
            identity: FileIdentity { inode, born_ns: 0 },
        }
    }

    pub(super) fn list(&self, directory: &Path) -> OpResult {
        let mut entries: BTreeMap<OsString, FileAbout> = BTreeMap::new();
        let made = self.directories.iter().map(|path| (path, None));
        let named = self.names.iter().map(|(path, inode)| (path, Some(*inode)));
        let mut there = self.directories.contains(directory);
        for (path, inode) in made.chain(named) {
            let Ok(below) = path.strip_prefix(directory) else {
                continue;
            };
            let mut parts = below.iter();
            let Some(name) = parts.next() else { continue };
            there = true;
            let about = match inode {
                Some(inode) if parts.next().is_none() => self.about_inode(inode),
                _ => FileAbout {
                    kind: FileKind::Directory,
                    len: 0,
                    modified_ns: 0,
                    identity: FileIdentity {
                        inode: 0,
                        born_ns: 0,
                    },
                },
            };
            entries.entry(name.to_owned()).or_insert(about);
        }
        if !there {
            return match self.names.contains_key(directory) {
                true => failed(libc::ENOTDIR),
                false => failed(libc::ENOENT),
            };
        }
        let entries = entries.into_iter();
        let entries = entries.map(|(name, about)| DirectoryEntry { name, about });
        Ok(Outcome::Listed(entries.collect()))
    }

    pub(super) fn create_directory(&mut self, path: PathBuf) -> OpResult {
        if path.ancestors().any(|above| self.names.contains_key(above)) {
            return failed(libc::EEXIST);
        }
        self.directories
            .extend(path.ancestors().map(Path::to_owned));
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::reactor::OpenOptions;
    use crate::seam::simulated::DiskFaults;

    fn names(answer: OpResult) -> Vec<(String, FileKind)> {
        match answer {
            Ok(Outcome::Listed(entries)) => entries
                .into_iter()
                .map(|entry| (entry.name.into_string().unwrap(), entry.about.kind))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_directory_holds_files_and_directories_of_its_own() {
        let mut disk = Disk::new(DiskFaults::NONE);
        for path in ["/d/b", "/d/a", "/d/in/c", "/other"] {
            disk.open(path.into(), OpenOptions::WRITE_NEW).unwrap();
        }
        disk.create_directory("/d/empty/within".into()).unwrap();
        let listed = names(disk.list(Path::new("/d")));
        let named = |name: &str, kind| (name.to_owned(), kind);
        assert_eq!(
            listed,
            [
                named("a", FileKind::File),
                named("b", FileKind::File),
                named("empty", FileKind::Directory),
                named("in", FileKind::Directory),
            ]
        );
        assert_eq!(names(disk.list(Path::new("/d/empty/within"))), []);
        let missing = disk.list(Path::new("/nowhere")).unwrap_err();
        assert_eq!(missing.error.raw_os_error(), Some(libc::ENOENT));
        let file = disk.list(Path::new("/d/a")).unwrap_err();
        assert_eq!(file.error.raw_os_error(), Some(libc::ENOTDIR));
        assert!(disk.create_directory("/d/a/x".into()).is_err());
    }
}
