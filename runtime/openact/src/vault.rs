//! `vault://mount/path#/pointer`: a value of HashiCorp Vault (or OpenBao), KV version 2.
//!
//! The runtime's environment says where: `VAULT_ADDR`, `VAULT_TOKEN`, and `VAULT_NAMESPACE` if there is one. Read over the
//! same way out as everything else; who runs the process names the vault, so that it may be a private host. Invariant: a
//! vault's answer is in no message.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use openact_core::{
    Error, ErrorCode, Result,
    credential::Exchange,
    limits::VAULT_FRESH,
    policy::{EgressGrants, Origin},
    secret::{SecretRef, SecretString},
};
use openact_engine::GrantSettings;
use serde_json::Value;
use url::Url;

use crate::Shared;

const ADDRESS: &str = "VAULT_ADDR";
const TOKEN: &str = "VAULT_TOKEN";
const NAMESPACE: &str = "VAULT_NAMESPACE";

/// The value `reference` names; none if the vault has no such secret. Kept for [`VAULT_FRESH`].
pub(crate) async fn read(openact: &Shared, reference: &SecretRef) -> Result<Option<SecretString>> {
    if let Some((read_at, value)) = openact.vault.get(reference)
        && read_at.elapsed() < VAULT_FRESH
    {
        return Ok(Some(value));
    }
    let value = fetch(openact, reference).await?;
    if let Some(value) = &value {
        openact.vault.insert(reference.clone(), (Instant::now(), value.clone()));
    }
    Ok(value)
}

async fn fetch(openact: &Shared, reference: &SecretRef) -> Result<Option<SecretString>> {
    let SecretRef::Vault { mount, path, pointer } = reference else { return Ok(None) };
    let setting = |name: &str| {
        (openact.env)(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Error::auth_required(format!("{name} is not set, and the connection refers to a vault"))
                .hint("set VAULT_ADDR and VAULT_TOKEN for the process that runs openact")
        })
    };
    let url = location(&setting(ADDRESS)?, mount, path)?;
    let mut headers = HeaderMap::new();
    let header = |value: &str| {
        HeaderValue::from_str(value)
            .map_err(|_| Error::auth_required("VAULT_TOKEN cannot be sent as a header"))
    };
    let mut token = header(&setting(TOKEN)?)?;
    token.set_sensitive(true);
    headers.insert(HeaderName::from_static("x-vault-token"), token);
    headers.insert(HeaderName::from_static("x-vault-request"), HeaderValue::from_static("true"));
    if let Some(namespace) = (openact.env)(NAMESPACE) {
        headers.insert(HeaderName::from_static("x-vault-namespace"), header(&namespace)?);
    }
    let origin =
        Origin::of(&url).ok_or_else(|| Error::auth_required("VAULT_ADDR is not an http or https URL"))?;
    let egress = EgressGrants::new(vec![origin]);
    let transport = openact.engine.transport(GrantSettings { egress, ..GrantSettings::default() })?;
    let exchange = Exchange { method: Method::GET, url, headers, body: Bytes::new() };
    let answer = transport.exchange(exchange).await.map_err(unreached)?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => return Ok(None),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
            return Err(Error::auth_required(format!("the vault refuses to read {mount}/{path}"))
                .hint("check that VAULT_TOKEN is valid and its policy allows reading that path"));
        }
        status => {
            let message = format!("the vault answered {} to {mount}/{path}", status.as_u16());
            return Err(
                Error::new(ErrorCode::UpstreamError, message).with_retryable(status.is_server_error())
            );
        }
    }
    let data = serde_json::from_slice::<Value>(&answer.body)
        .ok()
        .and_then(|mut body| body.pointer_mut("/data/data").map(Value::take));
    let data = data.ok_or_else(|| {
        Error::new(
            ErrorCode::UpstreamError,
            format!("the vault's answer to {mount}/{path} is not one of KV version 2"),
        )
    })?;
    value(&data, pointer.as_deref(), &format!("{mount}/{path}"))
}

/// The settings of a connection, which a failure of its own requests names, have no effect on the way to the vault.
fn unreached(error: Error) -> Error {
    let error = error.context("the vault");
    let names_connection = error.hint.as_ref().is_some_and(|hint| hint.contains("tls"));
    match names_connection {
        true => error.hint(
            "VAULT_ADDR names the vault; its certificate must be for that name and by an authority that the system \
             openact runs on trusts",
        ),
        false => error,
    }
}

/// `VAULT_ADDR/v1/MOUNT/data/PATH`
fn location(address: &str, mount: &str, path: &str) -> Result<Url> {
    let bad = || {
        Error::auth_required("VAULT_ADDR is not a URL of a vault")
            .hint("expected such as https://vault.example:8200")
    };
    let mut url = Url::parse(address).map_err(|_| bad())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad());
    }
    url.path_segments_mut()
        .map_err(|()| bad())?
        .pop_if_empty()
        .extend(["v1", mount, "data"].into_iter().chain(path.split('/')));
    Ok(url)
}

fn value(data: &Value, pointer: Option<&str>, what: &str) -> Result<Option<SecretString>> {
    let found = match (pointer, data.as_object()) {
        (Some(pointer), _) => data.pointer(pointer),
        (None, Some(fields)) if fields.len() == 1 => fields.values().next(),
        (None, _) => {
            return Err(Error::auth_required(format!("{what} in the vault does not have exactly one key"))
                .hint("name the key: vault://mount/path#/key"));
        }
    };
    Ok(match found {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone().into()),
        Some(other) => Some(other.to_string().into()),
    })
}

#[cfg(test)]
mod tests {
    use openact_core::secret::ExposeSecret;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_is_that_of_kv_version_2() {
        let url = |address: &str| location(address, "secret", "app/db x").unwrap().to_string();
        assert_eq!(url("https://vault:8200"), "https://vault:8200/v1/secret/data/app/db%20x");
        assert_eq!(url("http://vault/prefix/"), "http://vault/prefix/v1/secret/data/app/db%20x");
        assert!(location("vault:8200", "m", "p").is_err());
        assert!(location("https://u:p@vault", "m", "p").is_err());
    }

    #[test]
    fn what_is_advised_of_a_vault_has_an_effect_on_it() {
        let failed = |hint: &str| Error::new(ErrorCode::NetworkError, "x").hint(hint);
        let advised = |hint: &str| unreached(failed(hint)).hint.clone().unwrap();
        for of_connection in
            ["add to the connection: network: { tls: { ca: PEM } }", "set network.tls.server_name"]
        {
            assert!(advised(of_connection).contains("VAULT_ADDR"), "{of_connection}");
        }
        assert_eq!(advised("another"), "another");
    }

    #[test]
    fn a_value_by_pointer_or_the_only_one() {
        let get = |data: Value, pointer: Option<&str>| {
            value(&data, pointer, "x").map(|found| found.map(|secret| secret.expose_secret().to_owned()))
        };
        assert_eq!(get(json!({"a": "1"}), None).unwrap().as_deref(), Some("1"));
        assert_eq!(get(json!({"a": "1", "b": {"c": 2}}), Some("/b/c")).unwrap().as_deref(), Some("2"));
        assert_eq!(get(json!({"a": "1"}), Some("/z")).unwrap(), None);
        assert!(get(json!({"a": "1", "b": "2"}), None).is_err());
    }
}
