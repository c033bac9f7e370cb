//! What people write in clear where a credential should stand: literal headers and cookies that look like a secret.
//!
//! They are configuration like any other and go where the connector sends them, so they are not sealed; but whoever lists,
//! shows or explains does not need to see them, and the audit log keeps a fingerprint. Invariant: what is replaced for a
//! reader is replaced in copies alone; a call has what was written.

use serde_json::Value;

use crate::JsonObject;

/// In place of a secret that is shown to somebody.
pub const HIDDEN: &str = "[secret]";

/// Parts of the names of headers whose value lets somebody in.
const TELLING: [&str; 6] = ["authorization", "cookie", "key", "token", "secret", "password"];

/// Headers that have such a part and hold nothing secret.
const HARMLESS: [&str; 3] = ["idempotency-key", "x-idempotency-key", "sec-websocket-key"];

/// Whether a header of this name looks as if its value were a secret.
pub fn is_telling(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    TELLING.iter().any(|part| name.contains(part)) && !HARMLESS.contains(&name.as_str())
}

/// Visits what looks like a secret in the configuration of a connection or an action, or in what an operation is called
/// with: in `headers` by the header's name, and all of `cookies`; there and in `defaults`. With its JSON Pointer.
pub fn visit_clear(config: &mut JsonObject, visit: &mut dyn FnMut(&str, &mut Value)) {
    visit_part(config, "", visit);
    if let Some(Value::Object(defaults)) = config.get_mut("defaults") {
        visit_part(defaults, "/defaults", visit);
    }
}

/// Puts [`HIDDEN`] in the place of each of these.
pub fn hide_clear(config: &mut JsonObject) {
    visit_clear(config, &mut |_, value| *value = HIDDEN.into());
}

fn visit_part(part: &mut JsonObject, at: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    for (section, is_wanted) in [("headers", is_telling as fn(&str) -> bool), ("cookies", |_| true)] {
        let Some(Value::Object(members)) = part.get_mut(section) else { continue };
        for (name, value) in members.iter_mut().filter(|(name, _)| is_wanted(name)) {
            let at = format!("{at}/{section}/{}", name.replace('~', "~0").replace('/', "~1"));
            match value {
                Value::Array(items) => {
                    for (index, item) in items.iter_mut().enumerate().filter(|(_, item)| is_literal(item)) {
                        visit(&format!("{at}/{index}"), item);
                    }
                }
                value if is_literal(value) => visit(&at, value),
                _ => {}
            }
        }
    }
}

/// Whether something is written there: more than a scheme and what the input puts in the place of `{{name}}`.
fn is_literal(value: &Value) -> bool {
    let Value::String(text) = value else { return value.is_number() };
    let mut rest = text.as_str();
    let mut own = String::new();
    while let Some((before, after)) = rest.split_once("{{") {
        own.push_str(before);
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    own.push_str(rest);
    let own = own.trim();
    !own.is_empty()
        && !["bearer", "basic", "token", "apikey"].iter().any(|scheme| own.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(config: Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut config = config.as_object().unwrap().clone();
        visit_clear(&mut config, &mut |pointer, _| found.push(pointer.to_owned()));
        found
    }

    #[test]
    fn what_looks_like_a_secret_is_found_wherever_headers_stand() {
        let headers = json!({
            "Authorization": "Bearer x", "proxy-authorization": "x", "Cookie": "a=b", "X-API-Key": 5, "x/Secret": "s",
            "X-Auth-Token": ["a", "b"], "Accept": "text/plain", "Idempotency-Key": "a", "X-Key": null, "X-Token": "",
        });
        let names = [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "X-API-Key",
            "x~1Secret",
            "X-Auth-Token/0",
            "X-Auth-Token/1",
        ];
        let at = |part: &str| names.map(|name| format!("{part}/headers/{name}")).to_vec();
        assert_eq!(found(json!({ "headers": headers })), at(""));
        assert_eq!(found(json!({ "defaults": { "headers": headers } })), at("/defaults"));
        assert_eq!(found(json!({ "cookies": {"sid": "x", "off": null} })), ["/cookies/sid"]);
        assert!(
            found(json!({ "headers": "x", "cookies": ["y"], "other": { "headers": headers } })).is_empty()
        );
    }

    #[test]
    fn what_the_input_gives_is_not_written_in_clear() {
        for (value, is_one) in [
            ("{{token}}", false),
            ("Bearer {{token}}", false),
            ("bearer  {{ a }}{{b}}", false),
            ("Bearer", false),
            ("Bearer abc", true),
            ("abc{{token}}", true),
            ("Bearer {{a}} x", true),
            ("{{open", false),
        ] {
            assert_eq!(!found(json!({"headers": {"Authorization": value}})).is_empty(), is_one, "{value}");
        }
    }
}
