//! What must not be shown, and how configuration refers to it.
//!
//! | at the place of a secret | is |
//! |---|---|
//! | `{"$secret": "name"}` | one sealed in the store: set by hand, or brought along by a file |
//! | `{"$env": "VAR"}`, `{"$file": "path"}` | read by the runtime at call time |
//! | `vault://mount/path#/pointer` | a key of a secret in HashiCorp Vault's KV v2, read at call time |
//! | any other value | the secret itself, sealed on the way in |
//!
//! Of a Vault reference the mount is one segment and the path at least one; the pointer (RFC 6901) reaches into the
//! secret's data, and without one that data must have exactly one key. Text that starts as one and does not go on as
//! one is a mistake, never a secret.
//!
//! Invariant: a secret in memory is a [`SecretString`], which has no `Display`, no `Serialize` and a redacting
//! `Debug`, and is zeroed when dropped; a secret in configuration is a [`SecretRef`], never the value.

pub use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::{Error, JsonObject, Result, schema::SchemaView};

/// Whether two secrets are the same, in a time that says nothing of where they differ.
pub fn same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret().as_bytes().ct_eq(b.expose_secret().as_bytes()).into()
}

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// `{"$secret": "name"}`: sealed in the store.
    Stored(String),
    /// `{"$env": "VAR"}`: an environment variable of the runtime, read at call time.
    Env(String),
    /// `{"$file": "path"}`: a file, read at call time.
    File(String),
    /// `vault://mount/path#/pointer`: a value of HashiCorp Vault, KV v2, read at call time.
    Vault {
        /// Where the secrets engine is mounted: one segment.
        mount: String,
        /// The secret: segments with `/` between them.
        path: String,
        /// JSON Pointer into the secret's data. Without one the data must have exactly one key, whose value it is.
        pointer: Option<String>,
    },
}

/// What a Vault reference starts with.
const VAULT: &str = "vault://";

impl SecretRef {
    /// Reads the JSON form; none if `value` is not one.
    pub fn from_json(value: &Value) -> Option<Self> {
        if let Value::String(text) = value {
            return Self::parse_vault(text).and_then(Result::ok);
        }
        let object = value.as_object().filter(|object| object.len() == 1)?;
        let (key, text) = object.iter().next()?;
        let text = text.as_str()?.to_owned();
        match key.as_str() {
            "$secret" => Some(Self::Stored(text)),
            "$env" => Some(Self::Env(text)),
            "$file" => Some(Self::File(text)),
            _ => None,
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Stored(name) => json!({ "$secret": name }),
            Self::Env(name) => json!({ "$env": name }),
            Self::File(path) => json!({ "$file": path }),
            Self::Vault { mount, path, pointer: None } => json!(format!("{VAULT}{mount}/{path}")),
            Self::Vault { mount, path, pointer: Some(pointer) } => {
                json!(format!("{VAULT}{mount}/{path}#{pointer}"))
            }
        }
    }

    /// Reads a `vault://` reference: none if `text` does not start as one, an error if it does not go on as one.
    pub fn parse_vault(text: &str) -> Option<Result<Self>> {
        let start = text.get(..VAULT.len())?;
        if !start.eq_ignore_ascii_case(VAULT) {
            return None;
        }
        let (place, pointer) = match text.split_once('#') {
            Some((place, pointer)) => (place, Some(pointer)),
            None => (text, None),
        };
        let parts = place.get(VAULT.len()..).and_then(|rest| rest.split_once('/'));
        let (mount, path) = parts.unwrap_or_default();
        let well_formed = start == VAULT
            && is_vault_segment(mount)
            && path.split('/').all(is_vault_segment)
            && pointer.is_none_or(is_pointer);
        Some(if well_formed {
            let pointer = pointer.map(str::to_owned);
            Ok(Self::Vault { mount: mount.to_owned(), path: path.to_owned(), pointer })
        } else {
            Err(Error::invalid_config("not a reference to a secret in Vault")
                .hint("write vault://mount/path#/key, such as vault://secret/github#/token"))
        })
    }
}

/// A segment of a path that stands for itself: nothing to decode, no way up, no query.
fn is_vault_segment(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'%' | b'\\');
    !matches!(text, "" | "." | "..") && text.bytes().all(plain)
}

/// A JSON Pointer (RFC 6901) to something within. The empty one is the whole, and `/` the key without a name; both
/// are slips here.
fn is_pointer(text: &str) -> bool {
    let mut escaped = text.split('~').skip(1);
    text.len() > 1
        && text.starts_with('/')
        && !text.contains(char::is_control)
        && escaped.all(|rest| rest.starts_with(['0', '1']))
}

/// A secret taken out of a configuration.
#[derive(Debug)]
pub struct TakenSecret {
    /// JSON Pointer to the place it was at.
    pub pointer: String,
    /// The value.
    pub value: SecretString,
}

/// Takes every clear-text secret out of `config`: each value, the empty text too, at a place that `schema` marks `writeOnly`.
/// What `name` returns for the place's pointer is what `{"$secret": …}` will say there. References stay.
pub fn take_secrets(
    config: &mut JsonObject,
    schema: &SchemaView<'_>,
    name: impl Fn(&str) -> String,
) -> Vec<TakenSecret> {
    let mut taken = Vec::new();
    visit_secrets(config, schema, &mut |pointer, value| {
        if SecretRef::from_json(value).is_some() {
            return;
        }
        let text = match &*value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *value = SecretRef::Stored(name(pointer)).to_json();
        taken.push(TakenSecret { pointer: pointer.to_owned(), value: text.into() });
    });
    taken
}

/// Calls `visit` with the pointer and value of every place that `schema` marks `writeOnly`.
pub fn visit_secrets(
    config: &mut JsonObject,
    schema: &SchemaView<'_>,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    visit_object(config, schema, &mut String::new(), visit);
}

fn visit_object(
    object: &mut JsonObject,
    schema: &SchemaView<'_>,
    at: &mut String,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    for (key, value) in object.iter_mut() {
        if let Some(child) = schema.property(key) {
            visit_value(value, &child, &key.replace('~', "~0").replace('/', "~1"), at, visit);
        }
    }
}

fn visit_value(
    value: &mut Value,
    schema: &SchemaView<'_>,
    segment: &str,
    at: &mut String,
    visit: &mut dyn FnMut(&str, &mut Value),
) {
    let length = at.len();
    at.push('/');
    at.push_str(segment);
    if schema.is_write_only() {
        if !value.is_null() {
            visit(at, value);
        }
    } else {
        match value {
            Value::Object(object) => visit_object(object, schema, at, visit),
            Value::Array(items) => {
                if let Some(child) = schema.item() {
                    for (index, item) in items.iter_mut().enumerate() {
                        visit_value(item, &child, &index.to_string(), at, visit);
                    }
                }
            }
            _ => {}
        }
    }
    at.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c10_secrets_are_the_same_byte_by_byte() {
        let is_same = |a: &str, b: &str| same(&a.into(), &b.into());
        assert!(is_same("hunter2", "hunter2") && is_same("", ""));
        for other in ["hunter", "hunter22", "Hunter2", "hunter3", ""] {
            assert!(!is_same("hunter2", other), "{other}");
        }
    }

    #[test]
    fn c9_a_secret_does_not_show() {
        let taken = TakenSecret { pointer: "/token".into(), value: "hunter2".into() };
        assert!(!format!("{taken:?}").contains("hunter2"));
    }

    #[test]
    fn vault_references_are_read_strictly_and_written_back() {
        for (text, mount, path, pointer) in [
            ("vault://secret/app#/token", "secret", "app", Some("/token")),
            ("vault://kv-2/team/a_b/c.d#/a~1b/0", "kv-2", "team/a_b/c.d", Some("/a~1b/0")),
            ("vault://secret/app", "secret", "app", None),
        ] {
            let read = SecretRef::from_json(&text.into()).unwrap();
            let pointer = pointer.map(str::to_owned);
            assert_eq!(read, SecretRef::Vault { mount: mount.into(), path: path.into(), pointer });
            assert_eq!(read.to_json(), json!(text));
        }
        for text in [
            "vault://",
            "vault://secret",
            "vault://secret/",
            "vault:///app",
            "vault://secret//app",
            "vault://secret/../app",
            "vault://secret/app?version=2",
            "vault://secret/a b",
            "vault://secret/a%2fb",
            "vault://secret/app#",
            "vault://secret/app#/",
            "vault://secret/app#token",
            "vault://secret/app#/a~2",
            "VAULT://secret/app",
        ] {
            assert!(SecretRef::parse_vault(text).unwrap().is_err(), "{text}");
            assert!(SecretRef::from_json(&text.into()).is_none(), "{text}");
        }
        for text in ["", "vault:/", "vault:/x/y", "a vault://secret/app", "vaült://x/y"] {
            assert!(SecretRef::parse_vault(text).is_none(), "{text}");
        }
    }

    #[test]
    fn secrets_are_taken_by_schema_and_references_stay() {
        let schema = json!({"properties": {
            "password": {"writeOnly": true}, "user": {"type": "string"},
            "list": {"items": {"properties": {"key": {"writeOnly": true}}}},
            "ref": {"writeOnly": true}, "vault": {"writeOnly": true},
        }});
        let mut config = json!({
            "password": "p", "user": "u", "list": [{"key": 5}], "ref": {"$env": "X"}, "vault": "vault://kv/app#/x",
        });
        let config = config.as_object_mut().unwrap();
        let taken = take_secrets(config, &SchemaView::new(&schema), |pointer| format!("s{pointer}"));
        assert_eq!(
            Value::Object(config.clone()),
            json!({
                "password": {"$secret": "s/password"}, "user": "u",
                "list": [{"key": {"$secret": "s/list/0/key"}}], "ref": {"$env": "X"}, "vault": "vault://kv/app#/x",
            })
        );
        let values: Vec<_> = taken.iter().map(|t| t.value.expose_secret()).collect();
        assert_eq!(values, ["p", "5"]);
    }
}
