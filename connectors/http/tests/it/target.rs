//! Where a request goes: joining, variables, query, and what is refused.

use openact_connector::{Failure, Json};
use openact_http::{config::Pairs, url::build, variables::Variables};
use proptest::prelude::*;
use serde_json::{Value, json};

fn url(base: &str, path: &str, query: Value, input: Value) -> Result<String, Failure> {
    let query: Pairs = serde_json::from_value(query).unwrap();
    build(base, path, &query, &Variables::of(&Json::from_text(input.to_string())))
}

fn joined(base: &str, path: &str) -> String {
    url(base, path, json!({}), json!({})).unwrap()
}

fn filled(path: &str, input: Value) -> Result<String, Failure> {
    url("https://h/v1", path, json!({}), input)
}

#[test]
fn the_path_of_the_base_is_kept() {
    for (base, path, expected) in [
        ("https://x", "", "https://x/"),
        ("https://x/", "", "https://x/"),
        ("https://x", "/users", "https://x/users"),
        ("https://x", "users", "https://x/users"),
        ("https://x/api/v1", "/users", "https://x/api/v1/users"),
        ("https://x/api/v1/", "/users/", "https://x/api/v1/users/"),
        ("https://x/api/v1/", "users", "https://x/api/v1/users"),
        ("https://x/api/v1", "", "https://x/api/v1"),
        ("https://x/api/v1/", "", "https://x/api/v1/"),
        ("http://127.0.0.1:8080", "/a//b", "http://127.0.0.1:8080/a//b"),
        ("http://[::1]:8080/a", "/b", "http://[::1]:8080/a/b"),
        ("HTTPS://X.example", "/a b/é", "HTTPS://X.example/a%20b/%C3%A9"),
        ("https://x#top", "/a", "https://x/a"),
        // An at-sign inside a path is common (Discord, Mastodon) and cannot reach the authority.
        ("https://x/api", "/users/@me", "https://x/api/users/@me"),
        ("https://x/web", "/2020/https://old.example/", "https://x/web/2020/https://old.example/"),
        ("https://x", "/a..b/...", "https://x/a..b/..."),
    ] {
        assert_eq!(joined(base, path), expected, "{base} + {path}");
    }
}

#[test]
fn a_path_that_aims_elsewhere_is_refused() {
    for path in [
        "//evil.example/",
        "///evil.example",
        "@evil.example/",
        "\\\\evil.example",
        "/\\evil.example",
        "/a\\b",
        "https://evil.example/",
        "http://evil.example",
        "ftp://evil.example",
        "..",
        "/..",
        "/../admin",
        "/a/../../b",
        "/%2e%2e/admin",
        "/.%2E/",
        "/%2E./x",
        "/./a",
        "/a/.",
        "/a\r\nHost: evil",
        "/a\tb",
        "\t//evil.example",
        "/a\0",
        "/a#b",
        "/{",
        "/{a b}",
        "/{}",
        "/{+}",
        "/{a+}",
    ] {
        let failure = filled(path, json!({"a": "x"})).unwrap_err();
        assert!(matches!(failure, Failure::InvalidConfig(_)), "{path:?}: {failure:?}");
    }
}

#[test]
fn a_base_url_is_an_http_url_and_nothing_more() {
    for base in [
        "",
        "api.example.com",
        "//api.example.com",
        "ftp://x",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://u:p@x",
        "https://x@evil",
        "https://x\\@evil",
        "https://x/..",
        "https://x/%2e%2e/",
        "https://x y",
        " https://x",
        "https://x\n",
        "https://?a",
        "javascript:alert(1)",
    ] {
        let failure = url(base, "/a", json!({}), json!({})).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidConfig(text) if text.contains("base_url")),
            "{base:?}: {failure:?}"
        );
    }
}

#[test]
fn variables_are_filled_from_the_input_and_stay_one_segment() {
    for (path, input, expected) in [
        ("/u/{id}", json!({"id": 7}), "https://h/v1/u/7"),
        ("/u/{id}/x-{n}", json!({"id": "a b", "n": true}), "https://h/v1/u/a%20b/x-true"),
        ("/u/{id}", json!({"id": "a/../b?c#d@e:f"}), "https://h/v1/u/a%2F..%2Fb%3Fc%23d%40e%3Af"),
        ("/u/{id}", json!({"id": "%2e%2e"}), "https://h/v1/u/%252e%252e"),
        ("/u/{id}", json!({"id": "ü~-._"}), "https://h/v1/u/%C3%BC~-._"),
        ("/u/{id}", json!({"id": "//evil.example"}), "https://h/v1/u/%2F%2Fevil.example"),
        ("{path}", json!({"path": "/evil"}), "https://h/v1/%2Fevil"),
        ("/u/{id}", json!({"path": {"id": "inner"}, "id": "outer"}), "https://h/v1/u/inner"),
        ("/u/{id}", json!({"path": {}, "id": "outer"}), "https://h/v1/u/outer"),
        ("/s?q={q}&r=1", json!({"q": "a&b=c"}), "https://h/v1/s?q=a%26b%3Dc&r=1"),
        ("/s?q={q}", json!({"q": ""}), "https://h/v1/s?q="),
        ("/u/{user.id}", json!({"user": {"id": 3}}), "https://h/v1/u/3"),
        ("/u/{user.id}", json!({"user.id": "whole", "user": {"id": 3}}), "https://h/v1/u/whole"),
        ("/u/{ids.1}", json!({"ids": [3, 4]}), "https://h/v1/u/4"),
    ] {
        assert_eq!(filled(path, input.clone()).unwrap(), expected, "{path} with {input}");
    }
}

#[test]
fn a_variable_that_does_not_fit_is_the_callers_fault_and_named() {
    for input in [
        json!({}),
        json!({"id": null}),
        json!({"id": ""}),
        json!({"id": []}),
        json!({"id": {}}),
        json!({"path": {"id": null}}),
    ] {
        let failure = filled("/u/{id}", input.clone()).unwrap_err();
        assert!(
            matches!(&failure, Failure::InvalidInput(text) if text.contains("'id'")),
            "{input}: {failure:?}"
        );
    }
    for (path, input) in [
        ("/u/{id}", json!({"id": ".."})),
        ("/u/{id}/x", json!({"id": "."})),
        ("/u/{a}{b}", json!({"a": ".", "b": "."})),
        ("/u/.{a}", json!({"a": "."})),
        ("/u/%2{a}.", json!({"a": "e"})),
        ("{a}", json!({"a": ".."})),
    ] {
        let failure = filled(path, input.clone()).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{path} with {input}: {failure:?}");
    }
}

#[test]
fn the_query_is_gathered_and_the_nearest_wins() {
    for (base, path, query, expected) in [
        ("https://h?key=1", "/a", json!({}), "https://h/a?key=1"),
        ("https://h/?key=1", "/a?b=2", json!({"c": 3}), "https://h/a?key=1&b=2&c=3"),
        ("https://h/?page=1&k=v", "/a?page=2", json!({}), "https://h/a?k=v&page=2"),
        ("https://h/?page=1", "/a?pa%67e=2&x", json!({"page": 3}), "https://h/a?x&page=3"),
        (
            "https://h/",
            "/a",
            json!({"tag": ["x", "y z"], "n": 1.5, "b": false, "none": null}),
            "https://h/a?tag=x&tag=y%20z&n=1.5&b=false",
        ),
        ("https://h/", "/a?", json!({"a&b": "c=d#e"}), "https://h/a?a%26b=c%3Dd%23e"),
        ("https://h/", "/a?x=1", json!({"x": null}), "https://h/a"),
    ] {
        assert_eq!(url(base, path, query.clone(), json!({})).unwrap(), expected, "{base} {path} {query}");
    }
}

proptest! {
    /// Whatever path, variables and query say: a URL parser finds the base's origin, below the base's path.
    #[test]
    fn a_url_never_leaves_its_base(
        path in "[a-z/@:.%2eE\\\\?{}#\\t é]{0,16}|(/?[a-z.%@]{0,4}\\{v\\}){1,3}",
        value in "\\PC{0,8}|[./\\\\@%2e]{0,6}",
        name in "\\PC{0,4}", query in "\\PC{0,6}",
    ) {
        for base in ["https://api.example.com", "http://127.0.0.1:81/v1/x", "https://h:8443/v1/x/"] {
            let Ok(built) = url(base, &path, json!({name.clone(): query}), json!({"v": value})) else { continue };
            let (base, built) = (::url::Url::parse(base).unwrap(), ::url::Url::parse(&built).unwrap());
            prop_assert_eq!(built.origin(), base.origin());
            prop_assert!(built.path().starts_with(base.path().trim_end_matches('/')), "{}", built);
            prop_assert_eq!((built.username(), built.password(), built.fragment()), ("", None, None));
        }
    }
}

#[test]
fn a_variable_that_is_a_path_keeps_its_slashes_and_leads_nowhere_else() {
    for (path, value, expected) in [
        ("/{+key}", "a b/c?d#e/%2e%2e/ü", "https://h/v1/a%20b/c%3Fd%23e/%252e%252e/%C3%BC"),
        ("/{+key}", "folder/", "https://h/v1/folder/"),
        ("/{+key}", "a//b", "https://h/v1/a//b"),
        ("/x/{+key}/y/{key}", "a/b", "https://h/v1/x/a/b/y/a%2Fb"),
        ("/x?of={+key}", "a/b&c", "https://h/v1/x?of=a/b%26c"),
    ] {
        assert_eq!(filled(path, json!({"key": value})).unwrap(), expected);
    }
    for value in ["", "..", "../x", "a/../../b", "a/./b", "/evil.example", "//evil.example/x", "a/.."] {
        let failure = filled("/{+key}", json!({"key": value})).unwrap_err();
        assert!(matches!(failure, Failure::InvalidInput(_)), "{value:?}: {failure:?}");
    }
}
