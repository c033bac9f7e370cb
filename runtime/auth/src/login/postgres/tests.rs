//! The older logins of PostgreSQL, against recorded ones (see `login/tests.rs`), and every way to get the password elsewhere.

use openact_core::ErrorCode;
use serde_json::json;

use super::*;
use crate::{
    login::tests::{TLS, bytes, frame, heard, proof, start},
    testing::ready,
};

const STARTUP: &str = "00000026000300007573657200636c65617200646174616261736500706f7374677265730000";

fn step(heard: Heard<'_>, channel: Channel<'_>) -> Result<Answer> {
    ready(start("postgres-cleartext", json!({}), channel).step(b"", heard))
}

fn is_refused(written: &[u8], read: &[u8], channel: Channel<'_>) -> bool {
    step(heard(written, read), channel).is_err_and(|error| error.code == ErrorCode::EgressDenied)
}

/// Recorded; the server took it.
#[test]
fn md5_is_as_the_server_wants_it() {
    let mut login = start("postgres-md5", json!({"user": "old"}), Channel::default());
    let answer = proof(ready(login.step(&bytes("98ba9a30"), heard(b"", b""))));
    assert_eq!(answer, b"md5ebbe95bf1c8148616484686b0d5cb539");
    for salt in [b"".as_slice(), b"123", b"12345"] {
        let mut login = start("postgres-md5", json!({"user": "old"}), Channel::default());
        assert_eq!(ready(login.step(salt, heard(b"", b""))).unwrap_err().code, ErrorCode::InvalidInput);
    }
}

#[test]
fn the_password_answers_the_question_for_it() {
    let (startup, message) = (bytes(STARTUP), b"p\0\0\0\x0bpencil\0");
    let tls_refused = [&SSL_REQUEST, startup.as_slice()].concat();
    let version = [b"v\0\0\0\x0c\0\0\0\0\0\0\0\0".as_slice(), &ASKED].concat();
    for (written, read, channel) in [
        (&startup, ASKED.to_vec(), Channel::default()),
        (&startup, ASKED.to_vec(), TLS),
        (&startup, version.clone(), TLS),
        (&tls_refused, [b"N".as_slice(), &ASKED].concat(), Channel::default()),
        (&tls_refused, [b"N".as_slice(), &version].concat(), Channel::default()),
    ] {
        assert_eq!(frame(step(heard(written, &read), channel)), message);
    }
}

/// Every way to have written or read more, less or something else.
#[test]
fn c7_the_password_goes_nowhere_else() {
    let startup = bytes(STARTUP);
    let tls_refused = [&SSL_REQUEST, startup.as_slice()].concat();
    let after_refusal = [b"N".as_slice(), &ASKED].concat();
    for (written, read, channel) in [
        (&startup, ASKED.as_slice(), TLS),
        (&startup, &ASKED, Channel::default()),
        (&tls_refused, &after_refusal, Channel::default()),
    ] {
        assert!(step(heard(written, read), channel).is_ok());
        let part = Heard { is_whole: false, ..heard(written, read) };
        assert_eq!(step(part, channel).unwrap_err().code, ErrorCode::EgressDenied);
        for length in 0..written.len() {
            assert!(is_refused(&written[..length], read, channel), "{length} bytes written");
        }
        for length in 0..read.len() {
            assert!(is_refused(written, &read[..length], channel), "{length} bytes read");
        }
        for at in 0..read.len() {
            for flip in 1..=255 {
                let mut other = read.to_vec();
                other[at] ^= flip;
                assert!(is_refused(written, &other, channel), "{other:?} read");
            }
        }
        for more in [b"\0".as_slice(), b"Q", b"Q\0\0\0\x19select '", &startup, &SSL_REQUEST] {
            assert!(is_refused(&[written, more].concat(), read, channel), "{more:?} after");
            assert!(
                is_refused(&[more, written].concat(), read, channel) || more == SSL_REQUEST,
                "{more:?} before"
            );
            assert!(is_refused(written, &[read, more].concat(), channel), "{more:?} read");
        }
    }
    // Of the startup message itself, the length and version count.
    for at in 0..6 {
        for flip in 1..=255 {
            let mut other = startup.clone();
            other[at] ^= flip;
            assert!(is_refused(&other, &ASKED, TLS), "{other:?}");
        }
    }
    // A query and its end as if it were the settings of a startup message; a request for TLS within TLS.
    assert!(is_refused(b"Q\0\0\0\x10select '", &ASKED, TLS));
    assert!(is_refused(&tls_refused, &after_refusal, TLS));
    // The server is logged in, asks for something else, or has failed.
    for read in [
        b"R\0\0\0\x08\0\0\0\0".as_slice(),
        b"R\0\0\0\x0c\0\0\0\x05salt",
        b"E\0\0\0\x04",
        b"v\0\0\0\x03R\0\0\0\x08\0\0\0\x03",
        b"v\xff\xff\xff\xffR\0\0\0\x08\0\0\0\x03",
        b"v\0\0\0\x04v\0\0\0\x04R\0\0\0\x08\0\0\0\x03",
        b"v",
    ] {
        assert!(is_refused(&startup, read, TLS), "{read:?}");
    }
    let mut login = start("postgres-cleartext", json!({}), TLS);
    assert_eq!(ready(login.step(b"x", heard(&startup, &ASKED))).unwrap_err().code, ErrorCode::InvalidInput);
}

#[test]
fn c5_a_password_that_the_message_cannot_hold_is_refused() {
    let parameters = Parameters { object: &openact_core::JsonObject::new(), mechanism: "postgres-cleartext" };
    let mut login = Cleartext::of(&parameters, "a\0b".into(), TLS).unwrap();
    let error = login.answer(b"", heard(&bytes(STARTUP), &ASKED)).unwrap_err();
    assert_eq!(error.code, ErrorCode::AuthRequired);
}
