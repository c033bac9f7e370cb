//! What a caller sends is a value and stays one: hostile text in every place a value can be put, and random values of every
//! type, looked at by the server's ordinary client.
//!
//! Invariant: what is compared is compared as hex by the server, so that no client's quoting can hide a difference.

use openact::{ErrorCode, Format, OpenAct};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use support::databases::{Mysql, Postgres, Redis, fresh_name, mariadb, mysql, postgres, redis};
use tokio::runtime::Runtime;

use crate::setup::{config, failure, memory, value};

/// Texts that mean something to SQL, to a shell, to RESP, to templates, to JSON, or to nobody.
fn hostile() -> Vec<String> {
    let texts = [
        "'",
        "''",
        "\"",
        "`",
        "\\",
        "\\'",
        "' OR '1'='1",
        "'; DROP TABLE kept; --",
        "\\'; DROP TABLE kept; #",
        "x') RETURNING (SELECT 1) --",
        "/* x */ -- #",
        "$1",
        "$$x$$",
        "?",
        ":name",
        "%s",
        "{{x}}",
        "{{name}}",
        "{{{{",
        "}}",
        "${X}",
        "${PATH}",
        "$(id)",
        "`id`",
        "{\"base64\": \"AAAA\"}",
        "{\"$gt\": \"\"}",
        "[1]",
        "null",
        "NULL",
        "true",
        "0",
        "-0",
        "a\r\nb",
        "\r\n",
        "\n",
        "\t",
        "*1\r\n$8\r\nFLUSHALL\r\n",
        "$-1\r\n",
        "+OK\r\n",
        "x\r\nSET kept gone\r\n",
        "\u{1}\u{7f}\u{80}",
        "é",
        "e\u{301}",
        "\u{202e}abc",
        "\u{feff}x",
        "\u{2028}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{1f468}\u{200d}\u{1f469}",
        "\u{10ffff}",
        "\u{bf}\u{27}",
        "\u{2019}",
        " ",
        " x ",
        "",
        "{}",
        "{1,2}",
        "(1,2)",
        "[1,2)",
        "a,b",
        "COUNT",
        "EX",
        "*",
        "?[a]",
    ];
    texts.into_iter().map(str::to_owned).chain(["'\"\\{{x}}\r\n".repeat(20_000)]).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn fields(port: u16, (user, password): (&str, &str)) -> Value {
    json!({"host": "127.0.0.1", "port": port, "user": user, "password": password, "tls": "disable"})
}

async fn of_postgres(actions: Value) -> OpenAct {
    let mut connection = fields(postgres().port, Postgres::USER);
    connection["database"] = Postgres::DATABASE.into();
    let text = config("postgres", connection, actions);
    memory(&[("X", "expanded"), ("PATH", "expanded")]).config_text(text, Format::Json).build().await.unwrap()
}

async fn of_mysql(server: &Mysql, actions: Value) -> OpenAct {
    let mut connection = fields(server.port, Mysql::USER);
    connection["database"] = Mysql::DATABASE.into();
    let text = config("mysql", connection, actions);
    memory(&[("X", "expanded"), ("PATH", "expanded")]).config_text(text, Format::Json).build().await.unwrap()
}

async fn of_redis(actions: Value) -> OpenAct {
    let text = config("redis", fields(redis().port, Redis::USER), actions);
    memory(&[("X", "expanded"), ("PATH", "expanded")]).config_text(text, Format::Json).build().await.unwrap()
}

fn each_mysql() -> impl Iterator<Item = &'static Mysql> {
    [Some(mariadb()), mysql()].into_iter().flatten()
}

#[tokio::test]
async fn a7_hostile_text_stays_a_value_in_postgres() {
    let table = fresh_name();
    postgres().psql(&format!("CREATE TABLE {table} (id serial PRIMARY KEY, v text)"));
    let insert = format!("INSERT INTO {table} (v) VALUES ($1)");
    let two = |text: &str| json!({"statement": text, "parameters": [{"name": "name"}]});
    let openact = of_postgres(json!({
        "positional": {"statement": insert},
        "named": {"statement": insert, "parameters": [{"name": "name", "type": "string"}]},
        "optional": {"statement": insert, "parameters": [{"name": "name", "required": false, "default": "x"}]},
        "list": {"statement": format!("INSERT INTO {table} (v) SELECT unnest($1::text[])"), "parameters": [{"name": "name"}]},
        "member": {"statement": format!("INSERT INTO {table} (v) VALUES ($1::jsonb->>'k')"), "parameters": [{"name": "name"}]},
        "bytes": {"statement": format!("INSERT INTO {table} (v) VALUES (convert_from($1::bytea, 'UTF8'))"), "parameters": [{"name": "name"}]},
        "both": {"operation": "transaction", "statements": [two(&insert), two(&insert)]},
        "any": {"operation": "execute"},
        "tables": {"operation": "list-tables"},
    }))
    .await;
    let mut expected = Vec::new();
    for text in hostile() {
        let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &text);
        for (action, input, times) in [
            ("positional", json!({"args": [text]}), 1),
            ("named", json!({"name": text}), 1),
            ("optional", json!({"name": text}), 1),
            ("list", json!({"name": [text, text]}), 2),
            ("member", json!({"name": {"k": text}}), 1),
            ("bytes", json!({"name": {"base64": base64}}), 1),
            ("both", json!({"name": text}), 2),
            ("any", json!({"statement": insert, "args": [text]}), 1),
        ] {
            value(&openact, &format!("postgres/{action}"), input).await;
            expected.extend(std::iter::repeat_n(hex(&text), times));
        }
        assert_eq!(
            value(&openact, "postgres/tables", json!({"schema": text})).await["rows"],
            json!([]),
            "{text:?}"
        );
    }
    let found =
        postgres().psql(&format!("SELECT encode(convert_to(v, 'UTF8'), 'hex') FROM {table} ORDER BY id"));
    assert_eq!(found.split('\n').collect::<Vec<_>>(), expected);
    // PostgreSQL's text has no zero byte. It is the server that says so, of the value.
    for (action, input) in [("named", json!({"name": "a\u{0}b"})), ("list", json!({"name": ["a\u{0}b"]}))] {
        let (error, _) = failure(&openact, &format!("postgres/{action}"), input).await;
        assert!(matches!(error.code, ErrorCode::UpstreamError | ErrorCode::InvalidInput), "{error:?}");
    }
    assert_eq!(postgres().psql(&format!("SELECT count(*) FROM {table}")), expected.len().to_string());
}

#[tokio::test]
async fn a7_hostile_text_stays_a_value_in_mysql() {
    for server in each_mysql() {
        let table = fresh_name();
        server.sql(&format!(
            "CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT CHARACTER SET utf8mb4)"
        ));
        let insert = format!("INSERT INTO {table} (v) VALUES (?)");
        let named = format!("INSERT INTO {table} (v) VALUES (:name)");
        let openact = of_mysql(server, json!({
            "positional": {"statement": insert},
            "named": {"statement": named, "parameters": [{"name": "name", "type": "string"}]},
            "ordered": {"statement": insert, "parameters": [{"name": "name"}]},
            "bytes": {"statement": format!("INSERT INTO {table} (v) VALUES (CONVERT(? USING utf8mb4))"), "parameters": [{"name": "name"}]},
            "both": {"operation": "transaction", "parameters": [{"name": "name"}], "statements": [insert, insert]},
            "any": {"operation": "execute"},
            "tables": {"operation": "list-tables"},
        }))
        .await;
        let mut expected = Vec::new();
        for text in hostile().into_iter().chain(["a\u{0}b".to_owned()]) {
            let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &text);
            for (action, input, times) in [
                ("positional", json!({"args": [text]}), 1),
                ("named", json!({"name": text}), 1),
                ("ordered", json!({"name": text}), 1),
                ("bytes", json!({"name": {"base64": base64}}), 1),
                ("both", json!({"name": text}), 2),
                ("any", json!({"statement": insert, "args": [text]}), 1),
            ] {
                value(&openact, &format!("mysql/{action}"), input).await;
                expected.extend(std::iter::repeat_n(format!("x{}", hex(&text)), times));
            }
            // MariaDB compares the names of schemas with no character beyond these.
            if text.len() < 60 && text.chars().all(|character| character < '\u{10000}') {
                assert_eq!(
                    value(&openact, "mysql/tables", json!({"schema": text})).await["rows"],
                    json!([]),
                    "{text:?}"
                );
            }
        }
        let found = server.sql(&format!(
            "SELECT CONCAT('x', LOWER(HEX(CONVERT(v USING utf8mb4)))) FROM {table} ORDER BY id"
        ));
        assert_eq!(found.split('\n').collect::<Vec<_>>(), expected);
    }
}

/// The bytes of a key, as the server itself writes them in hex.
fn redis_hex(key: &str, found: &str) -> String {
    let program = format!(
        "local found = {found} return (found:gsub('.', function(c) return string.format('%02x', string.byte(c)) end))"
    );
    redis().cli(&["eval", &program, "1", key])
}

#[tokio::test]
async fn a7_hostile_text_stays_a_value_in_redis() {
    let (key, set) = (fresh_name(), fresh_name());
    let openact = of_redis(json!({
        "set": {"command": ["SET", "{{key}}", "{{value}}"]},
        "inside": {"command": ["SET", "{{key}}", "<{{value}}>"]},
        "group": {"command": ["SET", "{{key}}", ["{{value}}"]]},
        "list": {"command": ["RPUSH", "{{key}}", "{{value...}}"]},
        "object": {"command": ["HSET", "{{key}}", "{{value...}}"]},
        "several": {"pipeline": [["DEL", "{{key}}"], ["APPEND", "{{key}}", "{{value}}"]], "transaction": true},
        "script": {"script": "redis.call('SET', KEYS[1], ARGV[1]) return ARGV[1]", "keys": ["{{key}}"], "args": ["{{value}}"]},
        "key": {"command": ["SADD", set, "{{value}}"]},
        "keyed": {"command": ["SETNX", "{{value}}", "1"]},
        "scan": {"operation": "scan", "scan": "set", "key": set, "match": "{{value}}"},
    }))
    .await;
    // Other tests write to this server at the same time, so keys are not counted.
    let kept = fresh_name();
    redis().cli(&["set", &kept, "1"]);
    let get = "redis.call('GET', KEYS[1])";
    let mut members = 0;
    for text in hostile().into_iter().chain(["a\u{0}b".to_owned(), "\u{0}".to_owned()]) {
        let input = json!({"key": key, "value": text});
        for (action, wanted) in [
            ("set", text.clone()),
            ("inside", format!("<{text}>")),
            ("group", text.clone()),
            ("several", text.clone()),
            ("script", text.clone()),
        ] {
            value(&openact, &format!("redis/{action}"), input.clone()).await;
            assert_eq!(redis_hex(&key, get), hex(&wanted), "{action} {text:?}");
        }
        redis().cli(&["del", &key]);
        value(&openact, "redis/list", json!({"key": key, "value": [text, "b"]})).await;
        assert_eq!(
            (redis_hex(&key, "redis.call('LINDEX', KEYS[1], 0)"), redis().cli(&["llen", &key])),
            (hex(&text), "2".into())
        );
        redis().cli(&["del", &key]);
        value(&openact, "redis/object", json!({"key": key, "value": {text.as_str(): text}})).await;
        assert_eq!(redis_hex(&key, "redis.call('HKEYS', KEYS[1])[1]"), hex(&text), "{text:?}");
        assert_eq!(redis_hex(&key, "redis.call('HVALS', KEYS[1])[1]"), hex(&text), "{text:?}");
        redis().cli(&["del", &key]);
        value(&openact, "redis/key", input.clone()).await;
        members += 1;
        assert_eq!(redis().cli(&["scard", &set]), members.to_string(), "{text:?}");
        let found = value(&openact, "redis/scan", input).await["value"].take();
        assert!(!found.as_array().unwrap().is_empty() || text.contains(['[', '\\', '*']), "{text:?}");
    }
    assert_eq!(redis().cli(&["exists", &kept]), "1", "a command nobody configured was run");
}

/// Tries `check` with some dozens of values.
fn for_all<S: Strategy>(cases: u32, strategy: S, mut check: impl FnMut(S::Value))
where
    S::Value: Clone,
{
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let check = std::cell::RefCell::new(&mut check);
    let tried = TestRunner::new(config).run(&strategy, |value| {
        (check.borrow_mut())(value);
        Ok(())
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Whether two values are one; 1 and 1.0 are, for servers that write the shorter one.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        _ => one == other,
    }
}

/// Any text without a zero byte, which PostgreSQL has no room for.
fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[^\u{0}]{0,12}",
        "['\"\\\\{},() \\r\\n\\t;$%:a-c-]{0,12}",
        proptest::sample::select(hostile().into_iter().filter(|text| text.len() < 100).collect::<Vec<_>>()),
    ]
}

fn digits() -> impl Strategy<Value = String> + Clone {
    ("-?", "[1-9][0-9]{0,25}", "(\\.[0-9]{0,14}[1-9])?").prop_map(|(sign, whole, rest)| sign + &whole + &rest)
}

fn int8() -> impl Strategy<Value = Value> + Clone {
    // Beyond 2^53 - 1 it is text.
    any::<i64>().prop_map(|number| match number.unsigned_abs() < 1 << 53 {
        true => json!(number),
        false => json!(number.to_string()),
    })
}

fn float() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        proptest::num::f64::NORMAL,
        proptest::num::f64::SUBNORMAL,
        Just(0.0),
        (-1_000..1_000).prop_map(f64::from)
    ]
}

fn date() -> impl Strategy<Value = String> + Clone {
    (1..=9999_u32, 1..=12_u32, 1..=28_u32)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"))
}

/// With a fraction that has no zero at its end, as it is written.
fn time() -> impl Strategy<Value = String> + Clone {
    (0..24_u32, 0..60_u32, 0..60_u32, "(\\.[0-9]{0,5}[1-9])?")
        .prop_map(|(hour, minute, second, rest)| format!("{hour:02}:{minute:02}:{second:02}{rest}"))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> + Clone {
    proptest::collection::vec(any::<u8>(), 0..30)
}

fn document() -> impl Strategy<Value = Value> + Clone {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z'\"]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// A type of PostgreSQL and a value of it, as it comes back.
fn of_a_postgres_type() -> impl Strategy<Value = (&'static str, Value)> + Clone {
    let of = |name: &'static str, value: BoxedStrategy<Value>| {
        let listed = format!("{name}[]").leak() as &'static str;
        // A null of jsonb's own is not one of SQL's, which a list has.
        let lists =
            proptest::collection::vec(value.clone(), 0..4).prop_map(move |list| (listed, Value::from(list)));
        let nulls = Just((name, Value::Null));
        prop_oneof![8 => value.prop_map(move |value| (name, value)), 4 => lists, 1 => nulls].boxed()
    };
    let ip = any::<[u8; 4]>().prop_map(|[a, b, c, d]| json!(format!("{a}.{b}.{c}.{d}")));
    let uuid = any::<u128>().prop_map(|id| {
        let id = format!("{id:032x}");
        json!([&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-"))
    });
    let finite = any::<f32>().prop_filter("finite", |number| number.is_finite() && *number != 0.0);
    let range = (any::<i16>(), 1..1_000_i32)
        .prop_map(|(from, many)| json!(format!("[{from},{})", i32::from(from) + many)));
    let interval = (1..200_i64, 1..12_i64, 1..25_i64, 1..24_i64, 1..60_i64).prop_map(
        |(years, months, days, hours, minutes)| {
            json!(format!("P{years}Y{months}M{days}DT{hours}H{minutes}M"))
        },
    );
    let all = vec![
        of("text", text().prop_map(Value::from).boxed()),
        of("varchar", text().prop_map(Value::from).boxed()),
        of("int2", any::<i16>().prop_map(Value::from).boxed()),
        of("int4", any::<i32>().prop_map(Value::from).boxed()),
        of("int8", int8().boxed()),
        of("oid", any::<u32>().prop_map(Value::from).boxed()),
        of("float8", float().prop_map(Value::from).boxed()),
        of("float4", finite.prop_map(|number| json!(number.to_string().parse::<f64>().unwrap())).boxed()),
        of("numeric", digits().prop_map(Value::from).boxed()),
        of("bool", any::<bool>().prop_map(Value::from).boxed()),
        of(
            "bytea",
            bytes()
                .prop_map(|bytes| {
                    json!(bytes.iter().fold("\\x".to_owned(), |hex, byte| hex + &format!("{byte:02x}")))
                })
                .boxed(),
        ),
        of("jsonb", document().prop_filter("no null of its own", |value| !value.is_null()).boxed()),
        of("json", document().prop_filter("no null of its own", |value| !value.is_null()).boxed()),
        of("date", date().prop_map(Value::from).boxed()),
        of("time", time().prop_map(Value::from).boxed()),
        of("timestamp", (date(), time()).prop_map(|(date, time)| json!(format!("{date}T{time}"))).boxed()),
        of(
            "timestamptz",
            (date(), time()).prop_map(|(date, time)| json!(format!("{date}T{time}+00:00"))).boxed(),
        ),
        of("interval", interval.boxed()),
        of("uuid", uuid.boxed()),
        of("inet", ip.boxed()),
        of(
            "macaddr",
            any::<[u8; 6]>().prop_map(|mac| json!(mac.map(|byte| format!("{byte:02x}")).join(":"))).boxed(),
        ),
        of("varbit", "[01]{0,20}".prop_map(Value::from).boxed()),
        of("int4range", range.boxed()),
        of("point", (any::<i16>(), any::<i16>()).prop_map(|(x, y)| json!(format!("({x},{y})"))).boxed()),
    ];
    proptest::strategy::Union::new(all)
}

#[test]
fn a7_random_values_of_postgres_come_back() {
    let runtime = Runtime::new().unwrap();
    let openact = runtime.block_on(of_postgres(json!({"any": {"operation": "execute"}})));
    postgres()
        .psql_as(Postgres::ADMIN, support::databases::By::Plain, "ALTER ROLE openact SET timezone = 'UTC'")
        .unwrap();
    let table = fresh_name();
    postgres().psql(&format!("CREATE TABLE {table} (id serial, own text, back text)"));
    for_all(64, proptest::collection::vec(of_a_postgres_type(), 1..30), |values| {
        let args: Vec<&Value> = values.iter().map(|(_, value)| value).collect();
        let columns: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(at, (kind, _))| format!("${}::{kind} AS c{at}", at + 1))
            .collect();
        let sql = format!("SELECT {}", columns.join(", "));
        let call = json!({"statement": sql, "args": args});
        let rows = runtime.block_on(value(&openact, "postgres/any", call))["rows"].take();
        let back: Vec<&Value> = rows[0].as_object().unwrap().values().collect();
        assert!(back.iter().zip(&args).all(|(back, sent)| is_same(back, sent)), "{sql}\n{back:?}\n{args:?}");
        // What was sent, and what came back and was sent again, is one to the server.
        let pairs: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(at, (kind, _))| {
                format!("(${}::{kind}::text, ${}::{kind}::text)", at + 1, at + 1 + values.len())
            })
            .collect();
        let insert = format!("INSERT INTO {table} (own, back) VALUES {}", pairs.join(", "));
        let twice: Vec<&Value> = args.iter().copied().chain(back).collect();
        runtime.block_on(value(&openact, "postgres/any", json!({"statement": insert, "args": twice})));
    });
    assert_eq!(
        postgres().psql(&format!("SELECT count(*) FROM {table} WHERE own IS DISTINCT FROM back")),
        "0"
    );
    assert_ne!(postgres().psql(&format!("SELECT count(*) FROM {table}")), "0");
}

/// A type of MySQL's columns and a value of it, as it is sent and comes back.
fn of_a_mysql_row() -> impl Strategy<Value = Vec<Value>> + Clone {
    let nullable = |value: BoxedStrategy<Value>| prop_oneof![9 => value, 1 => Just(Value::Null)];
    let base64 = bytes().prop_map(
        |bytes| json!({"base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes)}),
    );
    let decimal = ("-?", "[1-9][0-9]{0,20}", "[0-9]{10}")
        .prop_map(|(sign, whole, rest)| json!(format!("{sign}{whole}.{rest}")));
    let year = |date: String| format!("2{}", &date[1..]);
    // MariaDB compares 0 and -0 alike and writes either.
    let float = float().prop_filter("in range", |number| *number == 0.0 || number.abs() > 1e-300);
    let unsigned = any::<u64>()
        .prop_map(|number| if number < 1 << 53 { json!(number) } else { json!(number.to_string()) });
    let all = [
        nullable(text().prop_map(Value::from).boxed()),
        nullable(any::<i8>().prop_map(Value::from).boxed()),
        nullable(any::<i32>().prop_map(Value::from).boxed()),
        nullable(int8().boxed()),
        nullable(unsigned.boxed()),
        nullable(float.prop_map(Value::from).boxed()),
        nullable(decimal.boxed()),
        nullable(base64.boxed()),
        nullable(
            document()
                .prop_filter("what is sent as JSON", |value| value.is_array() || value.is_object())
                .boxed(),
        ),
        nullable(date().prop_map(move |date| json!(year(date))).boxed()),
        nullable(
            (date(), 0..24_u32, 0..1_000_000_u32)
                .prop_map(|(date, hour, micro)| {
                    json!(format!("2{}T{hour:02}:30:59{}", &date[1..], fraction(micro)))
                })
                .boxed(),
        ),
        nullable(
            (0..838_u32, 0..1_000_000_u32, any::<bool>())
                .prop_map(|(hour, micro, minus)| {
                    json!(format!("{}{hour:02}:01:59{}", if minus { "-" } else { "" }, fraction(micro)))
                })
                .boxed(),
        ),
    ];
    all.to_vec()
}

/// A fraction of a second as it is written.
fn fraction(micro: u32) -> String {
    if micro == 0 { String::new() } else { format!(".{micro:06}") }
}

#[test]
fn a7_random_values_of_mysql_come_back() {
    const TYPES: &str = "c0 LONGTEXT, c1 TINYINT, c2 INT, c3 BIGINT, c4 BIGINT UNSIGNED, c5 DOUBLE, c6 DECIMAL(40,10), c7 BLOB, \
        c8 JSON, c9 DATE, c10 DATETIME(6), c11 TIME(6)";
    const COLUMNS: &str = "c0,c1,c2,c3,c4,c5,c6,c7,c8,c9,c10,c11";
    let runtime = Runtime::new().unwrap();
    for server in each_mysql() {
        let openact = runtime.block_on(of_mysql(server, json!({"any": {"operation": "execute"}})));
        let run = |sql: &str, args: &Vec<Value>| {
            runtime.block_on(value(&openact, "mysql/any", json!({"statement": sql, "args": args})))
        };
        let (one, two) = (fresh_name(), fresh_name());
        for table in [&one, &two] {
            server.sql(&format!(
                "CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, {TYPES}) CHARACTER SET utf8mb4"
            ));
        }
        let marks = ["?"; 12].join(",");
        for_all(64, of_a_mysql_row(), |args| {
            let id = run(&format!("INSERT INTO {one} ({COLUMNS}) VALUES ({marks})"), &args)["last_insert_id"]
                .take();
            let mut rows =
                run(&format!("SELECT {COLUMNS} FROM {one} WHERE id = ?"), &vec![id])["rows"].take();
            let back: Vec<Value> = rows[0].as_object_mut().unwrap().values_mut().map(Value::take).collect();
            assert!(back.iter().zip(&args).all(|(back, sent)| is_same(back, sent)), "{back:?}\n{args:?}");
            run(&format!("INSERT INTO {two} ({COLUMNS}) VALUES ({marks})"), &back);
        });
        let hex = |table: &str| {
            let each = (0..12)
                .map(|at| format!("COALESCE(HEX(CAST(c{at} AS CHAR)), 'NULL')"))
                .collect::<Vec<_>>()
                .join(",");
            server.sql(&format!("SELECT {each} FROM {table} ORDER BY id"))
        };
        assert!(hex(&one) == hex(&two) && !hex(&one).is_empty());
    }
}

/// A value as Redis has it, and how it comes back.
#[derive(Clone, Debug)]
enum Stored {
    Bytes(Vec<u8>),
    Integer(i64),
    List(Vec<String>),
    Hash(std::collections::BTreeMap<String, String>),
    Score(f64),
}

#[test]
fn a7_random_values_of_redis_come_back() {
    let runtime = Runtime::new().unwrap();
    let openact = runtime.block_on(of_redis(json!({"any": {"command": ["{{all...}}"]}})));
    let any_of = |command: Value| {
        runtime.block_on(value(&openact, "redis/any", json!({"all": command})))["value"].take()
    };
    let text = || "(?s).{0,12}";
    let stored = prop_oneof![
        bytes().prop_map(Stored::Bytes),
        text().prop_map(|text| Stored::Bytes(text.into_bytes())),
        any::<i64>().prop_map(Stored::Integer),
        proptest::collection::vec(text(), 1..6).prop_map(Stored::List),
        proptest::collection::btree_map(text(), text(), 1..6).prop_map(Stored::Hash),
        float().prop_map(Stored::Score),
    ];
    let key = fresh_name();
    for_all(96, stored, |stored| {
        any_of(json!(["DEL", key]));
        match stored {
            Stored::Bytes(bytes) => {
                let base64 =
                    json!({"base64": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &bytes)});
                any_of(json!(["SET", key, base64]));
                let wanted = String::from_utf8(bytes.clone()).map_or(base64, Value::from);
                assert_eq!(any_of(json!(["GET", key])), wanted);
                any_of(json!(["SET", key, wanted]));
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(redis_hex(&key, "redis.call('GET', KEYS[1])"), hex);
            }
            Stored::Integer(number) => {
                let wanted = match number.unsigned_abs() < 1 << 53 {
                    true => json!(number),
                    false => json!(number.to_string()),
                };
                assert_eq!(any_of(json!(["INCRBY", key, wanted])), wanted);
                assert_eq!(redis().cli(&["get", &key]), number.to_string());
            }
            Stored::List(list) => {
                let command: Vec<_> =
                    ["RPUSH", &key].into_iter().chain(list.iter().map(String::as_str)).collect();
                any_of(json!(command));
                assert_eq!(any_of(json!(["LRANGE", key, 0, -1])), json!(list));
            }
            Stored::Hash(map) => {
                let pairs = map.iter().flat_map(|(name, value)| [name.as_str(), value]);
                any_of(json!(["HSET", &key].into_iter().chain(pairs).collect::<Vec<_>>()));
                assert_eq!(any_of(json!(["HGETALL", key])), json!(map));
            }
            Stored::Score(score) => {
                any_of(json!(["ZADD", key, format!("{score:?}"), "m"]));
                assert_eq!(any_of(json!(["ZSCORE", key, "m"])).as_f64(), Some(score));
                assert_eq!(redis().cli(&["zscore", &key, "m"]).parse::<f64>().unwrap(), score);
            }
        }
    });
}
