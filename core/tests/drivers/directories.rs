//! Directories, and what is told about files.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
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

/// What lies where.
#[derive(Clone)]
struct Places {
    made: PathBuf,
    within: PathBuf,
    file: PathBuf,
    renamed: PathBuf,
}

/// Makes directories, and a file that is left open.
fn make(places: Places, open: Rc<Cell<FileId>>) -> impl FnMut(usize, Option<OpResult>) -> Op {
    move |stage, result| match stage {
        0 => Op::List {
            path: places.made.clone(),
        },
        1 => {
            let missing = result.unwrap().unwrap_err();
            assert_eq!(missing.error.kind(), ErrorKind::NotFound);
            Op::CreateDirectory {
                path: places.within.clone(),
            }
        }
        2 => {
            done(result);
            // It is there already.
            Op::CreateDirectory {
                path: places.made.clone(),
            }
        }
        3 => {
            done(result);
            Op::Open {
                path: places.file.clone(),
                options: OpenOptions::WRITE_NEW,
            }
        }
        _ => {
            open.set(opened(result).0);
            Op::Write {
                file: open.get(),
                buffer: IoBuffer::from(vec![7; 1000]),
                offset: 0,
            }
        }
    }
}

/// Asks about the file and cuts it off.
fn ask(
    places: Places,
    open: Rc<Cell<FileId>>,
    first: Rc<Cell<Option<FileAbout>>>,
) -> impl FnMut(usize, Option<OpResult>) -> Op {
    move |stage, result| match stage {
        0 => Op::About { file: open.get() },
        1 => {
            let told = about(result);
            assert_eq!((told.kind, told.len), (FileKind::File, 1000));
            first.set(Some(told));
            Op::List {
                path: places.made.clone(),
            }
        }
        2 => {
            let entries = listed(result);
            let names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
            assert_eq!(names, ["a file", "within"]);
            assert_eq!(entries[0].about, first.get().unwrap());
            assert_eq!(entries[1].about.kind, FileKind::Directory);
            Op::SetLength {
                file: open.get(),
                len: 10,
            }
        }
        _ => {
            done(result);
            Op::Rename {
                from: places.file.clone(),
                to: places.renamed.clone(),
            }
        }
    }
}

/// Tells the file, renamed, from another one under its old name.
fn tell_apart(
    places: Places,
    open: Rc<Cell<FileId>>,
    first: Rc<Cell<Option<FileAbout>>>,
) -> impl FnMut(usize, Option<OpResult>) -> Option<Op> {
    move |stage, result| {
        let identity = first.get().map(|about| about.identity);
        Some(match stage {
            0 => {
                done(result);
                Op::About { file: open.get() }
            }
            1 => {
                let told = about(result);
                assert_eq!((told.len, Some(told.identity)), (10, identity));
                Op::Open {
                    path: places.file.clone(),
                    options: OpenOptions::WRITE_NEW,
                }
            }
            2 => {
                opened(result);
                Op::List {
                    path: places.made.clone(),
                }
            }
            3 => {
                let entries = listed(result);
                assert_eq!(entries.len(), 3);
                assert_ne!(Some(entries[0].about.identity), identity);
                assert_eq!(Some(entries[1].about.identity), identity);
                Op::List {
                    path: places.file.clone(),
                }
            }
            4 => {
                let file = result.unwrap().unwrap_err();
                assert_eq!(file.error.kind(), ErrorKind::NotADirectory);
                Op::Close { file: open.get() }
            }
            5 => Op::About { file: open.get() },
            6 => {
                result.unwrap().unwrap_err();
                Op::SetLength {
                    file: open.get(),
                    len: 1,
                }
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
        let places = Places {
            made: directory.join("made"),
            within: directory.join("made/within"),
            file: directory.join("made/a file"),
            renamed: directory.join("made/b"),
        };
        let (open, first) = (Rc::new(Cell::new(FileId(0))), Rc::new(Cell::new(None)));
        let mut make = make(places.clone(), Rc::clone(&open));
        let mut ask = ask(places.clone(), Rc::clone(&open), Rc::clone(&first));
        let mut tell_apart = tell_apart(places, open, first);
        shard.add_step(chain("looks around", move |stage, result| match stage {
            0..5 => Some(make(stage, result)),
            5..9 => Some(ask(stage - 5, result)),
            _ => tell_apart(stage - 9, result),
        }));
    });
    assert_all_done(&exits);
}
