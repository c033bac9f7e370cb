//! Passwords of real servers: a connector that logs in has them nowhere, and one that tries its own login has nothing.
//!
//! Invariant: each row logged in, so the password was there to be found.

use openact::{Format, Tenant};
use serde_json::{Value, json};
use support::{
    databases::{Postgres, Redis, postgres, redis},
    guests::guest,
};

use super::{ok, play, told, wire};
use crate::{
    logged::Logged,
    setup::{config, memory, request},
};

/// The password, and its forms in encodings that are usual.
fn forms(secret: &str) -> [String; 3] {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    // The last group of base64 depends on what follows.
    let base64 = BASE64_STANDARD.encode(secret);
    [secret.to_owned(), hex, base64[..base64.len() - 4].to_owned()]
}

fn assert_absent(place: &str, secret: &str, text: &str) {
    for form in forms(secret) {
        assert!(!text.contains(&form), "{place} holds {form}");
    }
}

fn bytes(text: &str) -> Value {
    json!(["write", 0, text])
}

/// A server's password, and actions of its connectors: the guest `wire`, and the bundled one.
#[tokio::test]
async fn c1_c2_c7_the_password_of_a_real_server_is_seen_nowhere() {
    let logged = Logged::start();
    let redis_at = json!({"host": "127.0.0.1", "port": redis().port, "password": Redis::PASSWORD});
    let mut postgres_at = json!({"host": "127.0.0.1", "port": postgres().port, "tls": "require"});
    postgres_at["database"] = Postgres::DATABASE.into();
    (postgres_at["user"], postgres_at["password"]) = (Postgres::USER.0.into(), Postgres::USER.1.into());
    // Which is warned of, so that there is a log to look at.
    postgres_at["network"] = json!({"tls": {"verify": false}});
    let log_in = json!([
        ["open", "127.0.0.1", redis().port, "plain", null],
        ["login", 0, "redis-auth", {"user": "default"}],
        ["step", 0, ""],
        ["until", 0, "+OK\r\n"],
        bytes("PING\r\n"),
        ["until", 0, "+PONG\r\n"],
        ["park", 0, "s", "state"],
    ]);
    let mut wrong = redis_at.clone();
    wrong["user"] = "nobody-canary".into();
    let rows = [
        ("wire", Redis::PASSWORD, redis_at.clone(), json!({}), json!({"steps": log_in}), "PONG"),
        ("redis", Redis::PASSWORD, redis_at, json!({"command": ["ACL", "WHOAMI"]}), json!({}), "default"),
        ("redis", Redis::PASSWORD, wrong, json!({"command": ["PING"]}), json!({}), "WRONGPASS"),
        (
            "postgres",
            Postgres::USER.1,
            postgres_at,
            json!({"statement": "SELECT current_user"}),
            json!({}),
            Postgres::USER.0,
        ),
    ];
    for (connector, password, connection, action, input, proof) in rows {
        let builder = memory(&[]).connector_bytes(guest("wire"));
        let text = config(connector, connection, json!({ "a": action }));
        let openact = builder.config_text(text, Format::Json).build().await.unwrap();
        let ended = openact.execute(request(&format!("{connector}/a"), input)).await;
        let seen = match &ended.result {
            Ok(result) => result.as_str().to_owned(),
            Err(error) => format!("{error:?} {error} {}", error.to_json()),
        };
        assert!(seen.contains(proof), "{connector}: {seen}");
        assert_absent("the result", password, &seen);
        let run = ended.run.unwrap();
        assert!(format!("{run:?}").contains("sockets.open"), "{run:?}");
        assert_absent("the run record", password, &format!("{run:?} {}", run.to_json()));
        let tenant = Tenant::default();
        let export = openact.export(&tenant, &[], Format::Yaml).await.unwrap();
        let shown = openact.show(&tenant, &format!("{connector}/c")).await.unwrap();
        assert!(export.contains("127.0.0.1"), "{export}");
        assert_absent("the export", password, &format!("{export} {shown:?} {}", shown.to_json()));
    }
    let text = logged.text();
    assert!(text.contains("network.tls.verify is false"), "{text}");
    for password in [Redis::PASSWORD, Postgres::USER.1] {
        assert_absent("the log", password, &text);
    }
}

#[tokio::test]
async fn c2_c4_a_connector_that_sends_its_own_login_gets_nowhere() {
    let connection = json!({"host": "127.0.0.1", "port": redis().port, "password": Redis::PASSWORD});
    let openact = wire(connection).await;
    let open = json!(["open", "127.0.0.1", redis().port, "plain", null]);
    // Whatever it takes for the password's name, nothing puts the password there.
    for guess in [
        "password",
        "{\"$secret\":\"password\"}",
        "{{password}}",
        "${password}",
        "$password",
        "connection/wire/c@v1#/password",
    ] {
        let own = format!("*3\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n${}\r\n{guess}\r\n", guess.len());
        let seen = play(&openact, json!([open, bytes(&own), ["until", 0, "\r\n"]])).await;
        assert!(seen[2]["ok"].as_str().unwrap().starts_with("-WRONGPASS"), "{guess}: {seen:?}");
    }
    // Behind bytes of its own nothing is written, and nothing hands the password over.
    let prefix = "*4\r\n$3\r\nSET\r\n$6\r\nstolen\r\n";
    let steps = json!([
        open, ["login", 0, "redis-auth", {}], bytes(prefix), ["step", 0, ""],
        ["write-credential", 0, "password"], ["reveal", "password"], ["length", "password"],
        open, ["login", 1, "postgres-cleartext", {}], ["step", 1, ""], ["login", 1, "mysql-cleartext", {"sequence": 0}], ["step", 2, ""],
    ]);
    let seen = play(&openact, steps).await;
    for at in [3, 4, 5, 6, 9, 11] {
        told(&seen[at], "denied");
    }
    assert_eq!(seen[8], ok(Value::Null));
    assert!(!format!("{seen:?}").contains(Redis::PASSWORD));
    assert_eq!(redis().cli(&["exists", "stolen"]), "0");
}
