//! The npm package oidc-provider with `client_credentials`: a token endpoint of somebody else's making, and an issuer of JWTs.
//!
//! Invariant: its tokens live [`Oidc::TOKEN_SECONDS`], but for JWTs: those for another resource than `urn:api`.

use std::{process::Command, sync::OnceLock};

use super::{
    brought, needed, node_bin, own,
    process::{Process, answers},
};

/// A running provider.
pub struct Oidc {
    /// `http://127.0.0.1:PORT`
    pub issuer: String,
    /// The token endpoint.
    pub token_url: String,
    /// Where a token is asked after (RFC 7662), by a client.
    pub introspection_url: String,
    /// Where a token is revoked (RFC 7009), by its client.
    pub revocation_url: String,
    _process: Process,
}

impl Oidc {
    /// How long a token is good.
    pub const TOKEN_SECONDS: u64 = 3;
    /// Client and secret, by HTTP basic authentication.
    pub const CLIENT: (&str, &str) = ("svc", "svc-secret");
    /// Client and secret, in the form.
    pub const CLIENT_POST: (&str, &str) = ("svc-post", "svc-secret");
    /// By HTTP basic authentication; both have to be form-encoded first (RFC 6749 section 2.3.1).
    pub const CLIENT_ODD: (&str, &str) = ("odd client", "odd+secret %&=:");
    /// The scope a client may ask for.
    pub const SCOPE: &str = "api.read";
}

/// The provider of this process.
pub fn oidc() -> &'static Oidc {
    static STARTED: OnceLock<Oidc> = OnceLock::new();
    STARTED.get_or_init(|| {
        let (process, _, port) = Process::start(
            "oidc-provider",
            |start| {
                let node_packages = needed(brought().join("node/node_modules"));
                let mut command = Command::new(node_bin());
                command
                    .arg(own("op.mjs"))
                    .arg(node_packages.parent().unwrap())
                    .args([start.port.to_string(), Oidc::TOKEN_SECONDS.to_string()]);
                command
            },
            |start| answers(start.port, "/.well-known/openid-configuration"),
        );
        let issuer = format!("http://127.0.0.1:{port}");
        Oidc {
            token_url: format!("{issuer}/token"),
            introspection_url: format!("{issuer}/token/introspection"),
            revocation_url: format!("{issuer}/token/revocation"),
            issuer,
            _process: process,
        }
    })
}
