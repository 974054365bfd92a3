//! Files.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use thalweg_core::seam::reactor::{FileId, IoBuffer, Op, OpResult, OpenOptions, Outcome};
use thalweg_core::shard::executor::Shard;

use crate::rig::{DONE, Exits, NONE, Rig, assert_all_done, chain, end_after, step};

pub(crate) fn opened(result: Option<OpResult>) -> (FileId, u64) {
    match result {
        Some(Ok(Outcome::Opened { file, len })) => (file, len),
        other => panic!("{other:?}"),
    }
}

fn bytes(result: Option<OpResult>) -> (IoBuffer, usize) {
    match result {
        Some(Ok(Outcome::Bytes { buffer, count })) => (buffer, count),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn done(result: Option<OpResult>) {
    assert!(matches!(result, Some(Ok(Outcome::Done))), "{result:?}");
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

const LEN: usize = 200_000;

/// Writes a file, makes it durable and gives it its name; ends at stage 6.
fn write_stages(
    directory: PathBuf,
    first: PathBuf,
    second: PathBuf,
) -> impl FnMut(usize, Option<OpResult>) -> Op {
    let mut file = FileId(0);
    move |stage, result| match stage {
        0 => Op::Open {
            path: first.clone(),
            options: OpenOptions::WRITE_NEW,
        },
        1 => {
            let len;
            (file, len) = opened(result);
            assert_eq!(len, 0);
            let mut buffer = IoBuffer::from(pattern(LEN + 10));
            buffer.set_window(10..LEN + 10);
            Op::Write {
                file,
                buffer,
                offset: 0,
            }
        }
        2 => {
            let (buffer, count) = bytes(result);
            assert_eq!((count, buffer.window()), (LEN, 10..LEN + 10));
            assert_eq!(buffer.into_vec(), pattern(LEN + 10));
            Op::Sync { file }
        }
        3 => {
            done(result);
            Op::Close { file }
        }
        4 => {
            done(result);
            Op::Rename {
                from: first.clone(),
                to: second.clone(),
            }
        }
        _ => {
            done(result);
            Op::SyncDirectory {
                path: directory.clone(),
            }
        }
    }
}

/// Reads that file back and removes it.
fn read_stages(path: PathBuf) -> impl FnMut(usize, Option<OpResult>) -> Option<Op> {
    let mut file = FileId(0);
    move |stage, result| {
        Some(match stage {
            0 => {
                done(result);
                Op::Open {
                    path: path.clone(),
                    options: OpenOptions::READ,
                }
            }
            1 => {
                let len;
                (file, len) = opened(result);
                assert_eq!(len, LEN as u64);
                Op::Read {
                    file,
                    buffer: IoBuffer::zeroed(1000),
                    offset: 500,
                }
            }
            2 => {
                let (buffer, count) = bytes(result);
                assert_eq!((count, buffer.as_slice()), (1000, &pattern(LEN)[510..1510]));
                Op::Read {
                    file,
                    buffer,
                    offset: LEN as u64,
                }
            }
            3 => {
                assert_eq!(bytes(result).1, 0);
                Op::Remove { path: path.clone() }
            }
            4 => {
                done(result);
                Op::Close { file }
            }
            _ => {
                done(result);
                return None;
            }
        })
    }
}

pub(crate) fn a_file_is_written_synced_renamed_and_read(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    let directory = rig.directory().to_path_buf();
    let (first, second) = (directory.join("first"), directory.join("second"));
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let mut write = write_stages(directory, first, second.clone());
        let mut read = read_stages(second);
        shard.add_step(chain(
            "writer and reader",
            move |stage, result| match stage {
                0..6 => Some(write(stage, result)),
                _ => read(stage - 6, result),
            },
        ));
    });
    assert_all_done(&exits);
}

/// Bytes of a file that is read past the page cache: some blocks and a part of one.
const LONG: usize = 3 * 16_384 + 777;

/// From where on, and how much: within a block, over several, more than a buffer for it holds, and behind the end.
const PIECES: [(usize, usize); 9] = [
    (0, 1),
    (0, 4_096),
    (5, 4_090),
    (4_000, 200),
    (8_191, 8_194),
    (1, 16_384),
    (3, 40_000),
    (LONG - 10, 100),
    (LONG + 5_000, 8),
];

pub(crate) fn a_file_is_read_past_the_page_cache(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    let path = rig.directory().join("direct");
    let bytes: Vec<u8> = (0..LONG).map(|at| (at * 7 / 3) as u8).collect();
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let (mut file, mut written, mut read) = (FileId(0), 0, 0);
        shard.add_step(chain("direct reader", move |stage, result| {
            match (stage, result) {
                (0, _) => {
                    let options = OpenOptions {
                        direct: true,
                        ..OpenOptions::WRITE_NEW
                    };
                    let path = path.clone();
                    return Some(Op::Open { path, options });
                }
                (1, result) => file = opened(result).0,
                // As with reads, less may be moved than was asked for.
                (_, Some(Ok(Outcome::Bytes { count, .. }))) if written < LONG => written += count,
                (_, Some(Ok(Outcome::Bytes { buffer, count }))) => {
                    let (offset, length) = PIECES[read];
                    let expected = bytes.get(offset..LONG.min(offset + length));
                    let expected = expected.unwrap_or_default();
                    assert!(
                        (count == 0) == expected.is_empty(),
                        "{length} from {offset}"
                    );
                    assert!(buffer.all()[..count] == expected[..count]);
                    read += 1;
                }
                (_, result) => panic!("{result:?}"),
            }
            if written < LONG {
                let (buffer, offset) = (IoBuffer::from(bytes[written..].to_vec()), written as u64);
                return Some(Op::Write {
                    file,
                    buffer,
                    offset,
                });
            }
            let (offset, length) = *PIECES.get(read)?;
            let (buffer, offset) = (IoBuffer::zeroed(length), offset as u64);
            Some(Op::Read {
                file,
                buffer,
                offset,
            })
        }));
    });
    assert_all_done(&exits);
}

/// Everything that goes wrong, one after the other.
fn clumsy(missing: PathBuf, there: PathBuf) -> impl FnMut(usize, Option<OpResult>) -> Option<Op> {
    let mut file = FileId(0);
    let failure = |result: Option<OpResult>| result.unwrap().unwrap_err();
    move |stage, result| {
        Some(match stage {
            0 => Op::Open {
                path: missing.clone(),
                options: OpenOptions::READ,
            },
            1 => {
                assert_eq!(failure(result).error.kind(), ErrorKind::NotFound);
                Op::Open {
                    path: there.clone(),
                    options: OpenOptions::WRITE_NEW,
                }
            }
            2 => {
                file = opened(result).0;
                let options = OpenOptions {
                    exclusive: true,
                    ..OpenOptions::WRITE_NEW
                };
                Op::Open {
                    path: there.clone(),
                    options,
                }
            }
            3 => {
                assert_eq!(failure(result).error.kind(), ErrorKind::AlreadyExists);
                Op::Close { file }
            }
            4 => {
                done(result);
                Op::Write {
                    file,
                    buffer: IoBuffer::zeroed(5),
                    offset: 0,
                }
            }
            5 => {
                assert_eq!(failure(result).buffer.unwrap().len(), 5);
                Op::Open {
                    path: there.clone(),
                    options: OpenOptions::READ,
                }
            }
            6 => {
                file = opened(result).0;
                Op::Write {
                    file,
                    buffer: IoBuffer::zeroed(7),
                    offset: 0,
                }
            }
            7 => {
                assert_eq!(failure(result).buffer.unwrap().len(), 7);
                Op::Rename {
                    from: missing.clone(),
                    to: there.clone(),
                }
            }
            _ => {
                assert_eq!(failure(result).error.kind(), ErrorKind::NotFound);
                return None;
            }
        })
    }
}

pub(crate) fn failures_are_told_with_the_buffer(rig: &dyn Rig) {
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    let (missing, there) = (
        rig.directory().join("missing"),
        rig.directory().join("there"),
    );
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        shard.add_step(chain("clumsy", clumsy(missing, there)));
    });
    assert_all_done(&exits);
}

/// More operations than a ring has entries, and one shard that sleeps while they fly.
pub(crate) fn many_operations_at_once(rig: &dyn Rig) {
    const WRITES: usize = 1_000;
    let exits = Exits::default();
    let told = Arc::clone(&exits);
    let path = rig.directory().join("many");
    rig.run_shard(move |shard| {
        end_after(shard, 1, &told);
        let mut opening = None;
        let mut writing = Vec::new();
        let mut written = 0;
        shard.add_step(step("many", move |cx| {
            let Some(open) = opening else {
                let options = OpenOptions::WRITE_NEW;
                opening = Some(cx.submit(Op::Open {
                    path: path.clone(),
                    options,
                }));
                return Ok(NONE);
            };
            if let Some(result) = cx.reactor().take(open) {
                let file = opened(Some(result)).0;
                for at in 0..WRITES {
                    let buffer = IoBuffer::from(vec![at as u8; 512]);
                    let offset = at as u64 * 512;
                    writing.push(cx.submit(Op::Write {
                        file,
                        buffer,
                        offset,
                    }));
                }
            }
            writing.retain(|op| match cx.reactor().take(*op) {
                None => true,
                Some(result) => {
                    assert_eq!(bytes(Some(result)).1, 512);
                    written += 1;
                    false
                }
            });
            Ok(if written == WRITES { DONE } else { NONE })
        }));
    });
    assert_all_done(&exits);
}

pub(crate) fn a_shutdown_with_files_in_flight_ends(rig: &dyn Rig) {
    let path = rig.directory().join("cut off");
    rig.run_shard(move |shard| {
        let mailbox = shard.mailbox();
        let mut opening = None;
        shard.add_step(step("cut off", move |cx| {
            let Some(open) = opening else {
                let options = OpenOptions::WRITE_NEW;
                opening = Some(cx.submit(Op::Open {
                    path: path.clone(),
                    options,
                }));
                return Ok(NONE);
            };
            if let Some(result) = cx.reactor().take(open) {
                let file = opened(Some(result)).0;
                for at in 0..300_u64 {
                    let buffer = IoBuffer::zeroed(8192);
                    let op = cx.submit(Op::Write {
                        file,
                        buffer,
                        offset: at * 8192,
                    });
                    if at % 2 == 0 {
                        cx.reactor().cancel(op);
                    }
                }
                mailbox.send(Box::new(Shard::shutdown))?;
            }
            Ok(NONE)
        }));
    });
}

/// Writes and syncs the first half of a file, writes the second half, and sleeps.
pub(crate) fn write_two_halves(shard: &mut Shard) {
    let mut file = FileId(0);
    shard.add_step(chain("halves", move |stage, result| {
        Some(match stage {
            0 => Op::Open {
                path: "/sim/halves".into(),
                options: OpenOptions::WRITE_NEW,
            },
            1 => {
                file = opened(result).0;
                Op::Write {
                    file,
                    buffer: vec![1; 4096].into(),
                    offset: 0,
                }
            }
            2 => Op::Sync { file },
            3 => Op::SyncDirectory {
                path: "/sim".into(),
            },
            4 => Op::Write {
                file,
                buffer: vec![2; 4096].into(),
                offset: 4096,
            },
            _ => return None,
        })
    }));
}
