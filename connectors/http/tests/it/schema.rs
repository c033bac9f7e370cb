//! What the schema of an action says: mistakes of a file that are found when it is read.

use jsonschema::Validator;
use openact_connector::{Failure, testing::describe};
use openact_http::Http;
use serde_json::{Value, json};

use crate::refused;

fn schema() -> Validator {
    let operation = describe::<Http>().operations.remove(0);
    let schema: Value = serde_json::from_str(&operation.action_schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Refused by the schema, at `place`, and by the connector, which is asked when the file was not.
fn wrong(action: Value, place: &str) {
    let places: Vec<_> =
        schema().iter_errors(&action).map(|error| error.instance_path().to_string()).collect();
    assert!(places.iter().any(|found| found == place), "{action}: {places:?}");
    let failure = refused(action.clone(), json!({"a": 1}));
    assert!(matches!(failure, Failure::InvalidConfig(_)), "{action}: {failure:?}");
}

#[test]
fn what_each_type_of_pagination_needs_and_has_no_use_for() {
    for (pagination, place) in [
        (json!({"type": "cursor", "items": "/i"}), ""),
        (json!({"type": "cursor", "cursor": "/c"}), ""),
        (json!({"type": "cursor", "cursor": "/c", "items": "/i", "start": 1}), "/start"),
        (json!({"type": "link", "param": "p"}), "/param"),
        (json!({"type": "link", "size": 1}), "/size"),
        (json!({"type": "link", "size_param": "n", "size": 1}), "/size_param"),
        (json!({"type": "link", "cursor": "/c"}), "/cursor"),
        (json!({"type": "page", "cursor": "/c"}), "/cursor"),
        (json!({"type": "offset", "in": "body"}), "/in"),
        (json!({"type": "page", "size": 1}), ""),
        (json!({"type": "offset", "size_param": "n"}), ""),
    ] {
        wrong(json!({"pagination": pagination}), &format!("/pagination{place}"));
    }
    let in_body = json!({"type": "cursor", "cursor": "/c", "items": "/i", "in": "body"});
    wrong(json!({"pagination": in_body}), "");
    wrong(json!({"pagination": in_body, "method": "get"}), "/method");
    wrong(json!({"pagination": {"type": "page"}, "response": {"extract": "/i"}}), "/response/extract");
    wrong(json!({"pagination": {"type": "page"}, "response": {"as": "text"}}), "/response/as");
    for pagination in [
        json!({"type": "link"}),
        json!({"type": "link", "items": "/i", "in": "query", "max_pages": 2}),
        json!({"type": "page", "param": "p", "start": 0, "size_param": "n", "size": 2}),
        json!({"type": "offset", "size": 2}),
        json!({"type": "cursor", "cursor": "/c", "items": "/i", "param": "after"}),
        in_body,
    ] {
        let action = json!({"method": "POST", "pagination": pagination, "response": {"as": "json"}});
        assert!(schema().is_valid(&action), "{action}");
    }
}

#[test]
fn a_path_that_cannot_be_one() {
    for path in [
        "/{", "/{}", "/{+}", "/{a+}", "/{++a}", "/{a", "/a}{b", "/{{a}}", "/{a b}", "/{é}", "/?q={", "//x",
        "@x", "/a\\b", "/a#b", "/\n",
    ] {
        wrong(json!({"path": path}), "/path");
    }
    for path in ["", "/", "/{a}/b", "users/{user.id}?q={a_b-c}&r=%7B", "/{+a.b}", "/é|}", "/@x//y", "?a=b"] {
        assert!(schema().is_valid(&json!({"path": path})), "{path}");
    }
}

#[test]
fn a_response_that_contradicts_itself() {
    wrong(json!({"response": {"allowed_status": []}}), "/response/allowed_status");
    wrong(json!({"response": {"extract": "/a", "as": "bytes"}}), "/response/as");
    wrong(json!({"response": {"as": "xml"}}), "/response/as");
    wrong(json!({"response": {"fail_when": {"pointer": "/ok"}}}), "/response/fail_when");
    wrong(json!({"response": {"fail_when": {"pointer": "ok", "equals": 1}}}), "/response/fail_when/pointer");
    for response in [json!({"extract": "/a"}), json!({"extract": "/a", "as": "json"}), json!({"as": "bytes"})]
    {
        assert!(schema().is_valid(&json!({"response": response})), "{response}");
    }
}
