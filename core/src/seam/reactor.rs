//! The reactor: the one way from a task to clock, randomness, disk and sockets.
//!
//! Entered by tasks through the context of their turn. Invariant: no call blocks; an operation is
//! submitted, later its task is woken, and the outcome is taken once. Lives on the shard's thread.
//! Operations on one file may complete in any order; on one socket at most one receive and one send
//! may be in flight.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use crate::seam::directory::{DirectoryEntry, FileAbout, FileIdentity, FileKind};
pub use crate::seam::io_buffer::IoBuffer;
use crate::shard::step::TaskWaker;

/// Which driver stands behind a reactor.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum DriverKind {
    /// glommio, with a ring of the io-uring crate for files: the default.
    Glommio,
    /// A loop on epoll with a file thread: where io_uring is forbidden.
    Epoll,
    /// Virtual time, seeded order, faults.
    Simulated,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverKind::Glommio => "io_uring",
            DriverKind::Epoll => "epoll",
            DriverKind::Simulated => "simulated",
        })
    }
}

/// Which driver a shard is asked to take. The simulated one is not started on a thread: see
/// [`Simulation`](crate::seam::simulated::Simulation).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum DriverChoice {
    /// io_uring where the host allows it, else epoll with one warning.
    #[default]
    Auto,
    /// io_uring or nothing: refuse to start where it is forbidden.
    IoUring,
    /// epoll, whatever the host allows.
    Epoll,
}

/// An open file of one shard.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u64);

/// An open socket or listener of one shard.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SocketId(pub u64);

/// An operation in flight, or whose outcome has not been taken. Never reused.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OpId(pub u64);

/// How a file is opened. Reading only, unless told otherwise.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenOptions {
    /// May be written to.
    pub write: bool,
    /// Made if it is not there.
    pub create: bool,
    /// Must not be there yet (with `create`).
    pub exclusive: bool,
    /// Emptied.
    pub truncate: bool,
    /// Short reads go past the page cache, where driver and file system can: for files larger than memory, of which
    /// the cache would hold little, and that beside the memory that was given to the process. A wish: where it cannot be,
    /// they are read as ever.
    pub direct: bool,
}

impl OpenOptions {
    /// For reading an existing file.
    pub const READ: OpenOptions = OpenOptions {
        write: false,
        create: false,
        exclusive: false,
        truncate: false,
        direct: false,
    };
    /// For writing a new file, or an existing one anew.
    pub const WRITE_NEW: OpenOptions = OpenOptions {
        write: true,
        create: true,
        exclusive: false,
        truncate: true,
        direct: false,
    };
    /// For reading and writing a file that is made if need be and kept if there.
    pub const READ_WRITE: OpenOptions = OpenOptions {
        write: true,
        create: true,
        exclusive: false,
        truncate: false,
        direct: false,
    };
}

/// An operation.
#[derive(Debug)]
pub enum Op {
    /// Opens a file: [`Outcome::Opened`].
    Open {
        /// Where.
        path: PathBuf,
        /// How.
        options: OpenOptions,
    },
    /// Reads into the buffer's window: [`Outcome::Bytes`]; 0 bytes means the end of the file.
    Read {
        /// From which file.
        file: FileId,
        /// Into which bytes.
        buffer: IoBuffer,
        /// From which byte of the file on.
        offset: u64,
    },
    /// Writes the buffer's window, perhaps only its beginning: [`Outcome::Bytes`].
    Write {
        /// To which file.
        file: FileId,
        /// Which bytes.
        buffer: IoBuffer,
        /// To which byte of the file on.
        offset: u64,
    },
    /// Makes the written data durable (fdatasync): [`Outcome::Done`].
    Sync {
        /// Of which file.
        file: FileId,
    },
    /// Closes a file: [`Outcome::Done`]. Operations of the file still in flight end undisturbed.
    Close {
        /// Which file.
        file: FileId,
    },
    /// Renames a file, over another if one is there: [`Outcome::Done`].
    Rename {
        /// From.
        from: PathBuf,
        /// To, on the same file system.
        to: PathBuf,
    },
    /// Removes a file: [`Outcome::Done`].
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// Makes what was created, renamed and removed in a directory durable: [`Outcome::Done`].
    SyncDirectory {
        /// Which directory.
        path: PathBuf,
    },
    /// Cuts a file off, or fills it up with zeroes: [`Outcome::Done`].
    SetLength {
        /// Which file.
        file: FileId,
        /// To so many bytes.
        len: u64,
    },
    /// Asks about an open file: [`Outcome::About`].
    About {
        /// Which file.
        file: FileId,
    },
    /// Asks what has a name in a directory, not in those within: [`Outcome::Listed`].
    List {
        /// Which directory.
        path: PathBuf,
    },
    /// Makes a directory, and those above it that are missing; it may be there: [`Outcome::Done`].
    CreateDirectory {
        /// Which.
        path: PathBuf,
    },
    /// Connects over TCP, no delay: [`Outcome::Connected`].
    Connect {
        /// To whom.
        address: SocketAddr,
    },
    /// Listens on TCP: [`Outcome::Listening`].
    Listen {
        /// Where; port 0 lets the system pick one.
        address: SocketAddr,
    },
    /// Takes one connection: [`Outcome::Accepted`].
    Accept {
        /// From which listener.
        listener: SocketId,
    },
    /// Receives into the buffer's window what is there, at least one byte: [`Outcome::Bytes`]; 0 bytes
    /// means the peer has ended.
    Receive {
        /// On which socket.
        socket: SocketId,
        /// Into which bytes.
        buffer: IoBuffer,
    },
    /// Sends the buffer's window, perhaps only its beginning: [`Outcome::Bytes`].
    Send {
        /// On which socket.
        socket: SocketId,
        /// Which bytes.
        buffer: IoBuffer,
    },
    /// Ends the sending side, so that the peer reads the end: [`Outcome::Done`].
    Shutdown {
        /// Of which socket.
        socket: SocketId,
    },
    /// Closes a socket or listener; its operations in flight end, with 0 bytes or an error: [`Outcome::Done`].
    CloseSocket {
        /// Which.
        socket: SocketId,
    },
}

impl Op {
    /// Whether it is about a socket, not a file.
    pub(crate) fn is_socket(&self) -> bool {
        match self {
            Op::Connect { .. }
            | Op::Listen { .. }
            | Op::Accept { .. }
            | Op::Receive { .. }
            | Op::Send { .. }
            | Op::Shutdown { .. }
            | Op::CloseSocket { .. } => true,
            Op::Open { .. }
            | Op::Read { .. }
            | Op::Write { .. }
            | Op::Sync { .. }
            | Op::Close { .. }
            | Op::Rename { .. }
            | Op::Remove { .. }
            | Op::SyncDirectory { .. }
            | Op::SetLength { .. }
            | Op::About { .. }
            | Op::List { .. }
            | Op::CreateDirectory { .. } => false,
        }
    }
}

/// What came of an operation.
#[derive(Debug)]
pub enum Outcome {
    /// The file is open.
    Opened {
        /// Its name from now on.
        file: FileId,
        /// Its length in bytes.
        len: u64,
    },
    /// Bytes were read or written.
    Bytes {
        /// The buffer, its window unchanged.
        buffer: IoBuffer,
        /// How many bytes from the beginning of the window.
        count: usize,
    },
    /// It is done.
    Done,
    /// What the file is.
    About(FileAbout),
    /// What is in the directory, sorted by name.
    Listed(Vec<DirectoryEntry>),
    /// The connection stands.
    Connected {
        /// Its name from now on.
        socket: SocketId,
    },
    /// The listener stands.
    Listening {
        /// Its name from now on.
        listener: SocketId,
        /// Its address with the port the system picked.
        address: SocketAddr,
    },
    /// Someone connected.
    Accepted {
        /// The new connection.
        socket: SocketId,
        /// Who.
        peer: SocketAddr,
    },
}

/// An operation that failed, with its buffer if it had one.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct IoFailure {
    /// Why.
    #[source]
    pub error: io::Error,
    /// The buffer of a read, write, receive or send.
    pub buffer: Option<IoBuffer>,
}

impl From<io::Error> for IoFailure {
    fn from(error: io::Error) -> IoFailure {
        IoFailure {
            error,
            buffer: None,
        }
    }
}

impl From<IoFailure> for io::Error {
    fn from(failure: IoFailure) -> io::Error {
        failure.error
    }
}

/// What [`Reactor::take`] hands over.
pub type OpResult = Result<Outcome, IoFailure>;

/// Clock, randomness, disk and sockets of one shard.
pub trait Reactor {
    /// Which driver this is.
    fn kind(&self) -> DriverKind;

    /// Monotonic ns, comparable between the shards of a process. About 25 ns.
    fn now(&self) -> u64;

    /// Milliseconds since 1970 UTC; may jump.
    fn wall_ms(&self) -> i64;

    /// A random number, from the seed of a simulation if it is one. Not for secrets.
    fn random(&mut self) -> u64;

    /// Starts an operation; `waker` is woken when [`Reactor::take`] has an answer. If its task has gone
    /// by then, the outcome is dropped.
    fn submit(&mut self, op: Op, waker: TaskWaker) -> OpId;

    /// Takes the outcome of an operation: once, and only after it is done.
    fn take(&mut self, op: OpId) -> Option<OpResult>;

    /// Gives up an operation: it will answer nothing and wake nobody. What it was doing may still
    /// happen (bytes that a receive has taken are lost); its buffer is dropped once the kernel no longer
    /// uses it.
    fn cancel(&mut self, op: OpId);

    /// Hands new operations to the kernel and reaps completed ones, without waiting; answers how many
    /// completed since the last call.
    fn poll(&mut self) -> usize;

    /// How many operations are in flight.
    fn pending(&self) -> usize;

    /// What tasks that have gone have left here, for the shard to clear away. What is open is answered once.
    fn left_behind(&mut self) -> LeftBehind {
        LeftBehind::default()
    }
}

/// What tasks that have gone have left at a reactor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// Files they had open.
    pub files: Vec<FileId>,
    /// Sockets and listeners they had open.
    pub sockets: Vec<SocketId>,
    /// What they waited for on sockets, perhaps for ever.
    pub waiting: Vec<OpId>,
    /// How many of their operations on files the kernel still works on.
    pub working: usize,
}
