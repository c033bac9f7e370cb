//! What a configuration file says, once it is known to be right, and what is needed to know that.
//!
//! Invariant: no clear-text secret is in a draft's `config`, and `Debug` shows no value of a configuration at all.

use std::{fmt, path::Path, sync::Arc};

use openact_core::{
    ConnectorName, Error, JsonObject, Name, Place, Result, manifest::Manifest, secret::TakenSecret,
};
use serde_json::Value;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
    /// `.toml`
    Toml,
}

impl Format {
    /// The format that the extension of `path` says.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            "toml" => Ok(Self::Toml),
            _ => Err(Error::invalid_config(format!("the format of '{}' is not known", path.display()))
                .hint("name the file .yaml, .yml, .json or .toml")),
        }
    }
}

/// A whole file.
#[derive(Debug, Default)]
pub struct Document {
    /// In the order of the file.
    pub connections: Vec<ConnectionDraft>,
    /// In the order of the file.
    pub actions: Vec<ActionDraft>,
    /// What is no mistake and should be changed all the same, each with its place.
    pub warnings: Vec<String>,
}

/// A connection as a file describes it; it has no version yet.
pub struct ConnectionDraft {
    /// Its connector.
    pub connector: ConnectorName,
    /// Its name.
    pub name: Name,
    /// Its configuration. A secret that was written in clear is `{"$secret": "<its JSON Pointer>"}` here.
    pub config: JsonObject,
    /// The secrets that were written in clear.
    pub secrets: Vec<TakenSecret>,
    /// Where its name stands; known if some action of the file names a connection outside of it.
    pub place: Option<Place>,
}

/// An action as a file describes it; it has no version yet.
pub struct ActionDraft {
    /// Its connector.
    pub connector: ConnectorName,
    /// Its name.
    pub name: Name,
    /// The connection it runs over, of the same connector. It may be outside of the file.
    pub connection: Name,
    /// Its configuration.
    pub config: JsonObject,
    /// Whether it is an MCP tool.
    pub mcp_enabled: bool,
    /// The rest of `mcp`, if there is any.
    pub mcp_overrides: Option<Value>,
    /// Where its name stands; always known if its connection is outside of the file.
    pub place: Option<Place>,
}

/// What reading a file depends on besides its text.
pub struct Context<'a> {
    /// The environment variables that `${VAR}` may name.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The manifest of a connector, asked once per connector and file.
    pub manifest: &'a dyn Fn(&ConnectorName) -> Option<Arc<Manifest>>,
    /// Every connector there is, to suggest one.
    pub connectors: &'a [ConnectorName],
    /// What becomes of `${VAR}` where a secret is expected.
    pub secrets: SecretsMode,
    /// Says what is wrong with what a kind makes of a connection that fits its schema, which only a template's can be.
    pub made_of: &'a dyn Fn(&ConnectorName, &JsonObject) -> Result<()>,
}

/// What becomes of `${VAR}` where a secret is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretsMode {
    /// Its value is taken now, to be sealed.
    #[default]
    Seal,
    /// It becomes `{"$env": "VAR"}`, read at call time; the variable need not be set yet.
    Reference,
}

impl fmt::Debug for ConnectionDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionDraft")
            .field("connector", &self.connector)
            .field("name", &self.name)
            .field("config", &self.config.keys())
            .field("secrets", &self.secrets)
            .field("place", &self.place)
            .finish()
    }
}

impl fmt::Debug for ActionDraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionDraft")
            .field("connector", &self.connector)
            .field("name", &self.name)
            .field("connection", &self.connection)
            .field("config", &self.config.keys())
            .field("mcp_enabled", &self.mcp_enabled)
            .field("place", &self.place)
            .finish()
    }
}
