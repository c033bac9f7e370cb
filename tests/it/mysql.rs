//! The mysql connector against real servers, a MariaDB and, where it could be had, a MySQL: what it writes the ordinary
//! client reads, and the other way round.
//!
//! Invariant: every table is of its test alone, and who stops a server has one of its own.

use std::path::Path;

use openact::{ErrorCode, Format, OpenAct, Tenant};
use serde_json::{Value, json};
use support::{
    ca::pki,
    databases::{By, Login, Mysql, ODD, fresh_name, mariadb, mysql},
};

use crate::setup::{config, failure, memory, request, value};

fn each() -> impl Iterator<Item = &'static Mysql> {
    [Some(mariadb()), mysql()].into_iter().flatten()
}

fn connection(server: &Mysql, (user, password): Login, by: By) -> Value {
    let tls = if by == By::Tls { "require" } else { "disable" };
    json!({
        "host": "localhost", "port": server.port, "user": user, "password": password, "database": Mysql::DATABASE,
        "tls": tls, "network": {"tls": {"ca": pki().ca.text}},
    })
}

async fn over(connection: Value, more: Value) -> OpenAct {
    let mut actions = json!({
        "any": {"operation": "execute"},
        "read": {"operation": "execute", "read_only": true},
        "who": {"statement": "SELECT USER() AS user, CONNECTION_ID() AS id"},
    });
    actions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = config("mysql", connection, actions);
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

async fn plain(server: &Mysql, more: Value) -> OpenAct {
    over(connection(server, Mysql::USER, By::Plain), more).await
}

/// The rows of a statement.
async fn any(openact: &OpenAct, statement: &str, args: Value) -> Value {
    value(openact, "mysql/any", json!({"statement": statement, "args": args})).await["rows"].take()
}

/// The code and message of a statement that must be refused.
async fn refused(openact: &OpenAct, action: &str, statement: &str) -> (ErrorCode, String) {
    let (error, _) = failure(openact, action, json!({ "statement": statement })).await;
    (error.code, format!("{} {:?}", error.message, error.details))
}

/// Of the server, which may be a moment behind.
fn until(server: &Mysql, sql: &str, expected: &str) {
    assert!((0..1_000).any(|_| server.sql_as_root(sql) == expected), "{sql}: {}", server.sql_as_root(sql));
}

#[tokio::test]
async fn c7_each_login_over_tls_and_in_plain_text() {
    for server in each() {
        for by in [By::Plain, By::Tls] {
            for login in [Mysql::USER, (Mysql::TRUSTED, ""), ODD] {
                let mut known = connection(server, login, by);
                if login.1.is_empty() {
                    known.as_object_mut().unwrap().remove("password");
                }
                // Full, and then from the server's cache.
                server.forget_logins();
                for _ in 0..2 {
                    let openact = over(known.clone(), json!({})).await;
                    let user = value(&openact, "mysql/who", json!({})).await["rows"][0]["user"].take();
                    assert!(user.as_str().unwrap().starts_with(&format!("{}@", login.0)), "{user}");
                    let cipher =
                        value(&openact, "mysql/any", json!({"statement": "SHOW STATUS LIKE 'Ssl_version'"}));
                    let cipher = cipher.await["rows"][0]["Value"].take();
                    assert_eq!(cipher, if by == By::Tls { "TLSv1.3" } else { "" });
                }
                known["password"] = "wrong-canary-77".into();
                let (error, run) = failure(&over(known, json!({})).await, "mysql/who", json!({})).await;
                assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
                assert!(!format!("{error:?}{run:?}").contains("wrong-canary"));
            }
        }
        let preferring = |login| {
            let mut connection = connection(server, login, By::Tls);
            connection["tls"] = "PREFERRED".into();
            connection
        };
        let openact = over(preferring(Mysql::TLS_ONLY), json!({})).await;
        assert!(openact.run("mysql/who", json!({})).await.is_ok());
        let openact = over(connection(server, Mysql::TLS_ONLY, By::Plain), json!({})).await;
        assert_eq!(failure(&openact, "mysql/who", json!({})).await.0.code, ErrorCode::AuthRequired);
        // A server whose certificate nobody vouches for is not spoken to in plain text instead.
        let mut unknown = preferring(Mysql::USER);
        unknown.as_object_mut().unwrap().remove("network");
        let (error, _) = failure(&over(unknown, json!({})).await, "mysql/who", json!({})).await;
        assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls() {
    let server = Mysql::own_mariadb(&["--skip-ssl"]);
    let (error, _) =
        failure(&over(connection(&server, Mysql::USER, By::Tls), json!({})).await, "mysql/who", json!({}))
            .await;
    assert!(error.message.contains("has no TLS"), "{error:?}");
    let mut preferring = connection(&server, Mysql::USER, By::Tls);
    preferring["tls"] = "prefer".into();
    assert!(over(preferring, json!({})).await.run("mysql/who", json!({})).await.is_ok());
}

/// Else each that starts would crash the others (see `support`).
#[test]
fn a_servers_temporary_tables_are_its_own() {
    for server in each() {
        let tmpdir = server.sql_as_root("SELECT @@tmpdir");
        assert!(Path::new(&tmpdir).starts_with(&server.folder), "{tmpdir}");
    }
}

#[tokio::test]
async fn a_url_and_a_check() {
    for server in each() {
        let (user, password) = Mysql::USER;
        let url = format!("mysql://{user}:{password}@localhost:{}/app?ssl-mode=DISABLED", server.port);
        let openact = over(json!({ "url": url }), json!({})).await;
        assert_eq!(any(&openact, "SELECT DATABASE() AS x", json!([])).await, json!([{"x": "app"}]));
        let report =
            openact.check_connection(&Tenant::default(), "mysql/c").await.unwrap().to_json().to_string();
        for part in ["\"database\":\"app\"", "\"tls\":false", "\"server_version\":", "\"read_only\":false"] {
            assert!(report.contains(part), "{report}");
        }
        assert!(!report.contains(password));
        let openact = over(connection(server, (user, "wrong"), By::Plain), json!({})).await;
        let report = openact.check_connection(&Tenant::default(), "mysql/c").await.unwrap();
        assert_eq!(report.error().unwrap().code, ErrorCode::AuthRequired);
    }
}

#[tokio::test]
async fn a2_what_one_call_leaves_behind_the_next_does_not_find() {
    for server in each() {
        let (table, role, other) = (fresh_name(), fresh_name(), server.fresh_database());
        server.sql(&format!("CREATE TABLE {table} (x INT) ENGINE=InnoDB"));
        server.sql_as_root(&format!(
            "CREATE ROLE {role}; GRANT {role} TO '{user}'@'%'; GRANT RELOAD, PROCESS ON *.* TO '{user}'@'%'",
            user = Mysql::USER.0
        ));
        let probe = "SELECT @a AS a, @@sort_buffer_size > 100000 AS b, @@time_zone AS z, DATABASE() AS d, \
            COALESCE(NULLIF(CURRENT_ROLE(), 'NONE'), '') AS r, LAST_INSERT_ID() AS l, @@character_set_results AS c, \
            @@autocommit AS ac, IS_USED_LOCK('leak') AS k, CONNECTION_ID() AS id";
        let openact = plain(server, json!({
            "probe": {"statement": probe},
            "nothing": {"statement": "SELECT ? AS x"},
            "several": {"operation": "transaction", "statements": ["SET @a = 7", "SET SESSION time_zone = '+07:00'"]},
        }))
        .await;
        let clean = json!({"a": null, "b": 1, "z": "SYSTEM", "d": "app", "r": "", "l": 0, "c": "utf8mb4", "ac": 1, "k": null});
        let probed = async || {
            let mut row = value(&openact, "mysql/probe", json!({})).await["rows"][0].take();
            let id = row.as_object_mut().unwrap().remove("id").unwrap();
            (row, id)
        };
        let (first, id) = probed().await;
        assert_eq!(first, clean);
        value(&openact, "mysql/nothing", json!({"args": [1]})).await;
        assert_eq!(probed().await, (clean.clone(), id), "one session serves calls that leave nothing");
        for statement in [
            "SET @a = 5".to_owned(),
            "SET SESSION sort_buffer_size = 50000, autocommit = 0".into(),
            "SET time_zone = '+05:00'".into(),
            "SET NAMES latin1".into(),
            format!("USE {other}"),
            format!("SET ROLE {role}"),
            "SELECT GET_LOCK('leak', 0)".into(),
            "SELECT LAST_INSERT_ID(77)".into(),
            format!("CREATE TEMPORARY TABLE temp_{table} (x INT)"),
            "START TRANSACTION".into(),
            format!("LOCK TABLES {table} WRITE"),
            "FLUSH TABLES WITH READ LOCK".into(),
            "XA START 'leak'".into(),
            "SET SESSION TRANSACTION READ ONLY".into(),
            "SET TRANSACTION READ ONLY".into(),
            "SET SESSION sql_select_limit = 0".into(),
        ] {
            value(&openact, "mysql/any", json!({ "statement": statement })).await;
            // Neither the next call nor anybody else is held up.
            assert_eq!(server.sql("SELECT IS_FREE_LOCK('leak')"), "1", "{statement}");
            server.sql(&format!("INSERT INTO {table} VALUES (1)"));
            assert_eq!(probed().await.0, clean, "{statement}");
            let write = format!("INSERT INTO {table} VALUES (2)");
            assert_eq!(value(&openact, "mysql/any", json!({ "statement": write })).await["rows_affected"], 1);
            let temporary = format!("SELECT * FROM temp_{table}");
            assert!(refused(&openact, "mysql/any", &temporary).await.1.contains("1146"), "{statement}");
        }
        value(&openact, "mysql/several", json!({})).await;
        assert_eq!(probed().await.0, clean);
        // What a transaction has not committed is gone with its call.
        server.sql(&format!("DELETE FROM {table}"));
        value(&openact, "mysql/any", json!({"statement": "SET autocommit = 0"})).await;
        value(&openact, "mysql/any", json!({"statement": format!("INSERT INTO {table} VALUES (3)")})).await;
        assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM {table}")), "1");
    }
}

#[tokio::test]
async fn a_connection_without_a_database_has_none_in_the_next_call_either() {
    for server in each() {
        let mut bare = connection(server, Mysql::USER, By::Plain);
        bare.as_object_mut().unwrap().remove("database");
        let hidden =
            json!({"operation": "transaction", "statements": ["SET session_track_schema = OFF", "USE app"]});
        let openact = over(bare, json!({ "hidden": hidden })).await;
        for _ in 0..3 {
            assert_eq!(any(&openact, "SELECT DATABASE() AS d", json!([])).await, json!([{"d": null}]));
            value(&openact, "mysql/any", json!({"statement": "USE app"})).await;
        }
        // Nor where the server was told not to say so.
        value(&openact, "mysql/hidden", json!({})).await;
        assert_eq!(any(&openact, "SELECT DATABASE() AS d", json!([])).await, json!([{"d": null}]));
        // One that leaves nothing serves the next call.
        let id = any(&openact, "SELECT CONNECTION_ID() AS id", json!([])).await;
        assert_eq!(any(&openact, "SELECT CONNECTION_ID() AS id", json!([])).await, id);
        // Nor does one call find what another version of its connection did.
        let openact = plain(server, json!({})).await;
        assert_eq!(any(&openact, "SELECT DATABASE() AS d", json!([])).await, json!([{"d": "app"}]));
    }
}

#[tokio::test]
async fn a_reader_writes_nothing_whatever_it_is_told() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!(
            "CREATE TABLE {table} (x INT); INSERT INTO {table} VALUES (1);
             DELIMITER //\nCREATE PROCEDURE p_{table}() BEGIN COMMIT; START TRANSACTION READ WRITE; INSERT INTO {table} VALUES (9); COMMIT; SELECT 1; END//\nDELIMITER ;"
        ));
        let sequence = match server.is_mariadb() {
            true => format!("CREATE SEQUENCE s_{table};"),
            false => String::new(),
        };
        server.sql_as_root(&format!(
            "SET GLOBAL log_bin_trust_function_creators = 1; USE app; {sequence}
             DELIMITER //\nCREATE FUNCTION f_{table}() RETURNS INT BEGIN SET SESSION TRANSACTION READ WRITE; INSERT INTO {table} VALUES (8); RETURN 1; END//\nDELIMITER ;"
        ));
        let openact = plain(server, json!({
            "several": {"operation": "transaction", "read_only": true, "statements": [
                "SELECT 1", {"statement": format!("SELECT f_{table}()")}]},
            "typed": {"operation": "transaction", "read_only": true, "statements": ["COMMIT", format!("INSERT INTO {table} VALUES (7)")]},
        }))
        .await;
        // The second round meets a session and statements that are known.
        for _ in 0..2 {
            for statement in [
                format!("INSERT INTO {table} VALUES (2)"),
                format!("CREATE TABLE no_{table} (x INT)"),
                format!("TRUNCATE TABLE {table}"),
                format!("DROP TABLE {table}"),
                format!("CALL p_{table}()"),
                format!("SELECT f_{table}()"),
                format!("SELECT * FROM {table} FOR UPDATE"),
                "COMMIT".into(),
                "START TRANSACTION READ WRITE".into(),
                "SET SESSION TRANSACTION READ WRITE".into(),
                "SET TRANSACTION READ WRITE".into(),
                format!("/*!50000 CALL p_{table}() */"),
                format!("COMMIT; INSERT INTO {table} VALUES (3)"),
                format!("SELECT 1; INSERT INTO {table} VALUES (3)"),
                format!("BEGIN NOT ATOMIC COMMIT; INSERT INTO {table} VALUES (4); END"),
                format!("ANALYZE UPDATE {table} SET x = 5"),
                format!("SELECT x INTO OUTFILE '/tmp/{table}' FROM {table}"),
                "LOCK TABLES app WRITE".into(),
                format!("OPTIMIZE TABLE {table}"),
                format!("INSERT INTO {table} VALUES (6) RETURNING x"),
                "EXECUTE IMMEDIATE 'COMMIT'".into(),
                format!("SELECT NEXTVAL(s_{table})"),
            ] {
                let (code, message) = refused(&openact, "mysql/read", &statement).await;
                assert!(
                    matches!(code, ErrorCode::UpstreamError | ErrorCode::InvalidConfig),
                    "{statement}: {message}"
                );
            }
            for action in ["mysql/several", "mysql/typed"] {
                failure(&openact, action, json!({})).await;
            }
            assert_eq!(server.sql(&format!("SELECT GROUP_CONCAT(x) FROM {table}")), "1");
            let show = format!("SHOW CREATE TABLE {table}");
            for statement in [
                format!("SELECT x FROM {table}"),
                show,
                format!("EXPLAIN SELECT x FROM {table}"),
                "SHOW GRANTS".into(),
            ] {
                let rows = value(&openact, "mysql/read", json!({ "statement": statement })).await;
                assert!(!rows["rows"].as_array().unwrap().is_empty(), "{statement}");
            }
        }
    }
}

/// A column's type, and values with what they come back as; the client's text of it where that is another.
fn typed() -> Vec<(&'static str, Vec<(Value, Value)>)> {
    let same =
        |values: &[Value]| values.iter().map(|value| (value.clone(), value.clone())).collect::<Vec<_>>();
    vec![
        ("TINYINT", same(&[json!(-128), json!(127), Value::Null])),
        ("TINYINT UNSIGNED", same(&[json!(255)])),
        ("SMALLINT", same(&[json!(-32768)])),
        ("SMALLINT UNSIGNED", same(&[json!(65535)])),
        ("MEDIUMINT", same(&[json!(-8388608), json!(8388607)])),
        ("INT", same(&[json!(-2147483648_i64)])),
        ("INT UNSIGNED", same(&[json!(4294967295_u32)])),
        (
            "BIGINT",
            same(&[json!("-9223372036854775808"), json!(9007199254740991_i64), json!("9007199254740992")]),
        ),
        ("BIGINT UNSIGNED", vec![(json!(18446744073709551615_u64), json!("18446744073709551615"))]),
        ("BOOLEAN", vec![(json!(true), json!(1)), (json!(false), json!(0))]),
        ("FLOAT", same(&[json!(1.5), json!(-3.25e10)])),
        ("DOUBLE", same(&[json!(0.1), json!(1.7976931348623157e308), json!(-5e-324)])),
        (
            "DECIMAL(65,30)",
            same(&[
                json!("12345678901234567890123456789012345.123456789012345678901234567890"),
                json!("-0.000000000000000000000000000001"),
            ]),
        ),
        ("DECIMAL(10,2)", vec![(json!(1234.5), json!("1234.50"))]),
        ("BIT(10)", same(&[json!(513)])),
        ("BIT(64)", vec![(json!(18446744073709551615_u64), json!("18446744073709551615"))]),
        ("YEAR", same(&[json!(1901), json!(2155), json!(0)])),
        ("DATE", same(&[json!("9999-12-31"), json!("1000-01-01"), json!("0000-00-00"), json!("2024-00-00")])),
        ("TIME", same(&[json!("838:59:59"), json!("-838:59:59"), json!("00:00:00"), json!("-00:00:01")])),
        ("TIME(6)", same(&[json!("12:34:56.000001"), json!("-101:02:03.500000")])),
        ("DATETIME", same(&[json!("2024-02-29T23:59:59"), json!("0000-00-00T00:00:00")])),
        ("DATETIME(3)", same(&[json!("1000-01-01T00:00:00.000"), json!("2024-02-29T23:59:59.999")])),
        ("TIMESTAMP(6) NULL", same(&[json!("2038-01-19T03:14:07.000000")])),
        ("VARCHAR(100)", same(&[json!(""), json!("é\u{1F600}\u{0}\n'\"\\"), json!("  x  ")])),
        ("VARCHAR(100) CHARACTER SET latin1", same(&[json!("é")])),
        ("CHAR(5)", same(&[json!("abc")])),
        ("TEXT", same(&[json!("x".repeat(60_000))])),
        ("BLOB", same(&[json!({"base64": "AP8B"}), json!({"base64": ""})])),
        ("VARBINARY(10)", vec![(json!("abc"), json!({"base64": "YWJj"}))]),
        ("BINARY(3)", same(&[json!({"base64": "AAEC"})])),
        ("ENUM('a','b''c')", same(&[json!("b'c")])),
        ("SET('x','y','z')", same(&[json!("x,z"), json!("")])),
        (
            "JSON",
            vec![
                (json!({"a": [1, "x", null, 1.5]}), json!({"a": [1, "x", null, 1.5]})),
                (json!("\"text\""), json!("text")),
                (json!("null"), Value::Null),
                (json!([]), json!([])),
            ],
        ),
    ]
}

#[tokio::test]
async fn a7_each_type_goes_both_ways() {
    for server in each() {
        let mut lax = connection(server, Mysql::USER, By::Plain);
        lax["settings"] = json!({"sql_mode": "ALLOW_INVALID_DATES", "time_zone": "+00:00"});
        let openact = over(lax, json!({})).await;
        for (kind, values) in typed() {
            let table = fresh_name();
            server.sql(&format!(
                "CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, x {kind}, y {kind})"
            ));
            for (sent, back) in values {
                let insert =
                    json!({"statement": format!("INSERT INTO {table} (x) VALUES (?)"), "args": [sent]});
                let id = value(&openact, "mysql/any", insert).await["last_insert_id"].take();
                // The same by the server's own hand: what the client writes is read alike.
                server.sql(&format!(
                    "SET sql_mode = 'ALLOW_INVALID_DATES'; UPDATE {table} SET y = x WHERE id = {id}"
                ));
                let rows =
                    any(&openact, &format!("SELECT x, y FROM {table} WHERE id = ?"), json!([id])).await;
                assert_eq!(rows, json!([{"x": back, "y": back}]), "{kind}");
                if let (Value::String(text), false) = (&back, kind == "JSON") {
                    let seen = server.sql(&format!(
                        "SET time_zone = '+00:00'; SELECT HEX(x) = HEX(y), x FROM {table} WHERE id = {id}"
                    ));
                    let plain = text.chars().all(|c| c.is_ascii_digit() || "-:.T".contains(c))
                        && !text.is_empty()
                        && !kind.starts_with("BIT");
                    assert!(!plain || seen == format!("1\t{}", text.replace('T', " ")), "{kind}: {seen}");
                }
            }
        }
        let point = any(
            &openact,
            "SELECT ST_GeomFromText('POINT(1 2)') AS p, ST_AsText(?) AS t",
            json!([
            {"base64": "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="}]),
        );
        assert_eq!(
            point.await,
            json!([{"p": {"base64": "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="}, "t": "POINT(1 2)"}])
        );
    }
}

#[tokio::test]
async fn what_cannot_be_prepared_is_sent_as_text_and_read_alike() {
    let Some(server) = mysql() else { return };
    let table = fresh_name();
    server.sql(&format!(
        "CREATE TABLE {table} (a INT PRIMARY KEY, b BIGINT UNSIGNED, c DOUBLE, d DATETIME(3), e BLOB, f JSON, g DECIMAL(5,2), h BIT(9), i TIME);
         INSERT INTO {table} VALUES (1, 18446744073709551615, 1.5, '2024-01-02 03:04:05.678', X'00FF', '{{\"a\":1}}', 1.5, 257, '-100:00:00')"
    ));
    let expected = json!([{"a": 1, "b": "18446744073709551615", "c": 1.5, "d": "2024-01-02T03:04:05.678",
        "e": {"base64": "AP8="}, "f": {"a": 1}, "g": "1.50", "h": 257, "i": "-100:00:00"}]);
    let openact = plain(server, json!({
        "handler": {"operation": "transaction", "statements": [format!("HANDLER {table} OPEN"), format!("HANDLER {table} READ FIRST"), format!("HANDLER {table} CLOSE")]},
    }))
    .await;
    for _ in 0..2 {
        assert_eq!(value(&openact, "mysql/handler", json!({})).await["results"][1]["rows"], expected);
        assert_eq!(any(&openact, &format!("SELECT * FROM {table}"), json!([])).await, expected);
    }
    let made = format!("CREATE PROCEDURE m_{table}() BEGIN SELECT 1 AS x; SELECT 2 AS y, 3 AS z; END");
    value(&openact, "mysql/any", json!({ "statement": made })).await;
    let several = value(&openact, "mysql/any", json!({"statement": format!("CALL m_{table}()")})).await;
    assert_eq!(several["rows"], json!([{"x": 1}]));
    assert_eq!(several["more_results"][0]["rows"], json!([{"y": 2, "z": 3}]));
}

/// Values of one row, and of them the text and the integer.
fn random_input(round: usize, random: &mut impl FnMut() -> u64) -> (Value, String, String) {
    const ALPHABET: &str = "'\"\\`;-#?:\0\n%_aé\u{1F600}*/";
    let letters: Vec<char> = ALPHABET.chars().collect();
    let hostile = ["' OR '1'='1", "'; DROP TABLE x; --", "\\'; --", "\" OR 1=1 #", ":s", "?", "%s", ""];
    let text: String = match hostile.get(round) {
        Some(text) => (*text).to_owned(),
        None => (0..random() % 40).map(|_| letters[random() as usize % letters.len()]).collect(),
    };
    let decimal = format!("{}.{:010}", random().cast_signed(), random() % 10_000_000_000);
    let bytes: Vec<u8> = (0..random() % 50).map(|_| random() as u8).collect();
    let bytes = json!({"base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)});
    let double = loop {
        let double = f64::from_bits(random());
        if double.is_finite() {
            break double;
        }
    };
    let integer = random().cast_signed().to_string();
    let document = json!({"a": text, "b": [round, null, true]});
    let input = json!({"s": text, "n": decimal, "b": bytes, "d": double, "i": integer, "j": document});
    (input, text, integer)
}

#[tokio::test]
async fn a7_values_stay_values_and_come_back() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!(
            "CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(300) COLLATE utf8mb4_bin, n DECIMAL(40,10), b BLOB, d DOUBLE, i BIGINT, j JSON)"
        ));
        let openact = plain(server, json!({
            "put": {"statement": format!("INSERT INTO {table} (s, n, b, d, i, j) VALUES (:s, :n, :b, :d, :i, :j)")},
            "find": {"statement": format!("SELECT id, s, n, b, d, i, j FROM {table} WHERE s = ? AND n = CAST(? AS DECIMAL(40,10)) AND b = ? AND d = ? AND i = CAST(? AS SIGNED)"),
                "parameters": [{"name": "s"}, {"name": "n"}, {"name": "b"}, {"name": "d"}, {"name": "i"}]},
        }))
        .await;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..60_usize {
            let (input, text, integer) = random_input(round, &mut random);
            let put = value(&openact, "mysql/put", input.clone()).await;
            assert_eq!(put["rows_affected"], 1);
            let mut found = value(&openact, "mysql/find", input.clone()).await["rows"].take();
            let found = found
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .find(|row| row["id"] == put["last_insert_id"])
                .unwrap();
            let mut row = found.take();
            row.as_object_mut().unwrap().remove("id");
            let mut expected = input;
            if integer.trim_start_matches('-').len() < 16 {
                expected["i"] = integer.parse::<i64>().unwrap().into();
            }
            assert_eq!(row, expected);
            let hex = server.sql(&format!("SELECT HEX(s) FROM {table} WHERE id = {}", put["last_insert_id"]));
            assert_eq!(hex, text.bytes().map(|byte| format!("{byte:02X}")).collect::<String>());
        }
        assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM {table}")), "60");
    }
}

#[tokio::test]
async fn names_limits_and_errors() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!("CREATE TABLE {table} (x INT PRIMARY KEY)"));
        let actions = json!({
            "named": {"statement": "SELECT CAST(:b AS SIGNED) - :a AS x, ':a' AS y -- :c", "parameters": [
                {"name": "a", "type": "integer"}, {"name": "b", "type": "integer", "required": false, "default": 9}]},
            "few": {"statement": "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 900) SELECT x FROM n", "max_rows": 3},
            "own": {"statement": "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 900) SELECT x FROM n LIMIT 500", "max_rows": 3},
            "own-read": {"statement": "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 900) SELECT x FROM n LIMIT 500", "max_rows": 3, "read_only": true},
            "small": {"statement": "SELECT REPEAT('x', 1000) AS x", "max_bytes": 100},
            "both": {"operation": "transaction", "statements": [
                format!("INSERT INTO {table} VALUES (:x)"), format!("INSERT INTO {table} VALUES (:y)")]},
            "ddl": {"operation": "transaction", "statements": [format!("CREATE TABLE ddl_{table} (x INT)"), format!("INSERT INTO {table} VALUES (99)")]},
            "chain": {"operation": "transaction", "statements": [format!("INSERT INTO {table} VALUES (97)"),
                "COMMIT AND CHAIN", format!("INSERT INTO {table} VALUES (98)")]},
            "tables": {"operation": "list-tables"},
        });
        for pipelining in [true, false] {
            let mut connection = connection(server, Mysql::USER, By::Plain);
            connection["pipelining"] = pipelining.into();
            let openact = over(connection, actions.clone()).await;
            for _ in 0..2 {
                let named = value(&openact, "mysql/named", json!({"a": 2})).await;
                assert_eq!(named["rows"], json!([{"x": 7, "y": ":a"}]));
                for action in ["mysql/few", "mysql/own", "mysql/own-read"] {
                    let few = value(&openact, action, json!({})).await;
                    assert_eq!((few["rows"].as_array().unwrap().len(), &few["truncated"]), (3, &json!(true)));
                }
                assert_eq!(
                    failure(&openact, "mysql/small", json!({})).await.0.code,
                    ErrorCode::LimitExceeded
                );
                let both = value(&openact, "mysql/both", json!({"x": 1, "y": 2})).await;
                assert_eq!(both["results"][1]["rows_affected"], 1);
                let (error, _) = failure(&openact, "mysql/both", json!({"x": 3, "y": 1})).await;
                let told = format!("{} {:?}", error.message, error.details);
                assert!(
                    told.contains("statement 2") && told.contains("1062") && told.contains("23000"),
                    "{told}"
                );
                assert_eq!(server.sql(&format!("SELECT GROUP_CONCAT(x ORDER BY x) FROM {table}")), "1,2");
                server.sql(&format!("DELETE FROM {table}"));
                assert_eq!(failure(&openact, "mysql/ddl", json!({})).await.0.code, ErrorCode::InvalidConfig);
                assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM {table}")), "0");
                server.sql(&format!("DROP TABLE ddl_{table}"));
                let (error, _) = failure(&openact, "mysql/chain", json!({})).await;
                assert!(error.message.contains("begins another"), "{error:?}");
                assert_eq!(server.sql(&format!("SELECT GROUP_CONCAT(x) FROM {table}")), "97");
                server.sql(&format!("DELETE FROM {table}"));
                let tables = value(&openact, "mysql/tables", json!({})).await;
                let columns =
                    tables["rows"].as_array().unwrap().iter().find(|row| row["name"] == table).unwrap();
                assert_eq!(columns["columns"][0]["key"], "PRI");
                let local = format!("LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE {table}");
                assert_eq!(refused(&openact, "mysql/any", &local).await.0, ErrorCode::UpstreamError);
                let warned = value(
                    &openact,
                    "mysql/any",
                    json!({"statement": format!("DROP TABLE IF EXISTS no_{table}")}),
                )
                .await;
                assert_eq!(warned["warnings"], 1);
            }
        }
    }
}

#[tokio::test]
async fn a6_an_error_within_a_procedure_does_not_run_it_again() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!(
            "CREATE TABLE {table} (x INT);\nDELIMITER //\nCREATE PROCEDURE p_{table}(n INT) BEGIN INSERT INTO {table} VALUES (n); \
             EXECUTE nothing; END//\nDELIMITER ;"
        ));
        let call = json!({"statement": format!("CALL p_{table}(?)"), "parameters": [{"name": "n"}]});
        let openact = plain(server, json!({ "call": call })).await;
        for n in 0..3 {
            let (error, _) = failure(&openact, "mysql/call", json!({ "n": n })).await;
            assert!(format!("{:?}", error.details).contains("1243"), "{error:?}");
        }
        assert_eq!(server.sql(&format!("SELECT GROUP_CONCAT(x ORDER BY x) FROM {table}")), "0,1,2");
    }
}

#[tokio::test]
async fn what_a_reader_does_not_want_is_stopped_at_the_server() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!("CREATE TABLE {table} (x INT); INSERT INTO {table} VALUES (1), (2), (3), (4)"));
        // The last row would need an hour, and the limit is the statement's own.
        let statement = format!(
            "SELECT x, REPEAT('z', 100000) AS z, IF(x = 4, SLEEP(3600), 0) AS s FROM {table} ORDER BY NULL LIMIT 100"
        );
        let first = json!({"statement": statement, "max_rows": 1, "read_only": true});
        let openact = plain(server, json!({ "first": first })).await;
        let rows = value(&openact, "mysql/first", json!({})).await;
        assert_eq!((&rows["rows"][0]["x"], &rows["truncated"]), (&json!(1), &json!(true)));
        let running = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT x, REPEAT%{table}%' AND ID <> CONNECTION_ID()"
        );
        until(server, &running, "0");
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped_at_the_server() {
    for server in each() {
        let mark = fresh_name();
        let openact = plain(
            server,
            json!({"sleep": {"statement": format!("SELECT SLEEP(3600) AS {mark}"), "timeout_ms": 1000}}),
        )
        .await;
        let (error, _) = failure(&openact, "mysql/sleep", json!({})).await;
        assert_eq!(error.code, ErrorCode::Timeout, "{error:?}");
        let running = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(3600) AS {mark}%' AND ID <> CONNECTION_ID()"
        );
        until(server, &running, "0");
        assert!(openact.run("mysql/who", json!({})).await.is_ok());
    }
}

#[tokio::test]
async fn a5_rows_are_handed_out_as_they_arrive() {
    for server in each() {
        let table = fresh_name();
        server.sql(&format!(
            "CREATE TABLE {table} (x INT PRIMARY KEY, y CHAR(200)); INSERT INTO {table} WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 1000)
             SELECT x, 'y' FROM n; INSERT INTO {table} SELECT a.x * 1000 + b.x, 'y' FROM {table} a, {table} b WHERE a.x BETWEEN 1 AND 19"
        ));
        let openact = plain(server, json!({
            "all": {"statement": format!("SELECT x FROM {table} ORDER BY x"), "stream": true, "limits": {"host_calls": 100_000}},
            "endless": {"statement": format!("SELECT a.x, REPEAT('z', 1000) FROM {table} a, {table} b"), "stream": true},
        }))
        .await;
        let (items, mut rows) = tokio::sync::mpsc::channel(4);
        let mut asked = request("mysql/all", json!({}));
        asked.items = Some(items);
        let reading = async {
            let mut sum = 0_u64;
            while let Some(row) = rows.recv().await {
                let row: Value = serde_json::from_str(row.get()).unwrap();
                sum += row["x"].as_u64().unwrap();
            }
            sum
        };
        let (execution, sum) = tokio::join!(openact.execute(asked), reading);
        let result = execution.result.unwrap().value().unwrap();
        assert_eq!((sum, &result["emitted"], &result["rows"]), (200_010_000, &json!(20_000), &Value::Null));
        assert_eq!(value(&openact, "mysql/all", json!({})).await["rows"].as_array().unwrap().len(), 20_000);
        // A reader that leaves takes the server's work with it.
        let (items, mut rows) = tokio::sync::mpsc::channel(1);
        let mut asked = request("mysql/endless", json!({}));
        asked.items = Some(items);
        let leaving = async {
            rows.recv().await.unwrap();
            drop(rows);
        };
        let (execution, ()) = tokio::join!(openact.execute(asked), leaving);
        assert!(execution.result.is_err());
        let running = format!(
            "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT a.x%{table}%' AND ID <> CONNECTION_ID()"
        );
        until(server, &running, "0");
    }
}

async fn restarted(server: Mysql) {
    server.sql("CREATE TABLE done (n INT)");
    let openact = plain(
        &server,
        json!({
            "add": {"statement": "INSERT INTO done VALUES (?)", "parameters": [{"name": "n"}]},
            "count": {"statement": "SELECT COUNT(*) AS n FROM done", "read_only": true},
        }),
    )
    .await;
    let mut done = Vec::new();
    for n in 0..300 {
        match n {
            100 => server.stop(),
            120 => server.start(),
            200 => server.kill(),
            220 => server.start(),
            _ => {}
        }
        match openact.run("mysql/add", json!({ "n": n })).await {
            Ok(_) => done.push(n),
            Err(error) => assert_eq!(error.code, ErrorCode::NetworkError, "{n}: {error:?}"),
        }
        match openact.run("mysql/count", json!({})).await {
            Ok(answer) => {
                assert!(answer.result.value().unwrap()["rows"][0]["n"].as_u64().unwrap() >= done.len() as u64)
            }
            Err(error) => assert_eq!(error.code, ErrorCode::NetworkError, "{n}: {error:?}"),
        }
    }
    assert!(done.contains(&99) && done.contains(&299) && done.len() >= 250, "{}", done.len());
    assert_eq!(server.sql("SELECT COUNT(*) = COUNT(DISTINCT n) FROM done"), "1");
    let list = done.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(server.sql(&format!("SELECT COUNT(*) FROM done WHERE n IN ({list})")), done.len().to_string());
}

#[tokio::test]
async fn a6_a_restart_costs_calls_and_repeats_none() {
    restarted(Mysql::own_mariadb(&[])).await;
    if let Some(server) = Mysql::own_mysql(&[]) {
        restarted(server).await;
    }
}

#[tokio::test]
async fn c1_the_password_is_in_no_record_and_no_message() {
    for server in each() {
        let openact = plain(
            server,
            json!({
                "echo": {"statement": "SELECT ? AS x, USER() AS u"},
                "wrong": {"statement": "SELECT nothing FROM nowhere"},
            }),
        )
        .await;
        let execution = openact.execute(request("mysql/echo", json!({"args": ["x"]}))).await;
        let (error, run) = failure(&openact, "mysql/wrong", json!({})).await;
        let seen = format!("{:?} {:?} {error:?} {run:?}", execution.result.unwrap().value(), execution.run);
        assert!(!seen.contains(Mysql::USER.1) && seen.contains(Mysql::USER.0), "{seen}");
    }
}

#[tokio::test]
async fn a_dry_run_opens_nothing() {
    let openact = plain(mariadb(), json!({})).await;
    let mut dry = request("mysql/any", json!({"statement": "DROP TABLE nothing", "args": []}));
    dry.dry_run = true;
    let execution = openact.execute(dry).await;
    assert!(execution.run.unwrap().host_calls.is_empty());
    let result = execution.result.unwrap().value().unwrap();
    assert_eq!(result["result"]["statements"][0]["statement"], "DROP TABLE nothing");
}

#[tokio::test]
async fn a9_the_example_file_and_an_earlier_one_run() {
    for server in each() {
        let database = server.fresh_database();
        server.sql(&format!(
            "USE {database}; CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name TEXT, email TEXT); CREATE TABLE stock (item INT, held INT);
             CREATE TABLE shelf (item INT, held INT); INSERT INTO stock VALUES (5, 9); INSERT INTO shelf VALUES (5, 0)"
        ));
        let port = server.port.to_string();
        let env = [
            ("DB_PORT", port.as_str()),
            ("DB_DATABASE", &database),
            ("DB_USER", Mysql::USER.0),
            ("MYSQL_PASSWORD", Mysql::USER.1),
        ];
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/mysql.yaml");
        let text = std::fs::read_to_string(file)
            .unwrap()
            .replace("    # TLS where", "    tls: disable\n    # TLS where");
        let openact = memory(&env).config_text(text, Format::Yaml).build().await.unwrap();
        let added = value(&openact, "mysql/add-user", json!({"name": "ada"})).await;
        assert_eq!(added["last_insert_id"], 1);
        let found = value(&openact, "mysql/find-user", json!({"id": 1})).await;
        assert_eq!(found["rows"], json!([{"id": 1, "name": "ada", "email": null}]));
        let moved = value(&openact, "mysql/move-stock", json!({"item": 5})).await;
        assert_eq!(moved["results"][2]["rows"], json!([{"held": 1}]));
        assert_eq!(value(&openact, "mysql/all-users", json!({})).await["rows"].as_array().unwrap().len(), 1);
        let asked = json!({"statement": "SELECT COUNT(*) AS n FROM users"});
        assert_eq!(value(&openact, "mysql/ask", asked).await["rows"], json!([{"n": 1}]));
        let earlier = format!(
            "version: \"1.0\"\nconnections:\n  main:\n    kind: mysql\n    host: 127.0.0.1\n    port: ${{DB_PORT:3306}}
    database: {database}\n    user: {}\n    password: ${{MYSQL_PASSWORD:123456}}\nactions:\n  get-user:\n    connection: main
    description: one user\n    statement: SELECT name FROM users WHERE id = ?
    parameters:\n      - name: id\n        type: number\n        required: true\n    mcp_enabled: true\n",
            Mysql::USER.0
        )
        .replace("kind: mysql", "kind: mysql\n    tls: disable");
        let openact = memory(&env).config_text(earlier, Format::Yaml).build().await.unwrap();
        assert_eq!(
            value(&openact, "mysql/get-user", json!({"id": 1})).await["rows"],
            json!([{"name": "ada"}])
        );
    }
}
