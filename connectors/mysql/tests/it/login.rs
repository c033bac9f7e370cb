//! The greeting, TLS, and each way of login.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Script},
};
use serde_json::json;

use crate::{
    ALL, IDLE, NONCE, PLAIN, call_on, connection, error, execute, greeting, ok, one_row, packet, prepared,
    reset, reset_answer, rows, select, setup_and_prepare, setup_answer,
};

const SHA2: &str = "caching_sha2_password";
const NATIVE: &str = "mysql_native_password";

/// The rest of a call after its login.
fn rest(script: Script) -> Script {
    script
        .expect(setup_and_prepare())
        .answer([setup_answer(), prepared(1)].concat())
        .expect([execute(1), reset()].concat())
        .answer([rows(), reset_answer()].concat())
}

fn check(script: Script) {
    rest(script).at_every_split(|host| {
        assert_eq!(select(&host), Ok(one_row()));
        assert_eq!(host.left(), "");
        assert_eq!(host.parked().len(), 1);
    });
}

/// The response to the greeting, with an eight-byte scramble.
fn response(plugin: &str, capabilities: u32, number: u8) -> Vec<u8> {
    let mut body = capabilities.to_le_bytes().to_vec();
    body.extend(0x4000_0000_u32.to_le_bytes());
    body.push(45);
    body.extend([0; 23]);
    if capabilities & 0x800 != 0 && number == 1 {
        return packet(number, &body);
    }
    body.extend(b"me\0\x08scrambleapp\0");
    body.extend(plugin.as_bytes());
    body.extend(b"\0\x2a\x0c_client_name\x07openact\x0cprogram_name\x07openact");
    packet(number, &body)
}

const AGREED: u32 = 0x013e_a209;

#[test]
fn each_way_of_login_at_every_split() {
    let greeted = |plugin| Script::new().answer(greeting("8.4.0", plugin, PLAIN));
    check(
        greeted(NATIVE)
            .login(NATIVE, &[(NONCE, b"scramble")])
            .expect(response(NATIVE, AGREED, 1))
            .answer(packet(2, &ok(IDLE))),
    );
    check(
        greeted(SHA2)
            .login(SHA2, &[(NONCE, b"scramble")])
            .expect(response(SHA2, AGREED, 1))
            .answer([packet(2, &[1, 3]), packet(3, &ok(IDLE))].concat()),
    );
    // The server has no hash in its cache, and no TLS: its key.
    check(
        greeted(SHA2)
            .login(SHA2, &[(NONCE, b"scramble"), (b"-----BEGIN PUBLIC KEY-----", b"encrypted")])
            .expect(response(SHA2, AGREED, 1))
            .answer(packet(2, &[1, 4]))
            .expect(packet(3, &[2]))
            .answer(packet(4, b"\x01-----BEGIN PUBLIC KEY-----"))
            .expect(packet(5, b"encrypted"))
            .answer(packet(6, &ok(IDLE))),
    );
    // Another login than the greeting's.
    let switch = [b"\xfemysql_native_password\0", &NONCE[..], b"\0"].concat();
    check(
        greeted(SHA2)
            .login(SHA2, &[(NONCE, b"scramble")])
            .expect(response(SHA2, AGREED, 1))
            .answer(packet(2, &switch))
            .login(NATIVE, &[(NONCE, b"other")])
            .expect(packet(3, b"other"))
            .answer(packet(4, &ok(IDLE))),
    );
}

#[test]
fn tls_comes_first_where_it_is_offered() {
    let encrypted = Script::new()
        .answer(greeting("8.4.0", SHA2, ALL))
        .expect(response(SHA2, AGREED | 0x800, 1))
        .start_tls()
        .login(SHA2, &[(NONCE, b"scramble")])
        .expect(response(SHA2, AGREED | 0x800, 2))
        .answer(packet(3, &[1, 4]))
        .login("mysql-cleartext", &[(b"", b"")])
        .answer(packet(5, &ok(IDLE)));
    check(encrypted);

    let require = json!({"host": "h", "user": "me", "tls": "verify_identity"});
    let host = FakeHost::new().socket(Script::new().answer(greeting("8.4.0", SHA2, PLAIN)));
    let failure = call_on(require, "query", json!({"statement": "SELECT 1"}), json!([]), &host);
    assert!(matches!(failure, Err(Failure::InvalidConfig(text)) if text.contains("tls: require")));

    // What was said before TLS could be anybody's.
    let injected = [greeting("8.4.0", SHA2, ALL), packet(2, &ok(IDLE))].concat();
    let host = FakeHost::new().socket(Script::new().answer(injected).expect_anything());
    assert!(matches!(select(&host), Err(Failure::Protocol(_))));

    let mut plain = connection();
    plain["tls"] = "disable".into();
    let script = Script::new()
        .answer(greeting("8.4.0", SHA2, ALL))
        .login(SHA2, &[(NONCE, b"scramble")])
        .expect(response(SHA2, AGREED, 1))
        .answer(packet(2, &error(1045, "no")));
    let host = FakeHost::new().socket(script);
    let failure = call_on(plain, "query", json!({"statement": "SELECT 1"}), json!([]), &host);
    // 42000 and not 28000, as the server of this test says it.
    assert!(matches!(failure, Err(Failure::Upstream(_))));
    assert_eq!(host.left(), "");
}

#[test]
fn a_password_in_plain_text_is_not_given_away() {
    let clear = b"\xfemysql_clear_password\0".to_vec();
    let script = Script::new()
        .answer(greeting("8.4.0", SHA2, PLAIN))
        .login(SHA2, &[(NONCE, b"scramble")])
        .expect_anything()
        .answer(packet(2, &clear));
    let host = FakeHost::new().socket(script);
    assert!(matches!(select(&host), Err(Failure::Denied(_))));

    let script = Script::new()
        .answer(greeting("8.4.0", SHA2, ALL))
        .expect_anything()
        .start_tls()
        .login(SHA2, &[(NONCE, b"scramble")])
        .expect_anything()
        .answer(packet(3, &clear))
        .login("mysql-cleartext", &[(b"", b"")])
        .answer(packet(5, &ok(IDLE)));
    check(script);

    let host = FakeHost::new().socket(
        Script::new()
            .answer(greeting("8.4.0", SHA2, PLAIN))
            .fail_login(HostError::Denied("plain text".into())),
    );
    assert_eq!(select(&host), Err(Failure::Denied("plain text".into())));
}

#[test]
fn without_a_password_nothing_is_proved() {
    let none = || HostError::NotFound("no password".into());
    let script = |said: &[u8]| {
        Script::new()
            .answer(greeting("8.4.0", SHA2, PLAIN))
            .fail_login(none())
            .expect_anything()
            .answer(packet(2, said))
    };
    check(script(&ok(IDLE)));
    let host = FakeHost::new().socket(script(&[1, 4]));
    assert!(matches!(select(&host), Err(Failure::Unauthenticated(text)) if text.contains("has none")));
}

#[test]
fn refusals_have_their_code() {
    let refused = |number: u16, state: &str| {
        let body = [&[0xff][..], &number.to_le_bytes(), b"#", state.as_bytes(), b"the reason"].concat();
        let script = Script::new()
            .answer(greeting("8.4.0", SHA2, PLAIN))
            .login(SHA2, &[(NONCE, b"scramble")])
            .expect_anything()
            .answer(packet(2, &body));
        select(&FakeHost::new().socket(script)).unwrap_err()
    };
    assert_eq!(refused(1045, "28000"), Failure::Unauthenticated("the reason".into()));
    assert_eq!(refused(3118, "HY000"), Failure::Unauthenticated("the reason".into()));
    assert_eq!(refused(1053, "08S01"), Failure::Network("the reason".into()));
    assert!(
        matches!(refused(1049, "42000"), Failure::Upstream(error) if error.code.as_deref() == Some("1049")
        && error.details.as_deref() == Some("{\"sqlstate\":\"42000\"}") && !error.retryable)
    );
    // Too many connections: an error in place of a greeting, without an SQLSTATE.
    let host = FakeHost::new().socket(Script::new().answer(packet(0, b"\xff\x10\x04Too many connections")));
    assert!(matches!(select(&host), Err(Failure::Upstream(error)) if error.retryable));
    let host =
        FakeHost::new().socket(Script::new().answer(packet(0, b"\xff\x6a\x04Host 'x' is not allowed")));
    assert!(matches!(select(&host), Err(Failure::Unauthenticated(_))));
}

#[test]
fn bad_steps_and_other_protocols() {
    let said = |bodies: &[&[u8]]| {
        let answers =
            bodies.iter().zip(2_u8..).flat_map(|(body, number)| packet(number, body)).collect::<Vec<u8>>();
        let script = Script::new()
            .answer(greeting("8.4.0", SHA2, PLAIN))
            .login(SHA2, &[(NONCE, b"scramble")])
            .expect_anything()
            .answer(answers)
            .end();
        select(&FakeHost::new().socket(script)).unwrap_err()
    };
    assert!(matches!(said(&[&[1, 5]]), Failure::Protocol(_)));
    assert!(matches!(said(&[&[1]]), Failure::Protocol(_)));
    assert!(matches!(said(&[&[7]]), Failure::Protocol(_)));
    assert!(matches!(said(&[&[]]), Failure::Protocol(_)));
    assert!(matches!(said(&[&[0xfe]]), Failure::Unsupported(_)));
    assert!(
        matches!(said(&[b"\xfeauth_gssapi_client\0x"]), Failure::Unsupported(text) if text.contains("auth_gssapi_client"))
    );
    assert!(matches!(said(&[&[1, 3][..]; 100]), Failure::Protocol(text) if text.contains("without an end")));
    assert!(matches!(said(&[]), Failure::Network(_)));
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x05\0\0\x01hello",
        b"\x02\0\0\0\x09x",
        b"\x04\0\0\0\x0a8.0",
    ] {
        let host = FakeHost::new().socket(Script::new().answer(bytes).end());
        assert!(
            matches!(select(&host), Err(Failure::Protocol(_) | Failure::Network(_))),
            "{}",
            bytes.escape_ascii()
        );
    }
    let host = FakeHost::new().socket(Script::new().answer(greeting("4.0", "", 0)));
    assert!(matches!(select(&host), Err(Failure::Unsupported(_))));
}
