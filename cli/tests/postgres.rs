//! A job that writes into PostgreSQL and is killed again and again, as a process and from within; and so is the
//! server.
//!
//! The program is this test itself, run as another process. Each time it goes on from the newest checkpoint, at
//! another parallelism where it is another process; in the end every record is a row, once, and nothing is left prepared.

#[cfg(test)]
#[path = "../../connectors/tests/contract/postgres/server.rs"]
#[allow(dead_code, reason = "the tests of the connectors use all of it")]
mod server;

#[cfg(test)]
mod killed {
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use thalweg::Environment;
    use thalweg::connectors::Generator;
    use thalweg::connectors::postgres::{PostgresSink, Row};
    use thalweg_cluster::{CancelToken, LocalExecutor};
    use thalweg_core::config::Configuration;

    use super::server::{Server, pause};

    const RECORDS: u64 = 60_000;
    /// Slow enough to be killed some times.
    const RATE: f64 = 12_000.0;
    /// Records at which the function of a process fails, once in each.
    const POISON: u64 = 9_001;
    /// Of the process and, every other one, of the server.
    const KILLS: u32 = 6;

    const ADDRESS: &str = "THALWEG_TEST_POSTGRES";
    const STATE: &str = "THALWEG_TEST_STATE";
    const PARALLELISM: &str = "THALWEG_TEST_PARALLELISM";

    /// The program: numbers, some of them poison, into a table.
    #[test]
    #[ignore = "run by the other test, as a process of its own"]
    fn program() {
        let of = |name| std::env::var(name).unwrap();
        let mut configuration = Configuration::new();
        for (key, value) in [
            ("parallelism.default", of(PARALLELISM).as_str()),
            ("thalweg.shard.count", "2"),
            ("thalweg.shard.pin", "false"),
            ("execution.checkpointing.interval", "40ms"),
            ("execution.checkpointing.dir", of(STATE).as_str()),
            ("execution.state-recovery.path", "latest"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "5"),
            ("restart-strategy.fixed-delay.delay", "1ms"),
        ] {
            configuration.set_str(key, value).unwrap();
        }
        let executor = LocalExecutor::new(CancelToken::new());
        let environment = Environment::with_executor(Arc::new(executor), configuration);
        let failed = Arc::new(AtomicBool::new(false));
        let sink = PostgresSink::new(
            &of(ADDRESS),
            "numbers",
            &["n", "word"],
            |number: &u64, row: &mut Row<'_>| {
                row.put(*number as i64).put("word");
            },
        );
        environment
            .source(Generator::new(RECORDS, |number| number).rate(RATE))
            .uid("numbers")
            .parallelism(1)
            .map(move |number: u64| {
                let poison = number % POISON == POISON - 1;
                assert!(
                    !poison || failed.swap(true, Ordering::AcqRel),
                    "number {number} is poison"
                );
                number
            })
            .uid("poison")
            .rebalance()
            .sink(sink)
            .uid("rows");
        environment.execute("rows").unwrap();
    }

    fn start(server: &Server, state: &Path, parallelism: u32) -> Child {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--ignored", "--exact", "killed::program"]);
        program.env(ADDRESS, server.address("scene"));
        program.env(STATE, state);
        program.env(PARALLELISM, parallelism.to_string());
        program.stdout(Stdio::null()).spawn().unwrap()
    }

    fn count(server: &Server) -> u64 {
        let count = server.ask("scene", "select count(*) from numbers");
        count[0].parse().unwrap()
    }

    #[test]
    fn a_job_that_is_killed_again_and_again_and_its_server_too_writes_every_row_once() {
        let Some(mut server) = Server::start(32) else {
            return;
        };
        server.database("scene");
        let state = tempfile::tempdir().unwrap();
        let (mut seen, mut kills) = (0, 0);
        for parallelism in [1, 3, 2, 4].into_iter().cycle() {
            let mut program = start(&server, state.path(), parallelism);
            let ended = loop {
                if let Some(status) = program.try_wait().unwrap() {
                    break Some(status);
                }
                let there = count(&server);
                assert!(there >= seen, "what was shown stays");
                // One that has ended has no checkpoint any more: none is killed so late that it might have.
                let due = there >= seen + RECORDS / 10 && there < RECORDS / 4 * 3;
                if due && kills < KILLS {
                    seen = there;
                    kills += 1;
                    if kills % 2 == 1 {
                        break None;
                    }
                    server.kill();
                    server.run(32);
                }
                pause();
            };
            match ended {
                Some(status) => {
                    assert!(status.success(), "the job ends well: {status}");
                    break;
                }
                None => {
                    program.kill().unwrap();
                    let status = program.wait().unwrap();
                    assert!(!status.success(), "it was killed before its end");
                }
            }
        }
        assert!(kills >= 2, "job and server were killed: {kills}");
        assert_eq!(server.prepared("scene"), Vec::<String>::new());
        assert!(server.numbers("scene") == (0..RECORDS).collect::<Vec<_>>());
    }
}
