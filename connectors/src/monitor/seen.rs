//! What was given out of which file: the memory of a directory monitor, and its decisions.
//!
//! No I/O and no clock: listings and times come in, what is to be read comes out. Lives on the shard of
//! the monitor, and in checkpoints. Invariants: no byte of a file is given out twice and none is left
//! out, unless the file itself was replaced or cut off and the policy says what to do; a file keeps its
//! place when it is renamed.
//!
//! A round: [`Memory::note`] every file that is there, then [`Memory::meet`] each, then
//! [`Memory::end_round`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thalweg_core::seam::reactor::{FileAbout, FileIdentity};
use thalweg_memory::record::record;

use crate::text::Packing;

/// A file that is gone is remembered for so long, in case its directory was only away for a while.
const FORGET_AFTER_MS: i64 = 3_600_000;

/// What to do about a file that does not go on where it was left: one that was replaced by another of the
/// same name (and is not there under another name), or cut off before the place it was read to; and
/// about a file that is gone before all that was found in it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// Fail the job, and name the file: the default.
    #[default]
    Fail,
    /// Read it from its beginning.
    ReadAgain,
    /// Take what it holds now for read, and go on with what is appended to it.
    Skip,
}

/// One file.
#[record(crate = thalweg_memory)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    path: Vec<u8>,
    inode: u64,
    born_ns: u64,
    /// As the last listing had it.
    len: u64,
    modified_ns: u64,
    /// Everything before this byte was given out; of a packed file, all or nothing.
    given: u64,
    /// When it was first missed, in ms since 1970; none while it is there.
    gone_ms: Option<i64>,
}

impl Seen {
    fn new(path: &Path, about: &FileAbout, given: u64) -> Self {
        Self {
            path: path.as_os_str().as_bytes().to_vec(),
            inode: about.identity.inode,
            born_ns: about.identity.born_ns,
            len: about.len,
            modified_ns: about.modified_ns,
            given,
            gone_ms: None,
        }
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn identity(&self) -> FileIdentity {
        FileIdentity {
            inode: self.inode,
            born_ns: self.born_ns,
        }
    }
}

/// A file that has more than was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grown {
    pub(crate) path: PathBuf,
    pub(crate) identity: FileIdentity,
    /// From here on it is new,
    pub(crate) from: u64,
    /// up to its end when it was listed.
    pub(crate) len: u64,
    /// Nothing has changed since the listing before.
    pub(crate) rested: bool,
}

/// A file that does not go on where it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) path: PathBuf,
    pub(crate) what: &'static str,
}

/// All files a monitor knows.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    files: BTreeMap<FileIdentity, Seen>,
    /// The last file of each name.
    named: BTreeMap<Vec<u8>, FileIdentity>,
    /// Those of this round.
    there: BTreeSet<FileIdentity>,
    /// Those of them that were looked at.
    met: BTreeSet<FileIdentity>,
}

impl Memory {
    /// What was saved.
    pub(crate) fn restore(files: impl IntoIterator<Item = Seen>) -> Self {
        let files = files.into_iter().map(|seen| (seen.identity(), seen));
        let files: BTreeMap<_, _> = files.collect();
        let named = files
            .values()
            .map(|seen| (seen.path.clone(), seen.identity()));
        Self {
            named: named.collect(),
            files,
            there: BTreeSet::new(),
            met: BTreeSet::new(),
        }
    }

    /// What is to be saved.
    pub(crate) fn files(&self) -> Vec<Seen> {
        self.files.values().cloned().collect()
    }

    /// A file is there in this round.
    pub(crate) fn note(&mut self, identity: FileIdentity) {
        self.there.insert(identity);
    }

    /// Looks at a file that was noted; answers whether it has more than was given out. One that was
    /// listed twice, under two names or because it was renamed meanwhile, answers by the first.
    ///
    /// # Errors
    /// A file that does not go on where it was left, if that is to fail.
    pub(crate) fn meet(
        &mut self,
        path: &Path,
        about: &FileAbout,
        policy: OnChange,
    ) -> Result<Option<Grown>, Broken> {
        debug_assert!(self.there.contains(&about.identity), "noted before");
        if !self.met.insert(about.identity) {
            return Ok(None);
        }
        let known = self.files.get_mut(&about.identity);
        // Where births are not kept, a number that was away may have been used again.
        let sure =
            |seen: &&mut Seen| seen.born_ns != 0 || seen.gone_ms.is_none() || seen.path() == path;
        let (seen, rested) = match known.filter(sure) {
            Some(seen) => {
                let rested = go_on(seen, path, about, policy)?;
                (seen.clone(), rested)
            }
            None => (self.begin(path, about, policy)?, false),
        };
        self.named.insert(seen.path, about.identity);
        Ok((seen.len > seen.given).then(|| Grown {
            path: path.to_owned(),
            identity: about.identity,
            from: seen.given,
            len: seen.len,
            rested,
        }))
    }

    /// A file that was not there before.
    fn begin(&mut self, path: &Path, about: &FileAbout, policy: OnChange) -> Result<Seen, Broken> {
        let former = self.named.get(path.as_os_str().as_bytes());
        let former = former
            .filter(|former| !self.there.contains(former))
            .copied();
        let mut given = 0;
        if let Some(seen) = former.and_then(|former| self.files.get(&former))
            && seen.given > 0
        {
            match policy {
                OnChange::Fail => {
                    let path = path.to_owned();
                    let what = "was replaced by another file";
                    return Err(Broken { path, what });
                }
                OnChange::ReadAgain => {}
                OnChange::Skip => given = about.len,
            }
        }
        if let Some(former) = former {
            self.files.remove(&former);
        }
        let seen = Seen::new(path, about, given);
        self.files.insert(about.identity, seen.clone());
        Ok(seen)
    }

    /// All files were met: those that are gone may be forgotten.
    pub(crate) fn end_round(&mut self, now_ms: i64) {
        let there = std::mem::take(&mut self.there);
        self.met.clear();
        let named = &mut self.named;
        self.files.retain(|identity, seen| {
            if there.contains(identity) {
                seen.gone_ms = None;
                return true;
            }
            let since = *seen.gone_ms.get_or_insert(now_ms);
            let kept = now_ms.saturating_sub(since) <= FORGET_AFTER_MS;
            if !kept && named.get(&seen.path) == Some(identity) {
                named.remove(&seen.path);
            }
            kept
        });
    }

    /// Everything before `to` is given out.
    pub(crate) fn give(&mut self, identity: FileIdentity, to: u64) {
        if let Some(seen) = self.files.get_mut(&identity) {
            debug_assert!(to >= seen.given, "never backwards");
            seen.given = to;
        }
    }
}

/// A file that was there before; answers whether it has not changed since.
fn go_on(
    seen: &mut Seen,
    path: &Path,
    about: &FileAbout,
    policy: OnChange,
) -> Result<bool, Broken> {
    let rested = (seen.len, seen.modified_ns) == (about.len, about.modified_ns);
    let packed = Packing::of(path) != Packing::Plain;
    let what = if about.len < seen.given {
        Some("is shorter than what was read of it")
    } else if packed && seen.given > 0 && about.len != seen.given {
        Some("is packed and was changed after it was read")
    } else {
        None
    };
    if let Some(what) = what {
        match policy {
            OnChange::Fail => {
                let path = path.to_owned();
                return Err(Broken { path, what });
            }
            OnChange::ReadAgain => seen.given = 0,
            OnChange::Skip => seen.given = about.len,
        }
    }
    seen.path = path.as_os_str().as_bytes().to_vec();
    (seen.len, seen.modified_ns) = (about.len, about.modified_ns);
    Ok(rested)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::seam::reactor::FileKind;

    fn about(inode: u64, born_ns: u64, len: u64) -> FileAbout {
        FileAbout {
            kind: FileKind::File,
            len,
            modified_ns: len,
            identity: FileIdentity { inode, born_ns },
        }
    }

    /// One round at this time (ms) over `name, inode, born, length`; what is new is given out at once.
    fn round(
        memory: &mut Memory,
        policy: OnChange,
        now_ms: i64,
        files: &[(&str, u64, u64, u64)],
    ) -> Result<Vec<(String, u64, u64)>, Broken> {
        // Saved and restored between all rounds.
        *memory = Memory::restore(memory.files());
        for (_, inode, born, len) in files {
            memory.note(about(*inode, *born, *len).identity);
        }
        let mut grown = Vec::new();
        for (name, inode, born, len) in files {
            let met = memory.meet(Path::new(name), &about(*inode, *born, *len), policy)?;
            if let Some(Grown {
                identity,
                from,
                len,
                ..
            }) = met
            {
                memory.give(identity, len);
                grown.push(((*name).to_owned(), from, len));
            }
        }
        memory.end_round(now_ms);
        Ok(grown)
    }

    fn new(name: &str, from: u64, len: u64) -> (String, u64, u64) {
        (name.to_owned(), from, len)
    }

    #[test]
    fn what_is_appended_is_given_once() {
        for born in [0, 5] {
            let mut memory = Memory::default();
            let mut look = |files: &[_]| round(&mut memory, OnChange::Fail, 0, files).unwrap();
            assert_eq!(look(&[("a", 1, born, 10)]), [new("a", 0, 10)]);
            assert_eq!(look(&[("a", 1, born, 10)]), []);
            assert_eq!(
                look(&[("a", 1, born, 12), ("b", 2, born, 1)]),
                [new("a", 10, 12), new("b", 0, 1)]
            );
            assert_eq!(look(&[("b", 2, born, 1)]), []);
            assert_eq!(look(&[("a", 1, born, 12), ("b", 2, born, 1)]), []);
        }
    }

    #[test]
    fn a_rotated_file_keeps_its_place_under_its_new_name() {
        let mut memory = Memory::default();
        let mut look = |files: &[_]| round(&mut memory, OnChange::Fail, 0, files).unwrap();
        assert_eq!(look(&[("log", 1, 5, 10)]), [new("log", 0, 10)]);
        assert_eq!(
            look(&[("log", 2, 6, 3), ("log.1", 1, 5, 15)]),
            [new("log", 0, 3), new("log.1", 10, 15)]
        );
        assert_eq!(
            look(&[("log", 3, 7, 1), ("log.1", 2, 6, 4), ("log.2", 1, 5, 15)]),
            [new("log", 0, 1), new("log.1", 3, 4)]
        );
    }

    #[test]
    fn a_file_that_is_listed_under_two_names_is_given_once() {
        let mut memory = Memory::default();
        for (len, new) in [(10, Some((0, 10))), (10, None), (12, Some((10, 12)))] {
            let one = about(1, 5, len);
            memory.note(one.identity);
            let met = ["log", "log.1"].map(|name| {
                let met = memory.meet(Path::new(name), &one, OnChange::Fail);
                met.unwrap().map(|grown| (grown.from, grown.len))
            });
            memory.end_round(0);
            assert_eq!(met, [new, None]);
            memory.give(one.identity, len);
        }
    }

    #[test]
    fn what_was_replaced_or_cut_off_is_up_to_the_policy() {
        let before = [("a", 1, 5, 10)];
        for (after, what) in [
            ([("a", 2, 6, 20)], "replaced"),
            ([("a", 1, 5, 4)], "shorter"),
        ] {
            let mut memory = Memory::default();
            round(&mut memory, OnChange::Fail, 0, &before).unwrap();
            let broken = round(&mut memory, OnChange::Fail, 0, &after).unwrap_err();
            assert!(broken.what.contains(what), "{broken:?}");

            let len = after[0].3;
            let mut memory = Memory::default();
            round(&mut memory, OnChange::Fail, 0, &before).unwrap();
            let again = round(&mut memory, OnChange::ReadAgain, 0, &after).unwrap();
            assert_eq!(again, [new("a", 0, len)]);

            let mut memory = Memory::default();
            round(&mut memory, OnChange::Fail, 0, &before).unwrap();
            assert_eq!(round(&mut memory, OnChange::Skip, 0, &after).unwrap(), []);
            let more = [("a", after[0].1, after[0].2, len + 7)];
            let appended = round(&mut memory, OnChange::Skip, 0, &more).unwrap();
            assert_eq!(appended, [new("a", len, len + 7)]);
        }
    }

    #[test]
    fn a_packed_file_is_read_whole_or_not_at_all() {
        let mut memory = Memory::default();
        let look =
            |memory: &mut Memory, policy, len| round(memory, policy, 0, &[("a.gz", 1, 5, len)]);
        assert_eq!(
            look(&mut memory, OnChange::Fail, 10).unwrap(),
            [new("a.gz", 0, 10)]
        );
        look(&mut memory, OnChange::Fail, 12).unwrap_err();
        let again = look(&mut memory, OnChange::ReadAgain, 12).unwrap();
        assert_eq!(again, [new("a.gz", 0, 12)]);
    }

    #[test]
    fn a_file_that_is_gone_is_remembered_for_a_while() {
        let file = [("a", 1, 5, 10)];
        let other_name = [("b", 1, 5, 10)];
        for (away_ms, grown) in [(FORGET_AFTER_MS, 0), (FORGET_AFTER_MS + 1, 1)] {
            let mut memory = Memory::default();
            round(&mut memory, OnChange::Fail, 1000, &file).unwrap();
            round(&mut memory, OnChange::Fail, 2000, &[]).unwrap();
            round(&mut memory, OnChange::Fail, 2000 + away_ms, &[]).unwrap();
            let back = round(&mut memory, OnChange::Fail, 9_000_000, &file).unwrap();
            assert_eq!(back.len(), grown, "{away_ms}");
            assert_eq!(memory.files.len(), 1);
        }
        // The number of a file that is gone, used again where births are not kept.
        let mut memory = Memory::default();
        round(&mut memory, OnChange::Fail, 0, &[("a", 1, 0, 10)]).unwrap();
        round(&mut memory, OnChange::Fail, 1, &[]).unwrap();
        let fresh = round(&mut memory, OnChange::Fail, 2, &[("b", 1, 0, 10)]).unwrap();
        assert_eq!(fresh, [new("b", 0, 10)]);
        // The same file under another name, where they are.
        let mut memory = Memory::default();
        round(&mut memory, OnChange::Fail, 0, &file).unwrap();
        round(&mut memory, OnChange::Fail, 1, &[]).unwrap();
        assert_eq!(
            round(&mut memory, OnChange::Fail, 2, &other_name).unwrap(),
            []
        );
    }
}
