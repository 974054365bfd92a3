//! How servers are reached: addresses, connections, work of threads that may block, and trying again.
//!
//! Connections live on the connector runtime, or on the thread of [`Blocking`]; nothing here runs on a
//! shard. Invariant: an address is never shown with its password.

use std::future::Future;
use std::str::FromStr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use thalweg_core::error::ErrorKind;
use thalweg_core::seam::clock::monotonic_ns;
use thalweg_dataflow::sink::SinkError;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::trouble::failed;

/// How long the server may take to let a session in, unless the address says.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the network may be silent about what was sent, unless the address says.
const SILENCE: Duration = Duration::from_secs(60);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A database on a server.
#[derive(Clone)]
pub(super) struct Server {
    config: Result<Config, String>,
    /// How messages call it: host, port and database.
    pub(super) told: String,
}

impl Server {
    /// Reads an address; one that cannot be read is refused when it is used.
    pub(super) fn parse(address: &str) -> Self {
        match Config::from_str(address) {
            Ok(mut config) => {
                if config.get_connect_timeout().is_none() {
                    config.connect_timeout(CONNECT_TIMEOUT);
                }
                if config.get_tcp_user_timeout().is_none() {
                    config.tcp_user_timeout(SILENCE);
                }
                let told = describe(&config);
                // An address may ask for TLS when there is a chance: there is none.
                let config = match config.get_ssl_mode() {
                    SslMode::Disable | SslMode::Prefer => Ok(config),
                    _ => Err(format!(
                        "PostgreSQL {told} is to be reached by TLS, which this sink does not speak: leave \
                         sslmode=require out and reach it over a tunnel or a trusted network"
                    )),
                };
                Self { config, told }
            }
            Err(error) => Self {
                config: Err(format!(
                    "the address of the PostgreSQL server cannot be read: {error}; write \
                     `host=… port=… user=… dbname=…` or `postgresql://user@host:port/dbname`"
                )),
                told: "of an unreadable address".to_owned(),
            },
        }
    }

    /// Opens a session of this name.
    pub(super) async fn connect(
        &self,
        session: &str,
    ) -> Result<(Client, Connection<Socket, NoTlsStream>), SinkError> {
        let config = self.config.clone();
        let mut config = config.map_err(|message| SinkError::new(ErrorKind::Invalid, message))?;
        config.application_name(session);
        let connected = config.connect(NoTls).await;
        connected.map_err(|error| failed("open a session", &self.told, &error))
    }

    /// The same with a connection that is driven by the tokio runtime this is awaited on, for requests that
    /// are short unless somebody holds a lock.
    pub(super) async fn connect_driven(&self, session: &str) -> Result<Client, SinkError> {
        let (client, connection) = self.connect(session).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Whoever uses the session is told, too.
                tracing::debug!(%error, "a session has ended");
            }
        });
        let limited = client.batch_execute("set lock_timeout = '10s'").await;
        limited.map_err(|error| failed("make settings", &self.told, &error))?;
        Ok(client)
    }
}

fn describe(config: &Config) -> String {
    let host = |(index, host): (usize, &Host)| {
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    };
    let hosts: Vec<String> = config.get_hosts().iter().enumerate().map(host).collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or("?");
    format!("`{}/{database}`", hosts.join(","))
}

/// Lets a thread that may block, and may be one of an asynchronous program, wait for asynchronous work.
#[derive(Default)]
pub(super) struct Blocking(Option<Runtime>);

impl Blocking {
    /// Does the work on a thread of its own and waits for its end.
    ///
    /// # Errors
    /// When the thread cannot be started, or the work panics.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SinkError> {
        let runtime = match &self.0 {
            Some(runtime) => runtime,
            None => {
                let mut builder = Builder::new_multi_thread();
                builder
                    .worker_threads(1)
                    .enable_all()
                    .thread_name("thalweg-postgres");
                let started = builder.build().map_err(|error| {
                    let message = format!(
                        "no thread can be started for a PostgreSQL sink: {error}; raise the limit of threads"
                    );
                    SinkError::new(ErrorKind::Resource, message)
                })?;
                self.0.insert(started)
            }
        };
        let (sender, outcome) = sync_channel(1);
        runtime.spawn(async move {
            // Who waits is there until it has been told.
            let _ = sender.send(work.await);
        });
        outcome.recv().map_err(|_| {
            let message = "the work of a PostgreSQL sink has panicked: a defect of the sink";
            SinkError::new(ErrorKind::Internal, message)
        })
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // To wait for it is refused on the threads of an asynchronous program.
            runtime.shutdown_background();
        }
    }
}

/// How long, and after what pauses, something that fails is tried again.
pub(super) struct Patience {
    length: Duration,
    /// Monotonic ns.
    until: u64,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(length: Duration) -> Self {
        let mut patience = Self {
            length,
            until: 0,
            pause: PAUSES.0,
        };
        patience.renew();
        patience
    }

    /// Something went well: patience is as long as at first.
    pub(super) fn renew(&mut self) {
        let length = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        self.until = monotonic_ns().saturating_add(length);
        self.pause = PAUSES.0;
    }

    /// Waits before the next attempt after this error.
    ///
    /// # Errors
    /// The error itself, when it will not pass, or patience is at its end.
    pub(super) async fn after(&mut self, error: SinkError) -> Result<(), SinkError> {
        if !error.kind.may_succeed_again() {
            return Err(error);
        }
        if monotonic_ns() >= self.until {
            let SinkError { message, kind } = error;
            let length = self.length;
            let message = format!("{message} (given up after {length:?})");
            return Err(SinkError { message, kind });
        }
        tracing::warn!(%error, again_in = ?self.pause, "a PostgreSQL sink tries again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSES.1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_without_its_password_and_a_wrong_one_in_words() {
        let address = "host=db1,db2 port=5433 user=me password=hunter2 dbname=shop";
        assert_eq!(Server::parse(address).told, "`db1:5433,db2:5433/shop`");
        let refusal = |address: &str| match Server::parse(address).config {
            Err(message) => message,
            Ok(_) => panic!("{address} is refused"),
        };
        assert!(!refusal("password=hunter2 port=many").contains("hunter2"));
        assert!(refusal("host=db sslmode=require").contains("TLS"));
    }

    #[test]
    fn work_is_waited_for_also_by_a_thread_of_an_asynchronous_program() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.unwrap();
        let answer = runtime.block_on(async { Blocking::default().run(async { 7 }) });
        assert_eq!(answer.unwrap(), 7);
        let panicked = Blocking::default().run(async { panic!("planted") });
        let panicked: Result<(), _> = panicked;
        assert_eq!(panicked.unwrap_err().kind, ErrorKind::Internal);
    }
}
