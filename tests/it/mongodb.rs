//! The mongodb connector against a real server: what it writes pymongo reads, and the other way round.
//!
//! Invariant: every collection is of its test alone, and who stops a server has one of its own.

use std::path::Path;

use openact::{ErrorCode, Format, OpenAct, Tenant};
use serde_json::{Value, json};
use support::{
    ca::pki,
    databases::{By, Login, Mongodb, ODD, fresh_name, mongodb},
};

use crate::setup::{config, failure, memory, request, value};

fn connection(server: &Mongodb, (user, password): Login, by: By) -> Value {
    let mut connection = json!({
        "host": "127.0.0.1", "port": server.port, "user": user, "password": password,
        "database": Mongodb::DATABASE, "auth_source": "admin",
    });
    if by == By::Tls {
        connection["host"] = "localhost".into();
        connection["tls"] = "require".into();
        connection["network"] = json!({"tls": {"ca": pki().ca.text}});
    }
    connection
}

async fn over(connection: Value, actions: Value) -> OpenAct {
    memory(&[]).config_text(config("mongodb", connection, actions), Format::Json).build().await.unwrap()
}

async fn plain(actions: Value) -> OpenAct {
    over(connection(mongodb(), Mongodb::USER, By::Plain), actions).await
}

/// Find, insert and delete in a collection of one's own.
fn usual(collection: &str) -> Value {
    json!({
        "find": {"collection": collection, "filter": {"name": "{{name}}"}},
        "all": {"collection": collection, "sort": {"_id": 1}, "format": "canonical"},
        "insert": {"operation": "insert", "collection": collection, "document": "{{document}}"},
        "insert-many": {"operation": "insert", "collection": collection, "documents": "{{documents}}"},
        "delete": {"operation": "delete", "collection": collection, "filter": {"name": "{{name}}"}, "multi": true},
    })
}

fn with(mut actions: Value, more: Value) -> Value {
    actions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    actions
}

#[tokio::test]
async fn c7_each_login_over_tls_and_in_plain_text() {
    let collection = fresh_name();
    for by in [By::Plain, By::Tls] {
        for login in [Mongodb::USER, Mongodb::SHA1, Mongodb::SHA256, Mongodb::LOCAL, ODD] {
            let mut known = connection(mongodb(), login, by);
            if login == Mongodb::LOCAL {
                known["auth_source"] = Mongodb::DATABASE.into();
            }
            let who = json!({"who": {"operation": "run-command", "command": {"connectionStatus": 1}}});
            let openact = over(known.clone(), with(usual(&collection), who)).await;
            let name = json!({"name": login.0});
            for _ in 0..2 {
                value(&openact, "mongodb/insert", json!({"document": name})).await;
            }
            let found = value(&openact, "mongodb/find", name.clone()).await;
            assert_eq!(found["documents"].as_array().unwrap().len(), 2, "{login:?} {by:?}");
            let who = value(&openact, "mongodb/who", json!({})).await;
            assert_eq!(who["result"]["authInfo"]["authenticatedUsers"][0]["user"], login.0);
            // What was logged in once is used again.
            let again = openact.execute(request("mongodb/find", name.clone())).await.run.unwrap();
            assert!(!format!("{again:?}").contains("login"), "{again:?}");
            assert_eq!(value(&openact, "mongodb/delete", name.clone()).await, json!({"deleted_count": 2}));

            known["password"] = "wrong-canary-5e1".into();
            let (error, run) = failure(&over(known, usual(&collection)).await, "mongodb/find", name).await;
            assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
            assert!(!format!("{error:?}{run:?}{again:?}").contains("canary"), "{error:?}");
        }
    }
    // A server whose certificate nobody vouches for, and one that wants to know who asks.
    let mut unknown = connection(mongodb(), Mongodb::USER, By::Tls);
    unknown.as_object_mut().unwrap().remove("network");
    let (error, _) = failure(&over(unknown, usual("c")).await, "mongodb/all", json!({})).await;
    assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
    let nobody = json!({"host": "127.0.0.1", "port": mongodb().port, "database": "app"});
    let (error, _) = failure(&over(nobody, usual("c")).await, "mongodb/all", json!({})).await;
    assert_eq!(error.code, ErrorCode::AuthRequired, "{error:?}");
}

#[tokio::test]
async fn urls_hosts_and_a_check() {
    let (user, password) = Mongodb::USER;
    let port = mongodb().port;
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (hosts, query) in [
        (format!("127.0.0.1:{port}"), "authSource=admin&replicaSet=rs0&retryWrites=true&w=majority"),
        // One of them is down.
        (format!("127.0.0.1:{refused},127.0.0.1:{port}"), "authSource=admin&appName=tests"),
        (
            format!("127.0.0.1:{port}"),
            "authSource=admin&directConnection=true&readPreference=secondaryPreferred",
        ),
        (format!("127.0.0.1:{port}"), "authSource=admin&readPreference=secondaryPreferred&tls=false"),
    ] {
        let url = format!("mongodb://{user}:{password}@{hosts}/app?{query}");
        let collection = fresh_name();
        let openact = over(json!({ "url": url }), usual(&collection)).await;
        for round in 1..4 {
            value(&openact, "mongodb/insert", json!({"document": {"name": "x"}})).await;
            let found = value(&openact, "mongodb/find", json!({"name": "x"})).await;
            assert_eq!(found["documents"].as_array().unwrap().len(), round, "{hosts} {query}");
        }
    }
    let openact = over(connection(mongodb(), Mongodb::USER, By::Plain), usual("c")).await;
    let report = openact.check_connection(&Tenant::default(), "mongodb/c").await.unwrap().to_json();
    let result = &report["result"];
    assert_eq!((&result["user"], &result["replica_set"]), (&json!(user), &json!("rs0")), "{report}");
    for (url, code, why) in [
        (
            format!("mongodb://{user}:{password}@127.0.0.1:{port}/app?authSource=admin&replicaSet=other"),
            ErrorCode::InvalidConfig,
            "replica set 'rs0', not of 'other'",
        ),
        (format!("mongodb://{user}:{password}@127.0.0.1:{refused}/app"), ErrorCode::NetworkError, ""),
    ] {
        let (error, _) =
            failure(&over(json!({ "url": url }), usual("c")).await, "mongodb/all", json!({})).await;
        assert!(error.code == code && error.message.contains(why), "{error:?}");
        assert!(!format!("{error:?}").contains(password));
    }
}

#[tokio::test]
async fn a1_each_operation() {
    let c = fresh_name();
    let openact = plain(with(usual(&c), json!({
        "page": {"collection": c, "filter": {"n": {"$gte": "{{from}}"}}, "projection": {"_id": 0, "n": 1},
            "sort": {"n": -1}, "skip": "{{skip?}}", "limit": "{{limit}}", "hint": "_id_"},
        "sums": {"operation": "aggregate", "collection": c, "pipeline": [
            {"$match": {"n": {"$lt": "{{below}}"}}}, {"$group": {"_id": {"$mod": ["$n", 2]}, "n": {"$sum": "$n"}}},
            {"$sort": {"_id": 1}}]},
        "set": {"operation": "update", "collection": c, "filter": {"n": "{{n}}"}, "update": {"$set": "{{fields}}"}},
        "bump": {"operation": "update", "collection": c, "filter": {}, "update": [{"$set": {"m": {"$add": ["$n", 1]}}}],
            "multi": true},
        "replace": {"operation": "update", "collection": c, "filter": {"n": "{{n}}"}, "update": "{{document}}",
            "upsert": true},
        "items": {"operation": "update", "collection": c, "filter": {"n": 5}, "update": {"$set": {"list.$[x]": 0}},
            "array_filters": [{"x": {"$gt": "{{most}}"}}]},
        "count": {"operation": "count", "collection": c, "filter": {"n": {"$gte": "{{from}}"}}, "limit": "{{limit?}}"},
        "letters": {"operation": "distinct", "collection": c, "field": "letter", "filter": {"n": {"$lt": 4}}},
        "index": {"operation": "run-command", "command": {"createIndexes": c, "indexes": [
            {"key": {"n": 1}, "name": "by_n", "unique": true}]}},
        "collections": {"operation": "list-collections", "filter": {"name": "{{name}}"}, "name_only": true},
        "cased": {"collection": c, "filter": {"letter": "{{letter}}"}, "collation": {"locale": "en", "strength": 2}},
    })))
    .await;
    let documents: Vec<Value> =
        (0..10).map(|n| json!({"n": n, "letter": (["a", "b", "c"][n % 3])})).collect();
    let inserted = value(&openact, "mongodb/insert-many", json!({ "documents": documents })).await;
    assert_eq!(inserted["inserted_count"], 10);
    let ids: Vec<&str> =
        inserted["inserted_ids"].as_array().unwrap().iter().map(|id| id["$oid"].as_str().unwrap()).collect();
    let read = mongodb().pymongo(&format!(
        "print(json.dumps([str(d['_id']) for d in db['{c}'].find().sort('n')])); assert db['{c}'].find_one({{'n': 3}})['letter'] == 'a'"
    ));
    assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), json!(ids));
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));

    let page = value(&openact, "mongodb/page", json!({"from": 2, "limit": 3, "skip": 1})).await;
    assert_eq!(page, json!({"documents": [{"n": 8}, {"n": 7}, {"n": 6}]}));
    let sums = value(&openact, "mongodb/sums", json!({"below": 6})).await;
    assert_eq!(sums["documents"], json!([{"_id": 0, "n": 6}, {"_id": 1, "n": 9}]));
    let set =
        value(&openact, "mongodb/set", json!({"n": 5, "fields": {"list": [1, 7, 9], "who": "ada"}})).await;
    assert_eq!(set, json!({"matched_count": 1, "modified_count": 1}));
    assert_eq!(value(&openact, "mongodb/items", json!({"most": 5})).await["modified_count"], 1);
    let bumped = value(&openact, "mongodb/bump", json!({})).await;
    assert_eq!(bumped, json!({"matched_count": 10, "modified_count": 10}));
    let read =
        mongodb().pymongo(&format!("print(json_util.dumps(db['{c}'].find_one({{'n': 5}}, {{'_id': 0}})))"));
    let expected = json!({"n": 5, "letter": "c", "list": [1, 0, 0], "who": "ada", "m": 6});
    assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), expected);
    let upserted = value(&openact, "mongodb/replace", json!({"n": 77, "document": {"n": 77}})).await;
    assert_eq!((&upserted["matched_count"], upserted["upserted_id"]["$oid"].is_string()), (&json!(0), true));
    assert_eq!(value(&openact, "mongodb/count", json!({"from": 5})).await, json!({"count": 6}));
    assert_eq!(value(&openact, "mongodb/count", json!({"from": 5, "limit": 2})).await, json!({"count": 2}));
    assert_eq!(value(&openact, "mongodb/count", json!({"from": 500})).await, json!({"count": 0}));
    assert_eq!(value(&openact, "mongodb/letters", json!({})).await, json!({"values": ["a", "b", "c"]}));
    assert_eq!(
        value(&openact, "mongodb/cased", json!({"letter": "A"})).await["documents"].as_array().unwrap().len(),
        4
    );
    value(&openact, "mongodb/index", json!({})).await;
    let listed = value(&openact, "mongodb/collections", json!({"name": c})).await;
    assert_eq!(listed["documents"], json!([{"name": c, "type": "collection"}]));
}

#[tokio::test]
async fn a1_what_is_refused_says_what_was_done() {
    let c = fresh_name();
    let more = json!({
        "index": {"operation": "run-command", "command": {"createIndexes": c, "indexes": [
            {"key": {"n": 1}, "name": "by_n", "unique": true}]}},
        "by-id": {"collection": c, "filter": {"_id": {"$oid": "{{id}}"}}},
    });
    let openact = plain(with(usual(&c), more)).await;
    value(&openact, "mongodb/index", json!({})).await;
    value(&openact, "mongodb/insert", json!({"document": {"n": 5}})).await;
    // Of several, those before the one that is refused are there.
    let (error, _) =
        failure(&openact, "mongodb/insert-many", json!({"documents": [{"n": 100}, {"n": 5}, {"n": 101}]}))
            .await;
    assert_eq!(error.code, ErrorCode::UpstreamError);
    let told = format!("{:?}", error.details);
    assert!(told.contains("11000") && told.contains("inserted_count"), "{told}");
    assert_eq!(
        mongodb().pymongo(&format!("print(db['{c}'].count_documents({{'n': {{'$gte': 100}}}}))")),
        "1"
    );
    let (error, _) = failure(&openact, "mongodb/by-id", json!({"id": "x"})).await;
    assert_eq!(error.code, ErrorCode::InvalidInput, "{error:?}");
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len() as u64) as usize]
    }

    fn text(&mut self) -> String {
        let hostile =
            ["$where", "{{name}}", "a.b", "\u{0}", "'; db.dropDatabase(); //", "{\"$gt\": 1}", "\"\\", ""];
        match self.below(3) {
            0 => self.one(&hostile).to_owned(),
            _ => (0..self.below(20)).filter_map(|_| char::from_u32(self.below(0x3000) as u32)).collect(),
        }
    }

    /// A value in canonical extended JSON.
    fn value(&mut self, depth: u32) -> Value {
        let number = self.next() as i64 >> self.below(64);
        match self.below(if depth < 4 { 17 } else { 15 }) {
            0 => {
                json!({"$numberDouble": self.one(&["NaN", "Infinity", "-Infinity", "-0.0", "5e-324", "1.7976931348623157e308"])})
            }
            1 => json!({"$numberDouble": format!("{:?}", number as f64 / 1000.0)}),
            2 => json!(self.text()),
            3 => {
                let bytes: Vec<u8> = (0..self.below(40)).map(|_| self.next() as u8).collect();
                let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, bytes);
                json!({"$binary": {"base64": base64, "subType": self.one(&["00", "05", "80"])}})
            }
            4 => json!({"$oid": format!("{:024x}", u128::from(self.next()) << 32)}),
            5 => json!(self.below(2) == 0),
            6 => json!({"$date": {"$numberLong": (number >> 8).to_string()}}),
            7 => Value::Null,
            8 => json!({"$regularExpression": {"pattern": self.text().replace('\0', ""), "options": "im"}}),
            9 => json!({"$numberInt": (number as i32).to_string()}),
            10 => json!({"$timestamp": {"t": self.next() as u32, "i": self.next() as u32}}),
            11 => json!({"$numberLong": number.to_string()}),
            12 => json!({"$numberDecimal": format!("{number}E{}", self.below(200) as i64 - 100)}),
            13 => json!({ self.one(&["$minKey", "$maxKey"]): 1 }),
            14 => json!({"$code": self.text()}),
            15 => (0..self.below(5)).map(|_| self.value(depth + 1)).collect(),
            _ => {
                let name = |random: &mut Self| format!("k{}", random.text().replace('\0', ""));
                (0..self.below(5))
                    .map(|_| (name(self), self.value(depth + 1)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
        }
    }
}

/// Sign, digits and exponent.
fn decimal(text: &str) -> Value {
    let (number, exponent) = text.split_once('E').unwrap_or((text, "0"));
    let fraction = number.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    let digits = number.replace(['.', '-'], "");
    let digits = digits.trim_start_matches('0');
    json!({"decimal": [number.starts_with('-'), digits, exponent.parse::<i64>().unwrap() - fraction]})
}

/// The same documents, and which is the first that is not.
fn same(found: &Value, expected: &Value, what: &str) {
    let (found, expected) = (normal(found), normal(expected));
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// What numbers are, not how they are written.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(members) => match members.get("$numberDouble").and_then(Value::as_str) {
            Some(text) => json!({"double": text.parse::<f64>().unwrap().to_bits()}),
            None if members.contains_key("$numberDecimal") => {
                decimal(members["$numberDecimal"].as_str().unwrap())
            }
            None => members
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        },
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

const CANONICAL: &str = "
from bson.codec_options import CodecOptions, DatetimeConversion
options = json_util.CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS, tz_aware=False)
c = db.get_collection(name, CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS))
";

#[tokio::test]
async fn a7_random_values_come_back_as_they_were_both_ways() {
    let (ours, theirs) = (fresh_name(), fresh_name());
    let openact = plain(with(
        usual(&ours),
        json!({
            "theirs": {"collection": theirs, "sort": {"_id": 1}, "format": "canonical"},
            "relaxed": {"collection": ours, "sort": {"_id": 1}},
        }),
    ))
    .await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let documents: Vec<Value> =
        (0..400).map(|n| json!({"_id": {"$numberInt": n.to_string()}, "v": random.value(0)})).collect();
    let expected = json!(documents);
    value(&openact, "mongodb/insert-many", json!({ "documents": documents })).await;
    let all = value(&openact, "mongodb/all", json!({})).await;
    same(&all["documents"], &expected, "what is written and read");
    let program = format!(
        "name = '{ours}'{CANONICAL}
text = json_util.dumps(list(c.find().sort('_id')), json_options=options)
print(text)
db.get_collection('{theirs}').insert_many(json_util.loads(text, json_options=options))"
    );
    let read: Value = serde_json::from_str(&mongodb().pymongo(&program)).unwrap();
    same(&read, &expected, "what pymongo reads");
    let written = value(&openact, "mongodb/theirs", json!({})).await;
    same(&written["documents"], &expected, "what pymongo writes");
    // The form made to be read loses nothing but the types of small numbers: a copy compares equal at the server.
    let relaxed = value(&openact, "mongodb/relaxed", json!({})).await;
    mongodb().pymongo(&format!("db['{ours}'].rename('{ours}_before')"));
    value(&openact, "mongodb/insert-many", json!({"documents": relaxed["documents"]})).await;
    let differ = mongodb().pymongo(&format!(
        "print(list(db['{ours}'].aggregate([{{'$lookup': {{'from': '{ours}_before', 'localField': '_id', 'foreignField': '_id', 'as': 'o'}}}},
  {{'$match': {{'$expr': {{'$ne': ['$v', {{'$first': '$o.v'}}]}}}}}}, {{'$project': {{'_id': 1}}}}])))"
    ));
    assert_eq!(differ, "[]");
}

#[tokio::test]
async fn a7_what_is_put_in_is_a_value_wherever_it_stands() {
    let c = fresh_name();
    let by_name = json!({"$eq": ["$name", "{{name}}"]});
    let openact = plain(with(usual(&c), json!({
        "expression": {"collection": c, "filter": {"$expr": by_name}},
        "pipeline": {"operation": "aggregate", "collection": c, "pipeline": [{"$match": {"name": "{{name}}"}}]},
        "stage": {"operation": "aggregate", "collection": c, "pipeline": [{"$match": {"$expr": by_name}}]},
        "count": {"operation": "count", "collection": c, "filter": {"name": "{{name}}"}},
        "distinct": {"operation": "distinct", "collection": c, "field": "name", "filter": {"name": "{{name}}"}},
        "update": {"operation": "update", "collection": c, "filter": {"name": "{{name}}"}, "update": {"$set": {"hit": 1}},
            "multi": true},
        "command": {"operation": "run-command", "command": {"find": c, "filter": {"name": "{{name}}"}}},
    })))
    .await;
    mongodb().pymongo(&format!(
        "db['{c}'].insert_many([{{'name': n}} for n in ['ada', 'eve', 'secret', '$name']])"
    ));
    let hostile = [
        json!({"$ne": null}),
        json!({"$gt": ""}),
        json!({"$where": "true"}),
        json!({"$regex": ".*"}),
        json!({"$regularExpression": {"pattern": ".*", "options": ""}}),
        json!({"$in": ["ada", "eve"]}),
        json!({"x": {"$gt": ""}}),
        json!([{"$ne": 1}]),
        json!("' || '1'=='1"),
        json!("{\"$ne\": null}"),
        json!("{{name}}"),
        json!("$$ROOT"),
    ];
    for name in hostile {
        for action in
            ["find", "expression", "pipeline", "stage", "count", "distinct", "update", "delete", "command"]
        {
            let execution =
                openact.execute(request(&format!("mongodb/{action}"), json!({"name": name}))).await;
            match execution.result {
                Ok(answer) => {
                    let told = answer.value().unwrap().to_string();
                    assert!(
                        !["ada", "eve", "secret"].iter().any(|name| told.contains(name)),
                        "{action} {name}: {told}"
                    );
                }
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::InvalidInput, "{action} {name}: {error:?}");
                    assert!(execution.run.unwrap().host_calls.is_empty());
                }
            }
        }
    }
    assert_eq!(
        mongodb().pymongo(&format!(
            "print(db['{c}'].count_documents({{}}), db['{c}'].count_documents({{'hit': 1}}))"
        )),
        "4 0"
    );
}

#[tokio::test]
async fn a7_an_action_says_which_operators_it_takes() {
    let c = fresh_name();
    let is_name = json!({"$expr": {"$eq": ["$name", "{{name}}"]}});
    let openact = plain(with(
        usual(&c),
        json!({
            "pipeline": {"operation": "aggregate", "collection": c, "pipeline": [{"$match": {"name": "{{name}}"}}]},
            "stage": {"operation": "aggregate", "collection": c, "pipeline": [{"$match": is_name}]},
            "open": {"collection": c, "filter": {"name": "{{name}}"}, "allow_operators": true},
            "whole": {"collection": c, "filter": "{{name}}"},
        }),
    ))
    .await;
    mongodb().pymongo(&format!("db['{c}'].insert_many([{{'name': n}} for n in ['ada', 'eve', '$name']])"));
    // Text that begins with $ is itself where text is; where it would be a field it is refused.
    let dollar = json!({"name": "$name"});
    assert_eq!(value(&openact, "mongodb/find", dollar.clone()).await["documents"][0]["name"], "$name");
    assert_eq!(value(&openact, "mongodb/pipeline", dollar.clone()).await["documents"][0]["name"], "$name");
    let (error, _) = failure(&openact, "mongodb/stage", dollar).await;
    assert_eq!(error.code, ErrorCode::InvalidInput);
    // Who wants operators says so, and gets no code even then.
    let found = value(&openact, "mongodb/open", json!({"name": {"$in": ["ada", "eve"]}})).await;
    assert_eq!(found["documents"].as_array().unwrap().len(), 2);
    let (error, _) = failure(&openact, "mongodb/whole", json!({"name": {"$where": "true"}})).await;
    assert_eq!(error.code, ErrorCode::InvalidInput);
    assert_eq!(
        value(&openact, "mongodb/whole", json!({"name": {"name": "eve"}})).await["documents"][0]["name"],
        "eve"
    );
}

#[tokio::test]
async fn a5_documents_are_handed_out_as_they_arrive() {
    let c = fresh_name();
    mongodb()
        .pymongo(&format!("db['{c}'].insert_many([{{'_id': n, 'text': 'x' * 100}} for n in range(20000)])"));
    let openact = plain(json!({
        "all": {"collection": c, "stream": true, "batch_size": 500},
        "some": {"collection": c, "max_documents": 3},
        "sample": {"operation": "aggregate", "collection": c, "pipeline": [{"$sort": {"_id": 1}}], "max_documents": 3},
        "short": {"operation": "aggregate", "collection": c, "pipeline": [], "max_bytes": 5000, "batch_size": 10},
    }))
    .await;
    let (items, mut documents) = tokio::sync::mpsc::channel(4);
    let mut asked = request("mongodb/all", json!({}));
    asked.items = Some(items);
    let call = openact.execute(asked);
    let reading = async {
        let mut sum = 0_u64;
        while let Some(document) = documents.recv().await {
            let document: Value = serde_json::from_str(document.get()).unwrap();
            sum += document["_id"].as_u64().unwrap();
        }
        sum
    };
    let (execution, sum) = tokio::join!(call, reading);
    let result = execution.result.unwrap().value().unwrap();
    assert_eq!((sum, &result["emitted"], &result["documents"]), (199_990_000, &json!(20_000), &Value::Null));
    let some = value(&openact, "mongodb/some", json!({})).await;
    assert_eq!((some["documents"].as_array().unwrap().len(), &some["truncated"]), (3, &json!(true)));
    let sample = value(&openact, "mongodb/sample", json!({})).await;
    assert_eq!((sample["documents"].as_array().unwrap().len(), &sample["truncated"]), (3, &json!(true)));
    let (error, _) = failure(&openact, "mongodb/short", json!({})).await;
    assert_eq!(error.code, ErrorCode::LimitExceeded);
    // A reader that leaves takes the cursor with it.
    let (items, mut documents) = tokio::sync::mpsc::channel(1);
    let mut asked = request("mongodb/all", json!({}));
    asked.items = Some(items);
    let call = openact.execute(asked);
    let leaving = async {
        documents.recv().await.unwrap();
        drop(documents);
    };
    let (execution, ()) = tokio::join!(call, leaving);
    assert!(execution.result.is_err());
    mongodb().pymongo(&format!(
        "def left(): return list(client.admin.aggregate([{{'$currentOp': {{'idleCursors': True, 'allUsers': True}}}},
  {{'$match': {{'ns': 'app.{c}', 'type': 'idleCursor'}}}}]))
for attempt in range(500):
    if not left(): break
else: raise Exception('a cursor is left: ' + str(left()))"
    ));
}

#[tokio::test]
async fn s5_what_takes_too_long_is_stopped_at_the_server() {
    let c = fresh_name();
    mongodb().pymongo(&format!("db['{c}'].insert_many([{{'_id': n}} for n in range(1000)])"));
    let slow = json!({"$where": format!("function() {{ sleep(50); return '{c}' == ''; }}")});
    let openact = plain(json!({
        "slow": {"collection": c, "filter": slow, "timeout_ms": 1000},
        "limited": {"collection": c, "filter": slow, "max_time_ms": 100},
        "ping": {"operation": "run-command", "command": {"ping": 1}},
    }))
    .await;
    for action in ["mongodb/slow", "mongodb/limited"] {
        let (error, _) = failure(&openact, action, json!({})).await;
        assert_eq!(error.code, ErrorCode::Timeout, "{error:?}");
        mongodb().pymongo(&format!(
            "def left(): return list(client.admin.aggregate([{{'$currentOp': {{'allUsers': True}}}}, {{'$match': {{'ns': 'app.{c}', 'active': True}}}}]))
for attempt in range(500):
    if not left(): break
else: raise Exception('it still runs: ' + str(left()))"
        ));
        assert_eq!(value(&openact, "mongodb/ping", json!({})).await["result"]["ok"], 1.0);
    }
}

#[tokio::test]
async fn commands_that_may_be_run_and_those_that_may_not() {
    let mut known = connection(mongodb(), Mongodb::USER, By::Plain);
    known["deny"] = json!(["dropDatabase"]);
    let openact = over(
        known,
        json!({
            "any": {"operation": "run-command", "command": "{{command}}", "allow_operators": true},
            "two": {"operation": "run-command", "command": "{{command}}", "allow": ["ping", "find"]},
        }),
    )
    .await;
    for (action, command) in [
        ("any", json!({"dropDatabase": 1})),
        ("any", json!({"DROPDATABASE": 1})),
        ("any", json!({"logout": 1})),
        ("any", json!({"saslStart": 1, "mechanism": "PLAIN", "payload": ""})),
        ("any", json!({"ping": 1, "$db": "admin"})),
        ("any", json!({"find": "c", "lsid": {"id": 1}})),
        ("any", json!({})),
        ("two", json!({"dbStats": 1})),
    ] {
        let (error, run) =
            failure(&openact, &format!("mongodb/{action}"), json!({ "command": command })).await;
        assert_eq!(error.code, ErrorCode::InvalidInput, "{command}: {error:?}");
        assert!(run.host_calls.is_empty());
    }
    assert_eq!(
        value(&openact, "mongodb/two", json!({"command": {"ping": 1}})).await["result"],
        json!({"ok": 1.0})
    );
    let (error, _) = failure(&openact, "mongodb/any", json!({"command": {"noSuchCommand": 1}})).await;
    assert_eq!(error.code, ErrorCode::UpstreamError);
    assert!(format!("{:?}", error.details).contains("CommandNotFound"), "{error:?}");
    // A cursor that a command opens is closed again, and the session is good for the next.
    let c = fresh_name();
    mongodb().pymongo(&format!("db['{c}'].insert_many([{{}} for n in range(500)])"));
    let first = value(&openact, "mongodb/two", json!({"command": {"find": c, "batchSize": 2}})).await;
    assert_eq!(first["result"]["cursor"]["firstBatch"].as_array().unwrap().len(), 2);
    let id = &first["result"]["cursor"]["id"];
    let (error, _) =
        failure(&openact, "mongodb/any", json!({"command": {"getMore": id, "collection": c}})).await;
    assert!(error.message.contains("not found"), "{error:?}");
}

#[tokio::test]
async fn a6_a_restart_costs_calls_and_repeats_none() {
    let server = Mongodb::own(&[]);
    let openact = over(
        connection(&server, Mongodb::USER, By::Plain),
        json!({"add": {"operation": "insert", "collection": "done", "document": {"n": "{{n}}"}}}),
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
        match openact.run("mongodb/add", json!({ "n": n })).await {
            Ok(_) => done.push(n),
            Err(error) => assert_eq!(error.code, ErrorCode::NetworkError, "{n}: {error:?}"),
        }
    }
    assert!(done.contains(&99) && done.contains(&299) && done.len() >= 250, "{}", done.len());
    let there: Vec<i32> =
        serde_json::from_str(&server.pymongo("print(sorted(d['n'] for d in db.done.find()))")).unwrap();
    assert!(there.windows(2).all(|pair| pair[0] < pair[1]), "one is there twice");
    // What was killed may lose what nobody had confirmed as kept, but not what the journal has.
    let missing: Vec<_> = done.iter().filter(|n| !there.contains(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_dry_run_opens_nothing() {
    let openact = plain(usual("c")).await;
    let mut dry = request("mongodb/delete", json!({"name": "x"}));
    dry.dry_run = true;
    let execution = openact.execute(dry).await;
    assert!(execution.run.unwrap().host_calls.is_empty());
    let told = execution.result.unwrap().value().unwrap();
    assert_eq!(told["result"]["command"]["deletes"][0], json!({"q": {"name": "x"}, "limit": 0}));
}

#[tokio::test]
async fn a9_the_example_file_runs() {
    let (host, database) = (mongodb().address(), fresh_name());
    let env = [
        ("MONGO_HOST", host.as_str()),
        ("MONGO_DATABASE", &database),
        ("MONGO_USER", Mongodb::USER.0),
        ("MONGO_PASSWORD", Mongodb::USER.1),
    ];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/mongodb.yaml");
    let openact = memory(&env).config_file(file).build().await.unwrap();
    let added = value(&openact, "mongodb/add-user", json!({"name": "ada", "email": "ada@example.com"})).await;
    value(&openact, "mongodb/add-user", json!({"name": "bob"})).await;
    let email = json!({"email": "ada@example.com"});
    assert_eq!(value(&openact, "mongodb/visit", email.clone()).await["modified_count"], 1);
    let found = value(&openact, "mongodb/find-user", email.clone()).await;
    assert_eq!(
        (&found["documents"][0]["name"], &found["documents"][0]["visits"]),
        (&json!("ada"), &json!(1))
    );
    // An id is taken as it was given, or as its digits alone.
    let id = &added["inserted_ids"][0];
    for id in [id, &id["$oid"]] {
        let found = value(&openact, "mongodb/user-by-id", json!({ "id": id })).await;
        assert_eq!(found["documents"][0]["name"], "ada");
    }
    let visits = value(&openact, "mongodb/visits", json!({"least": 0})).await;
    assert_eq!(visits["documents"], json!([{"_id": null, "visits": 1}]));
    let all = value(&openact, "mongodb/all-users", json!({})).await;
    assert_eq!(all["documents"].as_array().unwrap().len(), 2);
    assert_eq!(all["documents"][1].get("email"), None);
    assert_eq!(value(&openact, "mongodb/remove-user", email).await, json!({"deleted_count": 1}));
    assert_eq!(value(&openact, "mongodb/statistics", json!({})).await["result"]["collections"], 1);
}
