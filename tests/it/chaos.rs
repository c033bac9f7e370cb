//! The upstream that misbehaves, asked by reqwest and by hand: each script does what its name says.
//!
//! Invariant: nothing of OpenAct is at work here; what it makes of these answers is tested elsewhere.

use std::{io::Read, time::Duration};

use flate2::read::GzDecoder;
use reqwest::{Client, redirect::Policy};
use support::chaos::{Chaos, Script, Step};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// Status and length of the body, or how it failed.
async fn outcome(script: Script) -> Result<(u16, usize), String> {
    let chaos = Chaos::start(script).await;
    let failed = |error: reqwest::Error| format!("{error:?}");
    let response = client().get(&chaos.url).send().await.map_err(failed)?;
    Ok((response.status().as_u16(), response.bytes().await.map_err(failed)?.len()))
}

#[tokio::test]
async fn faults_are_faults() {
    for (name, script) in [
        ("reset_before_head", Script::reset_before_head()),
        ("reset_inside_head", Script::reset_inside_head()),
        ("reset_inside_body", Script::reset_inside_body()),
        ("truncated", Script::truncated()),
        ("truncated_chunk", Script::truncated_chunk()),
        ("no_last_chunk", Script::no_last_chunk()),
        ("two_lengths", Script::two_lengths()),
        ("length +5", Script::length("+5")),
        ("length -1", Script::length("-1")),
        ("length 0x5", Script::length("0x5")),
        ("length of 30 digits", Script::length(&"9".repeat(30))),
        ("chunk size -5", Script::chunk_size("-5")),
        ("chunk size g", Script::chunk_size("g")),
        ("chunk size of 20 digits", Script::chunk_size(&"f".repeat(20))),
        ("folded_header", Script::folded_header()),
        ("http_0_9", Script::http_0_9()),
        ("garbage", Script::garbage()),
        ("closed_at_once", Script::closed_at_once()),
        ("no_answer", Script::no_answer()),
        ("many_headers", Script::many_headers(1000)),
        ("huge_header", Script::huge_header(1 << 20)),
        ("endless_headers", Script::endless_headers()),
        ("endless_header", Script::endless_header()),
    ] {
        let outcome = outcome(script).await;
        assert!(outcome.is_err(), "{name}: {outcome:?}");
    }
}

#[tokio::test]
async fn oddities_are_none() {
    for (name, script, status, length) in [
        ("well", Script::well(), 200, 11),
        ("too_long", Script::too_long(), 200, 5),
        ("length_and_chunked", Script::length_and_chunked(), 200, 5),
        ("slow", Script::slow(Duration::from_micros(100)), 200, 11),
        ("slow_body", Script::slow_body(Duration::from_micros(100)), 200, 20),
        ("early_hints", Script::early_hints(), 200, 11),
        ("trailers", Script::trailers(), 200, 11),
        ("bare_lf", Script::bare_lf(), 200, 5),
        ("http_1_0", Script::http_1_0(), 200, 11),
        ("huge_header", Script::huge_header(1000), 200, 11),
        ("many_headers", Script::many_headers(50), 200, 11),
        ("redirects", Script::redirects(5), 200, 11),
        ("switches_protocols", Script::switches_protocols(), 101, 0),
    ] {
        assert_eq!(outcome(script).await, Ok((status, length)), "{name}");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_an_end_is_an_end() {
    for (script, is_reset) in [(Script::reset_inside_body(), true), (Script::truncated(), false)] {
        let chaos = Chaos::start(script).await;
        let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let end = stream.read_to_end(&mut Vec::new()).await.map_err(|error| error.kind());
        assert_eq!(end.is_err_and(|kind| kind == std::io::ErrorKind::ConnectionReset), is_reset);
    }
}

#[tokio::test]
async fn connections_and_requests_are_counted() {
    for (script, connections) in [(Script::well(), 1), (Script::keep_alive_closed(), 3)] {
        let (chaos, client) = (Chaos::start(script).await, client());
        for number in 0..3 {
            let request = client.post(format!("{}/{number}", chaos.url)).body("body");
            assert_eq!(request.send().await.unwrap().bytes().await.unwrap().len(), 11);
        }
        assert_eq!((chaos.connections(), chaos.requests()), (connections, 3));
        for (number, seen) in chaos.seen().iter().enumerate() {
            assert!(seen.head.starts_with(&format!("POST /{number} HTTP/1.1\r\n")), "{}", seen.head);
            assert_eq!(seen.body, b"body");
        }
    }
}

#[tokio::test]
async fn each_connection_has_its_own_script() {
    let chaos = Chaos::each(|number| if number < 2 { Script::no_answer() } else { Script::well() }).await;
    let ask = || async { client().get(&chaos.url).send().await.is_ok() };
    assert_eq!([ask().await, ask().await, ask().await], [false, false, true]);
    assert_eq!(chaos.seen().iter().map(|seen| seen.connection).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn redirects_are_counted_down() {
    let chaos = Chaos::start(Script::redirects(3)).await;
    let manual = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let response = manual.get(format!("{}/2", chaos.url)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["location"].to_str().unwrap()), (302, "/1"));
    assert_eq!(client().get(&chaos.url).send().await.unwrap().status(), 200);
    assert_eq!(chaos.requests(), 1 + 4);
    let chaos = Chaos::start(Script::redirect(307, "/again")).await;
    assert!(client().get(&chaos.url).send().await.unwrap_err().is_redirect());
}

#[tokio::test]
async fn what_is_endless_ends_with_its_peer() {
    for script in [
        Script::endless_body(),
        Script::endless_early_hints(),
        Script::endless_headers(),
        Script::endless_header(),
    ] {
        let chaos = Chaos::start(script).await;
        let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut taken = vec![0; 1 << 20];
        stream.read_exact(&mut taken).await.unwrap();
        assert!(chaos.sent() > 0);
    }
    let chaos = Chaos::start(Script::silent()).await;
    let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    assert_eq!(chaos.requests(), 1);
}

#[tokio::test]
async fn continue_comes_before_the_body() {
    let chaos = Chaos::start(Script::continues()).await;
    let mut stream = TcpStream::connect(chaos.address()).await.unwrap();
    stream.write_all(b"PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!((&start, chaos.seen()[0].body.as_slice()), (b"HTTP/1.1 200", b"body".as_slice()));
}

/// The bytes that a script sends.
fn sent(script: &Script) -> &[u8] {
    let sent = script.0.iter().find_map(|step| if let Step::Send(bytes) = step { Some(bytes) } else { None });
    let sent = sent.unwrap();
    let head = sent.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    &sent[head + 4..]
}

#[test]
fn a_bomb_is_small_and_valid() {
    let script = Script::gzip_bomb(64);
    let mut decoded = 0;
    let mut decoder = GzDecoder::new(sent(&script));
    let mut buffer = vec![0; 1 << 20];
    loop {
        // At the end the checksum and the length are compared.
        match decoder.read(&mut buffer).unwrap() {
            0 => break,
            count => decoded += count,
        }
    }
    assert_eq!(decoded, 64 << 20);
    assert!(sent(&Script::gzip_bomb(1024)).len() < 2 << 20);
    assert!(sent(&Script::gzip_bomb_nested(1024)).len() < 16 << 10);
}
