//! What a connector says about itself, checked once when its component is loaded.
//!
//! Invariant: a [`Manifest`] that exists is consistent: legal names, at least one operation, a default that is one
//! of them, schemas that are JSON objects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConnectorName, Error, Result};

/// The `describe` of a connector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The connector's name.
    pub name: ConnectorName,
    /// Its semantic version, as it says.
    pub version: String,
    /// One line.
    pub summary: String,
    /// JSON Schema of its own fields of a connection.
    pub connection_schema: Value,
    /// What it can do.
    pub operations: Vec<Operation>,
    /// The operation of an action that names none.
    pub default_operation: String,
    /// Host functions it uses.
    pub needs: Vec<Capability>,
}

/// One thing a connector can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// One line.
    pub summary: String,
    /// JSON Schema of an action's configuration.
    pub action_schema: Value,
    /// JSON Schema of the input where the action declares none.
    pub input_schema: Value,
    /// JSON Schema of the result.
    pub output_schema: Option<Value>,
    /// Keys of the action that a caller may set through the input.
    pub overridable: Vec<String>,
    /// The effect on the other system.
    pub effect: Effect,
    /// Whether running it twice is the same as running it once.
    pub idempotent: bool,
}

/// What an operation does to the other system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads only.
    Read,
    /// Creates or changes.
    Write,
    /// May destroy what cannot be brought back.
    Destructive,
}

/// A group of host functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// `http`
    Http,
    /// `sockets`
    Sockets,
    /// `credentials.reveal`
    RevealCredential,
    /// `state`
    State,
    /// `output`
    Emit,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Sockets => "sockets",
            Self::RevealCredential => "reveal-credential",
            Self::State => "state",
            Self::Emit => "emit",
        })
    }
}

impl Manifest {
    /// Checks what the types do not say.
    pub fn validated(self) -> Result<Self> {
        let bad = |what: String| {
            Error::invalid_config(format!("the manifest of connector '{}' is wrong: {what}", self.name))
        };
        if self.version.is_empty() || self.version.len() > 64 {
            return Err(bad("version must be a semantic version".into()));
        }
        if !self.connection_schema.is_object() {
            return Err(bad("connection-schema must be a JSON object".into()));
        }
        if let Some(keyword) = unreadable_keyword(&self.connection_schema, 0) {
            return Err(bad(format!(
                "connection-schema uses '{keyword}', under which a secret could go unseen"
            )));
        }
        for operation in &self.operations {
            if operation.name.is_empty()
                || !operation.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            {
                return Err(bad(format!("'{}' is not an operation name ([a-z0-9-]+)", operation.name)));
            }
            for (what, schema) in
                [("action-schema", &operation.action_schema), ("input-schema", &operation.input_schema)]
            {
                if !schema.is_object() {
                    return Err(bad(format!(
                        "{what} of operation '{}' must be a JSON object",
                        operation.name
                    )));
                }
            }
        }
        if self.operation(None).is_err() {
            return Err(bad(format!(
                "default-operation '{}' is not one of its operations",
                self.default_operation
            )));
        }
        Ok(self)
    }

    /// The operation of that name, or the default one.
    pub fn operation(&self, name: Option<&str>) -> Result<&Operation> {
        let name = name.unwrap_or(&self.default_operation);
        self.operations.iter().find(|operation| operation.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.operations.iter().map(|operation| operation.name.as_str()).collect();
            Error::invalid_config(format!("connector '{}' has no operation '{name}'", self.name))
                .hint(format!("it has: {}", known.join(", ")))
        })
    }

    /// Whether the connector asks for `capability`.
    pub fn needs(&self, capability: Capability) -> bool {
        self.needs.contains(&capability)
    }
}

/// A keyword by which a schema says something of a place that [`crate::schema::SchemaView`] does not look at: a
/// `writeOnly` there would not be sealed, and would be handed to the guest.
fn unreadable_keyword(schema: &Value, depth: usize) -> Option<&'static str> {
    const KEYWORDS: &[&str] = &[
        "patternProperties",
        "prefixItems",
        "contains",
        "dependentSchemas",
        "unevaluatedProperties",
        "unevaluatedItems",
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
    ];
    const DEPTH_MAX: usize = 12;
    let schema = schema.as_object()?;
    if depth > DEPTH_MAX {
        return Some("deeper nesting");
    }
    if let Some(keyword) = KEYWORDS.iter().find(|keyword| schema.contains_key(**keyword)) {
        return Some(keyword);
    }
    if schema
        .get("$ref")
        .is_some_and(|target| !target.as_str().is_some_and(|target| target.starts_with("#/")))
    {
        return Some("$ref");
    }
    schema.iter().find_map(|(key, value)| match (key.as_str(), value) {
        ("properties" | "$defs", Value::Object(named)) => {
            named.values().find_map(|schema| unreadable_keyword(schema, depth + 1))
        }
        ("default" | "const" | "enum" | "examples", _) => None,
        (_, Value::Array(parts)) => parts.iter().find_map(|part| unreadable_keyword(part, depth + 1)),
        (_, part) => unreadable_keyword(part, depth + 1),
    })
}

/// SHA-256 of a component file, printed as `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ComponentDigest(pub [u8; 32]);

impl ComponentDigest {
    /// The digits alone, for a file name.
    pub fn hex(&self) -> String {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl fmt::Display for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for ComponentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ComponentDigest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid_input("not a component digest").hint("expected sha256: and 64 hexadecimal digits")
        };
        let hex =
            text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.is_ascii()).ok_or_else(bad)?;
        let mut digest = [0; 32];
        for (byte, index) in digest.iter_mut().zip((0..64).step_by(2)) {
            let pair = hex.get(index..index + 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn validated(connection_schema: Value) -> Result<Manifest> {
        let operation = json!({
            "name": "get", "summary": "", "action_schema": {}, "input_schema": {}, "output_schema": null,
            "overridable": [], "effect": "read", "idempotent": true,
        });
        let manifest = json!({
            "name": "it", "version": "1.0.0", "summary": "", "connection_schema": connection_schema,
            "operations": [operation], "default_operation": "get", "needs": [],
        });
        serde_json::from_value::<Manifest>(manifest).unwrap().validated()
    }

    #[test]
    fn a_schema_that_could_hide_a_secret_is_refused() {
        let secret = json!({"type": "string", "writeOnly": true});
        let fine = json!({"properties": {"contains": secret, "b": {"$ref": "#/$defs/B"}}, "$defs": {"B": {"items": secret}}});
        assert!(validated(fine).is_ok());
        for hidden in [
            json!({"patternProperties": {"^key_": secret}}),
            json!({"properties": {"a": {"prefixItems": [secret]}}}),
            json!({"allOf": [{"dependentSchemas": {"a": {"properties": {"b": secret}}}}]}),
            json!({"properties": {"a": {"$ref": "#a"}}, "$defs": {"a": {"$anchor": "a", "writeOnly": true}}}),
        ] {
            assert_eq!(
                validated(hidden.clone()).unwrap_err().code,
                crate::ErrorCode::InvalidConfig,
                "{hidden}"
            );
        }
    }

    #[test]
    fn a_digest_prints_as_it_was_read() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(text.parse::<ComponentDigest>().unwrap().to_string(), text);
        for bad in ["", "sha256:", "md5:00", "sha256:zz", &text[..70]] {
            assert!(bad.parse::<ComponentDigest>().is_err(), "{bad}");
        }
    }
}
