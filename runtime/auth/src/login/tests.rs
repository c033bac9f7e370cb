//! What all mechanisms have in common. What servers said was recorded from PostgreSQL 15.18, MySQL 9.7.4, MariaDB 10.11
//! and MongoDB 6.0.27, whose user's password is `pencil`; they took the answers that the tests expect, which Python's
//! hashlib computed.

use openact_core::{ErrorCode, login::Channel};
use serde_json::json;

use super::*;
use crate::{
    hash::{hex, unhex},
    testing::ready,
};

pub(super) const PASSWORD: &str = "pencil";
pub(super) const TLS: Channel<'_> = Channel { is_encrypted: true, tls_server_end_point: None };

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    unhex(hex).unwrap()
}

/// All that went over a socket.
pub(super) fn heard<'a>(written: &'a [u8], read: &'a [u8]) -> Heard<'a> {
    Heard { written, read, is_whole: true }
}

pub(super) const NOTHING: Heard<'_> = Heard { written: b"", read: b"", is_whole: true };

pub(super) fn try_start(
    mechanism: &str,
    parameters: Value,
    secret: &str,
    channel: Channel<'_>,
) -> Result<Option<Box<dyn Login>>> {
    let parameters = parameters.as_object().unwrap();
    Mechanisms::new()?.start(LoginRequest { mechanism, parameters, secret: secret.into(), channel })
}

pub(super) fn start(mechanism: &str, parameters: Value, channel: Channel<'_>) -> Box<dyn Login> {
    try_start(mechanism, parameters, PASSWORD, channel).unwrap().unwrap()
}

/// What the guest gets.
pub(super) fn proof(answer: Result<Answer>) -> Vec<u8> {
    match answer.unwrap() {
        Answer::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// What the host writes.
pub(super) fn frame(answer: Result<Answer>) -> Vec<u8> {
    match answer.unwrap() {
        Answer::Write(frame) => frame.bytes().to_vec(),
        other => panic!("{other:?}"),
    }
}

const MECHANISMS: [(&str, &str); 9] = [
    ("SCRAM-SHA-256", "user"),
    ("SCRAM-SHA-1", "user"),
    ("SCRAM-SHA-256-PLUS", "user"),
    ("postgres-md5", "user"),
    ("postgres-cleartext", ""),
    ("mysql_native_password", ""),
    ("caching_sha2_password", ""),
    ("mysql-cleartext", "sequence"),
    ("redis-auth", ""),
];

fn needed(name: &str) -> Value {
    match name {
        "" => json!({"secret": "password"}),
        "sequence" => json!({"secret": "password", "sequence": 3}),
        name => json!({"secret": "password", name: "u"}),
    }
}

#[test]
fn every_mechanism_starts_with_what_it_needs_and_nothing_else() {
    let channel = Channel { is_encrypted: true, tls_server_end_point: Some(&[7; 32]) };
    for (mechanism, name) in MECHANISMS {
        let try_start = |parameters: Value| try_start(mechanism, parameters, PASSWORD, channel);
        assert!(try_start(needed(name)).unwrap().is_some(), "{mechanism}");
        let mut more = needed(name);
        more["usr"] = "u".into();
        let mut wrong = vec![more];
        if !name.is_empty() {
            wrong.extend([json!({}), json!({name: null}), json!({name: {}}), json!({name: true})]);
        }
        for parameters in wrong {
            let error =
                try_start(parameters.clone()).err().unwrap_or_else(|| panic!("{mechanism}: {parameters}"));
            assert_eq!(error.code, ErrorCode::InvalidInput, "{mechanism}: {parameters}");
        }
    }
    for unknown in ["", "PLAIN", "SCRAM-SHA-512", "scram-sha-256", "SCRAM-SHA-1-PLUS", "redis", "OAUTHBEARER"]
    {
        assert!(try_start(unknown, json!({}), PASSWORD, channel).unwrap().is_none(), "{unknown}");
    }
    for wrong in [json!({"user": "a\nb"}), json!({"user": "a\0b"})] {
        let error = try_start("SCRAM-SHA-256", wrong, PASSWORD, channel).err().unwrap();
        assert_eq!(error.code, ErrorCode::InvalidInput);
    }
}

#[test]
fn c9_no_error_of_a_login_quotes_the_password() {
    let canary = "canary\0-hunter2";
    for (mechanism, name) in MECHANISMS {
        let channel = Channel { is_encrypted: true, tls_server_end_point: Some(&[7; 32]) };
        for challenge in [b"".as_slice(), b"x", &[b'x'; 20], &[0; 10_000]] {
            let mut login = try_start(mechanism, needed(name), canary, channel).unwrap().unwrap();
            let mut failed = false;
            for _ in 0..4 {
                if let Err(error) = ready(login.step(challenge, heard(b"x", b"y"))) {
                    failed = true;
                    let shown = format!("{error:?} {:?} {}", error.hint, error.to_json());
                    assert!(!shown.contains("hunter2") && !shown.contains(&hex(b"hunter2")), "{shown}");
                }
            }
            assert!(failed, "{mechanism}");
        }
    }
}

#[test]
fn a_login_is_over_with_its_error_and_with_its_answer() {
    for (mechanism, challenge) in [
        ("postgres-md5", [1; 4].as_slice()),
        ("mysql_native_password", &[1; 20]),
        ("postgres-cleartext", b""),
    ] {
        let parameters = if mechanism == "postgres-md5" { json!({"user": "u"}) } else { json!({}) };
        let mut login = start(mechanism, parameters, TLS);
        assert!(ready(login.step(&[9; 9], NOTHING)).is_err(), "{mechanism}");
        let error = ready(login.step(challenge, NOTHING)).unwrap_err();
        assert!(error.message.contains("is over"), "{mechanism}: {error}");
    }
    for (mechanism, challenge) in [("postgres-md5", [1; 4].as_slice()), ("mysql_native_password", &[1; 20])] {
        let parameters = if mechanism == "postgres-md5" { json!({"user": "u"}) } else { json!({}) };
        let mut login = start(mechanism, parameters, TLS);
        proof(ready(login.step(challenge, NOTHING)));
        assert!(ready(login.step(challenge, NOTHING)).unwrap_err().message.contains("is over"));
    }
}

#[test]
fn s4_a_challenge_is_bounded() {
    let long = vec![b'x'; LOGIN_CHALLENGE_BYTES_MAX + 1];
    for (mechanism, parameters) in [("redis-auth", json!({})), ("SCRAM-SHA-256", json!({"user": ""}))] {
        let mut login = start(mechanism, parameters, TLS);
        let error = ready(login.step(&long, NOTHING)).unwrap_err();
        assert_eq!(error.code, ErrorCode::LimitExceeded, "{mechanism}");
    }
}

#[test]
fn redis_auth_is_written_as_a_command() {
    for (parameters, expected) in [
        (json!({}), "*2\r\n$4\r\nAUTH\r\n$6\r\npencil\r\n"),
        (json!({"user": null, "hello": null}), "*2\r\n$4\r\nAUTH\r\n$6\r\npencil\r\n"),
        (json!({"user": "bob"}), "*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$6\r\npencil\r\n"),
        (
            json!({"hello": 3}),
            "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$6\r\npencil\r\n",
        ),
        (
            json!({"user": "bob", "hello": 3, "client_name": "openact"}),
            "*7\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$6\r\npencil\r\n\
             $7\r\nSETNAME\r\n$7\r\nopenact\r\n",
        ),
    ] {
        let answer = ready(start("redis-auth", parameters, TLS).step(b"", NOTHING));
        assert_eq!(String::from_utf8(frame(answer)).unwrap(), expected);
    }
    for wrong in [json!({"hello": 2}), json!({"hello": "3"}), json!({"client_name": "x"})] {
        assert_eq!(
            try_start("redis-auth", wrong, PASSWORD, TLS).err().unwrap().code,
            ErrorCode::InvalidInput
        );
    }
}

#[test]
fn c7_redis_auth_is_the_first_thing_on_its_socket() {
    let echo = b"*2\r\n$4\r\nECHO\r\n$31\r\n".as_slice();
    for not_first in [
        heard(b"\r\n", b""),
        heard(echo, b""),
        heard(b"", b"+OK\r\n"),
        heard(&[0; 30], b""),
        Heard { is_whole: false, ..NOTHING },
    ] {
        let mut login = start("redis-auth", json!({}), TLS);
        assert_eq!(ready(login.step(b"", not_first)).unwrap_err().code, ErrorCode::EgressDenied);
    }
}

/// RFC 2202 and 4231, test case 2.
#[test]
fn messages_are_signed() {
    let mechanisms = Mechanisms::new().unwrap();
    let sign = |algorithm: &str| {
        mechanisms
            .sign(algorithm, &"Jefe".into(), b"what do ya want for nothing?")
            .map(|signature| hex(&signature))
    };
    assert_eq!(sign("hmac-sha1").unwrap(), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    assert_eq!(
        sign("hmac-sha256").unwrap(),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        sign("hmac-sha512").unwrap(),
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
         9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
    );
    assert_eq!(sign("hmac-md5"), None);
}
