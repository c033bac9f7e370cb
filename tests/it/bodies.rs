//! Every kind of body, sent by OpenAct and by curl to the same server: what arrives is the same.
//!
//! Invariant: curl is given its own arguments and never what OpenAct made.

use std::process::{Command, Stdio};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use support::upstream::{Received, Upstream};

use crate::setup::{http, value};

/// What curl sends with these arguments.
async fn by_curl(upstream: &Upstream, target: &str, arguments: &[&str]) -> Received {
    let url = upstream.url() + target;
    let own = ["--silent", "--show-error", "--disable", "--noproxy", "*", "--max-time", "20", "--globoff"];
    let arguments: Vec<String> =
        own.iter().chain(arguments).map(|argument| (*argument).to_owned()).chain([url]).collect();
    let run =
        move || Command::new("curl").args(arguments).stdin(Stdio::null()).output().expect("curl starts");
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    upstream.received().pop().unwrap()
}

/// What OpenAct sends for this action.
async fn by_openact(upstream: &Upstream, action: Value) -> Received {
    let openact = http(json!({"base_url": upstream.url()}), json!({"send": action})).await;
    assert_eq!(value(&openact, "http/send", json!({})).await["status_code"], 200);
    upstream.received().pop().unwrap()
}

/// Method, target, the headers that describe the body, and the body, with "BOUNDARY" in place of the boundary.
fn shape(received: &Received) -> (String, String, Vec<String>, Vec<u8>) {
    let content_type = received.header("content-type").first().map(|text| (*text).to_owned());
    let boundary =
        content_type.as_deref().and_then(|text| text.split_once("boundary=")).map(|(_, text)| text);
    let normal = |bytes: &[u8]| match boundary {
        None => bytes.to_vec(),
        Some(boundary) => {
            let (mut out, mut rest) = (Vec::new(), bytes);
            while let Some(at) = rest.windows(boundary.len()).position(|window| window == boundary.as_bytes())
            {
                out.extend_from_slice(&rest[..at]);
                out.extend_from_slice(b"BOUNDARY");
                rest = &rest[at + boundary.len()..];
            }
            out.extend_from_slice(rest);
            out
        }
    };
    let body = normal(&received.body);
    // Both lengths are true; they differ by the boundaries' lengths alone.
    assert_eq!(received.header("content-length"), [received.body.len().to_string()]);
    assert!(
        received.header("transfer-encoding").is_empty() && received.header("content-encoding").is_empty()
    );
    let described = ["content-type", "content-language"].iter().flat_map(|name| received.header(name));
    let described = described.map(|text| String::from_utf8(normal(text.as_bytes())).unwrap()).collect();
    (received.method.clone(), received.target.clone(), described, body)
}

async fn assert_same(action: Value, target: &str, arguments: &[&str]) {
    let upstream = Upstream::json("{}").await;
    let mut action = action;
    action["path"] = target.into();
    let (ours, theirs) =
        (by_openact(&upstream, action.clone()).await, by_curl(&upstream, target, arguments).await);
    let (ours, theirs) = (shape(&ours), shape(&theirs));
    let text = |shape: &(String, String, Vec<String>, Vec<u8>)| {
        format!("{} {} {:?}\n{}", shape.0, shape.1, shape.2, String::from_utf8_lossy(&shape.3))
    };
    assert!(ours == theirs, "{action}\nOpenAct: {}\ncurl: {}", text(&ours), text(&theirs));
}

#[tokio::test]
async fn json_is_what_curl_sends() {
    let json = ["-H", "content-type: application/json", "--data-binary"];
    let text = r#"{"b":1,"a":[1.50,null,true],"name":"zażółć \"gęślą\" \u0001 😀","empty":{}}"#;
    let body: Value = serde_json::from_str(text).unwrap();
    let sent = body.to_string();
    for (method, body) in [("POST", body.clone()), ("PUT", json!({"type": "json", "data": body}))] {
        let action = json!({"method": method, "body": body});
        assert_same(action, "/items/1?b=2&a=%2F", &[&json[..], &[&sent, "-X", method]].concat()).await;
    }
    for (body, sent) in [(json!([1, "x"]), "[1,\"x\"]"), (json!("text"), "\"text\""), (json!(7), "7")] {
        assert_same(
            json!({"method": "PATCH", "body": body}),
            "/",
            &[&json[..], &[sent, "-X", "PATCH"]].concat(),
        )
        .await;
    }
}

#[tokio::test]
async fn a_form_is_what_curl_sends() {
    let fields = json!({"a": ["1", "2"], "name": "zażółć=gęślą&jaźń", "sign": "+%/?#\"'", "empty": "", "n": 3, "t": true});
    let encoded = ["a=1", "a=2", "name=zażółć=gęślą&jaźń", "sign=+%/?#\"'", "empty=", "n=3", "t=true"];
    let arguments: Vec<&str> = encoded.iter().flat_map(|field| ["--data-urlencode", field]).collect();
    assert_same(json!({"method": "POST", "body": {"type": "form", "fields": fields}}), "/form", &arguments)
        .await;
    assert_same(json!({"method": "POST", "body": fields, "body_type": "form"}), "/form", &arguments).await;
}

/// Of a space, a tilde and an asterisk there are two spellings; read, they are the same.
#[tokio::test]
async fn a_form_reads_as_what_curl_sends() {
    let upstream = Upstream::json("{}").await;
    let body = json!({"type": "form", "fields": {"a b": " c d ", "e": "~*-._", "line": "1\r\n2"}});
    let ours = by_openact(&upstream, json!({"method": "POST", "body": body})).await;
    let arguments = ["--data-urlencode", "e=~*-._", "--data-urlencode", "line=1\r\n2", "-d", "a+b=+c%20d+"];
    let theirs = by_curl(&upstream, "/", &arguments).await;
    let read = |received: &Received| {
        let mut pairs: Vec<_> = url::form_urlencoded::parse(&received.body).into_owned().collect();
        pairs.sort();
        (pairs, received.header("content-type").join(""))
    };
    assert_eq!(read(&ours), read(&theirs));
    assert_eq!(read(&ours).0.len(), 3);
}

#[tokio::test]
async fn multipart_is_what_curl_sends() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n--BOUNDARY--\r\n--").collect();
    let file = folder.path().join("any.bin");
    std::fs::write(&file, &bytes).unwrap();
    let (text, file) = (folder.path().join("text"), file.display().to_string());
    std::fs::write(&text, "zażółć\r\n").unwrap();
    let body = json!({"type": "multipart",
        "fields": {"a": ["1", "2"], "name": "zażółć \"gęślą\"", "n\"q": "", "lines": "1\r\n2"},
        "files": {
            "file": {"filename": "ża \"b\".bin", "content": BASE64_STANDARD.encode(&bytes)},
            "doc": [
                {"filename": "1.txt", "text": "zażółć\r\n", "mime_type": "text/plain"},
                {"filename": "2.pdf", "content": BASE64_STANDARD.encode(&bytes), "mime_type": "application/pdf"},
            ],
        },
    });
    let form = [
        "a=1".to_owned(),
        "a=2".into(),
        "name=zażółć \"gęślą\"".into(),
        "n\"q=".into(),
        "lines=1\r\n2".into(),
        format!("file=@{file};filename=\"ża \\\"b\\\".bin\";type=application/octet-stream"),
        format!("doc=@{};filename=1.txt;type=text/plain", text.display()),
        format!("doc=@{file};filename=2.pdf;type=application/pdf"),
    ];
    // `--form-string` takes a value as it is.
    let flag = |field: &str| if field.contains("=@") { "--form" } else { "--form-string" };
    let arguments: Vec<&str> = form.iter().flat_map(|field| [flag(field), field.as_str()]).collect();
    assert_same(json!({"method": "POST", "body": body}), "/upload?x=1", &arguments).await;
}

#[tokio::test]
async fn raw_bytes_are_what_curl_sends() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let file = folder.path().join("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let (data, at) = (BASE64_STANDARD.encode(&bytes), format!("@{}", file.display()));
    let typed = json!({"type": "raw", "data": data, "content_type": "image/png"});
    assert_same(
        json!({"method": "PUT", "body": typed}),
        "/image",
        &["-X", "PUT", "-H", "content-type: image/png", "--data-binary", &at],
    )
    .await;
    for body in [json!({"body": {"type": "raw", "data": data}}), json!({"body": data, "body_type": "base64"})]
    {
        let mut action = body;
        action["method"] = "POST".into();
        let arguments = ["-H", "content-type: application/octet-stream", "--data-binary", &at];
        assert_same(action, "/bytes", &arguments).await;
    }
}

#[tokio::test]
async fn text_is_what_curl_sends_in_every_charset() {
    let folder = tempfile::tempdir().unwrap();
    // Python writes the bytes, so that they are not by our reckoning.
    for (charset, content) in [
        ("utf-8", "zażółć 😀\r\n"),
        ("iso-8859-1", "Grüße, ÿ"),
        ("windows-1252", "“Grüße” €"),
        ("utf-16le", "zażółć 😀"),
        ("utf-16be", "zażółć 😀"),
        ("us-ascii", "plain"),
    ] {
        let file = folder.path().join(charset);
        let program = "import sys; open(sys.argv[1], 'wb').write(sys.argv[2].encode(sys.argv[3]))";
        support::servers::python(program, &[file.to_str().unwrap(), content, charset]);
        let header = format!("content-type: text/plain; charset={charset}");
        let at = format!("@{}", file.display());
        let body = json!({"type": "text", "content": content, "charset": charset});
        let arguments = ["-H", &header, "--data-binary", &at];
        assert_same(json!({"method": "POST", "body": body}), "/text", &arguments).await;
    }
}

#[tokio::test]
async fn no_body_is_what_curl_sends() {
    let upstream = Upstream::json("{}").await;
    for method in ["GET", "DELETE", "OPTIONS"] {
        let ours = by_openact(&upstream, json!({"method": method, "path": "/a%20b?c=d"})).await;
        let theirs = by_curl(&upstream, "/a%20b?c=d", &["-X", method]).await;
        for received in [&ours, &theirs] {
            assert_eq!((received.method.as_str(), received.target.as_str()), (method, "/a%20b?c=d"));
            for name in ["content-type", "content-length", "transfer-encoding"] {
                assert!(received.header(name).is_empty(), "{method} {name}");
            }
        }
        assert_eq!(ours.body, theirs.body);
    }
}
