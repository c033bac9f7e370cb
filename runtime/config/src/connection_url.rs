//! `url: postgres://user:password@host:5432/app?sslmode=require`: a connection's fields in one text.
//!
//! The connector says in its schema, by `x-url` at the field, what the parts of such a URL are called:
//!
//! | key of `x-url` | value |
//! |---|---|
//! | `schemes` | each scheme, and the fields it sets: `{"redis": {}, "rediss": {"tls": "require"}}` |
//! | `host`, `port`, `user`, `password`, `path` | the field the part goes to |
//! | `hosts` | in place of `host` and `port`: the field for a list of `host:port` |
//! | `srv` | schemes whose host is a name to look hosts up by, and the field for it |
//! | `query` | fields by the names of parameters |
//!
//! Invariant: nothing of the URL is lost or said twice, no message quotes it, and once it is read there is no URL left
//! that could hold a password.

use openact_core::{
    JsonObject,
    schema::{SchemaView, nearest},
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::{parse::shown, walk::Walk};

/// What is wrong with a URL, and what to do about it.
type Mistake = (String, Option<String>);

/// Puts the parts of every URL of `config` into their fields.
pub(crate) fn take_apart(walk: &mut Walk<'_>, config: &mut JsonObject, view: &SchemaView<'_>) {
    let rules =
        view.property_names().filter_map(|name| Some((name, view.property(name)?.annotation("x-url")?)));
    for (name, rule) in rules.collect::<Vec<_>>() {
        let Some(url) = config.get(name).filter(|value| !value.is_null()) else { continue };
        let at = format!("/{name}");
        if walk.failed_within(&at) {
            continue;
        }
        let key = shown(&walk.written_key(&at));
        let read = match url {
            Value::String(url) => fields_of(url, rule, view),
            _ => Err((
                "has to be text".into(),
                Some("to take it from the environment write ${VARIABLE}".into()),
            )),
        };
        config.shift_remove(name);
        match read {
            Err((message, hint)) => walk.report(&at, format!("'{key}' {message}"), hint),
            Ok(fields) => {
                for (field, value) in fields {
                    if config.get(&field).is_some_and(|own| !own.is_null()) {
                        let message =
                            format!("'{}' is in '{key}' too", shown(&walk.written_key(&format!("/{field}"))));
                        walk.report(&format!("/{field}"), message, Some("keep one of the two".into()));
                    } else {
                        walk.moved_to(&format!("/{field}"), &at);
                        config.insert(field, value);
                    }
                }
            }
        }
    }
}

/// The fields that `url` stands for.
fn fields_of(url: &str, rule: &Value, view: &SchemaView<'_>) -> Result<JsonObject, Mistake> {
    let schemes = rule.get("schemes").and_then(Value::as_object);
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| ("has no scheme".into(), Some(expected(schemes))))?;
    let of_scheme =
        schemes.and_then(|schemes| schemes.get(&scheme.to_ascii_lowercase())).ok_or_else(|| {
            (
                format!("has the scheme '{}', which is not this connector's", shown(scheme)),
                Some(expected(schemes)),
            )
        })?;
    if rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(("holds white space".into(), Some("write it percent-encoded: %20 for a space".into())));
    }
    if rest.contains('#') {
        return Err(("holds a '#'".into(), Some("in a password write it percent-encoded: %23".into())));
    }
    let srv = rule.get("srv").and_then(|srv| srv.get(scheme.to_ascii_lowercase())).and_then(Value::as_str);
    let mut fields = Fields { rule, srv, view, found: JsonObject::new() };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    for (part, text) in [("user", user), ("password", password), ("path", path)] {
        if !text.is_empty() {
            fields.part(part, text)?;
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        fields.parameter(pair)?;
    }
    fields.hosts(hosts)?;
    for (name, value) in of_scheme.as_object().into_iter().flatten() {
        // What the URL says itself is more particular.
        fields.found.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(fields.found)
}

/// The fields found so far, by the connector's rule.
struct Fields<'a> {
    rule: &'a Value,
    /// Where the host goes if it is a name to look hosts up by.
    srv: Option<&'a str>,
    view: &'a SchemaView<'a>,
    found: JsonObject,
}

impl Fields<'_> {
    fn part(&mut self, part: &str, text: &str) -> Result<(), Mistake> {
        let field = self.rule.get(part).and_then(Value::as_str);
        let field =
            field.ok_or_else(|| (format!("holds a {part}, which this connector does not take"), None))?;
        self.set(field, part, text)
    }

    fn set(&mut self, field: &str, part: &str, text: &str) -> Result<(), Mistake> {
        let value = typed(&decoded(text, part)?, self.view.property(field).as_ref());
        let value = value.ok_or_else(|| (format!("holds a {part} that is not a number"), None))?;
        self.found.insert(field.to_owned(), value);
        Ok(())
    }

    fn parameter(&mut self, pair: &str) -> Result<(), Mistake> {
        let parameters = self.rule.get("query").and_then(Value::as_object);
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(name, "parameter")?;
        let field =
            parameters.and_then(|known| known.get(&name)).and_then(Value::as_str).ok_or_else(|| {
                let known: Vec<&str> =
                    parameters.into_iter().flat_map(JsonObject::keys).map(String::as_str).collect();
                let meant = nearest(&name, known.iter().copied());
                let meant = meant.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
                let message = format!("has the parameter '{}', which is not known{meant}", shown(&name));
                (message, Some(format!("one of {}", known.join(", "))))
            })?;
        self.set(field, "parameter", text)
    }

    fn hosts(&mut self, hosts: &str) -> Result<(), Mistake> {
        if let Some(field) = self.srv {
            if hosts.is_empty() || hosts.contains([',', ':', '[']) {
                let hint = "expected one name without a port: the hosts and their ports are looked up by it";
                return Err(("does not name one host".into(), Some(hint.into())));
            }
            return self.set(field, "host", hosts);
        }
        if let Some(field) = self.rule.get("hosts").and_then(Value::as_str) {
            let list: Vec<Value> =
                hosts.split(',').filter(|host| !host.is_empty()).map(|host| json!(host)).collect();
            if list.is_empty() {
                return Err(("names no host".into(), None));
            }
            self.found.insert(field.to_owned(), list.into());
            return Ok(());
        }
        let (host, port) = match hosts.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (hosts, ""),
        };
        if host.is_empty() {
            return Err(("names no host".into(), None));
        }
        self.part("host", host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))?;
        if port.is_empty() { Ok(()) } else { self.part("port", port) }
    }
}

fn expected(schemes: Option<&JsonObject>) -> String {
    let known: Vec<String> =
        schemes.into_iter().flat_map(JsonObject::keys).map(|scheme| format!("{scheme}://")).collect();
    format!("expected {}user:password@host:port/…", known.join(" or "))
}

fn decoded(text: &str, part: &str) -> Result<String, Mistake> {
    let bad = |_| (format!("holds a {part} that is not UTF-8"), None);
    percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(bad)
}

/// `text` as the field takes it; none if it takes numbers alone and this is none.
fn typed(text: &str, view: Option<&SchemaView<'_>>) -> Option<Value> {
    let takes = |kind: &str| view.is_none_or(|view| view.allows_type(kind));
    if takes("string") {
        return Some(text.into());
    }
    match text {
        "true" | "false" if takes("boolean") => Some(json!(text == "true")),
        _ => text.parse::<i64>().ok().map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use openact_core::secret::ExposeSecret;

    use super::*;
    use crate::{
        ConnectionDraft, Format, SecretsMode,
        fixture::{env, mistakes, read, read_in},
    };

    fn file(fields: &str) -> String {
        format!(
            "connectors:\n  postgres:\n    connections:\n      db: {{base_url: \"https://x\", {fields}}}\n"
        )
    }

    fn connection(fields: &str) -> ConnectionDraft {
        read(&file(fields)).connections.remove(0)
    }

    #[test]
    fn a_url_is_its_fields_and_its_password_is_sealed() {
        let draft =
            connection("url: 'postgres://ap%40p:p%2Fw%3A1@db.example.com:6432/orders?sslmode=require'");
        let field = |name: &str| draft.config.get(name).cloned();
        assert_eq!(field("host"), Some(json!("db.example.com")));
        assert_eq!(field("port"), Some(json!(6432)));
        assert_eq!(field("user"), Some(json!("ap@p")));
        assert_eq!(field("database"), Some(json!("orders")));
        assert_eq!(field("tls"), Some(json!("require")));
        assert_eq!((field("url"), field("seeds")), (None, None));
        assert!(!format!("{:?}", draft.config).contains("p/w"), "{:?}", draft.config);
        let sealed: Vec<&str> = draft.secrets.iter().map(|secret| secret.value.expose_secret()).collect();
        assert_eq!(sealed, ["p/w:1"]);

        let text = file("url: '${DATABASE_URL}'");
        let read = read_in(&text, Format::Yaml, SecretsMode::Reference, &env).unwrap();
        assert_eq!(read.connections[0].config["host"], "db.example.com", "there is no other way to read it");
        let draft = connection("seeds: 'mongodb+srv://c.example.com'");
        assert_eq!(draft.config.get("database"), Some(&json!("c.example.com")), "a name to look hosts up by");
        let draft = connection("url: '${DATABASE_URL}', port: 1");
        assert_eq!((draft.config.get("port"), draft.secrets.len()), (Some(&json!(1)), 1));
        let draft = connection("url: 'postgress://[::1]'");
        assert_eq!(
            (draft.config.get("host"), draft.config.get("tls")),
            (Some(&json!("::1")), Some(&json!("require")))
        );
        let draft = connection("url: 'postgress://h?sslmode=prefer'");
        assert_eq!(draft.config.get("tls"), Some(&json!("prefer")), "the more particular word");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_and_never_quoted() {
        for (fields, expected) in [
            ("url: 'db.example.com/hunter2'", "'url' has no scheme"),
            ("url: 'mysql://u:hunter2@h/x'", "'url' has the scheme 'mysql', which is not this connector's"),
            ("url: 'postgres://u:hunter2@/x'", "'url' names no host"),
            ("url: 'postgres://u:hunter2@h:x/x'", "'url' holds a port that is not a number"),
            ("url: 'postgres://u:hunter2@h:99999/x'", "'url': "),
            (
                "url: 'postgres://u:hunter2@h?sslmod=require'",
                "'url' has the parameter 'sslmod', which is not known; did you mean 'sslmode'?",
            ),
            ("url: 'postgres://u:hunter2@h?sslmode=no'", "'url': "),
            ("url: 'postgres://u:hun#ter2@h'", "'url' holds a '#'"),
            ("url: 'postgres://u:%ff@h'", "'url' holds a password that is not UTF-8"),
            ("url: {$env: DATABASE_URL}", "'url' has to be text"),
            ("host: a, url: 'postgres://u:hunter2@h'", "'host' is in 'url' too"),
            ("seeds: 'mongodb://'", "'seeds' names no host"),
            ("seeds: 'mongodb+srv://c.example.com:27017'", "'seeds' does not name one host"),
            ("seeds: 'mongodb+srv://a,b'", "'seeds' does not name one host"),
            ("seeds: 'mongodb+srv://'", "'seeds' does not name one host"),
            ("seeds: 'mongodb://u@a'", "'seeds' holds a user, which this connector does not take"),
        ] {
            let found = mistakes(&file(fields));
            assert!(
                found.len() == 1
                    && found[0].split_once(' ').is_some_and(|(_, message)| message.starts_with(expected)),
                "{fields}\n{found:#?}"
            );
            assert!(!found[0].contains("hunter2"), "{found:?}");
        }
    }
}
