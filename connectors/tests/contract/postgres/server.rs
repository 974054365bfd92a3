//! A PostgreSQL server of its own: a fresh directory, a free port of the loopback, gone with the test.
//!
//! Started from the binaries of the host, as the user `postgres` if the test is run by root, who the server
//! refuses. Without binaries there is none, which is said. Asked through `psql`, so that it is no witness in
//! its own cause.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tempfile::TempDir;

/// So often, with this pause, it is looked whether the server answers.
const LOOKS: u32 = 1500;
const PAUSE: Duration = Duration::from_millis(20);

/// A server that runs.
pub(crate) struct Server {
    directory: TempDir,
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
pub(crate) fn pause() {
    std::thread::sleep(PAUSE);
}

/// Starts a process that ends when this one does, whichever thread of it ends before.
#[allow(
    clippy::disallowed_methods,
    reason = "the process ends with the thread that starts it, so that has to be one of its own"
)]
fn spawn(mut command: Command) -> Process {
    let (keep, ended): (_, Receiver<()>) = sync_channel(0);
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || {
        tell.send(command.spawn()).unwrap();
        let _ = ended.recv();
    });
    Process {
        child: told.recv().unwrap().unwrap(),
        _keep: keep,
    }
}

impl Server {
    /// A server that allows so many prepared transactions; none, with words, where it cannot be had.
    pub(crate) fn start(prepared_transactions: u32) -> Option<Self> {
        let mut psql = Command::new("psql");
        psql.arg("--version");
        let found = binaries().filter(|_| works(command(Path::new("true"))) && works(psql));
        let Some(binaries) = found else {
            // Past the test harness, which keeps what a test prints that passes.
            let told = "skipped: needs PostgreSQL's `postgres`, `initdb` and `psql`, and `setpriv`";
            writeln!(std::io::stderr(), "{told}").unwrap();
            return None;
        };
        let directory = TempDir::new().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let mut make = command(&binaries.join("initdb"));
        make.args(["-A", "trust", "-U", "postgres", "--no-sync"]);
        make.args(["--no-locale", "-E", "UTF8", "-D"]);
        make.arg(directory.path().join("data"));
        let made = make.current_dir(directory.path()).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut server = Self {
            port: port.local_addr().unwrap().port(),
            directory,
            binaries,
            process: None,
        };
        drop(port);
        server.run(prepared_transactions);
        Some(server)
    }

    /// Starts the process and waits until it answers.
    pub(crate) fn run(&mut self, prepared_transactions: u32) {
        assert!(self.process.is_none());
        let at = self.directory.path();
        let log = File::create(at.join("log")).unwrap();
        for _ in 0..LOOKS {
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
            server.stdout(log.try_clone().unwrap());
            server.stderr(log.try_clone().unwrap()).current_dir(at);
            let mut process = spawn(server);
            for _ in 0..LOOKS {
                if self.query("postgres", "select 1").status.success() {
                    self.process = Some(process);
                    return;
                }
                if process.child.try_wait().unwrap().is_some() {
                    // Sessions of one that was killed have its memory still.
                    break;
                }
                pause();
            }
            let _ = process.child.kill();
            process.child.wait().unwrap();
            pause();
        }
        panic!(
            "the server does not start: {:?}",
            fs::read_to_string(at.join("log"))
        );
    }

    /// Kills it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.child.kill().unwrap();
        process.child.wait().unwrap();
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

    fn query(&self, database: &str, query: &str) -> Output {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-P", "null=NULL", "-d", &self.address(database)]);
        psql.args(["-c", query]).output().unwrap()
    }

    /// The rows that a query answers.
    pub(crate) fn ask(&self, database: &str, query: &str) -> Vec<String> {
        let answer = self.query(database, query);
        assert!(answer.status.success(), "{query}: {answer:?}");
        let rows = String::from_utf8(answer.stdout).unwrap();
        rows.lines().map(str::to_owned).collect()
    }

    /// A database of its own for a scene.
    pub(crate) fn database(&self, name: &str) {
        self.ask("postgres", &format!("create database {name}"));
        self.ask(name, "create table numbers (n bigint not null, word text)");
    }

    /// The numbers that can be seen.
    pub(crate) fn numbers(&self, database: &str) -> Vec<u64> {
        let numbers = self.ask(database, "select n from numbers order by n");
        numbers.iter().map(|n| n.parse().unwrap()).collect()
    }

    /// The ids of what is prepared.
    pub(crate) fn prepared(&self, database: &str) -> Vec<String> {
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
