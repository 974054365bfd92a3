//! What is refused, with words that say how to mend it.

use thalweg_connectors::postgres::{PostgresSink, Row};
use thalweg_core::ErrorKind;
use thalweg_dataflow::sink::{Sink, SinkError};

use super::certain::Server;
use super::{fill, numbers, shared, write_all};

fn says(refused: &SinkError, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(refused.kind, kind, "{refused}");
    for part in parts {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    assert!(!refused.message.contains("hunter2"), "{refused}");
}

fn refusal(address: &str, table: &str, columns: &[&str]) -> SinkError {
    let sink: PostgresSink<u64, _> = PostgresSink::new(address, table, columns, fill);
    sink.prepare(2).unwrap_err()
}

#[test]
fn a_target_that_cannot_be_written_is_refused_before_the_job_starts() {
    let nobody = "host=127.0.0.1 port=1 user=me password=hunter2 dbname=shop";
    let invalid = ErrorKind::Invalid;
    let columns = ["n", "word"];
    let refused = refusal(nobody, "numbers", &columns);
    says(
        &refused,
        ErrorKind::Retry,
        &["`127.0.0.1:1/shop`", "is the server up"],
    );
    let refused = refusal("port=many", "numbers", &columns);
    says(&refused, invalid, &["address", "host="]);
    let refused = refusal(nobody, "numbers", &[]);
    says(&refused, invalid, &["columns"]);

    let Some(mut server) = Server::start(0) else {
        return;
    };
    server.database("scene");
    let address = server.address("scene");
    let refused = refusal(&address, "numbers", &columns);
    says(
        &refused,
        invalid,
        &["max_prepared_transactions = 4", "restart"],
    );
    server.stop();
    server.run(8);
    let refused = refusal(&server.address("nowhere"), "numbers", &columns);
    says(&refused, invalid, &["nowhere", "create the database"]);
    let refused = refusal(&address, "shop.numbers", &columns);
    says(&refused, invalid, &["`shop.numbers`", "name its schema"]);
    let refused = refusal(&address, "numbers", &["n", "world"]);
    says(&refused, invalid, &["world", "as the table spells"]);
    let sink = numbers(&server, "scene").named("not:good");
    says(
        &sink.prepare(1).unwrap_err(),
        invalid,
        &["`not:good`", "letters"],
    );
}

#[test]
fn a_user_who_may_not_write_is_told_what_to_grant() {
    let Some(server) = shared() else {
        return;
    };
    server.database("rights");
    let (invalid, columns) = (ErrorKind::Invalid, ["n", "word"]);
    server.ask(
        "rights",
        "create role stranger login; create role reader login; grant insert (n) on numbers to reader",
    );
    let stranger = server.address_of("stranger", "rights");
    let refused = refusal(&stranger, "numbers", &columns);
    says(&refused, invalid, &["column `n`", "grant insert"]);
    let reader = server.address_of("reader", "rights");
    says(
        &refusal(&reader, "numbers", &columns),
        invalid,
        &["`word`", "grant insert"],
    );
    server.ask("rights", "grant insert on numbers to reader");
    let refused = refusal(&reader, "numbers", &columns);
    says(
        &refused,
        invalid,
        &["ledger", "create table", "grant select, insert, delete"],
    );
    server.ask("rights", "create table other_ledger (id int)");
    let refused = numbers(&server, "rights")
        .ledger("other_ledger")
        .prepare(1)
        .unwrap_err();
    says(&refused, invalid, &["ledger", "sink"]);

    // With the ledger made and granted to it, the reader may write.
    numbers(&server, "rights").prepare(1).unwrap();
    server.ask(
        "rights",
        "grant select, insert, delete on thalweg_ledger to reader",
    );
    let sink = PostgresSink::new(&reader, "numbers", &columns, fill);
    let prepared = write_all(&sink, 1, |_| vec![1, 2]).unwrap();
    sink.committer().unwrap().commit(&prepared).unwrap();
    assert_eq!(server.numbers("rights"), [1, 2]);
}

#[test]
fn a_row_that_does_not_fit_fails_the_job_with_column_or_constraint() {
    let Some(server) = shared() else {
        return;
    };
    server.database("unfit");
    let address = server.address("unfit");
    let wrong = |number: &u64, row: &mut Row<'_>| {
        row.put(*number as i32).put("a");
    };
    let sink = PostgresSink::new(&address, "numbers", &["n", "word"], wrong);
    let refused = write_all(&sink, 1, |_| vec![1]).unwrap_err();
    says(&refused, ErrorKind::Invalid, &["`n`", "int8", "i32"]);

    server.ask("unfit", "alter table numbers add check (n < 50)");
    let sink = numbers(&server, "unfit");
    let refused = write_all(&sink, 1, |_| (0..100).collect()).unwrap_err();
    says(
        &refused,
        ErrorKind::Data,
        &["numbers_n_check", "line 51", "refuses a row"],
    );
    sink.committer().unwrap().abort(&[]).unwrap();
    assert_eq!(server.prepared("unfit"), Vec::<String>::new());
    assert_eq!(server.numbers("unfit"), Vec::<u64>::new());
}

#[test]
fn too_few_prepared_transactions_are_told_with_the_setting() {
    let Some(server) = Server::start(2) else {
        return;
    };
    server.database("scene");
    let sinks = ["a", "b"].map(|name| numbers(&server, "scene").named(name));
    let prepared = write_all(&sinks[0], 2, |_| vec![1]).unwrap();
    let refused = write_all(&sinks[1], 2, |_| vec![1]).unwrap_err();
    let parts = [
        "prepare the transaction `thalweg:b:",
        "raise max_prepared_transactions",
    ];
    says(&refused, ErrorKind::Resource, &parts);
    sinks[0].committer().unwrap().abort(&prepared).unwrap();
}

#[test]
fn a_sink_that_is_in_a_program_twice_is_refused() {
    let Some(server) = shared() else {
        return;
    };
    server.database("twice");
    let sink = numbers(&server, "twice");
    sink.prepare(1).unwrap();
    let info = crate::drive::subtask(0, 1, 100);
    sink.clone().open(&info).unwrap();
    let refused = sink.open(&info).map(|_| ()).unwrap_err();
    says(
        &refused,
        ErrorKind::Invalid,
        &["twice", "instead of a clone"],
    );
}
