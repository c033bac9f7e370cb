//! How configuration combines: connection defaults < action < permitted input keys.
//!
//! JSON Merge Patch (RFC 7396: objects merge, `null` deletes, anything else replaces) with two additions:
//! header names match without regard to case (RFC 9110 section 5.1), and a key whose schema says
//! `"x-merge": "replace"` is replaced whole, because a `null` inside it (a request body, a query filter) is data.

use indexmap::IndexMap;
use serde_json::Value;

use crate::{JsonObject, schema::SchemaView};

/// Merges `over` into `base`. `schema` describes the merged object.
pub fn merge(base: &mut JsonObject, over: &JsonObject, schema: &SchemaView<'_>) {
    for (key, value) in over {
        if value.is_null() {
            base.shift_remove(key);
        } else if key == "headers" {
            merge_headers(base, value);
        } else if schema.property(key).is_some_and(|property| property.merges_whole()) {
            base.insert(key.clone(), value.clone());
        } else {
            merge_patch(base.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 7396, section 2.
pub fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(JsonObject::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge_patch(target.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

fn merge_headers(base: &mut JsonObject, over: &Value) {
    let Value::Object(over) = over else {
        base.insert("headers".into(), over.clone());
        return;
    };
    let entry = base.entry("headers").or_insert_with(|| Value::Object(JsonObject::new()));
    if !entry.is_object() {
        *entry = Value::Object(JsonObject::new());
    }
    let Value::Object(headers) = entry else { return };
    // By lower-case name, the last spelling wins; in one pass, since a caller decides how many there are.
    let over: IndexMap<String, (&String, &Value)> =
        over.iter().map(|(name, value)| (name.to_ascii_lowercase(), (name, value))).collect();
    headers.retain(|existing, _| !over.contains_key(&existing.to_ascii_lowercase()));
    let set = over.into_values().filter(|(_, value)| !value.is_null());
    headers.extend(set.map(|(name, value)| (name.clone(), value.clone())));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(target: Value, patch: Value) -> Value {
        let mut target = target;
        merge_patch(&mut target, &patch);
        target
    }

    #[test]
    fn the_examples_of_rfc_7396_appendix_a() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(patched(target, patch), result);
        }
    }

    #[test]
    fn header_names_match_without_regard_to_case_and_bodies_are_replaced_whole() {
        let schema = json!({"properties": {"body": {"x-merge": "replace"}}});
        let mut base =
            json!({"headers": {"Accept": "a", "x-keep": "k"}, "body": {"old": 1}, "query": {"a": 1}});
        let over = json!({"headers": {"ACCEPT": "b", "X-KEEP": null, "new": "n"}, "body": {"name": null}, "query": {"a": null}});
        merge(base.as_object_mut().unwrap(), over.as_object().unwrap(), &SchemaView::new(&schema));
        assert_eq!(
            base,
            json!({"headers": {"ACCEPT": "b", "new": "n"}, "body": {"name": null}, "query": {}})
        );
    }

    #[test]
    fn many_headers_are_merged_in_one_pass() {
        // A caller decides how many: comparing each with each would take minutes here.
        let many = |value: &str| -> JsonObject {
            let headers: JsonObject = (0..200_000).map(|n| (format!("X-{n}"), json!(value))).collect();
            [("headers".to_owned(), Value::Object(headers))].into_iter().collect()
        };
        let mut base = many("old");
        merge(&mut base, &many("new"), &SchemaView::new(&json!({})));
        let headers = base["headers"].as_object().unwrap();
        assert_eq!(headers.len(), 200_000);
        assert!(headers.values().all(|value| value == "new"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Without the members that delete. They are taken out rather than assumed away: with many cases proptest would
    /// give up on the ones it has to throw out.
    fn without_null_members(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let kept = map.into_iter().filter(|(_, value)| !value.is_null());
                Value::Object(kept.map(|(key, value)| (key, without_null_members(value))).collect())
            }
            other => other,
        }
    }

    fn any_object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-c]", any_json(), 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(target in any_json(), patch in any_json()) {
            let once = patched(target, patch.clone());
            prop_assert_eq!(patched(once.clone(), patch), once);
        }

        #[test]
        fn onto_nothing_a_patch_without_nulls_is_itself(patch in any_json().prop_map(without_null_members)) {
            prop_assert_eq!(patched(Value::Null, patch.clone()), patch);
        }

        #[test]
        fn an_empty_patch_changes_no_object(target in any_object()) {
            prop_assert_eq!(patched(target.clone(), json!({})), target);
        }
    }
}
