//! What goes in and comes out: parameters, templates, rows.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use openact_connector::{
    Failure, Json,
    args::{Args, Parameter},
    items::{Items, Limits, More, TooMany},
    rows::Rows,
    template::{Filled, expand_json, expand_text},
    testing::FakeHost,
    variables::Variables,
    write::{push_float, push_float32, push_int, push_string, push_uint},
};
use serde_json::{Value, json};

fn written(write: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    write(&mut out);
    out
}

#[test]
fn numbers_that_json_cannot_hold_are_text() {
    for (value, expected) in [
        (0, "0"),
        (-7, "-7"),
        (9_007_199_254_740_991, "9007199254740991"),
        (-9_007_199_254_740_991, "-9007199254740991"),
        (9_007_199_254_740_992, "\"9007199254740992\""),
        (i64::MIN, "\"-9223372036854775808\""),
    ] {
        assert_eq!(written(|out| push_int(out, value)), expected);
    }
    assert_eq!(written(|out| push_uint(out, u64::MAX)), "\"18446744073709551615\"");
    for (value, expected) in [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e300, "1e300"),
        (5e-324, "5e-324"),
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        let text = written(|out| push_float(out, value));
        assert_eq!(text, expected);
        serde_json::from_str::<Value>(&text).unwrap();
    }
    assert_eq!(written(|out| push_float32(out, 0.1)), "0.1");
    assert_eq!(written(|out| push_float32(out, f32::NEG_INFINITY)), "\"-Infinity\"");
}

#[test]
fn any_text_is_one_string() {
    let all: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}😀\"\\".chars()).collect();
    for text in ["", "plain", "\"", "a\u{1f}é\n", &all] {
        let json = written(|out| push_string(out, text));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}

#[test]
fn rows_are_objects_under_names_of_their_own() {
    let host = FakeHost::new();
    let mut rows = Rows::new(&host, false, Limits::default());
    rows.columns([("a", "int4"), ("a", "text"), ("a_2", ""), ("\"", "x"), ("a", "y"), ("f", "f")]);
    for _ in 0..2 {
        let more = rows.push(|row| {
            row.int(1);
            row.text_bytes("é\"".as_bytes())?;
            row.null();
            row.raw("[1.10]");
            row.hex("\\x", &[0, 0xff]);
            row.base64(&[1, 2]);
            Ok(())
        });
        assert_eq!(more.unwrap(), More::Wanted);
    }
    let row = r#"{"a":1,"a_2":"é\"","a_2_2":null,"\"":[1.10],"a_3":"\\x00ff","f":"AQI="}"#;
    let columns = r#"[{"name":"a","type":"int4"},{"name":"a_2","type":"text"},{"name":"a_2_2"},{"name":"\"","type":"x"},{"name":"a_3","type":"y"},{"name":"f","type":"f"}]"#;
    assert_eq!(
        rows.finish(Some(2)).as_str(),
        format!(r#"{{"columns":{columns},"rows":[{row},{row}],"rows_affected":2}}"#)
    );
    let none = Rows::new(&host, true, Limits::default()).finish(None);
    assert_eq!(none.as_str(), r#"{"columns":[],"rows":[]}"#);
}

#[test]
fn every_kind_of_value_is_json() {
    let host = FakeHost::new();
    let mut rows = Rows::new(&host, false, Limits::default());
    rows.columns(["b", "u", "f", "g", "t", "d", "w"].map(|name| (name, "")));
    let more = rows.push(|row| {
        row.bool(true);
        row.uint(7);
        row.float(0.5);
        row.float32(0.25);
        row.text("t");
        row.display("1 \"day\"");
        row.with(|out| {
            out.push_str("{}");
            Ok(())
        })
    });
    assert_eq!(more.unwrap(), More::Wanted);
    let result: Value = rows.finish(None).parse().unwrap();
    let expected = json!({"b": true, "u": 7, "f": 0.5, "g": 0.25, "t": "t", "d": "1 \"day\"", "w": {}});
    assert_eq!(result["rows"], json!([expected]));
}

#[test]
fn a_row_has_a_value_for_each_column() {
    let host = FakeHost::new();
    let mut rows = Rows::new(&host, false, Limits::default());
    rows.columns([("a", ""), ("b", "")]);
    for values in [0, 1, 3] {
        let result = rows.push(|row| {
            (0..values).for_each(|_| row.null());
            Ok(())
        });
        assert!(matches!(result, Err(Failure::Protocol(_))), "{values}");
    }
    assert!(matches!(rows.push(|row| row.text_bytes(&[0xff])), Err(Failure::Protocol(_))));
    // A row that was refused leaves nothing behind.
    assert_eq!(rows.finish(None).parse::<Value>().unwrap()["rows"], json!([]));
}

#[test]
fn a_thousand_columns_of_one_name_are_a_thousand_columns() {
    let host = FakeHost::new();
    let mut rows = Rows::new(&host, false, Limits::default());
    rows.columns((0..60_000).map(|_| ("n", "")));
    let result: Value = rows.finish(None).parse().unwrap();
    assert_eq!(result["columns"][59_999]["name"], "n_60000");
}

fn digits(out: &mut String, number: u32) -> Result<(), Failure> {
    out.push_str(&number.to_string());
    Ok(())
}

fn numbers(items: &mut Items<'_>, count: u32) -> Result<More, Failure> {
    for number in 1..=count {
        if items.push(|out| digits(out, number))? == More::Enough {
            return Ok(More::Enough);
        }
    }
    Ok(More::Wanted)
}

fn finished(items: Items<'_>) -> Value {
    let mut out = "{".to_owned();
    items.finish("items", &mut out);
    out.push('}');
    serde_json::from_str(&out).unwrap()
}

#[test]
fn items_are_emitted_where_that_is_wanted_and_taken() {
    for (taken, wanted) in [(true, true), (true, false), (false, true)] {
        let host = if taken { FakeHost::new().streaming() } else { FakeHost::new() };
        let mut items = Items::new(&host, wanted, Limits::default());
        assert_eq!(numbers(&mut items, 3).unwrap(), More::Wanted);
        let emitted = taken && wanted;
        assert_eq!((items.emitted(), items.count()), (emitted, 3));
        let (result, stream) = if emitted {
            (json!({"items": null, "emitted": 3}), vec![json!(1), json!(2), json!(3)])
        } else {
            (json!({"items": [1, 2, 3]}), vec![])
        };
        assert_eq!((finished(items), host.emitted()), (result, stream));
    }
}

#[test]
fn a_result_stays_within_its_limits() {
    for stream in [false, true] {
        let host = FakeHost::new().streaming();
        let limits = Limits { items: 2, too_many: TooMany::LeaveOut, ..Limits::default() };
        let mut items = Items::new(&host, stream, limits);
        assert_eq!(numbers(&mut items, 2).unwrap(), More::Wanted);
        assert_eq!(numbers(&mut items, 1).unwrap(), More::Enough);
        assert_eq!(items.count(), 2);
        assert_eq!(finished(items)["truncated"], true);

        let exact = Items::new(&host, stream, limits);
        assert_eq!(finished(exact).get("truncated"), None);

        let mut items = Items::new(&host, stream, Limits { items: 2, ..Limits::default() });
        assert!(
            matches!(numbers(&mut items, 3), Err(Failure::LimitExceeded(text)) if text.contains("2 items"))
        );
        let mut items = Items::new(&host, stream, Limits { bytes: 4, ..Limits::default() });
        assert_eq!(numbers(&mut items, 4).unwrap(), More::Wanted);
        assert!(
            matches!(numbers(&mut items, 1), Err(Failure::LimitExceeded(text)) if text.contains("4 bytes"))
        );
    }
}

fn parameters(json: Value) -> Vec<Parameter> {
    serde_json::from_value(json).unwrap()
}

fn ordered(input: &str, parameters: &[Parameter]) -> Result<Vec<String>, String> {
    let input = Json::from_text(input.into());
    let values = Args::of(&input, parameters).and_then(|args| {
        args.ordered(parameters).map(|values| values.into_iter().map(str::to_owned).collect())
    });
    values.map_err(|failure| match failure {
        Failure::InvalidInput(text) => text,
        other => format!("another failure: {other:?}"),
    })
}

#[test]
fn parameters_come_by_position_or_by_name() {
    let two = parameters(json!([{"name": "a"}, {"name": "b", "param_type": "string", "default": null}]));
    let text = |values: &[&str]| Ok(values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    for (input, expected) in [
        ("[1.10, \"x\"]", ["1.10", "\"x\""]),
        ("{\"args\": [1]}", ["1", "null"]),
        (" {\"b\": \"y\", \"a\": {\"z\": 1}, \"other\": 2} ", ["{\"z\": 1}", "\"y\""]),
        ("{\"a\": null}", ["null", "null"]),
    ] {
        assert_eq!(ordered(input, &two), text(&expected), "{input}");
    }
    assert_eq!(ordered("[1, [2]]", &[]), text(&["1", "[2]"]));
    for nothing in ["null", "", "[]", "{}"] {
        assert_eq!(ordered(nothing, &[]), text(&[]), "{nothing}");
        assert!(ordered(nothing, &two).unwrap_err().contains("'a' is missing"), "{nothing}");
    }
    assert!(ordered("[1, \"\", 3]", &two).unwrap_err().contains("3 values for 2"));
    assert!(!ordered("\"secret\"", &two).unwrap_err().contains("secret"));
    // A parameter may itself be called so.
    let args = parameters(json!([{"name": "args"}]));
    assert_eq!(ordered("{\"args\": [1]}", &args), text(&["[1]"]));
    let optional =
        parameters(json!([{"name": "o", "required": false}, {"name": "d", "default": {"x": 1.0}}]));
    assert_eq!(ordered("{}", &optional), text(&["null", "{\"x\":1.0}"]));
}

#[test]
fn a_parameter_has_its_type() {
    for (kind, fits, does_not) in [
        ("string", vec!["\"1\""], vec!["1", "{}"]),
        ("number", vec!["-1.5e3", "\"12345678901234567890.1\""], vec!["true", "[]"]),
        ("integer", vec!["-1", "\"12345678901234567890\""], vec!["1.0", "1e2", "false"]),
        ("boolean", vec!["true", "false"], vec!["0", "\"true\""]),
        ("object", vec!["{}"], vec!["[]"]),
        ("array", vec!["[]"], vec!["{}", "\"[]\""]),
    ] {
        let one = parameters(json!([{"name": "p", "type": kind}]));
        for value in fits.into_iter().chain(["null"]) {
            assert_eq!(ordered(&format!("[{value}]"), &one), Ok(vec![value.to_owned()]), "{kind}");
        }
        for value in does_not {
            assert!(
                ordered(&format!("[{value}]"), &one).unwrap_err().contains("'p' must be"),
                "{kind} {value}"
            );
        }
    }
}

#[test]
fn templates_keep_types_and_name_what_is_missing() {
    let input = Json::from_text(r#"{"key": "k", "n": 1.10, "list": [1, "{{key}}"]}"#.into());
    let variables = Variables::of(&input);
    let filled = |text| expand_text(text, "command/1", &variables);
    assert_eq!(filled("user:{{key}}:{{n}}").unwrap(), Filled::Text("user:k:1.10".into()));
    assert_eq!(filled("{{n}}").unwrap(), Filled::Value { name: "n", json: "1.10" });
    assert_eq!(filled("{{list}}").unwrap(), Filled::Value { name: "list", json: r#"[1, "{{key}}"]"# });
    assert_eq!(filled("{{none?}}").unwrap(), Filled::Nothing);
    assert_eq!(filled("plain").unwrap(), Filled::Text("plain".into()));
    assert!(
        matches!(filled("{{none}}"), Err(Failure::InvalidInput(t)) if t.contains("'none'") && t.contains("command/1"))
    );
    assert!(matches!(filled("{{"), Err(Failure::InvalidConfig(_))));
    let json = Json::from_text(r#"{"_id":"{{n}}","x":["{{list}}","{{none?}}"],"y":1.0}"#.into());
    let json = expand_json(&json, "filter", &variables).unwrap().unwrap();
    assert_eq!(json.as_str(), r#"{"_id":1.10,"x":[[1, "{{key}}"]],"y":1.0}"#);
    let missing = Json::from_text(r#"{"a":["{{none}}"]}"#.into());
    assert!(
        matches!(expand_json(&missing, "filter", &variables), Err(Failure::InvalidInput(t)) if t.contains("filter/a/0"))
    );
}
