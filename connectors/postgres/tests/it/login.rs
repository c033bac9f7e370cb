//! TLS and who asks.

use openact_connector::{
    Failure, HostError,
    testing::{FakeHost, Invoke, Script, check},
};
use openact_postgres::{Postgres, wire};
use serde_json::{Value, json};

use crate::{
    answered, authentication, call, complete, connection, described, error, message, parked, prepare, query,
    ready, row, run, sent, startup, welcome,
};

fn with_tls(tls: &str, host: &FakeHost) -> Result<Value, Failure> {
    let connection = json!({"host": "db.example.com", "user": "ada", "database": "app", "tls": tls});
    let action = json!({"statement": "SELECT 1"});
    Invoke { operation: "query", connection, action, input: json!({}), dry_run: false }.on::<Postgres>(host)
}

fn asks_for_tls() -> Script {
    Script::new().expect(sent(wire::ssl_request))
}

fn and_answers(script: Script) -> Script {
    let script = script.expect(prepare("openact_1", "SELECT 1")).answer(described());
    script.expect(run("openact_1", &[])).answer(answered())
}

#[test]
fn tls_is_used_where_it_is_offered() {
    for tls in ["prefer", "require", "verify-full", "allow"] {
        let script = asks_for_tls().answer(*b"S").start_tls().expect(startup()).answer(welcome());
        let host = FakeHost::new().socket(and_answers(script));
        assert_eq!(with_tls(tls, &host).unwrap()["rows"], json!([{"n": 1}]), "{tls}");
        assert_eq!(host.left(), "");
    }
    let plain = asks_for_tls().answer(*b"N").expect(startup()).answer(welcome());
    let host = FakeHost::new().socket(and_answers(plain));
    assert!(with_tls("prefer", &host).is_ok());
    let host = FakeHost::new().socket(asks_for_tls().answer(*b"N"));
    let failure = with_tls("require", &host).unwrap_err();
    assert!(matches!(&failure, Failure::InvalidConfig(text) if text.contains("require")), "{failure:?}");
}

#[test]
fn nothing_that_came_before_tls_counts() {
    for answer in [[&b"S"[..], &welcome()].concat(), error("28000", "psst"), b"H".to_vec()] {
        let host = FakeHost::new().socket(asks_for_tls().answer(answer));
        let failure = with_tls("prefer", &host).unwrap_err();
        assert!(matches!(&failure, Failure::Protocol(text) if !text.contains("psst")), "{failure:?}");
    }
}

fn sasl(offered: &[u8]) -> Vec<u8> {
    authentication(10, &[offered, b"\0\0"].concat())
}

fn scram(script: Script, mechanism: &'static str, offered: &[u8]) -> Script {
    script
        .expect(startup())
        .answer(sasl(offered))
        .login(mechanism, &[(b"", b"first"), (b"challenge", b"proof"), (b"v=ok", b"")])
        .expect(sent(|out| wire::sasl_first(out, mechanism, b"first")))
        .answer(authentication(11, b"challenge"))
        .expect(sent(|out| wire::password(out, b"proof")))
}

#[test]
fn scram_at_every_split() {
    let script = scram(Script::new(), "SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256");
    let script = and_answers(script.answer([authentication(12, b"v=ok"), welcome()].concat()));
    script.at_every_split(|host| {
        assert_eq!(query("SELECT 1", &host).unwrap()["rows"], json!([{"n": 1}]));
        assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    });
}

#[test]
fn the_channel_is_bound_where_tls_gives_one() {
    let tls = || asks_for_tls().answer(*b"S").start_tls();
    for (offered, mechanism) in [
        (&b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256"[..], "SCRAM-SHA-256-PLUS"),
        (b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS"),
        (b"SCRAM-SHA-256", "SCRAM-SHA-256"),
    ] {
        let script =
            scram(tls(), mechanism, offered).answer([authentication(12, b"v=ok"), welcome()].concat());
        let host = FakeHost::new().socket(and_answers(script));
        assert!(with_tls("prefer", &host).is_ok(), "{mechanism}: {}", host.left());
    }
}

#[test]
fn a_server_that_has_not_proved_itself_is_told_nothing_more() {
    let begun = || scram(Script::new(), "SCRAM-SHA-256", b"SCRAM-SHA-256");
    for answer in [
        welcome(),
        authentication(11, b"challenge"),
        authentication(3, b""),
        authentication(5, b"salt"),
        ready(b'I'),
        row(&[]),
    ] {
        let host = FakeHost::new().socket(begun().answer(answer));
        assert!(matches!(query("SELECT 1", &host), Err(Failure::Protocol(_))));
    }
    // What the host finds wrong with the proof is its word.
    let host = FakeHost::new().socket(begun().answer(authentication(12, b"v=forged")));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Unauthenticated(_))));
    // Nor does it log in twice.
    let again = [authentication(12, b"v=ok"), authentication(3, b"")].concat();
    assert!(matches!(
        query("SELECT 1", &FakeHost::new().socket(begun().answer(again))),
        Err(Failure::Protocol(_))
    ));
}

#[test]
fn md5_and_the_password_itself() {
    let md5 = Script::new()
        .expect(startup())
        .answer(authentication(5, b"salt"))
        .login("postgres-md5", &[(b"salt", b"md5abc")])
        .expect(sent(|out| wire::password(out, b"md5abc\0")))
        .answer(welcome());
    // The host writes the password; nothing is sent by the connector.
    let clear = Script::new()
        .expect(startup())
        .answer(authentication(3, b""))
        .login("postgres-cleartext", &[(b"", b"")])
        .answer(welcome());
    for script in [md5, clear] {
        let host = FakeHost::new().socket(and_answers(script));
        query("SELECT 1", &host).unwrap();
        assert_eq!(host.left(), "");
    }
}

#[test]
fn what_stands_in_the_way_is_said() {
    let asked = |kind: u32| Script::new().expect(startup()).answer(authentication(kind, b"salt"));
    let host = FakeHost::new().socket(asked(3).fail_login(HostError::NotFound("x".into())));
    let failure = query("SELECT 1", &host).unwrap_err();
    assert!(matches!(&failure, Failure::Unauthenticated(text) if text.contains("none")), "{failure:?}");
    let host = FakeHost::new().socket(asked(5).fail_login(HostError::Denied("plain text".into())));
    assert_eq!(query("SELECT 1", &host), Err(Failure::Denied("plain text".into())));
    for kind in [2, 7, 8, 9] {
        let failure = query("SELECT 1", &FakeHost::new().socket(asked(kind))).unwrap_err();
        assert!(matches!(&failure, Failure::Unsupported(text) if text.contains("Kerberos")), "{failure:?}");
    }
    let unknown = Script::new().expect(startup()).answer(sasl(b"OAUTHBEARER"));
    assert!(matches!(query("SELECT 1", &FakeHost::new().socket(unknown)), Err(Failure::Unsupported(_))));
    for (code, is_it) in [("28P01", true), ("28000", true), ("3D000", false)] {
        let host = FakeHost::new().socket(Script::new().expect(startup()).answer(error(code, "no")));
        assert_eq!(matches!(query("SELECT 1", &host), Err(Failure::Unauthenticated(_))), is_it, "{code}");
    }
    let host = FakeHost::new().socket(Script::new().expect(startup()).answer(error("57P03", "starting up")));
    assert!(matches!(query("SELECT 1", &host), Err(Failure::Network(_))));
}

#[test]
fn a_check_says_as_whom_and_what_was_reached() {
    let who = [&b"ada"[..], b"app", b"15.18", b"f", b"t"].map(Some);
    let names = [("current_user", 19), ("current_database", 19), ("current_setting", 25)];
    let described = [
        message(b'1', b""),
        crate::parameters(&[]),
        crate::columns(&[&names[..], &[("pg_is_in_recovery", 16), ("ssl", 16)]].concat()),
        ready(b'T'),
    ];
    let begun = [complete("BEGIN"), complete("SELECT 0"), ready(b'T')].concat();
    let answer = [message(b'2', b""), row(&who), complete("SELECT 1"), ready(b'T')].concat();
    let script = Script::new()
        .expect_anything()
        .answer(welcome())
        .expect_anything()
        .answer([begun, described.concat()].concat())
        .expect_anything()
        .answer([answer, complete("COMMIT"), ready(b'I')].concat());
    let host = FakeHost::new().socket(script);
    assert_eq!(
        check::<Postgres>(&connection(), &host).unwrap(),
        json!({"user": "ada", "database": "app", "server_version": "15.18", "standby": false, "tls": true,
            "host": "db.example.com", "port": 5432})
    );
}

#[test]
fn settings_are_part_of_the_start() {
    let with = |settings: Value| {
        let mut connection = connection();
        connection["settings"] = settings;
        let host = FakeHost::new().socket(Script::new().expect_anything());
        let action = json!({"statement": "SELECT 1"});
        let invoke = Invoke { operation: "query", connection, action, input: json!({}), dry_run: false };
        let failure = invoke.on::<Postgres>(&host).unwrap_err();
        (host.written().concat(), failure)
    };
    let (written, _) = with(json!({"search_path": "a, b", "work_mem": 64, "jit": false, "datestyle": "SQL"}));
    let written = String::from_utf8_lossy(&written).into_owned();
    for part in ["search_path\0a, b\0", "work_mem\x0064\0", "jit\0off\0", "datestyle\0SQL\0"] {
        assert!(written.contains(part), "{part:?}: {written:?}");
    }
    assert!(!written.contains("DateStyle"));
    for wrong in [
        json!({"user": "root"}),
        json!({"Client_Encoding": "LATIN1"}),
        json!({"replication": "on"}),
        json!({"a": "b\0c"}),
    ] {
        let (written, failure) = with(wrong);
        assert!(matches!(failure, Failure::InvalidConfig(_)) && written.is_empty(), "{failure:?}");
    }
}

#[test]
fn a_parked_session_logs_in_no_more() {
    let host = FakeHost::new().socket(Script::new().resumed(parked()));
    // The script expects nothing: what is sent first is the reset, and no start.
    let failure = call("query", json!({"statement": "SELECT 1"}), json!({}), &host).unwrap_err();
    assert!(!host.written().concat().starts_with(&startup()) && matches!(failure, Failure::InvalidConfig(_)));
}
