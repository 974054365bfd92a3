//! The ways out of a shard: clock, randomness, disk and sockets, each with a real and a simulated side.
//!
//! Entered by everything on a shard through [`reactor::Reactor`]; the drivers behind it are picked by
//! `shard::start` (glommio or epoll) or built by [`simulated`]. Invariant: nothing outside this room
//! asks the operating system for time, entropy, a file or a socket.

pub(crate) mod bell;
pub mod clock;
pub mod directory;
pub(crate) mod epoll;
pub(crate) mod file_thread;
pub(crate) mod glommio;
pub mod io_buffer;
pub mod mend;
pub(crate) mod pending;
pub mod probe;
pub mod reactor;
#[doc(hidden)]
pub mod seccomp;
pub mod simulated;
pub mod standard_streams;
