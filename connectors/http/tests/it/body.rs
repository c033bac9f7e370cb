//! Bodies that have a type, and charsets.

use base64::{Engine, engine::general_purpose::STANDARD};
use openact_connector::{Failure, log::Level, testing::FakeHost};
use openact_http::charset::Charset;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{answering, call, header, refused, sent, text};

const MULTIPART: &str = "multipart/form-data; boundary=openact-boundary-00000000";

fn post(body: Value) -> Value {
    json!({"method": "POST", "body": body})
}

fn boundary(request: &openact_connector::Request) -> String {
    header(request, "content-type").unwrap().split_once("boundary=").unwrap().1.to_owned()
}

#[test]
fn each_kind_is_written_as_its_type_says() {
    for (body, content_type, expected) in [
        (
            json!({"type": "json", "data": {"type": "text", "content": "x"}}),
            "application/json",
            r#"{"content":"x","type":"text"}"#,
        ),
        (json!({"type": "json", "data": null}), "application/json", "null"),
        (
            json!({"type": "form", "fields": {"a b": "c&d=e +é%", "n": [1, true], "none": null, "~": "*-._"}}),
            "application/x-www-form-urlencoded",
            "a+b=c%26d%3De+%2B%C3%A9%25&n=1&n=true&%7E=*-._",
        ),
        (json!({"type": "raw", "data": "YWJj", "content_type": "image/png"}), "image/png", "abc"),
        (json!({"type": "raw", "data": {"base64": "YWJj"}}), "application/octet-stream", "abc"),
        (json!({"type": "text", "content": "grüße"}), "text/plain; charset=utf-8", "grüße"),
    ] {
        let request = sent(post(body.clone()), json!({}));
        assert_eq!(header(&request, "content-type"), Some(content_type), "{body}");
        let expected: Value = serde_json::from_str(expected).unwrap_or_else(|_| expected.into());
        let found = text(&request);
        let found: Value = serde_json::from_str(found).unwrap_or_else(|_| found.into());
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn anything_else_is_bare_json() {
    for body in [
        json!({"type": "json"}),
        json!({"type": "json", "data": 1, "more": 2}),
        json!({"type": "form"}),
        json!({"type": "form", "fields": {}, "files": {}}),
        json!({"type": "multipart"}),
        json!({"type": "raw", "content_type": "image/png"}),
        json!({"type": "raw", "data": "", "charset": "utf-8"}),
        json!({"type": "text", "text": "a message block of some API"}),
        json!({"type": "xml", "content": ""}),
        json!({"type": 1, "data": ""}),
        json!({"data": 1}),
        json!([{"type": "json", "data": 1}]),
        json!({}),
    ] {
        let request = sent(post(body.clone()), json!({}));
        assert_eq!(serde_json::from_str::<Value>(text(&request)).unwrap(), body);
        assert_eq!(header(&request, "content-type"), Some("application/json"));
    }
    let literal = json!({"type": "text", "content": "x"});
    let action = json!({"method": "POST", "body": literal, "body_type": "json"});
    assert_eq!(serde_json::from_str::<Value>(text(&sent(action, json!({})))).unwrap(), literal);
}

#[test]
fn a_form_by_body_type() {
    let request = sent(json!({"method": "POST", "body": {"a": [1, 2]}, "body_type": "form"}), json!({}));
    assert_eq!(text(&request), "a=1&a=2");
    assert_eq!(header(&request, "content-type"), Some("application/x-www-form-urlencoded"));
}

#[test]
fn a_typed_body_that_is_wrong_is_the_fault_of_who_set_it() {
    for (body, part) in [
        (json!({"type": "form", "fields": "a=1"}), "form"),
        (json!({"type": "form", "fields": {"a": {}}}), "form"),
        (json!({"type": "raw", "data": "é"}), "base64"),
        (json!({"type": "raw", "data": 1.5, "content_type": "a/b"}), "base64"),
        (json!({"type": "text", "content": 1}), "text"),
        (json!({"type": "text", "content": "aé€", "charset": "latin1"}), "character 3 "),
        (json!({"type": "text", "content": "é", "charset": "us-ascii"}), "character 1 "),
        (json!({"type": "text", "content": "a¤", "charset": "l9"}), "character 2 "),
        (json!({"type": "text", "content": "x", "charset": "koi8-r"}), "utf-16be"),
        (json!({"type": "multipart", "files": {"f": {}}}), "'f'"),
        (json!({"type": "multipart", "files": {"f": {"text": "a", "content": "YQ=="}}}), "'f'"),
        (json!({"type": "multipart", "files": {"f": {"content": "?"}}}), "'f'"),
        (json!({"type": "multipart", "files": {"f": {"path": "/etc/passwd"}}}), "path"),
        (json!({"type": "multipart", "files": {"f": {"input": "/no"}}}), "'/no'"),
        (
            json!({"type": "multipart", "files": {"f": {"text": "a", "mime_type": "a/b\r\nx: y"}}}),
            "mime_type",
        ),
        (json!({"type": "multipart", "fields": {"f": {}}}), "multipart"),
    ] {
        let failure = refused(post(body.clone()), json!({}));
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains(part)),
            "{body}: {failure:?}"
        );
        let failure = refused(post(body.clone()), json!({"body": body}));
        assert!(
            matches!(&failure, Failure::InvalidInput(text) if text.contains(part)),
            "{body}: {failure:?}"
        );
    }
}

#[test]
fn multipart_is_as_browsers_write_it() {
    let request = sent(
        post(json!({
            "type": "multipart",
            "fields": {"ti\"t\r\nle": "ü", "tags": ["a", 1], "none": null},
            "files": {
                "one": {"filename": "ä \"x\".png", "mime_type": "image/png", "content": "AAH/"},
                "two": [{"text": "t"}, {"input": "/files/0"}, {"input": "/files/1", "filename": "b"}],
            },
        })),
        json!({"files": ["plain", {"base64": "/w=="}]}),
    );
    let b = boundary(&request);
    assert_eq!(header(&request, "content-type").unwrap(), format!("multipart/form-data; boundary={b}"));
    let mut expected = Vec::new();
    let mut part = |head: &str, body: &[u8]| {
        expected
            .extend_from_slice(format!("--{b}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        expected.extend_from_slice(body);
        expected.extend_from_slice(b"\r\n");
    };
    part("name=\"ti%22t%0D%0Ale\"", "ü".as_bytes());
    part("name=\"tags\"", b"a");
    part("name=\"tags\"", b"1");
    part("name=\"one\"; filename=\"ä %22x%22.png\"\r\nContent-Type: image/png", b"\x00\x01\xff");
    part("name=\"two\"; filename=\"two\"\r\nContent-Type: text/plain; charset=utf-8", b"t");
    part("name=\"two\"; filename=\"two\"\r\nContent-Type: application/octet-stream", b"plain");
    part("name=\"two\"; filename=\"b\"\r\nContent-Type: application/octet-stream", b"\xff");
    expected.extend_from_slice(format!("--{b}--\r\n").as_bytes());
    assert_eq!(String::from_utf8_lossy(&request.body.unwrap()), String::from_utf8_lossy(&expected));
}

#[test]
fn no_part_contains_the_boundary() {
    let taken = "--openact-boundary-00000000\r\nopenact-boundary-00000001x openact-boundary-00000003";
    let request = sent(
        post(json!({
            "type": "multipart", "fields": {"a": taken},
            "files": {"openact-boundary-00000002": {"text": ""}},
        })),
        json!({}),
    );
    assert_eq!(boundary(&request), "openact-boundary-00000004");
    let plain = sent(post(json!({"type": "multipart", "fields": {}})), json!({}));
    assert_eq!(boundary(&plain), "openact-boundary-00000000");
}

#[test]
fn a_typed_body_has_its_own_content_type_and_another_is_named() {
    for (body, set, expected, warned) in [
        (json!({"type": "multipart", "fields": {"a": 1}}), "application/json", MULTIPART, true),
        (
            json!({"type": "multipart", "fields": {"a": 1}}),
            "multipart/form-data; boundary=x",
            MULTIPART,
            true,
        ),
        (json!({"type": "form", "fields": {"a": 1}}), "a/b", "application/x-www-form-urlencoded", true),
        (json!({"type": "json", "data": 1}), "text/plain", "application/json", true),
        (json!({"type": "json", "data": 1}), "application/json", "application/json", false),
        (json!({"type": "text", "content": "a"}), "text/csv", "text/plain; charset=utf-8", true),
        (json!({"type": "raw", "data": "YQ==", "content_type": "image/png"}), "a/b", "image/png", true),
        // Without one of its own there is nothing to be in the way.
        (json!({"type": "raw", "data": "YQ=="}), "image/png", "image/png", false),
        (json!({"a": 1}), "application/vnd.api+json", "application/vnd.api+json", false),
    ] {
        let host = answering();
        let action = json!({"method": "POST", "body": body, "headers": {"Content-Type": set}});
        call(action, json!({}), &host).unwrap();
        let request = host.requests().remove(0);
        assert_eq!(header(&request, "content-type"), Some(expected), "{body} {set}");
        assert_eq!(request.headers.len(), 1, "{body} {set}");
        let lines = host.lines();
        let told = matches!(lines.as_slice(), [(Level::Warn, line)] if line.contains(set) && line.contains(expected));
        assert!(if warned { told } else { lines.is_empty() }, "{body} {set}: {lines:?}");
    }
}

#[test]
fn a_content_type_that_gives_way_is_named_once_for_all_pages() {
    let json = [("content-type", "application/json")];
    let host = FakeHost::new().respond(200, &json, "[1]").respond(200, &json, "[]");
    let action = json!({
        "method": "POST", "headers": {"content-type": "a/b"}, "body": {"type": "form", "fields": {}},
        "pagination": {"type": "page"},
    });
    call(action, json!({}), &host).unwrap();
    assert!(host.requests().iter().all(|request| header(request, "content-type") != Some("a/b")));
    assert_eq!((host.requests().len(), host.lines().len()), (2, 1));
}

#[test]
fn a_body_that_is_nearly_typed_is_json_and_the_key_is_named() {
    for (body, key) in [
        (json!({"type": "text", "text": "hello"}), "'text'"),
        (json!({"type": "form", "fields": {}, "filez": {}}), "'filez'"),
        (json!({"data": 1, "datum": 2, "type": "json"}), "'datum'"),
        (json!({"type": "raw", "content_type": "a/b"}), "'data'"),
        (json!({"type": "multipart"}), "'fields'"),
    ] {
        let host = answering();
        call(post(body.clone()), json!({}), &host).unwrap();
        assert_eq!(serde_json::from_str::<Value>(text(&host.requests()[0])).unwrap(), body);
        let lines = host.lines();
        assert!(
            matches!(lines.as_slice(), [(Level::Warn, line)] if line.contains(key) && line.contains("body_type")),
            "{body}: {lines:?}"
        );
    }
    for action in [
        json!({"method": "POST", "body": {"type": "text", "text": "hello"}, "body_type": "json"}),
        post(json!({"type": "event", "data": 1})),
        post(json!({"type": {}, "data": 1})),
    ] {
        let host = answering();
        call(action.clone(), json!({}), &host).unwrap();
        assert!(host.lines().is_empty(), "{action}: {:?}", host.lines());
    }
}

#[test]
fn text_by_charset() {
    for (label, name, content, bytes) in [
        ("UTF-8", "utf-8", "é€", &b"\xc3\xa9\xe2\x82\xac"[..]),
        ("iso-8859-1", "iso-8859-1", "é\u{80}", b"\xe9\x80"),
        ("L1", "iso-8859-1", "é", b"\xe9"),
        ("windows-1252", "windows-1252", "é€", b"\xe9\x80"),
        ("x-cp1252", "windows-1252", "€", b"\x80"),
        ("iso-8859-15", "iso-8859-15", "é€ŠšŽžŒœŸ", b"\xe9\xa4\xa6\xa8\xb4\xb8\xbc\xbd\xbe"),
        ("us-ascii", "us-ascii", "e", b"e"),
        ("utf-16le", "utf-16le", "é😀", b"\xe9\x00\x3d\xd8\x00\xde"),
        ("utf-16be", "utf-16be", "é😀", b"\x00\xe9\xd8\x3d\xde\x00"),
    ] {
        let request = sent(post(json!({"type": "text", "content": content, "charset": label})), json!({}));
        assert_eq!(request.body.as_deref(), Some(bytes), "{label}");
        assert_eq!(header(&request, "content-type").unwrap(), format!("text/plain; charset={name}"));
    }
}

proptest! {
    /// What can be written is read again as it was, in every charset; Latin-1 is read as browsers do.
    #[test]
    fn a_charset_reads_what_it_wrote(content in "[ -~éÿ€šŸ‰ü😀]{0,12}") {
        for charset in [
            Charset::Utf8, Charset::Ascii, Charset::Latin1, Charset::Latin9, Charset::Windows1252, Charset::Utf16Le,
            Charset::Utf16Be,
        ] {
            prop_assert_eq!(Charset::of(charset.name()), Some(charset));
            match charset.encode(&content) {
                Ok(bytes) => prop_assert_eq!(charset.decode(&bytes).unwrap(), content.as_str()),
                Err(at) => prop_assert!(content.chars().nth(at - 1).is_some_and(|c| !c.is_ascii())),
            }
        }
    }

    /// Whatever the parts hold, the boundary is in none of them.
    #[test]
    fn a_boundary_never_collides(
        parts in prop::collection::vec("(openact-boundary-0000000[0-3]|-|\r\n|o){0,6}", 0..5),
    ) {
        let content = parts.concat();
        let files = json!({"f": {"content": STANDARD.encode(&content)}});
        let request = sent(post(json!({"type": "multipart", "fields": {"p": parts}, "files": files})), json!({}));
        let boundary = boundary(&request);
        prop_assert!(!content.contains(&boundary));
        prop_assert_eq!(text(&request).matches(&boundary).count(), parts.len() + 2);
    }
}
