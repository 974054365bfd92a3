//! The sink of PostgreSQL against a real server, which each test starts for itself.

mod certain;
mod crashes;
mod epochs;
mod refusals;
mod server;
pub(crate) mod threads;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use thalweg_connectors::postgres::{PostgresSink, Row};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::sink::{Committable, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::InputStatus;
use tokio_postgres::NoTls;

use crate::drive::{MOST_TURNS, Surroundings, subtask, write};
use certain::Server;

/// A server for tests that leave it alone, each with a database of its own: made for the first of those that
/// run at once, gone with the last.
pub(crate) fn shared() -> Option<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Some(server);
    }
    let server = Arc::new(Server::start(64)?);
    *shared = Arc::downgrade(&server);
    Some(server)
}

/// A sink of numbers into the database's table.
pub(crate) fn numbers(
    server: &Server,
    database: &str,
) -> PostgresSink<u64, impl FnMut(&u64, &mut Row<'_>) + Clone + Send + 'static> {
    let address = server.address(database);
    PostgresSink::new(&address, "numbers", &["n", "word"], fill)
}

pub(crate) fn fill(number: &u64, row: &mut Row<'_>) {
    let word = (!number.is_multiple_of(3)).then(|| format!("number {number}"));
    row.put(*number as i64).put(word);
}

/// Writes these numbers in each of `parallelism` subtasks, without checkpoints.
pub(crate) fn write_all<S: Sink<u64>>(
    sink: &S,
    parallelism: u32,
    of_subtask: impl Fn(u32) -> Vec<u64>,
) -> Result<Vec<Committable>, SinkError> {
    sink.prepare(parallelism)?;
    let mut prepared = Vec::new();
    for index in 0..parallelism {
        let info = subtask(index, parallelism, 100);
        let mut around = Surroundings::new(7);
        let items = of_subtask(index);
        prepared.extend(write::<u64, _>(sink, &info, items, &mut around, 7)?);
    }
    Ok(prepared)
}

#[test]
fn rows_are_seen_when_they_are_committed_and_not_before() {
    let Some(server) = shared() else {
        return;
    };
    server.database("seen");
    let sink = numbers(&server, "seen");
    let parts = |index: u32| -> Vec<u64> {
        let first = u64::from(index) * 50_000;
        (first..first + 50_000).collect()
    };
    let prepared = write_all(&sink, 3, parts).unwrap();
    assert_eq!(prepared.len(), 3);
    assert_eq!(server.numbers("seen"), Vec::<u64>::new());
    assert_eq!(server.prepared("seen").len(), 3);
    let mut committer = sink.committer().unwrap();
    // A commit that was interrupted, then done again, by others too.
    committer.commit(&prepared[..1]).unwrap();
    assert_eq!(server.numbers("seen"), parts(0));
    for _ in 0..2 {
        committer.commit(&prepared).unwrap();
        sink.committer().unwrap().commit(&prepared).unwrap();
        assert!(server.numbers("seen") == (0..150_000).collect::<Vec<_>>());
    }
    // What is committed stays.
    committer.abort(&prepared).unwrap();
    assert!(server.numbers("seen").len() == 150_000);
    assert_eq!(server.prepared("seen"), Vec::<String>::new());
    let words = "select word from numbers where n in (3, 4) order by n";
    assert_eq!(server.ask("seen", words), ["NULL", "number 4"]);
}

#[test]
fn an_abort_leaves_nothing_also_of_writers_that_failed() {
    let Some(server) = shared() else {
        return;
    };
    server.database("aborted");
    let other = numbers(&server, "aborted").named("other");
    write_all(&other, 1, |_| vec![1]).unwrap();
    let sink = numbers(&server, "aborted");
    let prepared = write_all(&sink, 3, |_| (0..100).collect()).unwrap();
    assert_eq!(server.prepared("aborted").len(), 4);
    // As if all but the first had failed before they told.
    let mut committer = sink.committer().unwrap();
    committer.abort(&prepared[..1]).unwrap();
    committer.abort(&prepared).unwrap();
    assert_eq!(server.numbers("aborted"), Vec::<u64>::new());
    let left = server.prepared("aborted");
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("thalweg:other:"), "{left:?}");
    // Nothing was written: nothing is prepared.
    assert_eq!(write_all(&sink, 2, |_| Vec::new()).unwrap(), []);
    other.committer().unwrap().abort(&[]).unwrap();
    assert_eq!(server.prepared("aborted"), Vec::<String>::new());
}

#[test]
fn a_slow_server_holds_the_records_back() {
    let Some(server) = shared() else {
        return;
    };
    server.database("slow");
    let sink = numbers(&server, "slow");
    sink.prepare(1).unwrap();
    let holder = threads::wait_for(async {
        let connected = tokio_postgres::connect(&server.address("slow"), NoTls).await;
        let (client, connection) = connected.unwrap();
        tokio::spawn(connection);
        client
    });
    threads::wait_for(holder.batch_execute("begin; lock table numbers")).unwrap();
    let mut around = Surroundings::new(1);
    let mut writer = sink.open(&subtask(0, 1, 100)).unwrap();
    writer.attach(around.futures.clone());
    let mut written = 0;
    let mut turn = |written: &mut u64, input| {
        while writer.ready() && input != InputStatus::Ended {
            writer.write(*written, Timestamp::NONE).unwrap();
            *written += 1;
        }
        let status = around.turn(1000, |cx| writer.end_turn(cx, input)).unwrap();
        around.wait();
        (status, writer.prepared())
    };
    // Every turn takes what there is room for.
    for _ in 0..100 {
        turn(&mut written, InputStatus::Available);
    }
    let (status, _) = turn(&mut written, InputStatus::Available);
    assert_eq!(status, SinkStatus::Waiting);
    let held = written;
    assert!(held < 30_000, "{held} rows of some 20 bytes are half a MiB");
    threads::wait_for(holder.batch_execute("commit")).unwrap();
    for _ in 0..MOST_TURNS {
        if written > 4 * held {
            break;
        }
        turn(&mut written, InputStatus::Available);
    }
    assert!(written > 4 * held, "it goes on when the server does");
    for _ in 0..MOST_TURNS {
        if let (_, Some(last)) = turn(&mut written, InputStatus::Ended) {
            sink.committer()
                .unwrap()
                .commit(&last.committables)
                .unwrap();
            assert!(server.numbers("slow") == (0..written).collect::<Vec<_>>());
            return;
        }
    }
    panic!("the writer is stuck");
}
