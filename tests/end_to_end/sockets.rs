//! Whole jobs between sockets, on both drivers of real shards: text in, counts out; peers that hang up.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};

use thalweg_connectors::{Generator, Sinks, Sources};
use thalweg_core::seam::probe::probe;
use thalweg_dataflow::Collector;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::stream::Environment;
use thalweg_memory::Str;

use crate::stage;

/// A listener on a port the system picks, and its address.
fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Runs the job on each driver that there is. The job ends by its peers, or else by the deadline.
fn on_every_driver(run: impl Fn(&Environment)) {
    let mut drivers = vec!["epoll"];
    match probe().io_uring {
        Ok(()) => drivers.push("io_uring"),
        Err(refusal) => println!("skipped on io_uring: {refusal}"),
    }
    for driver in drivers {
        let (environment, token) = stage::shards(&[("thalweg.io.driver", driver)]);
        let _deadline = stage::cancel_after(&token, stage::PATIENCE);
        environment.set_parallelism(2);
        run(&environment);
    }
}

/// What the job failed with: nothing else ended it.
fn failure(environment: &Environment) -> String {
    match environment.execute("between sockets") {
        Err(JobError::Failed {
            message, panicked, ..
        }) if !panicked => message,
        other => panic!("the job did not fail: {other:?}"),
    }
}

#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Ends a connection as a process that dies does: at once, with a reset.
fn reset(stream: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    stream.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(stream).unwrap();
    stream.set_zero_linger().unwrap();
}

/// Words that are frequent and rare, on lines of many lengths, the last without a newline.
fn text() -> (String, BTreeMap<String, u64>) {
    let mut text = String::new();
    let mut counts = BTreeMap::new();
    for line in 0..5000_u64 {
        for word in 0..line % 7 {
            let word = format!("w{}", (line * line + word) % (10 + line % 300));
            text.push_str(&word);
            text.push(' ');
            *counts.entry(word).or_default() += 1;
        }
        text.push('\n');
    }
    text.push_str("unterminated");
    counts.insert("unterminated".to_owned(), 1);
    (text, counts)
}

#[test]
fn words_come_by_a_socket_and_their_counts_leave_by_sockets() {
    let (text, expected) = text();
    on_every_driver(|environment| {
        let (input, input_address) = listen();
        let (output, output_address) = listen();
        let sent = text.clone();
        let server = stage::thread(move || {
            let (mut stream, _) = input.accept().unwrap();
            // In pieces that end anywhere.
            for piece in sent.as_bytes().chunks(1999) {
                stream.write_all(piece).unwrap();
            }
        });
        let receiver = stage::thread(move || {
            // Each of the two subtasks has a connection of its own, and either may come first.
            let connections: Vec<TcpStream> = (0..2).map(|_| output.accept().unwrap().0).collect();
            let read = |mut connection: TcpStream| {
                stage::thread(move || {
                    let mut lines = String::new();
                    connection.read_to_string(&mut lines).unwrap();
                    lines
                })
            };
            let readers: Vec<_> = connections.into_iter().map(read).collect();
            let texts = readers.into_iter().map(|reader| reader.join().unwrap());
            texts.collect::<Vec<String>>()
        });
        let split = |line: &str, out: &mut Collector<Str>| {
            line.split_ascii_whitespace()
                .for_each(|word| out.emit(word));
        };
        environment
            .socket_text(input_address)
            .flat_map(split)
            .key_by_str(|word: &&str| *word)
            .count()
            .write_socket(output_address);
        environment.execute("between sockets").unwrap();
        server.join().unwrap();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = 0;
        for text in receiver.join().unwrap() {
            assert!(text.ends_with('\n'), "a subtask's lines end in the middle");
            for line in text.lines() {
                // A word's counts come in order, by one connection.
                let row = line.trim_matches(['(', ')']).split_once(',').unwrap();
                let count = counts.entry(row.0.to_owned()).or_default();
                *count += 1;
                assert_eq!(row.1.parse(), Ok(*count), "{line}");
                rows += 1;
            }
        }
        assert_eq!(counts, expected);
        assert_eq!(rows, expected.values().sum::<u64>());
    });
}

#[test]
fn a_peer_that_resets_while_it_is_read_fails_the_job() {
    on_every_driver(|environment| {
        let (listener, address) = listen();
        let (read, was_read) = sync_channel(1);
        let server = stage::thread(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"first\nsecond\nhalf a li").unwrap();
            was_read.recv_timeout(stage::PATIENCE).unwrap();
            reset(stream);
        });
        tell_of_second(environment, &address, read);
        let message = failure(environment);
        says(
            &message,
            &[
                "cannot read from",
                &address,
                "reset",
                "look into the server's log",
            ],
        );
        server.join().unwrap();
    });
}

/// Reads lines and tells when the second one has come.
fn tell_of_second(environment: &Environment, address: &str, read: SyncSender<()>) {
    let tell = move |line: &str| {
        if line == "second" {
            let _ = read.try_send(());
        }
        assert!(!line.starts_with("half"), "half a line was taken for one");
    };
    environment.socket_text(address).for_each(tell);
}

#[test]
fn a_peer_that_hangs_up_on_a_sink_fails_the_job() {
    on_every_driver(|environment| {
        let (listener, address) = listen();
        let server = stage::thread(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut some = [0; 1000];
            stream.read_exact(&mut some).unwrap();
        });
        let numbers = environment.source(Generator::new(None, |n| n));
        numbers.parallelism(1).write_socket(&*address);
        let message = failure(environment);
        says(
            &message,
            &["cannot write to", &address, "look into the server's log"],
        );
        server.join().unwrap();
    });
}

#[test]
fn a_peer_that_does_not_listen_fails_the_job() {
    on_every_driver(|environment| {
        let (listener, address) = listen();
        drop(listener);
        environment.socket_text(&*address).discard();
        let message = failure(environment);
        says(
            &message,
            &["cannot connect to", &address, "start the server first"],
        );
        environment.sequence(0..=9).write_socket(&*address);
        let message = failure(environment);
        says(
            &message,
            &["cannot connect to", &address, "start the server first"],
        );
    });
}
