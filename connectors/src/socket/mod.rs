//! Lines over TCP: read from a server, written to a server.
//!
//! Entered by programs through [`SocketText`] and [`SocketSink`]; addresses are looked up on the
//! submitting thread, connections live on the shard of their subtask.

mod sink;
mod source;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use thalweg_core::seam::reactor::{IoFailure, OpResult};

pub use sink::{SocketSink, SocketSinkWriter};
pub use source::{SocketReader, SocketSplit, SocketText};

/// The addresses of `host:port`; the error is a message with its mend.
fn look_up(peer: &str) -> Result<Vec<SocketAddr>, String> {
    let found = peer
        .to_socket_addrs()
        .map(|found| found.collect::<Vec<_>>());
    match found {
        Ok(addresses) if addresses.is_empty() => {
            Err(format!("`{peer}` has no address: check the host's name"))
        }
        Ok(addresses) => Ok(addresses),
        Err(error) => Err(format!(
            "cannot look up `{peer}`: {error}; it must be host:port, such as localhost:9999"
        )),
    }
}

/// The error in an operation's result that is not the expected outcome.
fn error_of(result: OpResult) -> io::Error {
    match result {
        Err(IoFailure { error, .. }) => error,
        Ok(outcome) => io::Error::other(format!("the driver answered {outcome:?}")),
    }
}

/// What to do about a connection that failed.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nobody listens there: start the server first (nc -lk PORT)"
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => {
            "check the address and the firewall"
        }
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => {
            "the server ended the connection before the stream did: look into the server's log"
        }
        _ => "check the server",
    }
}
