//! Files and sockets are opened in few rooms: on a shard through its reactor, elsewhere by who has to.

use crate::finding::Finding;
use crate::house::House;
use crate::source::{blank, has_word, lines_outside_tests};

pub(crate) const RULE: &str = "doors";

const MEND: &str = "let the reactor of the shard do it (core/src/seam/reactor.rs); what is no task's may be listed \
                    in tests/tidy/doors.rs, with the thread it is done on";

/// The rooms that open files or sockets by themselves, and why they may.
const ROOMS: [&str; 11] = [
    // The drivers, and what there is before any shard.
    "core/src/seam/",
    "core/src/config/load.rs",
    // The room for spilled files, before the job starts.
    "memory/src/spill/space.rs",
    // Before the job starts and after it has ended, on the submitting thread.
    "connectors/src/file/",
    "connectors/src/text/",
    // What the reactor does not tell of a directory.
    "connectors/src/monitor/round.rs",
    // The coordinator's thread and the threads that write for it.
    "cluster/src/checkpoint/storage/",
    // A thread of its own.
    "cluster/src/rest/server.rs",
    // The command line.
    "cli/src/command/",
    "cli/src/control/",
    "cli/src/launch.rs",
];

/// Crates whose tasks run on shards, and those around them.
const CRATES: [&str; 7] = [
    "core/src/",
    "memory/src/",
    "network/src/",
    "state/src/",
    "dataflow/src/",
    "connectors/src/",
    "cluster/src/",
];

/// What opens something.
const SOCKETS: [&str; 6] = [
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
];
const FILES: [&str; 3] = ["std::fs", "tokio::fs", "tokio::net"];

pub(crate) fn check(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for page in house.rust().filter(|page| is_product(&page.path)) {
        if ROOMS.iter().any(|room| page.path.starts_with(room)) {
            continue;
        }
        for (line, code) in lines_outside_tests(&blank(&page.text)) {
            let grouped = code.contains("use std::{") && has_word(code, "fs");
            let file = FILES.iter().find(|name| code.contains(**name));
            let socket = SOCKETS.iter().find(|name| has_word(code, name));
            let what = match (file, socket) {
                (Some(name), _) | (None, Some(name)) => *name,
                (None, None) if grouped => "std::fs",
                (None, None) => continue,
            };
            let what = format!("`{what}` is not used in this room");
            found.push(Finding::new(&page.path, line, what, MEND));
        }
    }
    found
}

fn is_product(path: &str) -> bool {
    let product =
        CRATES.iter().any(|folder| path.starts_with(folder)) || path.starts_with("cli/src/");
    let tests =
        path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("testing.rs");
    product && !tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opened_on_a_shard_is_found() {
        let house = House::planted(&[
            ("state/src/run/reader.rs", "//! x\nuse std::fs::File;\n"),
            ("network/src/wake.rs", "//! x\nuse std::{fs, io};\n"),
            (
                "dataflow/src/sink.rs",
                "//! std::fs\nlet a = std::net::TcpStream::connect(b);\n",
            ),
            ("core/src/seam/file_thread.rs", "//! x\nuse std::fs;\n"),
            ("state/src/run/tests.rs", "//! x\nuse std::fs;\n"),
            ("state/tests/runs/main.rs", "//! x\nuse std::fs;\n"),
            (
                "memory/src/pool.rs",
                "//! x\n// std::fs\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
            ),
        ]);
        let found: Vec<(String, usize)> = check(&house)
            .into_iter()
            .map(|finding| (finding.file, finding.line))
            .collect();
        assert_eq!(
            found,
            [
                ("state/src/run/reader.rs".to_owned(), 2),
                ("network/src/wake.rs".to_owned(), 2),
                ("dataflow/src/sink.rs".to_owned(), 2),
            ]
        );
    }
}
