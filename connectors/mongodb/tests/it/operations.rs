//! What each operation sends and what becomes of the reply.

use bson::{Document, doc};
use openact_connector::{
    Failure,
    testing::{FakeHost, Invoke, Script, check},
};
use openact_mongodb::MongoDb;
use serde_json::{Value, json};

use crate::{batch, call, call_on, connection, find, found, message, reply, resumed, sent};

/// A server that is sent this command and answers this.
fn server(command: &Document, answer: &Document) -> FakeHost {
    FakeHost::new().socket(asked(command, answer))
}

fn asked(command: &Document, answer: &Document) -> Script {
    resumed().expect(sent(1, command)).answer(reply(1, answer))
}

#[test]
fn finds() {
    let action = json!({
        "collection": "c", "filter": {"a": {"$gt": "{{a}}"}}, "projection": {"a": 1}, "sort": {"b": -1, "a": 1},
        "skip": 5, "limit": "{{n}}", "hint": {"a": 1}, "collation": {"locale": "en"}, "database": "other",
    });
    let command = doc! {
        "find": "c", "filter": {"a": {"$gt": 3}}, "projection": {"a": 1}, "sort": {"b": -1, "a": 1},
        "collation": {"locale": "en"}, "hint": {"a": 1}, "skip": 5, "limit": 7, "batchSize": 8, "maxTimeMS": 5000,
        "$db": "other",
    };
    let host = server(&command, &batch(vec![doc! {"a": 4_i64}]));
    let found = call("find", action.clone(), json!({"a": 3, "n": 7}), &host);
    assert_eq!(found, Ok(json!({"documents": [{"a": 4}]})));
    for n in [json!(-1), json!("x"), json!(1.5), json!(null), json!({"$gt": 1})] {
        let failure = call("find", action.clone(), json!({"a": 3, "n": n}), &FakeHost::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{n}: {failure:?}");
    }
    let nowhere = json!({"host": "h"});
    let failure = call_on(nowhere, "find", find(), json!({}), &FakeHost::new()).unwrap_err();
    assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
}

fn more(script: Script, number: i32, batch_size: i32, documents: Vec<Document>, id: i64) -> Script {
    let command = doc! {"getMore": 42_i64, "collection": "c", "batchSize": batch_size, "$db": "app"};
    script
        .expect(sent(number, &command))
        .answer(reply(number, &doc! {"cursor": {"nextBatch": documents, "id": id, "ns": "app.c"}, "ok": 1.0}))
}

fn open(documents: Vec<Document>) -> Document {
    doc! {"cursor": {"id": 42_i64, "ns": "app.c", "firstBatch": documents}, "ok": 1.0}
}

fn killed(script: Script, number: i32) -> Script {
    let kill = doc! {"killCursors": "c", "cursors": [42_i64], "$db": "app"};
    script.expect(sent(number, &kill)).answer(reply(number, &doc! {"cursorsKilled": [42_i64], "ok": 1.0}))
}

#[test]
fn batch_after_batch_gathered_or_streamed() {
    let all = json!({"collection": "c", "stream": true, "batch_size": 2});
    let command = doc! {"find": "c", "batchSize": 2, "maxTimeMS": 5000, "$db": "app"};
    let script = || {
        let first = asked(&command, &open(vec![doc! {"n": 1}, doc! {"n": 2}]));
        more(more(first, 2, 2, vec![], 42), 3, 2, vec![doc! {"n": 3}], 0)
    };
    let host = FakeHost::new().streaming().socket(script());
    assert_eq!(call("find", all.clone(), json!({}), &host), Ok(json!({"documents": null, "emitted": 3})));
    assert_eq!(host.emitted(), [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
    script().at_every_split(|host| {
        assert_eq!(
            call("find", all.clone(), json!({}), &host),
            Ok(json!({"documents": [{"n": 1}, {"n": 2}, {"n": 3}]}))
        );
        assert_eq!(host.parked().len(), 1);
    });
}

#[test]
fn a_cursor_that_is_not_needed_is_closed() {
    let some = json!({"collection": "c", "max_documents": 2, "pipeline": []});
    let command =
        doc! {"aggregate": "c", "pipeline": [], "cursor": {"batchSize": 3}, "maxTimeMS": 5000, "$db": "app"};
    let documents = || vec![doc! {"n": 1}, doc! {"n": 2}, doc! {"n": 3}];
    let host = FakeHost::new().socket(killed(asked(&command, &open(documents())), 2));
    let found = call("aggregate", some.clone(), json!({}), &host);
    assert_eq!(found, Ok(json!({"documents": [{"n": 1}, {"n": 2}], "truncated": true})));
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    // A limit of bytes, and a reader that leaves, are failures that close it as well.
    let mut short = some.clone();
    short["max_bytes"] = 10.into();
    let host = FakeHost::new().socket(killed(asked(&command, &open(documents())), 2));
    let result = call("aggregate", short, json!({}), &host);
    assert!(matches!(result, Err(Failure::LimitExceeded(_))), "{result:?}");
    assert_eq!((host.left(), host.parked().len()), (String::new(), 1));
    // If it cannot be closed the session is not kept.
    let kill = doc! {"killCursors": "c", "cursors": [42_i64], "$db": "app"};
    let refusal = doc! {"ok": 0.0, "code": 13, "errmsg": "no"};
    let script = asked(&command, &open(documents())).expect(sent(2, &kill)).answer(reply(2, &refusal));
    let host = FakeHost::new().socket(script);
    assert!(call("aggregate", some, json!({}), &host).is_ok());
    assert!(host.parked().is_empty());
}

#[test]
fn inserts() {
    let command = doc! {"insert": "c", "ordered": true, "writeConcern": {"w": "majority"}, "maxTimeMS": 5000, "$db": "app"};
    let documents = [doc! {"_id": 1, "a": "x"}, doc! {"_id": {"$oid": "k"}}];
    let body = [vec![0], command.to_vec().unwrap()].concat();
    let sequence: Vec<u8> = documents[..1].iter().flat_map(|one| one.to_vec().unwrap()).collect();
    let length = i32::try_from(sequence.len() + 14).unwrap().to_le_bytes();
    let sections = [body, vec![1], length.to_vec(), b"documents\0".to_vec(), sequence].concat();
    let script = resumed().expect(message(1, 0, 0, &sections)).answer(reply(1, &doc! {"ok": 1.0, "n": 1}));
    let mut connection = connection();
    connection["write_concern"] = "majority".into();
    let action = json!({"collection": "c", "document": {"_id": 1, "a": "{{a}}"}});
    let host = FakeHost::new().socket(script);
    let inserted = call_on(connection, "insert", action, json!({"a": "x"}), &host);
    assert_eq!(inserted, Ok(json!({"inserted_count": 1, "inserted_ids": [1]})));
    // Those without an id get one, of their own, in front.
    let dry = Invoke {
        operation: "insert",
        connection: crate::connection(),
        action: json!({"collection": "c", "documents": [{"a": 1}, {"a": 2}]}),
        input: json!({}),
        dry_run: true,
    };
    let made = dry.on::<MongoDb>(&FakeHost::new()).unwrap();
    let ids: Vec<&str> =
        (0..2).map(|n| made["command"]["documents"][n]["_id"]["$oid"].as_str().unwrap()).collect();
    assert_eq!(made["command"]["documents"][0].as_object().unwrap().keys().next().unwrap(), "_id");
    let number = |id: &str| u64::from_str_radix(&id[18..], 16).unwrap();
    assert_eq!((&ids[0][..18], (number(ids[0]) + 1) & 0xff_ffff), (&ids[1][..18], number(ids[1])));
    let other = dry.on::<MongoDb>(&FakeHost::new()).unwrap();
    assert_ne!(&ids[0][8..18], &other["command"]["documents"][0]["_id"]["$oid"].as_str().unwrap()[8..18]);
    for documents in [json!([]), json!([1]), json!({"a": 1})] {
        let action = json!({"collection": "c", "documents": "{{d}}"});
        let failure = call("insert", action, json!({ "d": documents }), &FakeHost::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{failure:?}");
    }
}

#[test]
fn updates_and_deletes() {
    let action =
        json!({"collection": "c", "filter": {"_id": "{{id}}"}, "update": {"$set": {"a": 1}}, "upsert": true});
    let update = doc! {"q": {"_id": 5}, "u": {"$set": {"a": 1}}, "multi": false, "upsert": true};
    let command = doc! {"update": "c", "updates": [update], "maxTimeMS": 5000, "$db": "app"};
    for (answer, expected) in [
        (doc! {"ok": 1.0, "n": 1, "nModified": 1}, json!({"matched_count": 1, "modified_count": 1})),
        (
            doc! {"ok": 1.0, "n": 1, "nModified": 0, "upserted": [{"index": 0, "_id": 5}]},
            json!({"matched_count": 0, "modified_count": 0, "upserted_id": 5}),
        ),
    ] {
        assert_eq!(
            call("update", action.clone(), json!({"id": 5}), &server(&command, &answer)),
            Ok(expected)
        );
    }
    let delete = doc! {"delete": "c", "deletes": [{"q": {}, "limit": 0}], "maxTimeMS": 5000, "$db": "app"};
    let action = json!({"collection": "c", "filter": {}, "multi": true});
    let host = server(&delete, &doc! {"ok": 1.0, "n": 12});
    assert_eq!(call("delete", action, json!({}), &host), Ok(json!({"deleted_count": 12})));
}

#[test]
fn errors_of_writes_say_what_was_done() {
    let action = json!({"collection": "c", "filter": {}});
    let delete = doc! {"delete": "c", "deletes": [{"q": {}, "limit": 1}], "maxTimeMS": 5000, "$db": "app"};
    let failed = |answer: Document| match call("delete", action.clone(), json!({}), &server(&delete, &answer))
    {
        Err(Failure::Upstream(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let errors =
        doc! {"ok": 1.0, "n": 3, "writeErrors": [{"index": 1, "code": 11000, "errmsg": "E11000 duplicate"}]};
    let failure = failed(errors);
    assert_eq!((failure.code.as_deref(), failure.message.as_str()), (Some("11000"), "E11000 duplicate"));
    let details: Value = serde_json::from_str(&failure.details.unwrap()).unwrap();
    assert_eq!((&details["deleted_count"], &details["write_errors"][0]["index"]), (&json!(3), &json!(1)));
    let concern = doc! {"ok": 1.0, "n": 1, "writeConcernError": {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "late"}};
    let failure = failed(concern);
    assert_eq!(failure.code.as_deref(), Some("64"));
    assert!(failure.message.contains("it was written, but"), "{failure:?}");
}

#[test]
fn errors_by_their_codes() {
    for (code, expected) in [
        (50, Failure::Timeout("why".into())),
        (18, Failure::Unauthenticated("why".into())),
        (91, Failure::Network("why (91)".into())),
    ] {
        let host = server(&found(), &doc! {"ok": 0.0, "code": code, "errmsg": "why"});
        assert_eq!(call("find", find(), json!({}), &host), Err(expected));
    }
    for (code, retryable) in [(2, false), (112, true), (11000, false)] {
        let host = server(&found(), &doc! {"ok": 0.0, "code": code, "codeName": "Name", "errmsg": "why"});
        match call("find", find(), json!({}), &host) {
            Err(Failure::Upstream(failure)) => {
                assert_eq!((failure.code, failure.retryable), (Some(code.to_string()), retryable));
                assert!(failure.details.unwrap().contains("Name"));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(host.parked().len(), 1, "the session is as good as before");
    }
}

#[test]
fn counts_values_and_collections() {
    let action = json!({"collection": "c", "filter": {"a": "{{a}}"}, "limit": 5});
    let group = doc! {"$group": {"_id": 1, "n": {"$sum": 1}}};
    let stages = vec![doc! {"$match": {"a": 1}}, doc! {"$limit": 5}, group];
    let command = doc! {"aggregate": "c", "pipeline": stages, "cursor": {}, "maxTimeMS": 5000, "$db": "app"};
    for (documents, count) in [(vec![doc! {"_id": 1, "n": 3}], 3), (vec![], 0)] {
        let counted = call("count", action.clone(), json!({"a": 1}), &server(&command, &batch(documents)));
        assert_eq!(counted, Ok(json!({ "count": count })));
    }
    let command = doc! {"distinct": "c", "key": "a.b", "query": {"x": 1}, "maxTimeMS": 5000, "$db": "app"};
    let action = json!({"collection": "c", "field": "a.b", "filter": {"x": 1}, "format": "canonical"});
    let host = server(&command, &doc! {"values": [1, "x"], "ok": 1.0});
    assert_eq!(call("distinct", action, json!({}), &host), Ok(json!({"values": [{"$numberInt": "1"}, "x"]})));
    let command = doc! {
        "listCollections": 1, "filter": {"name": "c"}, "nameOnly": true, "authorizedCollections": true,
        "cursor": {"batchSize": 10_001}, "maxTimeMS": 5000, "$db": "app",
    };
    let action = json!({"filter": {"name": "c"}, "name_only": true});
    let host = server(&command, &batch(vec![doc! {"name": "c"}]));
    assert_eq!(call("list-collections", action, json!({}), &host), Ok(json!({"documents": [{"name": "c"}]})));
}

#[test]
fn commands() {
    let command = doc! {"find": "c", "filter": {"a": 1}, "maxTimeMS": 5000, "$db": "app"};
    let action = json!({"command": {"find": "c", "filter": {"a": "{{a}}"}}});
    let mut answer = open(vec![doc! {"a": 1}]);
    answer.insert("$clusterTime", doc! {"x": 1});
    let host = FakeHost::new().socket(killed(asked(&command, &answer), 2));
    let result = call("run-command", action.clone(), json!({"a": 1}), &host).unwrap();
    assert_eq!(result["result"]["cursor"]["firstBatch"], json!([{"a": 1}]));
    assert_eq!((result["result"].get("$clusterTime"), host.parked().len()), (None, 1));
    let mut allowed = connection();
    allowed["allow"] = json!(["ping"]);
    let failure = call_on(allowed, "run-command", action, json!({"a": 1}), &FakeHost::new()).unwrap_err();
    assert_eq!(failure, Failure::InvalidConfig("'find' is not in allow".into()));
    for command in [json!({"LOGOUT": 1}), json!({"ping": 1, "lsid": {}}), json!({"ping": 1, "$db": "x"})] {
        let failure =
            call("run-command", json!({ "command": command }), json!({}), &FakeHost::new()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
    }
}

#[test]
fn a_check() {
    let script = resumed()
        .expect(sent(1, &doc! {"ping": 1, "$db": "app"}))
        .answer(reply(1, &doc! {"ok": 1.0}))
        .expect(sent(2, &doc! {"hello": 1, "$db": "admin"}))
        .answer(reply(2, &crate::primary()));
    let found = check::<MongoDb>(&connection(), &FakeHost::new().socket(script)).unwrap();
    let expected =
        json!({"replica_set": "rs0", "writable": true, "wire_version": 17, "user": null, "database": "app"});
    assert_eq!(found, expected);
}
