//! The redis connector against real servers: what it writes redis-cli reads, and the other way round.
//!
//! Invariant: every key is of its test alone, and who counts connections or stops a server has one of its own.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use openact::{ErrorCode, Format, OpenAct, Tenant};
use serde_json::{Value, json};
use support::{
    ca::pki,
    databases::{By, Login, ODD, Redis, fresh_name, redis, redis_cluster},
};

use crate::setup::{config, failure, memory, request, value};

/// A connection to `server` as `login`.
fn connection(server: &Redis, (user, password): Login, by: By) -> Value {
    let mut connection = json!({"host": "127.0.0.1", "user": user, "password": password});
    connection["port"] = match by {
        By::Plain => server.port.into(),
        By::Tls => server.tls_port.into(),
    };
    if by == By::Tls {
        connection["tls"] = "require".into();
        connection["network"] = json!({"tls": {"ca": pki().ca.text}});
    }
    connection
}

/// An OpenAct over `connection` with actions that send whatever the input says, and `more`.
async fn over(connection: Value, more: Value) -> OpenAct {
    let mut actions = json!({
        "any": {"command": ["{{all...}}"]},
        "get": {"command": ["GET", "{{key}}"]},
        "set": {"command": ["SET", "{{key}}", "{{value}}", "PX", "{{ms}}"]},
    });
    actions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = config("redis", connection, actions);
    memory(&[]).config_text(text, Format::Json).build().await.unwrap()
}

async fn plain(more: Value) -> OpenAct {
    over(connection(redis(), Redis::USER, By::Plain), more).await
}

/// The value of one command.
async fn any(openact: &OpenAct, command: Value) -> Value {
    value(openact, "redis/any", json!({ "all": command })).await["value"].take()
}

/// Asks until it is so.
fn until(is_so: impl Fn() -> bool) {
    assert!((0..10_000).any(|_| is_so()));
}

#[tokio::test]
async fn each_login_over_tls_and_in_plain_text() {
    for by in [By::Plain, By::Tls] {
        for login in [Redis::USER, Redis::LIMITED, ODD] {
            let openact = over(connection(redis(), login, by), json!({})).await;
            assert_eq!(any(&openact, json!(["ACL", "WHOAMI"])).await, login.0);
            let key = format!("app:{}", fresh_name());
            let text = "a b\r\n\"'{{key}} é\u{0}";
            value(&openact, "redis/set", json!({"key": key, "value": text})).await;
            assert_eq!(redis().cli(&["get", &key]), text, "{login:?} {by:?}");
            redis().cli(&["append", &key, "+ü"]);
            let read = value(&openact, "redis/get", json!({ "key": key })).await;
            assert_eq!(read["value"], format!("{text}+ü"));

            let mut wrong = connection(redis(), login, by);
            wrong["password"] = "wrong-canary-1d7".into();
            let (error, run) =
                failure(&over(wrong, json!({})).await, "redis/get", json!({ "key": key })).await;
            assert_eq!(error.code, ErrorCode::AuthRequired);
            assert!(error.message.contains("WRONGPASS"), "{error:?}");
            assert!(!format!("{error:?}{run:?}").contains("wrong-canary"));
        }
    }
    // A server whose certificate nobody vouches for.
    let mut connection = connection(redis(), Redis::USER, By::Tls);
    connection.as_object_mut().unwrap().remove("network");
    let (error, _) = failure(&over(connection, json!({})).await, "redis/get", json!({"key": "k"})).await;
    assert_eq!(error.code, ErrorCode::NetworkError);
}

#[tokio::test]
async fn a_url_and_the_rights_of_its_user() {
    let (user, password) = Redis::LIMITED;
    let url = format!("rediss://{user}:{password}@127.0.0.1:{}/0", redis().tls_port);
    let openact = over(json!({"url": url, "network": {"tls": {"ca": pki().ca.text}}}), json!({})).await;
    assert_eq!(any(&openact, json!(["ACL", "WHOAMI"])).await, "alice");
    let (error, _) = failure(&openact, "redis/get", json!({"key": "elsewhere"})).await;
    assert_eq!(error.code, ErrorCode::UpstreamError);
    assert!(error.message.contains("NOPERM"), "{error:?}");
    // An earlier file says `db`.
    let mut connection = connection(redis(), Redis::USER, By::Plain);
    connection["db"] = 5.into();
    let openact = over(connection, json!({})).await;
    let key = fresh_name();
    for _ in 0..2 {
        any(&openact, json!(["APPEND", key, "x"])).await;
    }
    assert_eq!(redis().cli(&["-n", "5", "get", &key]), "xx");
}

#[tokio::test]
async fn values_of_each_type() {
    let openact = plain(json!({})).await;
    let key = fresh_name();
    let [hash, set, zset, list] = ["h", "s", "z", "l"].map(|kind| format!("{key}:{kind}"));
    any(&openact, json!(["SET", key, {"base64": "AP8B"}])).await;
    assert_eq!(redis().cli(&["getrange", &key, "2", "2"]), "\u{1}");
    assert_eq!(any(&openact, json!(["GET", key])).await, json!({"base64": "AP8B"}));
    redis().cli(&["hset", &hash, "a", "1", "b", "zwei"]);
    assert_eq!(any(&openact, json!(["HGETALL", hash])).await, json!({"a": "1", "b": "zwei"}));
    redis().cli(&["zadd", &zset, "1.5", "m", "inf", "n"]);
    assert_eq!(any(&openact, json!(["ZSCORE", zset, "m"])).await, json!(1.5));
    assert_eq!(
        any(&openact, json!(["ZRANGE", zset, 0, -1, "WITHSCORES"])).await,
        json!([["m", 1.5], ["n", "Infinity"]])
    );
    redis().cli(&["sadd", &set, "x"]);
    assert_eq!(any(&openact, json!(["SMEMBERS", set])).await, json!(["x"]));
    redis().cli(&["rpush", &list, "1", ""]);
    assert_eq!(any(&openact, json!(["LRANGE", list, 0, -1])).await, json!(["1", ""]));
    assert_eq!(any(&openact, json!(["GET", format!("{key}:none")])).await, Value::Null);
    assert_eq!(
        any(&openact, json!(["INCRBY", format!("{key}:i"), "9007199254740992"])).await,
        "9007199254740992"
    );
    for (what, expected) in [
        ("double", json!("3.141".parse::<f64>().unwrap())),
        ("bignum", json!("1234567999999999999999999999999999999")),
        ("true", json!(true)),
        ("false", json!(false)),
        ("null", Value::Null),
        ("verbatim", json!("This is a verbatim\nstring")),
        ("map", json!([[0, false], [1, true], [2, false]])),
        ("set", json!([0, 1, 2])),
        ("attrib", json!("Some real reply following the attribute")),
    ] {
        assert_eq!(any(&openact, json!(["DEBUG", "PROTOCOL", what])).await, expected, "{what}");
    }
    let (error, run) = failure(&openact, "redis/any", json!({"all": ["LPOP", hash]})).await;
    assert_eq!(error.code, ErrorCode::UpstreamError);
    assert!(error.message.contains("WRONGTYPE"), "{error:?} {run:?}");
}

#[tokio::test]
async fn a7_random_values_come_back_as_they_were() {
    let openact = plain(json!({
        "both": {"pipeline": [["SET", "{{key}}", "{{value}}"], ["GET", "{{key}}"]]},
        "field": {"pipeline": [["HSET", "{{key}}:h", "{{value}}", "{{value}}"], ["HGETALL", "{{key}}:h"]]},
    }))
    .await;
    let key = fresh_name();
    let mut state = 0x9e37_79b9_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let hostile = ["*1\r\n$8\r\nFLUSHALL\r\n", "'; FLUSHALL; --", "{{key}}", "\r\n", "-ERR", "EX 1", ""];
    for round in 0..60_usize {
        let length = random() as usize % 200;
        let bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        let text = match hostile.get(round) {
            Some(text) => (*text).to_owned(),
            None => (0..length).filter_map(|_| char::from_u32(random() % 0x2000)).collect(),
        };
        let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &bytes);
        let binary = match String::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": base64 }),
        };
        for (sent, expected) in [(json!(text), json!(text)), (json!({ "base64": base64 }), binary)] {
            let input = json!({"key": key, "value": sent});
            assert_eq!(value(&openact, "redis/both", input.clone()).await["value"], json!(["OK", expected]));
            any(&openact, json!(["DEL", format!("{key}:h")])).await;
            let fields = match &expected {
                Value::String(text) => json!({ text: text }),
                bytes => json!([[bytes, bytes]]),
            };
            assert_eq!(value(&openact, "redis/field", input).await["value"], json!([1, fields]));
        }
    }
}

#[tokio::test]
async fn pipelines_transactions_and_scripts() {
    let openact = plain(json!({
        "visit": {"pipeline": [["INCR", "{{key}}"], ["LPOP", "{{key}}"], ["EXPIRE", "{{key}}", 60]]},
        "atomic": {"pipeline": [["INCR", "{{key}}"], ["LPOP", "{{key}}"], ["INCR", "{{key}}"]], "transaction": true},
        "typo": {"pipeline": [["INCR", "{{key}}"], ["INCREMENT", "{{key}}"]], "transaction": true},
        "script": {"script": "return {KEYS[1], redis.call('INCRBY', KEYS[1], ARGV[1]), false}",
            "keys": ["{{key}}"], "args": ["{{by}}"]},
    }))
    .await;
    let key = fresh_name();
    let input = json!({"key": key, "by": 5});
    let visit = value(&openact, "redis/visit", input.clone()).await;
    assert_eq!((&visit["value"][0], &visit["value"][2], &visit["errors"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!(visit["value"][1]["error"]["code"], "WRONGTYPE");
    let atomic = value(&openact, "redis/atomic", input.clone()).await;
    assert_eq!(
        (&atomic["value"][0], &atomic["value"][2], &atomic["errors"]),
        (&json!(2), &json!(3), &json!(1))
    );
    let (error, _) = failure(&openact, "redis/typo", input.clone()).await;
    assert!(error.message.contains("INCREMENT"), "{error:?}");
    assert_eq!(redis().cli(&["get", &key]), "3");
    for after in [8, 13] {
        let script = value(&openact, "redis/script", input.clone()).await;
        assert_eq!(script["value"], json!([key, after, null]));
    }
    assert_eq!(redis().cli(&["get", &key]), "13");
}

#[tokio::test]
async fn scans_are_streamed_or_gathered() {
    let openact = plain(json!({
        "keys": {"operation": "scan", "match": "{{prefix}}:*", "stream": true},
        "fields": {"operation": "scan", "scan": "hash", "key": "{{key}}"},
        "some": {"operation": "scan", "scan": "set", "key": "{{key}}", "limit": 10, "count": 10,
            "cursor": "{{after?}}"},
    }))
    .await;
    let prefix = fresh_name();
    let names: Vec<String> = (0..500).map(|index| format!("{prefix}:{index}")).collect();
    let mut set = vec!["mset".to_owned()];
    set.extend(names.iter().flat_map(|name| [name.clone(), "1".into()]));
    redis().cli(&set.iter().map(String::as_str).collect::<Vec<_>>());
    let (sender, mut items) = tokio::sync::mpsc::channel(4);
    let mut streamed = request("redis/keys", json!({ "prefix": prefix }));
    streamed.items = Some(sender);
    let (execution, mut found) = tokio::join!(openact.execute(streamed), async {
        let mut found = Vec::new();
        while let Some(item) = items.recv().await {
            found.push(serde_json::from_str::<String>(item.get()).unwrap());
        }
        found
    });
    let answer = execution.result.unwrap().value().unwrap();
    assert_eq!((&answer["value"], answer["emitted"].as_u64()), (&Value::Null, Some(found.len() as u64)));
    found.sort();
    found.dedup();
    let mut names = names;
    names.sort();
    assert_eq!(found, names);

    let hash = format!("{prefix}:h");
    redis().cli(&["hset", &hash, "f", "v"]);
    let fields = value(&openact, "redis/fields", json!({ "key": hash })).await;
    assert_eq!(fields["value"], json!([{"field": "f", "value": "v"}]));

    let set = format!("{prefix}:s");
    let mut add = vec!["sadd".to_owned(), set.clone()];
    add.extend((0..1_000).map(|index| format!("m{index}")));
    redis().cli(&add.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut members, mut after) = (BTreeMap::new(), Value::Null);
    loop {
        let mut step = value(&openact, "redis/some", json!({"key": set, "after": after})).await;
        for member in step["value"].as_array().unwrap() {
            members.insert(member.as_str().unwrap().to_owned(), ());
        }
        after = step["cursor"].take();
        if after.is_null() {
            break;
        }
        assert_eq!(step["truncated"], true);
    }
    assert_eq!(members.len(), 1_000);
}

#[tokio::test]
async fn c7_nothing_of_a_session_is_found_by_the_next_call() {
    let server = Redis::own(&[]);
    let openact = over(connection(&server, Redis::USER, By::Plain), json!({
        "leave": {"pipeline": [["SELECT", 3], ["SET", "left", "x"], ["WATCH", "left"], ["MULTI"], ["SET", "left", "y"]]},
    }))
    .await;
    let connections = || {
        let info = server.cli(&["info", "stats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    // One session serves calls that leave nothing.
    any(&openact, json!(["PING"])).await;
    let before = connections();
    for index in 0..20 {
        value(&openact, "redis/set", json!({"key": "k", "value": index})).await;
    }
    // The one more is redis-cli itself, which asks.
    assert_eq!(connections() - before, 1);
    for _ in 0..3 {
        value(&openact, "redis/leave", json!({})).await;
        assert_eq!(value(&openact, "redis/get", json!({"key": "k"})).await["value"], "19");
        assert_eq!(value(&openact, "redis/get", json!({"key": "left"})).await["value"], Value::Null);
        for command in
            [json!(["SELECT", 3]), json!(["CLIENT", "SETNAME", "left"]), json!(["CLIENT", "TRACKING", "ON"])]
        {
            any(&openact, command).await;
            assert_eq!(any(&openact, json!(["CLIENT", "GETNAME"])).await, Value::Null);
            assert_eq!(any(&openact, json!(["GET", "left"])).await, Value::Null);
        }
    }
    assert_eq!(server.cli(&["-n", "3", "get", "left"]), "x");
}

#[tokio::test]
async fn a6_a_server_that_is_restarted_costs_no_write_and_doubles_none() {
    let server = Arc::new(Redis::own(&["appendonly yes", "appendfsync always"]));
    let openact = over(
        connection(&server, Redis::USER, By::Plain),
        json!({
            "add": {"command": ["INCR", "{{key}}"]},
            "read": {"command": ["GET", "{{key}}"]},
        }),
    )
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            let (openact, done) = (openact.clone(), done.clone());
            tokio::spawn(async move {
                let mut keys = Vec::new();
                for index in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = format!("k:{worker}:{index}");
                    let added = openact.run("redis/add", json!({ "key": key })).await;
                    let was_added = match added {
                        Ok(_) => true,
                        Err(error) => {
                            assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
                            false
                        }
                    };
                    keys.push((key, was_added));
                    let read = openact.run("redis/read", json!({"key": "k:0:0"})).await;
                    if let Err(error) = read {
                        assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
                    }
                }
                keys
            })
        })
        .collect();
    let restarts = server.clone();
    tokio::task::spawn_blocking(move || {
        for kill in [false, true, false] {
            let so_many = |count: u64| {
                // None while it reads what it kept.
                let size = || restarts.cli_as(Redis::USER, By::Plain, &["dbsize"]).ok()?.parse::<u64>().ok();
                until(|| size().is_some());
                let goal = size().unwrap_or_default() + count;
                until(|| size().is_some_and(|size| size >= goal));
            };
            so_many(200);
            if kill {
                restarts.kill()
            } else {
                restarts.stop()
            }
            restarts.start();
            so_many(200);
        }
    })
    .await
    .unwrap();
    done.store(true, Ordering::Relaxed);
    let mut added = 0;
    for worker in workers {
        for (key, was_added) in worker.await.unwrap() {
            let found = value(&openact, "redis/read", json!({ "key": key })).await["value"].take();
            // What failed may have been done; what was done was done once.
            if was_added {
                assert_eq!(found, "1", "{key}");
                added += 1;
            } else {
                assert!(found.is_null() || found == "1", "{key}: {found}");
            }
        }
    }
    assert!(added >= 1_200, "{added}");
}

#[tokio::test]
async fn s5_who_waits_for_ever_is_told_in_time_and_the_server_is_rid_of_him() {
    let server = Redis::own(&[]);
    let openact = over(connection(&server, Redis::USER, By::Plain), json!({})).await;
    let mut blocking = request("redis/any", json!({"all": ["BLPOP", "nothing", 0]}));
    blocking.timeout = Some(Duration::from_millis(400));
    let error = openact.execute(blocking).await.result.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout, "{error:?}");
    until(|| server.cli(&["info", "clients"]).contains("blocked_clients:0"));
    assert_eq!(any(&openact, json!(["BLPOP", "nothing", "0.01"])).await, Value::Null);
    // And what is there is had at once.
    server.cli(&["rpush", "something", "x"]);
    assert_eq!(any(&openact, json!(["BLPOP", "something", 0])).await, json!(["something", "x"]));
}

#[tokio::test]
async fn a_cluster_within_the_granted_nodes() {
    let nodes = &redis_cluster().nodes;
    let first = connection(&nodes[0], Redis::USER, By::Plain);
    let mut granted = first.clone();
    let others: Vec<_> = nodes[1..].iter().map(|node| format!("tcp://{}", node.address())).collect();
    granted["network"] = json!({ "allowed_hosts": others });
    let actions = json!({
        "several": {"pipeline": [["SET", "{{a}}", "1"], ["SET", "{{b}}", "2"], ["SET", "{{c}}", "3"], ["GET", "{{a}}"]]},
        "atomic": {"pipeline": [["INCR", "{{a}}"], ["INCR", "{{a}}"]], "transaction": true},
        "script": {"script": "return redis.call('GET', KEYS[1])", "keys": ["{{a}}"]},
        "members": {"operation": "scan", "scan": "set", "key": "{{a}}:s"},
    });
    let openact = over(granted, actions.clone()).await;
    let alone = over(first, actions).await;
    let mut refused = 0;
    for _ in 0..12 {
        let [a, b, c] = [fresh_name(), fresh_name(), fresh_name()];
        let keys = json!({"a": a, "b": b, "c": c});
        let several = value(&openact, "redis/several", keys.clone()).await;
        assert_eq!(several, json!({"value": ["OK", "OK", "OK", "1"]}));
        assert_eq!(
            ["1", "2", "3"],
            [&a, &b, &c].map(|key| redis_cluster().cli(&["get", key])).each_ref().map(String::as_str)
        );
        assert_eq!(value(&openact, "redis/atomic", keys.clone()).await["value"], json!([2, 3]));
        assert_eq!(value(&openact, "redis/script", keys.clone()).await["value"], "3");
        redis_cluster().cli(&["sadd", &format!("{a}:s"), "m"]);
        assert_eq!(value(&openact, "redis/members", keys.clone()).await["value"], json!(["m"]));
        if let Err(error) = alone.run("redis/get", json!({ "key": a })).await {
            assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
            refused += 1;
        }
    }
    assert!(refused > 0, "every key was on the first node");
}

#[tokio::test]
async fn lists_hold_for_whatever_the_caller_says() {
    let mut connection = connection(redis(), Redis::USER, By::Plain);
    connection["deny"] = json!(["FLUSHALL", "CONFIG SET"]);
    let openact = over(connection, json!({})).await;
    for command in
        [json!(["flushall"]), json!(["CONFIG", "set", "maxclients", "1"]), json!(["EVAL", "return 1", 0])]
    {
        let (error, run) = failure(&openact, "redis/any", json!({ "all": command })).await;
        assert_eq!(error.code, ErrorCode::InvalidInput, "{command}");
        assert!(run.host_calls.is_empty(), "{run:?}");
    }
    assert_eq!(any(&openact, json!(["CONFIG", "GET", "port"])).await["port"], redis().port.to_string());
}

#[tokio::test]
async fn a_dry_run_and_a_check() {
    let openact = plain(json!({})).await;
    let key = fresh_name();
    let mut dry = request("redis/set", json!({"key": key, "value": "v"}));
    dry.dry_run = true;
    let execution = openact.execute(dry).await;
    assert!(format!("{:?}", execution.result.unwrap().value()).contains(&key));
    assert_eq!(redis().cli(&["exists", &key]), "0");

    let report = openact.check_connection(&Tenant::default(), "redis/c").await.unwrap();
    let found = report.to_json().to_string();
    for part in ["\"server\":\"redis\"", "\"user\":\"default\"", "\"mode\":\"standalone\"", "\"proto\":3"] {
        assert!(found.contains(part), "{found}");
    }
    let openact = over(connection(redis(), (Redis::USER.0, "wrong"), By::Plain), json!({})).await;
    let report = openact.check_connection(&Tenant::default(), "redis/c").await.unwrap();
    assert_eq!(report.error().unwrap().code, ErrorCode::AuthRequired);
}

#[tokio::test]
async fn a9_the_example_file_runs() {
    let port = redis().port.to_string();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/redis.yaml");
    let env = [("REDIS_PORT", port.as_str()), ("REDIS_PASSWORD", Redis::PASSWORD)];
    let openact = memory(&env).config_file(file).build().await.unwrap();
    let key = fresh_name();
    value(&openact, "redis/remember", json!({"key": key, "value": "hello, world", "ttl": 60})).await;
    assert_eq!(
        value(&openact, "redis/recall", json!({ "key": key })).await,
        json!({"value": "hello, world"})
    );
    assert_eq!(redis().cli(&["ttl", &format!("app:{key}")]), "60");
    value(&openact, "redis/remember", json!({"key": key, "value": "for ever"})).await;
    assert_eq!(redis().cli(&["ttl", &format!("app:{key}")]), "-1");
    assert_eq!(
        value(&openact, "redis/forget", json!({"keys": [format!("app:{key}"), "none"]})).await["value"],
        1
    );
    assert_eq!(value(&openact, "redis/visit", json!({ "page": key })).await["value"], json!([1, 1]));
    redis().cli(&["set", &format!("app:stock:{key}"), "5"]);
    assert_eq!(value(&openact, "redis/take", json!({"item": key, "count": 4})).await["value"], 1);
    assert_eq!(value(&openact, "redis/take", json!({"item": key, "count": 4})).await["value"], Value::Null);
    let keys = value(&openact, "redis/all-keys", json!({})).await;
    assert!(keys["value"].as_array().unwrap().contains(&json!(format!("app:stock:{key}"))), "{keys}");
}
