//! A server that does what it is asked: where it does not, the test fails.
//!
//! Made by a test for itself, or for all that leave it alone; its directory goes with it.

use std::io::Write;

use tempfile::TempDir;

use super::server::{self, lacking};

/// A server that runs.
pub(crate) struct Server {
    /// Ended before its directory goes.
    inner: server::Server,
    _directory: TempDir,
}

impl Server {
    /// A server that allows so many prepared transactions; none, with words, where it cannot be had.
    pub(crate) fn start(prepared_transactions: u32) -> Option<Self> {
        if let Some(lacking) = lacking() {
            // Past the test harness, which keeps what a test prints that passes.
            writeln!(std::io::stderr(), "skipped: needs {lacking}").unwrap();
            return None;
        }
        let directory = TempDir::new().unwrap();
        let inner = server::Server::start(directory.path(), prepared_transactions).unwrap();
        Some(Self {
            inner,
            _directory: directory,
        })
    }

    /// Starts the process and waits until it answers.
    pub(crate) fn run(&mut self, prepared_transactions: u32) {
        assert!(!self.inner.is_running());
        self.inner.run(prepared_transactions).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        assert!(self.inner.is_running());
        self.inner.kill().unwrap();
    }

    pub(crate) fn stop(&mut self) {
        self.inner.stop();
    }

    /// How a user reaches a database.
    pub(crate) fn address_of(&self, user: &str, database: &str) -> String {
        self.inner.address_of(user, database)
    }

    pub(crate) fn address(&self, database: &str) -> String {
        self.inner.address(database)
    }

    /// The rows that a query answers.
    pub(crate) fn ask(&self, database: &str, query: &str) -> Vec<String> {
        self.inner.ask(database, query).unwrap()
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
        self.inner.prepared(database).unwrap()
    }
}
