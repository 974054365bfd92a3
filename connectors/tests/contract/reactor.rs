//! A reactor over the real file system and real sockets that is late, slow and never blocks.
//!
//! Every operation waits for some polls before it is tried; reads and writes do only a drawn part of
//! what was asked. Its clock stands still unless it is moved. Used by tests on one thread.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thalweg_core::seam::reactor::{
    DirectoryEntry, DriverKind, FileAbout, FileId, IoBuffer, IoFailure, Op, OpId, OpResult,
    Outcome, Reactor, SocketId,
};
use thalweg_core::shard::step::TaskWaker;

/// Seeded dice.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound.max(1)
    }
}

/// The reactor.
pub(crate) struct LocalReactor {
    dice: Dice,
    next: u64,
    waiting: BTreeMap<OpId, (usize, Op)>,
    done: BTreeMap<OpId, OpResult>,
    files: BTreeMap<FileId, File>,
    sockets: BTreeMap<SocketId, TcpStream>,
    /// Monotonic ns.
    pub(crate) clock: Cell<u64>,
    /// How often the clock was read.
    pub(crate) readings: Cell<u64>,
    /// What nobody may open or list.
    pub(crate) refused: Option<PathBuf>,
    /// The disk is full after so many bytes.
    pub(crate) room: Option<u64>,
    /// The most bytes one read or write does.
    pub(crate) portion: usize,
}

impl LocalReactor {
    pub(crate) fn new(seed: u64) -> Self {
        LocalReactor {
            dice: Dice::new(seed),
            next: 0,
            waiting: BTreeMap::new(),
            done: BTreeMap::new(),
            files: BTreeMap::new(),
            sockets: BTreeMap::new(),
            clock: Cell::new(1_000_000_007),
            readings: Cell::new(0),
            refused: None,
            room: None,
            portion: 1 << 20,
        }
    }

    /// Files and sockets that are still open.
    pub(crate) fn open_handles(&self) -> usize {
        self.files.len() + self.sockets.len()
    }

    /// Lets everything in flight happen; whether anything did.
    pub(crate) fn poll_all(&mut self) -> bool {
        let flying = self.waiting.len();
        (0..8).for_each(|_| {
            self.poll();
        });
        flying > 0
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn portion(&mut self, asked: usize) -> usize {
        let most = asked.min(self.portion);
        match self.dice.below(2) {
            0 => most,
            _ => 1 + self.dice.below(most.max(1)),
        }
        .min(asked)
    }

    /// Does an operation; `Err` gives it back because it would block.
    fn perform(&mut self, op: Op) -> Result<OpResult, Op> {
        Ok(match op {
            Op::Open { path, .. } | Op::List { path } if self.refused.as_ref() == Some(&path) => {
                Err(io::Error::from(io::ErrorKind::PermissionDenied).into())
            }
            Op::Open { path, options } => {
                let opened = FileOptions::new()
                    .read(true)
                    .write(options.write)
                    .create(options.create)
                    .create_new(options.create && options.exclusive)
                    .truncate(options.truncate)
                    .open(path);
                match opened.and_then(|file| Ok((file.metadata()?.len(), file))) {
                    Ok((len, opened)) => {
                        let file = FileId(self.id());
                        self.files.insert(file, opened);
                        Ok(Outcome::Opened { file, len })
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Op::Read {
                file,
                mut buffer,
                offset,
            } => {
                let part = self.portion(buffer.as_slice().len());
                let part = &mut buffer.as_mut_slice()[..part];
                let count = self.files[&file].read_at(part, offset);
                bytes(count, buffer)
            }
            Op::Write {
                file,
                buffer,
                offset,
            } => {
                let part = self.portion(buffer.as_slice().len()).max(1);
                if self.room.is_some_and(|room| offset + part as u64 > room) {
                    let full = io::Error::from(io::ErrorKind::StorageFull);
                    return Ok(bytes(Err(full), buffer));
                }
                let part = &buffer.as_slice()[..part];
                let count = self.files[&file].write_at(part, offset);
                bytes(count, buffer)
            }
            Op::Sync { file } => done(self.files[&file].sync_data()),
            Op::Close { file } => {
                assert!(self.files.remove(&file).is_some(), "closed twice");
                Ok(Outcome::Done)
            }
            Op::Rename { from, to } => done(fs::rename(from, to)),
            Op::Remove { path } => done(fs::remove_file(path)),
            Op::SyncDirectory { path } => done(File::open(path).and_then(|d| d.sync_all())),
            Op::SetLength { file, len } => done(self.files[&file].set_len(len)),
            Op::CreateDirectory { path } => done(fs::create_dir_all(path)),
            Op::About { file } => {
                let about = self.files[&file].metadata().map(|told| (&told).into());
                about.map(Outcome::About).map_err(IoFailure::from)
            }
            Op::List { path } => list(&path).map(Outcome::Listed).map_err(IoFailure::from),
            other => return self.perform_socket(other),
        })
    }

    fn perform_socket(&mut self, op: Op) -> Result<OpResult, Op> {
        Ok(match op {
            // To the loopback: does not block for long.
            Op::Connect { address } => match TcpStream::connect(address) {
                Ok(stream) => {
                    stream.set_nonblocking(true).unwrap();
                    let socket = SocketId(self.id());
                    self.sockets.insert(socket, stream);
                    Ok(Outcome::Connected { socket })
                }
                Err(error) => Err(error.into()),
            },
            Op::Receive { socket, mut buffer } => {
                let part = self.portion(buffer.as_slice().len());
                let stream = self.sockets.get_mut(&socket).unwrap();
                match stream.read(&mut buffer.as_mut_slice()[..part]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(Op::Receive { socket, buffer });
                    }
                    count => bytes(count, buffer),
                }
            }
            Op::Send { socket, buffer } => {
                let part = self.portion(buffer.as_slice().len()).max(1);
                let stream = self.sockets.get_mut(&socket).unwrap();
                match stream.write(&buffer.as_slice()[..part]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(Op::Send { socket, buffer });
                    }
                    count => bytes(count, buffer),
                }
            }
            Op::Shutdown { socket } => done(self.sockets[&socket].shutdown(Shutdown::Write)),
            Op::CloseSocket { socket } => {
                assert!(self.sockets.remove(&socket).is_some(), "closed twice");
                Ok(Outcome::Done)
            }
            other => panic!("{other:?} is not for connectors"),
        })
    }
}

fn bytes(count: io::Result<usize>, buffer: IoBuffer) -> OpResult {
    match count {
        Ok(count) => Ok(Outcome::Bytes { buffer, count }),
        Err(error) => Err(IoFailure {
            error,
            buffer: Some(buffer),
        }),
    }
}

fn list(directory: &Path) -> io::Result<Vec<DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        match fs::metadata(entry.path()) {
            Ok(told) => entries.push(DirectoryEntry {
                name,
                about: FileAbout::from(&told),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn done(result: io::Result<()>) -> OpResult {
    result.map(|()| Outcome::Done).map_err(IoFailure::from)
}

impl Reactor for LocalReactor {
    fn kind(&self) -> DriverKind {
        DriverKind::Simulated
    }

    fn now(&self) -> u64 {
        self.readings.set(self.readings.get() + 1);
        self.clock.get()
    }

    fn wall_ms(&self) -> i64 {
        0
    }

    fn random(&mut self) -> u64 {
        self.dice.below(usize::MAX) as u64
    }

    fn submit(&mut self, op: Op, _waker: TaskWaker) -> OpId {
        let id = OpId(self.id());
        let late = self.dice.below(4);
        self.waiting.insert(id, (late, op));
        id
    }

    fn take(&mut self, op: OpId) -> Option<OpResult> {
        self.done.remove(&op)
    }

    fn cancel(&mut self, op: OpId) {
        self.waiting.remove(&op);
        self.done.remove(&op);
    }

    fn poll(&mut self) -> usize {
        let mut completed = 0;
        let all: Vec<OpId> = self.waiting.keys().copied().collect();
        for id in all {
            let Some((late, op)) = self.waiting.remove(&id) else {
                continue;
            };
            if late > 0 {
                self.waiting.insert(id, (late - 1, op));
                continue;
            }
            match self.perform(op) {
                Ok(result) => {
                    self.done.insert(id, result);
                    completed += 1;
                }
                Err(again) => {
                    self.waiting.insert(id, (0, again));
                }
            }
        }
        completed
    }

    fn pending(&self) -> usize {
        self.waiting.len()
    }
}
