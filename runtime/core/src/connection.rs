//! A connection: where and as whom. Its configuration is the connector's own fields and the sections the host owns.
//!
//! Invariant: what the guest sees ([`ConnectionParts::guest`]) holds no host-owned section and no secret.

use serde_json::{Value, json};

use crate::{
    ConnectionTrn, Error, JsonObject, Result, Timestamp,
    manifest::Manifest,
    policies::{self, Policies, RateLimit, section, take_sections},
    policy::{Origin, Scheme},
    schema::SchemaView,
    secret::{SecretRef, visit_secrets},
    seeds::SeedList,
};

/// One stored version of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRecord {
    /// Its identity.
    pub trn: ConnectionTrn,
    /// Its configuration; secrets only as references.
    pub config: JsonObject,
    /// When this version was made.
    pub created_at: Timestamp,
    /// When this row was last written.
    pub updated_at: Timestamp,
}

/// A connection's configuration, taken apart.
#[derive(Clone, Debug, Default)]
pub struct ConnectionParts {
    /// What the connector is given: its own fields, without secrets.
    pub guest: JsonObject,
    /// `authorization`, with secrets as references.
    pub authorization: JsonObject,
    /// `auth_ref`: a stored credential that stands for `authorization`.
    pub auth_ref: Option<String>,
    /// `defaults`: merged under every action, without the host's sections.
    pub defaults: JsonObject,
    /// The host's sections, as [`Policies::of`] merges them with an action's: the connection's, then its defaults'.
    pub sections: [JsonObject; 2],
    /// `rate_limit`
    pub rate_limit: Option<RateLimit>,
    /// What it may reach, but for `network.allowed_hosts` of an action, and what `seeds` lists.
    pub origins: Vec<Origin>,
    /// Where its hosts are listed, if it names none itself.
    pub seeds: Option<SeedList>,
    /// Where a credential may go: the origin of the first URL in the connector's own fields.
    pub credential_origin: Option<Origin>,
    /// The connector's own secret fields, by their names (`password`, `tls/key`): what it may use without seeing it.
    pub secrets: Vec<(String, SecretRef)>,
}

/// Keys of a connection that belong to the host, beside the sections of [`crate::policies`].
const HOST_KEYS: &[&str] = &["description", "authorization", "auth_ref", "defaults", "rate_limit"];

impl ConnectionParts {
    /// Takes `config` apart for the connector that `manifest` describes.
    pub fn of(config: &JsonObject, manifest: &Manifest) -> Result<Self> {
        let mut guest = config.clone();
        let own = take_sections(&mut guest);
        let mut host: JsonObject =
            HOST_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), guest.shift_remove(*key)?))).collect();
        let mut defaults: JsonObject = section(&mut host, "defaults")?;
        let sections = [own, take_sections(&mut defaults)];
        // What is wrong with them is said when the connection is read, and not at its first call.
        Policies::of(&sections)?;
        let mut origins = Vec::new();
        collect_origins(&Value::Object(guest.clone()), &manifest.connection_schema, &mut origins)?;
        let mut secrets = Vec::new();
        visit_secrets(&mut guest, &SchemaView::new(&manifest.connection_schema), &mut |pointer, value| {
            let reference = SecretRef::from_json(&value.take());
            secrets
                .extend(reference.map(|reference| (pointer.trim_start_matches('/').to_owned(), reference)));
        });
        guest.retain(|_, value| !value.is_null());
        Ok(Self {
            seeds: SeedList::of(&guest, &manifest.connection_schema, !origins.is_empty())?,
            guest,
            authorization: section(&mut host, "authorization")?,
            auth_ref: section(&mut host, "auth_ref")?,
            defaults,
            sections,
            rate_limit: section(&mut host, "rate_limit")?,
            credential_origin: origins.iter().find(|origin| origin.scheme() != Scheme::Tcp).cloned(),
            origins,
            secrets,
        })
    }
}

/// Every URL at a place of format "uri", and every host at a place with `x-endpoint`, names an origin the operator chose
/// to talk to. `x-endpoint` is `{"port": the field beside it that holds the port, "default_port": else this one}`.
fn collect_origins(value: &Value, schema: &Value, origins: &mut Vec<Origin>) -> Result<()> {
    fn walk(value: &Value, view: &SchemaView<'_>, origins: &mut Vec<Origin>) -> Result<()> {
        match value {
            Value::String(text) if view.has_format("uri") => {
                // The text may hold a password, so no message quotes it.
                let url = url::Url::parse(text).map_err(|error| {
                    Error::invalid_config(format!("a URL of the connection is malformed: {error}"))
                })?;
                let origin = Origin::of(&url).ok_or_else(|| {
                    Error::invalid_config("a URL of the connection is not an http or https URL with a host")
                })?;
                if !url.username().is_empty() || url.password().is_some() {
                    return Err(Error::invalid_config(
                        "a URL of a connection must not hold a user name or password",
                    )
                    .hint("use authorization: { type: basic, username: …, password: … }"));
                }
                origins.push(origin);
            }
            Value::Object(object) => {
                for (key, value) in object {
                    let Some(child) = view.property(key) else { continue };
                    match (value, child.annotation("x-endpoint")) {
                        (Value::String(host), Some(rule)) => {
                            origins.push(endpoint(host, rule, Some(object))?)
                        }
                        _ => walk(value, &child, origins)?,
                    }
                }
            }
            Value::Array(items) => {
                let Some(child) = view.item() else { return Ok(()) };
                for item in items {
                    match (item, child.annotation("x-endpoint")) {
                        (Value::String(host), Some(rule)) => origins.push(endpoint(host, rule, None)?),
                        _ => walk(item, &child, origins)?,
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
    walk(value, &SchemaView::new(schema), origins)
}

/// The origin of a host by its rule; with the port beside it, if it is a field of `object`.
fn endpoint(host: &str, rule: &Value, object: Option<&JsonObject>) -> Result<Origin> {
    let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
    let default = rule.get("default_port").and_then(port);
    let Some(object) = object else { return Origin::parse_endpoint(host, default) };
    let beside = rule.get("port").and_then(Value::as_str).and_then(|name| object.get(name));
    let port = match beside {
        Some(beside) => port(beside),
        None => default,
    };
    Origin::endpoint(
        host,
        port.ok_or_else(|| Error::invalid_config("the connection has a host and no port"))?,
    )
}

/// The JSON Schema of a whole connection: the connector's own fields and the host's sections, closed.
pub fn connection_schema(manifest: &Manifest) -> Value {
    extend_schema(&manifest.connection_schema, host_properties())
}

/// Adds `properties` to an object schema and closes it against unknown keys.
pub(crate) fn extend_schema(schema: &Value, properties: Value) -> Value {
    let mut schema = schema.clone();
    if let (Value::Object(schema), Value::Object(more)) = (&mut schema, properties) {
        let own = schema.entry("properties").or_insert_with(|| json!({}));
        if let Value::Object(own) = own {
            own.extend(more);
        }
        schema.insert("additionalProperties".into(), Value::Bool(false));
    }
    schema
}

/// Schemas of what every connection may carry.
fn host_properties() -> Value {
    let mut properties = json!({
        "description": {"type": "string"},
        "authorization": authorization_schema(),
        "auth_ref": {"type": "string", "minLength": 1,
            "description": "a stored credential, as provider/user or its TRN, in place of authorization"},
        "defaults": {"type": "object", "description": "merged under every action of this connection"},
        "rate_limit": policies::rate_limit_schema(),
    });
    if let Value::Object(own) = &mut properties {
        own.extend(policies::properties());
    }
    properties
}

/// Kinds of `authorization`, and the fields each needs.
const AUTHORIZATION: &[(&str, &[&str])] = &[
    ("none", &[]),
    ("bearer", &["token"]),
    ("api_key", &["value"]),
    ("basic", &["username", "password"]),
    ("digest", &["username", "password"]),
    ("oauth2_client_credentials", &["token_url", "client_id", "client_secret"]),
    ("aws_sigv4", &["access_key_id", "secret_access_key", "region", "service"]),
    ("hmac", &["secret", "message", "header"]),
    ("jwt", &["key", "algorithm"]),
];

/// `algorithm` of `hmac`.
const HASHES: &[&str] = &["sha1", "sha256", "sha384", "sha512"];

/// `algorithm` of `jwt`.
const SIGNATURES: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

/// What goes for an `authorization` of type `kind`.
fn rule(kind: &str, required: &[&str]) -> Value {
    let then = match kind {
        "hmac" => json!({"required": required, "properties": {"algorithm": {"enum": HASHES}}}),
        "jwt" => json!({"required": required, "properties": {"algorithm": {"enum": SIGNATURES}},
            "if": {"properties": {"use": {"const": "grant"}}, "required": ["use"]},
            "then": {"required": ["token_url"]}}),
        _ => json!({"required": required}),
    };
    json!({"if": {"properties": {"type": {"const": kind}}}, "then": then})
}

fn authorization_schema() -> Value {
    let secret = json!({"type": ["string", "object"], "writeOnly": true});
    let text = json!({"type": "string", "minLength": 1});
    let seconds = json!({"type": "integer", "minimum": 1, "maximum": 86_400});
    let kinds: Vec<&str> = AUTHORIZATION.iter().map(|(kind, _)| *kind).collect();
    let rules: Vec<Value> = AUTHORIZATION.iter().map(|(kind, required)| rule(kind, required)).collect();
    let mut schema = json!({
        "type": "object", "x-aliases": ["auth"], "required": ["type"], "additionalProperties": false,
        "description": "the credential; the host applies it, the connector never sees it",
        "properties": {
            "type": {"enum": kinds},
            "path_prefix": {"type": "string", "pattern": "^/", "description": "send it only to paths below this one"},
            "token": secret, "value": secret, "username": {"type": "string"}, "password": secret,
            "header": text, "query": text, "cookie": text, "prefix": {"type": "string"},
        },
        "allOf": rules,
    });
    let algorithms = [HASHES, SIGNATURES].concat();
    let more = json!({
        "token_url": {"type": "string", "format": "uri"}, "client_id": text, "client_secret": secret,
        "client_auth": {"enum": ["basic", "post"], "description": "how the client is named to the token endpoint (RFC 6749 section 2.3.1)"},
        "scope": {"type": ["string", "array"], "items": text, "x-aliases": ["scopes"]}, "audience": text, "resource": text,
        "token_parameters": {"type": "object", "additionalProperties": secret, "description": "further fields of the token request"},
        "access_key_id": text, "secret_access_key": secret, "session_token": secret, "region": text, "service": text,
        "secret": secret, "secret_encoding": {"enum": ["text", "base64", "hex"]},
        "algorithm": {"enum": algorithms},
        "encoding": {"enum": ["hex", "base64", "base64url"]},
        "message": {"type": "string", "minLength": 1, "description": "what is signed: {method} {url} {host} {path} {query} {target} {body} {body_sha256} {body_sha256_base64} {timestamp} {timestamp_ms} {date} {nonce} {key_id} {header:name}"},
        "format": {"type": "string", "description": "the header's value: {signature} {timestamp} {key_id} ..."},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}, "description": "further headers, such as {timestamp}"},
        "key": secret, "key_id": text, "claims": {"type": "object"}, "lifetime_s": seconds,
        "use": {"enum": ["bearer", "grant"], "description": "send the assertion itself, or trade it for a token (RFC 7523)"},
        "issuer": text, "subject": text,
    });
    if let (Some(Value::Object(own)), Value::Object(more)) = (schema.get_mut("properties"), more) {
        own.extend(more);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, limits::CallLimits, schema::Schema};

    #[test]
    fn a_limit_above_the_highest_is_refused_not_lowered() {
        let schema = extend_schema(&json!({"type": "object"}), Value::Object(policies::properties()));
        let schema = Schema::compile(&schema, "it").unwrap();
        let fits = |bytes: u64| schema.accepts(&json!({"limits": {"memory_bytes": bytes}}));
        assert!(fits(CallLimits::MAX.memory_bytes));
        assert!(!fits(CallLimits::MAX.memory_bytes + 1));
    }

    #[test]
    fn an_authorization_has_what_its_type_needs() {
        let schema = Schema::compile(&authorization_schema(), "it").unwrap();
        let hmac = json!({"type": "hmac", "secret": "s", "message": "m", "header": "h"});
        let jwt = json!({"type": "jwt", "key": "k", "algorithm": "ES256"});
        let with = |section: &Value, key: &str, value: &str| {
            let mut section = section.clone();
            section[key] = value.into();
            section
        };
        let grant = with(&jwt, "use", "grant");
        let url = "https://id.example.com/token";
        for fits in [
            &hmac,
            &jwt,
            &with(&hmac, "algorithm", "sha1"),
            &with(&jwt, "use", "bearer"),
            &with(&grant, "token_url", url),
            // RFC 7617 section 2: either half may be empty.
            &json!({"type": "basic", "username": "", "password": ""}),
        ] {
            assert!(schema.accepts(fits), "{fits}");
        }
        for wrong in [
            &json!({"type": "hmac"}),
            &json!({"type": "basic", "username": "u"}),
            &json!({"token": "t"}),
            &with(&hmac, "algorithm", "HS256"),
            &with(&jwt, "algorithm", "sha256"),
            &grant,
        ] {
            assert!(!schema.accepts(wrong), "{wrong}");
        }
    }

    fn manifest(connection_schema: Value) -> Manifest {
        serde_json::from_value(json!({
            "name": "it", "version": "1", "summary": "", "operations": [], "default_operation": "", "needs": [],
            "connection_schema": connection_schema,
        }))
        .unwrap()
    }

    #[test]
    fn a_connection_grants_byte_streams_to_its_own_hosts_and_names_its_secrets() {
        let manifest = manifest(json!({"properties": {
            "host": {"x-endpoint": {"port": "port", "default_port": 5432}}, "port": {}, "password": {"writeOnly": true},
            "hosts": {"items": {"x-endpoint": {"default_port": 27017}}},
        }}));
        let parts = |config: Value| ConnectionParts::of(config.as_object().unwrap(), &manifest);
        let origins = |config: Value| -> Vec<String> {
            parts(config).unwrap().origins.iter().map(Origin::to_string).collect()
        };
        assert_eq!(origins(json!({"host": "db"})), ["tcp://db:5432"]);
        assert_eq!(origins(json!({"host": "db", "port": 1})), ["tcp://db:1"]);
        assert_eq!(origins(json!({"host": "::1", "port": 1})), ["tcp://[::1]:1"]);
        assert_eq!(origins(json!({"hosts": ["a", "b:1"]})), ["tcp://a:27017", "tcp://b:1"]);
        for config in [json!({"host": "db", "port": 0}), json!({"host": "/run/x"}), json!({"hosts": ["a:x"]})]
        {
            assert_eq!(parts(config.clone()).unwrap_err().code, ErrorCode::InvalidConfig, "{config}");
        }
        let parts = parts(json!({"host": "db", "password": {"$env": "PW"}})).unwrap();
        assert_eq!(parts.secrets, [("password".to_owned(), SecretRef::Env("PW".into()))]);
        assert_eq!((parts.guest.get("password"), parts.credential_origin), (None, None));
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_being_quoted() {
        let manifest = manifest(json!({"properties": {"base_url": {"format": "uri"}}}));
        for url in
            ["https://u:hunter2@example.com", "https://u:hunter2@example.com:99999", "ftp://u:hunter2@x"]
        {
            let config = json!({"base_url": url});
            let error = ConnectionParts::of(config.as_object().unwrap(), &manifest).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{url}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
