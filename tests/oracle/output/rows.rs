//! Outputs that are rows of tables, on a PostgreSQL server that is killed and comes back while the job runs.
//!
//! Lives on the oracle's thread. A row is told by the transaction that wrote it (`xmin`), which is that of its row of
//! the sink's ledger too: so both can be held together. Invariant: a server that is down is asked nothing.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Extent, Part};
use crate::oracle::job::ROWS;
use crate::oracle::model::Lines;

#[path = "../../../connectors/tests/contract/postgres/server.rs"]
#[allow(dead_code, reason = "the tests of the sink alone need more of it")]
mod server;

use server::Server;

/// The database of the job.
const NAME: &str = "oracle";
/// Writers there are at most, and what of their transactions may wait at once; with room for those that a killed
/// process has left.
const PREPARED: u32 = 256;

/// Why there cannot be a database on this host, if there cannot.
pub(in crate::oracle) fn lacking() -> Option<String> {
    match cfg!(feature = "postgres") {
        true => server::lacking().map(|lacking| format!("it needs {lacking}")),
        false => Some("this was built without the cargo feature `postgres`".to_owned()),
    }
}

/// The tables of a job.
pub(in crate::oracle) struct Database {
    server: Server,
}

impl Database {
    /// An empty one, on a server of its own in this directory.
    pub(in crate::oracle) fn make(directory: &Path) -> Result<Database, String> {
        let server = Server::start(directory, PREPARED)?;
        server.ask("postgres", &format!("create database {NAME}"))?;
        let database = Database { server };
        for table in ROWS {
            database.ask(&format!("create table {table} (line text not null)"))?;
        }
        Ok(database)
    }

    /// How it is reached.
    pub(in crate::oracle) fn address(&self) -> String {
        self.server.address(NAME)
    }

    fn ask(&self, query: &str) -> Result<Vec<String>, String> {
        self.server.ask(NAME, query)
    }

    /// Whether it can be asked.
    pub(in crate::oracle) fn is_up(&self) -> bool {
        self.server.is_running()
    }

    /// Its server is killed.
    pub(in crate::oracle) fn kill(&mut self) -> Result<(), String> {
        self.server.kill()
    }

    /// Its server is started, if it does not run.
    pub(in crate::oracle) fn come_back(&mut self) -> Result<(), String> {
        self.server.run(PREPARED)
    }

    /// What each transaction has written that is committed.
    pub(super) fn transactions(&self) -> Result<Vec<(&'static str, Part, Extent)>, String> {
        let of = |table| {
            format!(
                "select '{table}', xmin::text, count(*), sum(hashtext(line)::bigint) from {table} group by 2"
            )
        };
        let rows = self.ask(&ROWS.map(of).join(" union all "))?;
        let read = |row: &String| {
            let mut values = row.split('|');
            let table = values.next()?;
            let table = ROWS.into_iter().find(|it| *it == table)?;
            let number: u64 = values.next()?.parse().ok()?;
            let (size, digest) = (values.next()?.parse().ok()?, values.next()?.parse().ok()?);
            Some((
                table,
                Part::Transaction(table, number),
                Extent { size, digest },
            ))
        };
        let read = |row: &String| read(row).ok_or(format!("`{row}` is not what was asked for"));
        rows.iter().map(read).collect()
    }

    /// What these transactions wrote into a table, in the order of their numbers as they are given.
    pub(super) fn texts(&self, table: &str, numbers: &[u64]) -> Result<Vec<String>, String> {
        let listed: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let query = format!(
            "select xmin, line from {table} where xmin::text = any('{{{}}}')",
            listed.join(",")
        );
        let places = listed.iter().map(String::as_str).zip(0..);
        let places: BTreeMap<&str, usize> = places.collect();
        let mut texts = vec![String::new(); numbers.len()];
        for row in self.ask(&query)? {
            let (number, line) = (row.split_once('|')).ok_or(format!("`{row}` has no line"))?;
            let at = places.get(number);
            let at = *at.ok_or(format!("transaction {number} was not asked for"))?;
            texts[at].push_str(line);
            texts[at].push('\n');
        }
        Ok(texts)
    }

    /// All lines of a table, with how often each is there.
    pub(super) fn lines(&self, table: &str) -> Result<Lines, String> {
        let rows = self.ask(&format!("select count(*), line from {table} group by 2"))?;
        let read = |row: &String| {
            let (times, line) = row.split_once('|')?;
            Some((line.to_owned(), times.parse().ok()?))
        };
        let read = |row: &String| read(row).ok_or(format!("`{row}` is not what was asked for"));
        rows.iter().map(read).collect()
    }

    /// The job begins anew, from nothing: what processes have prepared that completed no checkpoint belongs to nobody,
    /// and is ended as the sink's warning says.
    pub(in crate::oracle) fn forget_prepared(&self) -> Result<(), String> {
        for gid in self.server.prepared(NAME)? {
            self.ask(&format!("rollback prepared '{gid}'"))?;
        }
        Ok(())
    }

    /// What must be true when the job has ended: nothing waits to be committed, and the ledger knows of every
    /// transaction there is, and of no other.
    pub(in crate::oracle) fn judge(&self) -> Result<(), String> {
        let left = self.server.prepared(NAME)?;
        if let Some(first) = left.first() {
            let count = left.len();
            return Err(format!(
                "{count} transactions are left prepared, as `{first}`"
            ));
        }
        for table in ROWS {
            let of_ledger = format!("from thalweg_ledger where sink = '{table}'");
            let kept = format!(
                "select number, rows, coalesce(there, 0) from \
                 (select xmin::text x, number, rows {of_ledger}) l left join \
                 (select xmin::text x, count(*) there from {table} group by 1) t using (x) \
                 where rows <> coalesce(there, 0)"
            );
            if let Some(row) = self.ask(&kept)?.first() {
                return Err(format!(
                    "the ledger is wrong: number, rows and rows in `{table}` of a transaction are {row}"
                ));
            }
            // The transactions of a writer have numbers from 1 on, and each is committed at last.
            let known = format!(
                "select coalesce(sum(most), 0), (select count(distinct xmin::text) from {table}) from \
                 (select max(number) most {of_ledger} group by line, attempt, subtask) l"
            );
            let answer = self.ask(&known)?;
            match answer.first().and_then(|row| row.split_once('|')) {
                Some((known, there)) if known == there => {}
                _ => {
                    return Err(format!(
                        "transactions the ledger knows of, and those that wrote into `{table}`: {answer:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
