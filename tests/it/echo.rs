//! An upstream that sends back what it was sent: the credential does not come along, in whichever way it is written.
//!
//! Invariant: the upstream fails the exchange unless what it echoes does hold the credential.

use std::io::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use openact::Format;
use serde_json::{Value, json};
use support::upstream::{Answer, Received, Upstream};

use crate::setup::{Via, config, memory};

/// Every way of writing it down changes it, and a header, a query and a cookie can carry it.
const CANARY: &str = "canary+Zq7/secret=93";

fn kinds() -> [Value; 6] {
    [
        json!({"type": "bearer", "token": CANARY}),
        json!({"type": "basic", "username": "user", "password": CANARY}),
        json!({"type": "api_key", "value": CANARY, "header": "X-Key"}),
        json!({"type": "api_key", "value": CANARY, "header": "Authorization", "prefix": "Token "}),
        json!({"type": "api_key", "value": CANARY, "query": "api key"}),
        json!({"type": "api_key", "value": CANARY, "cookie": "sid"}),
    ]
}

/// With the digits in lower case.
fn lower(quoted: &str) -> String {
    let mut parts = quoted.split('%');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |out, part| format!("{out}%{}{}", part[..2].to_lowercase(), &part[2..]))
}

fn percent(text: &str, every: bool) -> String {
    let quoted = |byte: u8| every || !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let one = |byte: u8| if quoted(byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() };
    text.bytes().map(one).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The canary as an answer may show it. Of base64 the characters that depend on it alone, for each place it can begin.
fn forms() -> Vec<String> {
    let inside = |before: usize| {
        let text = BASE64_STANDARD.encode(format!("{}{CANARY}", "x".repeat(before)));
        text[(before * 8).div_ceil(6)..(before + CANARY.len()) * 8 / 6].to_owned()
    };
    let plain = percent(CANARY, false);
    let mut forms = vec![CANARY.to_owned(), hex(CANARY), hex(CANARY).to_uppercase()];
    let every = percent(CANARY, true);
    forms.extend([lower(&plain), plain, lower(&every), every, CANARY.replace('/', "\\/")]);
    forms.extend([inside(0), inside(1), inside(2)]);
    forms
}

/// Everything that was sent, with what its encodings hide: a query's values and the password of Basic.
fn echoed(received: &Received) -> String {
    let url = url::Url::parse(&format!("http://x{}", received.target)).unwrap();
    let query: Vec<String> = url.query_pairs().map(|(name, value)| format!("{name}: {value}")).collect();
    let inside: Vec<String> = received
        .header("authorization")
        .iter()
        .filter_map(|value| BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok())
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .collect();
    let headers: Vec<String> =
        received.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let text =
        format!("{} {}; {}; {}", received.target, query.join("; "), headers.join("; "), inside.join("; "));
    assert!(text.contains(CANARY), "{text}");
    text
}

fn chunked(parts: impl IntoIterator<Item = Vec<u8>>) -> Answer {
    let mut raw =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for part in parts {
        raw.extend(format!("{:x}\r\n", part.len()).bytes());
        raw.extend(part);
        raw.extend(b"\r\n");
    }
    raw.extend(b"0\r\n\r\n");
    Answer::Raw(raw)
}

/// More than travels inline, so that the rest is a stream.
fn filler() -> String {
    "filler ".repeat(260 * 1024 / 7)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const WAYS: [&str; 9] =
    ["plain", "json", "base64-0", "base64-1", "base64-2", "hex", "percent", "headers", "location"];

/// Those whose answer is a stream.
const LONG_WAYS: [&str; 3] = ["bytewise", "across", "gzip"];

/// The echo in one of [`WAYS`] or [`LONG_WAYS`].
fn answer(received: &Received) -> Answer {
    let echo = echoed(received);
    let text = |text: String| Answer::full(200, &[("content-type", "text/plain")], text);
    let way = received.target.trim_start_matches('/').split('?').next().unwrap();
    match way {
        "plain" => text(echo),
        "json" => {
            let echo = json!({"echo": [echo]}).to_string();
            Answer::Json(format!("[{echo}, {}]", echo.replace('/', "\\/")))
        }
        "base64-0" | "base64-1" | "base64-2" => {
            let before = way[7..].parse().unwrap();
            text(BASE64_STANDARD.encode(format!("{}{echo}", "-".repeat(before))))
        }
        "hex" => text(format!("{} {}", hex(&echo), hex(&echo).to_uppercase())),
        "percent" => {
            let (quoted, every) = (percent(&echo, false), percent(&echo, true));
            text(format!("{} {quoted} {} {every}", lower(&quoted), lower(&every)))
        }
        "headers" => {
            let all = format!("{echo}; {}; {}", percent(&echo, false), BASE64_STANDARD.encode(&echo));
            Answer::full(200, &[("x-echo", &all), ("set-cookie", &all)], "{}")
        }
        "location" => Answer::full(302, &[("location", &format!("/next?{}", percent(&echo, false)))], ""),
        "bytewise" => {
            let bytes = echo.bytes().map(|byte| vec![byte]);
            chunked([filler().into_bytes()].into_iter().chain(bytes))
        }
        // Chunks of a length that shifts along the echo.
        "across" => {
            let all = format!("{echo} | ").repeat(300 * 1024 / echo.len());
            chunked(all.as_bytes().chunks(4099).map(<[u8]>::to_vec))
        }
        "gzip" => {
            let headers = [("content-encoding", "gzip"), ("content-type", "text/plain")];
            Answer::full(200, &headers, gzip(&format!("{echo} {} {echo}", filler())))
        }
        other => panic!("no way is called {other}"),
    }
}

#[tokio::test]
async fn c2_an_echo_of_the_request_holds_no_credential() {
    let upstream = Upstream::start(answer).await;
    for (number, authorization) in kinds().into_iter().enumerate() {
        for via in Via::BOTH {
            // A stream is searched as any answer is: a token and a password are enough of it.
            let ways: Vec<&str> =
                WAYS.into_iter().chain(LONG_WAYS.into_iter().filter(|_| number < 2)).collect();
            let connection = json!({"base_url": upstream.url(), "authorization": authorization});
            let actions: serde_json::Map<String, Value> =
                ways.iter().map(|way| ((*way).to_owned(), json!({"path": format!("/{way}")}))).collect();
            let (name, builder) = match via {
                Via::Contract => ("http", memory(&[])),
                Via::Wasi => ("wasi-http", memory(&[]).connector_bytes(support::guests::guest("wasi-http"))),
            };
            let text = config(name, connection, actions.into());
            let openact = builder.config_text(text, Format::Json).build().await.unwrap();
            for way in ways {
                let outcome = openact.run(&format!("{name}/{way}"), json!({})).await.unwrap();
                let seen = outcome.result.as_str();
                for form in forms() {
                    assert!(!seen.contains(&form), "{via:?} {authorization} {way} shows {form}");
                }
                assert!(seen.contains("***"), "{via:?} {authorization} {way}: nothing was blanked out");
                // What is no secret stayed: the answer is the upstream's.
                if way == "across" {
                    let whole = seen.matches(" | ").count();
                    assert_eq!(whole, 300 * 1024 / whole_length(&upstream), "{via:?} {authorization}");
                }
            }
        }
    }
}

/// Length of the last echo.
fn whole_length(upstream: &Upstream) -> usize {
    echoed(upstream.received().last().unwrap()).len()
}

#[tokio::test]
async fn e8_a_credential_that_the_upstream_writes_into_location_goes_nowhere() {
    for authorization in kinds() {
        let other = Upstream::json("{}").await;
        let to = other.url();
        let own = Upstream::start(move |received| {
            let echo = echoed(received);
            let quoted =
                [percent(&echo, false), percent(&echo, true), hex(&echo), BASE64_STANDARD.encode(&echo)];
            Answer::full(307, &[("location", &format!("{to}/landed?{}", quoted.join("&")))], "")
        })
        .await;
        let connection = json!({
            "base_url": own.url(), "authorization": authorization,
            "network": {"allowed_hosts": [other.url()]},
        });
        let action = json!({"path": "/start", "follow_redirects": true});
        let openact = Via::Contract.build(memory(&[]), connection, action).await;
        openact.run("http/send", json!({})).await.unwrap();
        let [landed] = &other.received()[..] else { panic!("one request") };
        let text = format!("{landed:?}");
        for form in forms() {
            assert!(!text.contains(&form), "{authorization}: {form} went along: {text}");
        }
        assert!(text.contains("***") && text.contains("/landed?"), "{text}");
    }
}
