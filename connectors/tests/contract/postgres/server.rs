//! A PostgreSQL server of one's own: a fresh directory, a free port of the loopback, gone with its handle.
//!
//! Started from the binaries of the host, as the user `postgres` if root asks for it, who the server
//! refuses. Asked through `psql`, so that the sink is no witness in its own cause. Entered by whoever tests the
//! sink, here and as a whole job. Invariant: no server outlives the process that started it.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// So often, with this pause, it is looked whether the server answers.
const LOOKS: u32 = 1500;
const PAUSE: Duration = Duration::from_millis(20);

/// A server that runs.
pub(crate) struct Server {
    directory: PathBuf,
    binaries: PathBuf,
    port: u16,
    process: Option<Process>,
}

struct Process {
    child: Child,
    /// Dropped, the thread that started it ends.
    _keep: SyncSender<()>,
}

/// The directory with the server and what makes its data directory.
fn binaries() -> Option<PathBuf> {
    let whole = |directory: &PathBuf| {
        let there = |name| directory.join(name).is_file();
        there("postgres") && there("initdb")
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(&whole) {
        // A link leads to where the server finds the rest of itself.
        let server = fs::canonicalize(found.join("postgres")).ok()?;
        return Some(server.parent()?.to_owned());
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(whole)
        .collect();
    found.sort();
    found.pop()
}

/// A command that is run by a user the server accepts, and ends with the thread that started it.
fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0) {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg(program).stdin(Stdio::null());
    command
}

fn works(mut command: Command) -> bool {
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// Waits a little before it is looked again.
#[allow(
    clippy::disallowed_methods,
    reason = "the server is a process of its own, which tells nobody when it is ready"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// Starts a process that ends when this one does, whichever thread of it ends before.
#[allow(
    clippy::disallowed_methods,
    reason = "the process ends with the thread that starts it, so that has to be one of its own"
)]
fn spawn(mut command: Command) -> io::Result<Process> {
    let (keep, ended): (_, Receiver<()>) = sync_channel(0);
    let (tell, told) = sync_channel(1);
    let start = move || {
        // Who waits for it is there until it has been told.
        let _ = tell.send(command.spawn());
        let _ = ended.recv();
    };
    std::thread::Builder::new().spawn(start)?;
    let child = told.recv().map_err(io::Error::other)??;
    Ok(Process { child, _keep: keep })
}

/// What is lacking on this host for a server, if anything is.
pub(crate) fn lacking() -> Option<&'static str> {
    let mut psql = Command::new("psql");
    psql.arg("--version");
    let found = binaries().filter(|_| works(command(Path::new("true"))) && works(psql));
    let needed = "PostgreSQL's `postgres`, `initdb` and `psql`, and `setpriv`";
    found.is_none().then_some(needed)
}

impl Server {
    /// A server in a directory, which is made, that allows so many prepared transactions.
    pub(crate) fn start(directory: &Path, prepared_transactions: u32) -> Result<Self, String> {
        let binaries = binaries().ok_or("there are no binaries of PostgreSQL")?;
        let told = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(told)?;
        fs::set_permissions(directory, Permissions::from_mode(0o777)).map_err(told)?;
        let mut make = command(&binaries.join("initdb"));
        make.args(["-A", "trust", "-U", "postgres", "--no-sync"]);
        make.args(["--no-locale", "-E", "UTF8", "-D"]);
        make.arg(directory.join("data"));
        let made = make.current_dir(directory).output().map_err(told)?;
        if !made.status.success() {
            return Err(format!("initdb fails: {made:?}"));
        }
        let port = TcpListener::bind("127.0.0.1:0").map_err(told)?;
        let mut server = Self {
            port: port.local_addr().map_err(told)?.port(),
            directory: directory.to_owned(),
            binaries,
            process: None,
        };
        drop(port);
        server.run(prepared_transactions)?;
        Ok(server)
    }

    /// Starts the process, unless it runs, and waits until it answers.
    pub(crate) fn run(&mut self, prepared_transactions: u32) -> Result<(), String> {
        if self.process.is_some() {
            return Ok(());
        }
        let log = self.directory.join("log");
        for _ in 0..LOOKS {
            let started = self.begin(&log, prepared_transactions);
            let mut process = started.map_err(|error| format!("{}: {error}", log.display()))?;
            for _ in 0..LOOKS {
                let answered = self.query("postgres", "select 1");
                if answered.is_ok_and(|answer| answer.status.success()) {
                    self.process = Some(process);
                    return Ok(());
                }
                if !matches!(process.child.try_wait(), Ok(None)) {
                    // Sessions of one that was killed have its memory still.
                    break;
                }
                pause();
            }
            let _ = process.child.kill();
            let _ = process.child.wait();
            pause();
        }
        let said = fs::read_to_string(&log);
        Err(format!("the server does not start: {said:?}"))
    }

    fn begin(&self, log: &Path, prepared_transactions: u32) -> io::Result<Process> {
        let at = &self.directory;
        let log = File::options().create(true).append(true).open(log)?;
        let mut server = command(&self.binaries.join("postgres"));
        server.arg("-D").arg(at.join("data"));
        server.args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", at.display()),
            "fsync=off".to_owned(),
            format!("max_prepared_transactions={prepared_transactions}"),
        ] {
            server.args(["-c", &setting]);
        }
        server.stdout(log.try_clone()?);
        server.stderr(log).current_dir(at);
        spawn(server)
    }

    /// Whether it has not been killed or stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it: what it has in memory is lost, and what it wrote is not.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let killed = process.child.kill().and_then(|()| process.child.wait());
        killed
            .map(drop)
            .map_err(|error| format!("the server is not killed: {error}"))
    }

    /// Stops it, and its sessions with it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = process.child.id().to_string();
            let told = Command::new("kill").args(["-QUIT", &pid]).status();
            if !told.is_ok_and(|status| status.success()) {
                let _ = process.child.kill();
            }
            let _ = process.child.wait();
        }
    }

    /// How a user reaches a database.
    pub(crate) fn address_of(&self, user: &str, database: &str) -> String {
        let port = self.port;
        format!("host=127.0.0.1 port={port} user={user} dbname={database}")
    }

    pub(crate) fn address(&self, database: &str) -> String {
        self.address_of("postgres", database)
    }

    fn query(&self, database: &str, query: &str) -> io::Result<Output> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-P", "null=NULL", "-d", &self.address(database)]);
        psql.args(["-c", query]).output()
    }

    /// The rows that a query answers.
    pub(crate) fn ask(&self, database: &str, query: &str) -> Result<Vec<String>, String> {
        let answer = self.query(database, query);
        let answer = answer.map_err(|error| format!("psql: {error}"))?;
        if !answer.status.success() {
            return Err(format!("{query}: {answer:?}"));
        }
        let rows = String::from_utf8(answer.stdout).map_err(|error| error.to_string())?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// The ids of what is prepared.
    pub(crate) fn prepared(&self, database: &str) -> Result<Vec<String>, String> {
        let query =
            "select gid from pg_prepared_xacts where database = current_database() order by gid";
        self.ask(database, query)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
