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
