//! Asynchronous functions on the connector runtime, with timers and sockets of tokio.

use std::time::Duration;

use thalweg_connectors::{Collects, Sources};
use thalweg_dataflow::function::FunctionError;
use thalweg_dataflow::operator::AsyncIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::stage;

const RECORDS: u64 = 5_000;

/// A server that answers each number with its double, on a thread of its own.
fn doubling_server() -> std::net::SocketAddr {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let Ok((mut socket, _)) = listener.accept().await else {
                    break;
                };
                tokio::spawn(async move {
                    while let Ok(number) = socket.read_u64().await {
                        socket.write_u64(number * 2).await.unwrap();
                    }
                });
            }
        });
    };
    // Ends with the process of the tests: nobody connects to it after its test.
    stage::thread(serve);
    told.recv().unwrap()
}

#[test]
fn a_server_is_asked_for_every_record_and_order_is_kept() {
    let server = doubling_server();
    let (environment, token) = stage::shards(&[]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment.set_parallelism(1);
    let rows = environment
        .sequence(0..=199)
        .async_io(AsyncIo::ordered().capacity(20), move |number| async move {
            let mut socket = TcpStream::connect(server).await?;
            socket.write_u64(number).await?;
            Ok::<_, FunctionError>([socket.read_u64().await?])
        })
        .collect();
    environment.execute("ask").unwrap();
    let expected: Vec<u64> = (0..200).map(|number| number * 2).collect();
    assert_eq!(rows.take(), expected);
}

#[test]
fn thousands_are_under_way_while_the_shards_go_on() {
    let (environment, token) = stage::shards(&[]);
    let _deadline = stage::cancel_after(&token, stage::PATIENCE);
    environment.set_parallelism(2);
    let how = AsyncIo::unordered()
        .capacity(1000)
        .timeout(Duration::from_secs(60));
    let counts = environment
        .sequence(0..=RECORDS - 1)
        .async_io(how, |number| async move {
            tokio::time::sleep(Duration::from_millis(number % 5)).await;
            Ok::<_, FunctionError>(Some(number))
        })
        .key_by(|number| number % 3)
        .count()
        .map(|(key, count)| (key, count))
        .collect();
    let result = environment.execute("sleep").unwrap();
    assert_eq!(result.summary.records_in, RECORDS);
    let counts = counts.take();
    for key in 0..3 {
        let of_key = counts.iter().filter(|row| row.0 == key);
        let expected = (0..RECORDS).filter(|number| number % 3 == key).count() as u64;
        assert_eq!(of_key.map(|row| row.1).max(), Some(expected));
    }
}

#[test]
fn a_job_that_is_stopped_does_not_wait_for_its_futures() {
    let (environment, token) = stage::shards(&[]);
    let rows = environment
        .sequence(0..=9)
        .async_io(AsyncIo::ordered(), |number: u64| async move {
            std::future::pending::<()>().await;
            Ok::<_, FunctionError>([number])
        })
        .collect();
    let _cancel = stage::cancel_after(&token, Duration::from_millis(300));
    environment.execute("for ever").unwrap_err();
    assert!(rows.take().is_empty());
}
