//! The HTTP server of one process: `GET /metrics`, bounded in every direction.
//!
//! One thread of its own, with tokio; started when a job asks for it and ended with the value. A request
//! asks the shards through their mailboxes and waits for them elsewhere, so neither a shard nor the
//! server's thread ever waits for the other. Invariants: so many connections at a time, each for so long,
//! and so many requests at work; more are refused or wait outside.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::metrics;
use crate::local::MetricsReader;

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 16;
/// How long a connection may last, whatever its client does.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Requests at work; more are told to come again.
const REQUESTS: usize = 4;
/// How long shards are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "metrics cannot be served at {address}: {source}; give thalweg.metrics.address a free address of this \
     host, or port 0 for any free port"
)]
pub struct ServerError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Serves the metrics of running jobs as long as it lives.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl MetricsServer {
    /// Listens at `address` and answers from `reader`. Port 0 takes any free port.
    ///
    /// # Errors
    /// An address that is taken or not of this host, or a thread that cannot be started.
    pub fn start(address: SocketAddr, reader: MetricsReader) -> Result<Self, ServerError> {
        let failed = |source| ServerError { address, source };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(REQUESTS)
            .thread_name("thalweg-rest")
            .enable_all()
            .build()
            .map_err(failed)?;
        let listener = runtime
            .block_on(TcpListener::bind(address))
            .map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        if !bound.ip().is_loopback() {
            tracing::warn!(address = %bound, "metrics are served to other hosts, to whoever asks");
        }
        runtime.spawn(serve(listener, reader));
        Ok(Self {
            address: bound,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Shared {
    reader: MetricsReader,
    at_work: Arc<Semaphore>,
}

async fn serve(listener: TcpListener, reader: MetricsReader) {
    let shared = Shared {
        reader,
        at_work: Arc::new(Semaphore::new(REQUESTS)),
    };
    let routes = Router::new()
        .route("/metrics", get(scrape))
        .with_state(shared);
    let listener = Bounded {
        listener,
        room: Arc::new(Semaphore::new(CONNECTIONS)),
    };
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the server of metrics has ended");
    }
}

async fn scrape(State(shared): State<Shared>) -> Response {
    let Ok(permit) = shared.at_work.try_acquire_owned() else {
        let message = "too many requests at a time: ask again\n";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let reader = shared.reader;
    let read = move || {
        let shown = reader.snapshot(PATIENCE);
        drop(permit);
        if !shown.missing.is_empty() {
            tracing::warn!(shards = ?shown.missing, "shards did not answer with their metrics in time");
        }
        metrics::text(&shown.metrics)
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Ok(Err(error)) => failure(&error),
        Err(error) => failure(&error),
    }
}

fn failure(error: &dyn std::error::Error) -> Response {
    tracing::error!(%error, "metrics could not be served");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

/// Accepts a connection only when there is room for one more.
struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; without a permit the connection is not counted.
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            end: Box::pin(tokio::time::sleep(CONNECTION_LIFE)),
            _place: place,
        };
        (connection, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after a time, and its place among those that may be.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn ask(server: &MetricsServer, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn started() -> MetricsServer {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        MetricsServer::start(any, MetricsReader::new()).unwrap()
    }

    #[test]
    fn metrics_are_served_and_nothing_else() {
        let server = started();
        let request =
            |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let found = ask(&server, &request("GET /metrics"));
        assert!(found.starts_with("HTTP/1.1 200"), "{found}");
        assert!(
            found.contains("content-type: text/plain; version=0.0.4"),
            "{found}"
        );
        let other = ask(&server, &request("GET /"));
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        let refused = ask(&server, &request("DELETE /metrics"));
        assert!(refused.starts_with("HTTP/1.1 405"), "{refused}");
    }

    #[test]
    fn nonsense_is_refused_and_the_next_request_served() {
        let server = started();
        let nonsense = ask(&server, "\0\u{1}nonsense\r\n\r\n");
        assert!(
            nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"),
            "{nonsense}"
        );
        let request = "GET /metrics HTTP/1.0\r\n\r\n";
        let served = ask(&server, request);
        assert!(served.starts_with("HTTP/1.0 200"), "{served}");
    }

    #[test]
    fn an_address_that_is_taken_is_told() {
        let server = started();
        let refused = MetricsServer::start(server.address(), MetricsReader::new());
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("thalweg.metrics.address"), "{message}");
    }
}
