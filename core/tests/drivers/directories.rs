//! Directories, and what is told about files.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use thalweg_core::seam::reactor::{
    DirectoryEntry, FileAbout, FileId, FileKind, IoBuffer, Op, OpResult, OpenOptions, Outcome,
};

use crate::files::{done, opened};
use crate::rig::{Exits, Rig, assert_all_done, chain, end_after};

fn listed(result: Option<OpResult>) -> Vec<DirectoryEntry> {
    match result {
        Some(Ok(Outcome::Listed(entries))) => entries,
        other => panic!("{other:?}"),
    }
}

fn about(result: Option<OpResult>) -> FileAbout {
    match result {
        Some(Ok(Outcome::About(about))) => about,
        other => panic!("{other:?}"),
    }
}

/// Makes directories and files, cuts one off, renames it, and looks at all of it.
fn look_around(directory: PathBuf) -> impl FnMut(usize, Option<OpResult>) -> Option<Op> {
    let within = directory.join("made/within");
    let (made, file, renamed) = (
        directory.join("made"),
        directory.join("made/a file"),
        directory.join("made/b"),
    );
    let mut open = FileId(0);
    let mut first: Option<FileAbout> = None;
    move |stage, result| {
        Some(match stage {
            0 => Op::List { path: made.clone() },
            1 => {
                let missing = result.unwrap().unwrap_err();
                assert_eq!(missing.error.kind(), ErrorKind::NotFound);
                Op::CreateDirectory {
                    path: within.clone(),
                }
            }
            2 | 3 => {
                done(result);
                // Once more: it may be there.
                Op::CreateDirectory { path: made.clone() }
            }
            4 => {
                done(result);
                Op::Open {
                    path: file.clone(),
                    options: OpenOptions::WRITE_NEW,
                }
            }
            5 => {
                open = opened(result).0;
                Op::Write {
                    file: open,
                    buffer: IoBuffer::from(vec![7; 1000]),
                    offset: 0,
                }
            }
            6 => Op::About { file: open },
            7 => {
                let told = about(result);
                assert_eq!((told.kind, told.len), (FileKind::File, 1000));
                first = Some(told);
                Op::List { path: made.clone() }
            }
            8 => {
                let entries = listed(result);
                let names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
                assert_eq!(names, ["a file", "within"]);
                assert_eq!(entries[0].about, first.unwrap());
                assert_eq!(entries[1].about.kind, FileKind::Directory);
                Op::SetLength {
                    file: open,
                    len: 10,
                }
            }
            9 => {
                done(result);
                Op::Rename {
                    from: file.clone(),
                    to: renamed.clone(),
                }
            }
            10 => {
                done(result);
                Op::About { file: open }
            }
            11 => {
                let told = about(result);
                assert_eq!(told.len, 10);
                assert_eq!(told.identity, first.unwrap().identity, "it is the same");
                Op::Open {
                    path: file.clone(),
                    options: OpenOptions::WRITE_NEW,
                }
            }
            12 => {
                opened(result);
                Op::List { path: made.clone() }
            }
            13 => {
                let entries = listed(result);
                assert_eq!(entries.len(), 3);
                assert_ne!(entries[0].about.identity, first.unwrap().identity);
                assert_eq!(entries[1].about.identity, first.unwrap().identity);
                Op::List { path: file.clone() }
            }
            14 => {
                let file = result.unwrap().unwrap_err();
                assert_eq!(file.error.kind(), ErrorKind::NotADirectory);
                Op::Close { file: open }
            }
            15 => Op::About { file: open },
            16 => {
                result.unwrap().unwrap_err();
                Op::SetLength { file: open, len: 1 }
            }
            _ => {
                result.unwrap().unwrap_err();
                return None;
            }
        })
    }
}

pub(crate) fn directories_are_made_and_listed(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    let directory = rig.directory().to_path_buf();
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        shard.add_step(chain("looks around", look_around(directory)));
    });
    assert_all_done(&exits);
}
