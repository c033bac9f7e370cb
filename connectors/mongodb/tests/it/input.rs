//! What an action and its input make: values stay values.

use openact_connector::Failure;
use serde_json::{Value, json};

use crate::command;

fn filter(filter: Value, input: Value) -> Result<Value, Failure> {
    command("find", json!({"collection": "c", "filter": filter}), input)
        .map(|command| command["filter"].clone())
}

fn refused(result: Result<Value, Failure>, why: &str) {
    match result {
        Err(Failure::InvalidInput(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn templates_keep_types_and_order() {
    let given = json!({"z": 1, "a": [true, null, 1.5], "m": {"$oid": "0123456789abcdef01234567"}});
    let made =
        filter(json!({"b": "{{v}}", "a": "x-{{n}}", "n": {"$gte": "{{n}}"}}), json!({"v": given, "n": 7}));
    assert_eq!(made.unwrap().to_string(), json!({"b": given, "a": "x-7", "n": {"$gte": 7}}).to_string());
    let made = filter(
        json!({"a": "{{x?}}", "l": ["{{x?}}", 1], "id": {"$oid": "{{x?}}"}, "b": "{{{{x}}"}),
        json!({}),
    );
    assert_eq!(made.unwrap(), json!({"l": [1], "b": "{{x}}"}));
    let id = "0123456789abcdef01234567";
    for given in [json!(id), json!({ "$oid": id })] {
        assert_eq!(
            filter(json!({"_id": {"$oid": "{{id}}"}}), json!({ "id": given })).unwrap()["_id"]["$oid"],
            id
        );
    }
    assert_eq!(
        filter(json!({"at": {"$gte": {"$date": "{{day}}T00:00:00Z"}}}), json!({"day": "2024-02-29"}))
            .unwrap(),
        json!({"at": {"$gte": {"$date": "2024-02-29T00:00:00Z"}}})
    );
    refused(filter(json!({"_id": {"$oid": "{{id}}"}}), json!({"id": "x"})), "24 hexadecimal digits");
    refused(filter(json!({"a": "{{x}}"}), json!({})), "'x' is missing");
    refused(filter(json!("{{x}}"), json!({"x": [1]})), "filter must be an object");
    refused(filter(json!({"a": "{{x}}"}), json!({"x": {"a\u{0}": 1}})), "zero byte");
}

#[test]
fn operators_are_taken_from_the_action_only() {
    let by_name = json!({"name": "{{v}}"});
    for value in [
        json!({"$ne": null}),
        json!({"$where": "1"}),
        json!([{"x": {"$gt": 1}}]),
        json!({"$regex": "."}),
        json!({"$regularExpression": {"pattern": ".", "options": ""}}),
        json!([{"$regularExpression": {"pattern": ".", "options": ""}}]),
    ] {
        refused(filter(by_name.clone(), json!({ "v": value })), "'v'");
        refused(filter(json!("{{v}}"), json!({"v": {"name": value}})), "'v'");
    }
    for text in ["$name", "{\"$ne\": 1}", "{{v}}", "$where"] {
        assert_eq!(filter(by_name.clone(), json!({ "v": text })).unwrap()["name"], text);
    }
    let open = |value: Value| {
        let action = json!({"collection": "c", "filter": by_name, "allow_operators": true});
        command("find", action, json!({ "v": value }))
    };
    for value in [json!({"$ne": null}), json!({"$regularExpression": {"pattern": ".", "options": ""}})] {
        assert_eq!(open(value.clone()).unwrap()["filter"]["name"], value);
    }
    for code in ["$where", "$function", "$accumulator"] {
        refused(open(json!({ code: "1" })), "run as code");
        refused(open(json!({"a": [{ code: "1" }]})), "run as code");
    }
}

#[test]
fn text_is_no_field_of_a_pipeline() {
    let run = |stage: Value, value: Value| {
        let action = json!({"collection": "c", "pipeline": [stage]});
        command("aggregate", action, json!({ "v": value })).map(|command| command["pipeline"][0].clone())
    };
    for stage in [
        json!({"$project": {"x": "{{v}}"}}),
        json!({"$match": {"$expr": {"$eq": ["$a", "{{v}}"]}}}),
        json!({"$group": {"_id": "{{v}}a"}}),
        json!({"$lookup": {"pipeline": [{"$match": {"$expr": ["{{v}}"]}}]}}),
    ] {
        for value in ["$secret", "$$ROOT"] {
            refused(run(stage.clone(), json!(value)), "begins with $");
        }
        refused(run(stage.clone(), json!({"$ne": 1})), "");
        run(stage, json!("plain")).unwrap();
    }
    refused(run(json!({"$project": {"x": "{{v}}"}}), json!({"a": ["$secret"]})), "begins with $");
    for stage in [json!({"$match": {"x": "{{v}}"}}), json!({"$project": {"x": {"$literal": "{{v}}"}}})] {
        assert!(run(stage, json!("$secret")).unwrap().to_string().contains("\"$secret\""));
    }
    // A field that the action chooses by the input is the action's own business.
    assert_eq!(
        run(json!({"$group": {"_id": "${{v}}"}}), json!("a")).unwrap(),
        json!({"$group": {"_id": "$a"}})
    );
    let projection = json!({"collection": "c", "projection": {"x": "{{v}}"}});
    refused(command("find", projection, json!({"v": "$secret"})), "begins with $");
}

#[test]
fn pipelines_only_read() {
    for stage in [json!({"$out": "x"}), json!({"$merge": {"into": "x"}})] {
        let action = json!({"collection": "c", "pipeline": [{"$match": {}}, stage]});
        let failure = command("aggregate", action, json!({})).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("run-command")),
            "{failure:?}"
        );
        let action = json!({"collection": "c", "pipeline": "{{p}}", "allow_operators": true});
        assert!(command("aggregate", action, json!({"p": [stage]})).is_err());
    }
}

#[test]
fn what_is_written_is_what_was_meant() {
    let update = |filter: Value, update: Value, input: Value| {
        let action = json!({"collection": "c", "filter": filter, "update": update});
        command("update", action, input).map(|command| command["updates"][0].clone())
    };
    let set = json!({"$set": {"a": "{{v}}"}});
    assert_eq!(
        update(json!({"_id": 1}), set.clone(), json!({"v": "$x"})).unwrap()["u"],
        json!({"$set": {"a": "$x"}})
    );
    refused(update(json!({"_id": 1}), set.clone(), json!({"v": {"$inc": 1}})), "operator");
    refused(update(json!({"_id": "{{v}}"}), set.clone(), json!({"v": {"$ne": 1}})), "operator");
    refused(update(json!({}), json!("{{v}}"), json!({"v": {"$set": {"a": 1}}})), "operator");
    refused(update(json!({}), json!("{{v}}"), json!({"v": [{"x": 1}]})), "must be an object");
    refused(update(json!({}), json!([{"$set": {"a": "{{v}}"}}]), json!({"v": "$b"})), "begins with $");
    // A condition that is left out would widen what is changed.
    for operation in ["update", "delete"] {
        let mut action = json!({"collection": "c", "filter": {"_id": "{{id?}}"}});
        if operation == "update" {
            action["update"] = json!({"$set": {"a": 1}});
        }
        let failure = command(operation, action, json!({})).unwrap_err();
        assert!(matches!(&failure, Failure::InvalidConfig(text) if text.contains("optional")), "{failure:?}");
    }
    let whole = json!({"collection": "c", "filter": {}, "update": {"a": 1}, "multi": true});
    assert!(matches!(command("update", whole, json!({})), Err(Failure::InvalidConfig(_))));
    let insert = |input: Value| {
        command("insert", json!({"collection": "c", "document": "{{d}}"}), json!({ "d": input }))
    };
    refused(insert(json!({"$set": 1})), "operator");
    let pattern = json!({"_id": 1, "r": {"$regularExpression": {"pattern": ".", "options": ""}}});
    assert_eq!(insert(pattern.clone()).unwrap()["documents"][0], pattern);
}

#[test]
fn names_are_never_templates() {
    for action in [
        json!({"collection": "{{c}}"}),
        json!({"collection": "a$b"}),
        json!({"collection": "c", "database": "{{d}}"}),
        json!({"collection": "c", "database": "a.b"}),
    ] {
        let failure = command("find", action, json!({"c": "users", "d": "admin"})).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{failure:?}");
    }
    let made = filter(json!({"{{c}}": 1}), json!({"c": "$where"})).unwrap();
    assert_eq!(made, json!({"{{c}}": 1}));
}
