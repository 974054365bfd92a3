//! Sockets: lines from and to a peer on the loopback, on ports the system picks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use thalweg_connectors::{SocketSink, SocketText};
use thalweg_core::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::sink::{Epoch, Sink, SinkStatus, SinkWriter};
use thalweg_dataflow::source::{Source, SourceError, SourceReader, SourceStatus};
use thalweg_dataflow::task::InputStatus;
use thalweg_memory::record::Str;

use crate::drive::{Kept, Surroundings, subtask, write};

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Reads until the end of the stream, or (`enough`) so many lines.
fn read(source: &SocketText, enough: usize) -> Result<Vec<String>, SourceError> {
    let splits = source.splits(1)?;
    let mut reader = source.open(splits, &subtask(0, 1, 1000))?;
    let mut around = Surroundings::new(3);
    let mut out = Kept::<Str, _>::new(|line: &str, _| line.to_owned());
    loop {
        out.want(2);
        match around.turn(1000, |cx| reader.poll(&mut out, cx))? {
            SourceStatus::Finished => {
                assert_eq!(around.reactor.open_handles(), 0, "closes what it opens");
                assert_eq!(reader.snapshot(), []);
                return Ok(out.kept);
            }
            _ if out.kept.len() >= enough => return Ok(out.kept),
            SourceStatus::Waiting => around.wait(),
            SourceStatus::More => {}
        }
    }
}

/// Accepts the connections that were made one after the other and sends each of them a text.
#[allow(clippy::disallowed_methods, reason = "the peer is a thread of its own")]
fn serve(listener: TcpListener, texts: &'static [&'static str]) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .spawn(move || {
            for text in texts {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(text.as_bytes()).unwrap();
            }
        })
        .unwrap()
}

#[test]
fn lines_until_the_server_closes() {
    let (listener, address) = listen();
    let server = serve(listener, &["one\ntwo\r\n\nfünf\nno newline"]);
    let lines = read(&SocketText::new(address), usize::MAX).unwrap();
    assert_eq!(lines, ["one", "two", "", "fünf", "no newline"]);
    server.join().unwrap();
}

#[test]
fn a_split_travels_and_names_the_server() {
    let (listener, address) = listen();
    let server = serve(listener, &["one\n"]);
    let source = SocketText::new(address);
    let splits: Vec<_> = source.splits(1).unwrap();
    let splits = splits.into_iter().map(crate::stops::travelled);
    let reader = source.open(splits.collect(), &subtask(0, 1, 1000)).unwrap();
    assert_eq!(reader.snapshot(), source.splits(1).unwrap());
    assert_eq!(read(&source, usize::MAX).unwrap(), ["one"]);
    server.join().unwrap();
}

#[test]
fn reconnecting_goes_on_with_the_next_connection() {
    let (listener, address) = listen();
    let server = serve(listener, &["one\ntwo", "three\n", "four\n"]);
    let source = SocketText::new(address).reconnect(Duration::from_millis(1));
    let lines = read(&source, 4).unwrap();
    assert_eq!(lines, ["one", "two", "three", "four"]);
    server.join().unwrap();
}

#[test]
fn a_refused_connection_is_told_with_the_address() {
    let (listener, address) = listen();
    drop(listener);
    let refused = read(&SocketText::new(&*address), 1).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Retry);
    for part in [&*address, "refused", "start the server"] {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    let unknown = SocketText::new("nowhere").splits(1).unwrap_err();
    assert!(unknown.message.contains("host:port"), "{unknown}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the peer is a thread of its own")]
fn the_sink_sends_every_line_and_ends_the_connection() {
    let (listener, address) = listen();
    let sink = SocketSink::new(address);
    <SocketSink as Sink<u64>>::prepare(&sink, 1).unwrap();
    let server = std::thread::Builder::new()
        .spawn(move || {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .unwrap();
    let mut around = Surroundings::new(5);
    let info = subtask(0, 1, 100);
    write::<u64, _>(&sink, &info, (0..30_000).collect(), &mut around, 5).unwrap();
    assert_eq!(around.reactor.open_handles(), 0, "closes what it opens");
    let sent: String = (0..30_000).map(|i| format!("{i}\n")).collect();
    assert!(server.join().unwrap() == sent);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the peer is a thread of its own")]
fn a_checkpoint_waits_until_what_came_before_it_was_sent() {
    let (listener, address) = listen();
    let sink = SocketSink::new(address);
    <SocketSink as Sink<u64>>::prepare(&sink, 1).unwrap();
    let server = std::thread::Builder::new()
        .spawn(move || {
            let (mut stream, _): (TcpStream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
        .unwrap();
    let mut around = Surroundings::new(5);
    let mut writer = <SocketSink as Sink<u64>>::open(&sink, &subtask(0, 1, 100)).unwrap();
    let mut turn = |writer: &mut _, input| {
        let status = around.turn(1000, |cx| SinkWriter::<u64>::end_turn(writer, cx, input));
        around.wait();
        status.unwrap()
    };
    (0..100).for_each(|i| SinkWriter::<u64>::write(&mut writer, i, Timestamp::NONE).unwrap());
    let epoch = SinkWriter::<u64>::barrier(&mut writer, CheckpointId(7)).unwrap();
    assert_eq!(epoch, Epoch::Preparing);
    assert_eq!(SinkWriter::<u64>::prepared(&mut writer), None);
    let prepared = loop {
        // More input waits: it is the barrier that sends them.
        turn(&mut writer, InputStatus::Available);
        if let Some(prepared) = SinkWriter::<u64>::prepared(&mut writer) {
            break prepared;
        }
    };
    assert_eq!(prepared.checkpoint, Some(CheckpointId(7)));
    assert_eq!(SinkWriter::<u64>::prepared(&mut writer), None);
    while turn(&mut writer, InputStatus::Ended) != SinkStatus::Done {}
    let sent: String = (0..100).map(|i| format!("{i}\n")).collect();
    assert_eq!(server.join().unwrap(), sent);
}

#[test]
fn the_sink_tells_a_refused_connection_with_the_address() {
    let (listener, address) = listen();
    drop(listener);
    let sink = SocketSink::new(&*address);
    <SocketSink as Sink<u64>>::prepare(&sink, 1).unwrap();
    let mut around = Surroundings::new(5);
    let refused = write::<u64, _>(&sink, &subtask(0, 1, 100), vec![1], &mut around, 5);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Retry);
    assert!(refused.message.contains(&*address), "{refused}");
}
