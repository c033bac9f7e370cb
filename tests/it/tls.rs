//! `network.tls`, against TLS servers of Python's: whom a connection trusts, what it shows of itself, and to whom.
//!
//! Invariant: what was negotiated is the server's word, not the client's.

use openact::{ErrorCode, OpenAct};
use serde_json::{Value, json};
use support::{
    ca::{CLIENT_SUBJECT, INTERNAL_NAME, Identity, OTHER_NAME, pki},
    servers::verifier,
};

use crate::{
    logged::Logged,
    setup::{Via, failure, memory, value},
};

async fn openact(via: Via, base: &str, tls: Value) -> OpenAct {
    let connection = json!({"base_url": base, "network": {"tls": tls}, "timeout": {"connect_ms": 5_000, "read_ms": 5_000}});
    via.build(memory(&[]), connection, json!({})).await
}

/// What the server says it saw.
async fn seen(via: Via, base: &str, tls: Value) -> Value {
    let openact = openact(via, &format!("{base}/echo"), tls).await;
    let answer = value(&openact, via.action(), json!({})).await;
    assert_eq!(answer["status_code"], 200, "{answer}");
    match &answer["body"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        body => body.clone(),
    }
}

/// The message of a handshake that must fail.
async fn refused(via: Via, base: &str, tls: Value) -> String {
    let openact = openact(via, &format!("{base}/echo"), tls).await;
    let (error, run) = failure(&openact, via.action(), json!({})).await;
    assert_eq!(error.code, ErrorCode::NetworkError, "{via:?} {base}: {error:?}");
    assert_eq!(run.host_calls[0].outcome, "network_error");
    format!("{} {}", error.message, error.hint.as_deref().unwrap_or_default())
}

fn with_identity(identity: &Identity) -> Value {
    json!({"ca": pki().ca.text, "client_cert": identity.cert.text, "client_key": identity.key.text})
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_alone() {
    let (own, foreign) = (&pki().ca.text, &pki().foreign_ca.text);
    for via in Via::BOTH {
        for tls in [
            json!({"ca": own}),
            json!({"ca": own, "ca_only": true}),
            json!({"ca": format!("{foreign}{own}")}),
        ] {
            let seen = seen(via, &verifier().https(), tls).await;
            assert_eq!(seen["tls"]["version"], "TLSv1.3");
        }
        let none = refused(via, &verifier().https(), json!({})).await;
        assert!(none.contains("UnknownIssuer") && none.contains("network: { tls: { ca: "), "{none}");
        for tls in [json!({"ca": foreign}), json!({"ca": foreign, "ca_only": true})] {
            let why = refused(via, &verifier().https(), tls).await;
            assert!(why.contains("UnknownIssuer"), "{why}");
        }
        let why = refused(via, &verifier().foreign(), json!({"ca": own})).await;
        assert!(why.contains("UnknownIssuer"), "{why}");
    }
}

#[tokio::test]
async fn what_is_no_certificate_fails_before_any_dial_unquoted() {
    let key = &pki().client.key.text;
    let secret = key.lines().nth(1).unwrap();
    for tls in [
        json!({"ca": "no PEM"}),
        json!({"ca": key}),
        json!({"ca": pki().ca.text, "client_cert": "no PEM", "client_key": key}),
        json!({"ca": pki().ca.text, "client_cert": pki().client.cert.text, "client_key": "no PEM"}),
        json!({"ca": pki().ca.text, "client_cert": pki().foreign_client.cert.text, "client_key": key}),
    ] {
        let realm = verifier().realm();
        let openact = openact(Via::Contract, &format!("{}/echo", realm.on(&verifier().https())), tls).await;
        let (error, _) = failure(&openact, "http/send", json!({})).await;
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{error:?}");
        assert!(error.message.contains("network.tls"), "{}", error.message);
        assert!(!format!("{error:?} {}", error.to_json()).contains(secret));
        assert_eq!(realm.requests().await, 0);
    }
}

#[tokio::test]
async fn a_client_certificate_opens_what_wants_one() {
    for via in Via::BOTH {
        let seen = seen(via, &verifier().mtls(), with_identity(&pki().client)).await;
        assert!(seen["tls"]["client"].to_string().contains("openact-client"), "{seen}");
        for tls in [
            json!({"ca": pki().ca.text}),
            with_identity(&pki().foreign_client),
            with_identity(&pki().expired_client),
        ] {
            let why = refused(via, &verifier().mtls(), tls).await;
            assert!(why.contains("client_cert"), "{why}");
        }
    }
    let openact =
        openact(Via::Contract, &format!("{}/mtls", verifier().mtls()), with_identity(&pki().client)).await;
    assert_eq!(value(&openact, "http/send", json!({})).await["body"]["as"], CLIENT_SUBJECT);
}

#[tokio::test]
async fn c3_the_client_certificate_is_shown_to_its_own_origin_alone() {
    let (own, other) = (verifier().mtls(), verifier().https());
    let mut tls = with_identity(&pki().client);
    tls["ca_only"] = true.into();
    let connection = json!({
        "base_url": format!("{other}/echo"), "network": {"tls": tls, "allowed_hosts": [own]},
    });
    // The one that may be reached beside its own would not let anyone in without a certificate.
    let openact = Via::Wasi.build(memory(&[]), connection, json!({"url": format!("{own}/mtls")})).await;
    let (error, _) = failure(&openact, "wasi-http/send", json!({})).await;
    assert_eq!(error.code, ErrorCode::NetworkError, "{error:?}");
}

#[tokio::test]
async fn a_server_name_stands_for_the_host_in_tls_and_nowhere_else() {
    for via in Via::BOTH {
        let tls = json!({"ca": pki().ca.text, "server_name": OTHER_NAME});
        let seen = seen(via, &verifier().other_name(), tls.clone()).await;
        assert_eq!(seen["tls"]["sni"], OTHER_NAME, "{seen}");
        let headers: Vec<(String, String)> = serde_json::from_value(seen["headers"].clone()).unwrap();
        let host: Vec<_> = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).collect();
        assert_eq!(host.len(), 1);
        assert_eq!(host[0].1, verifier().other_name().replace("https://", ""));
        for (base, tls) in [
            (verifier().other_name(), json!({"ca": pki().ca.text})),
            (verifier().other_name(), json!({"ca": pki().ca.text, "server_name": INTERNAL_NAME})),
            (verifier().https(), tls),
        ] {
            let why = refused(via, &base, tls).await;
            assert!(why.contains("not valid for") || why.contains("NotValidForName"), "{why}");
        }
    }
}

#[tokio::test]
async fn the_lowest_version_holds() {
    for via in Via::BOTH {
        let with = |version: &str| json!({"ca": pki().ca.text, "min_version": version});
        for tls in [with("1.2"), json!({"ca": pki().ca.text})] {
            assert_eq!(seen(via, &verifier().tls12(), tls).await["tls"]["version"], "TLSv1.2");
        }
        assert_eq!(seen(via, &verifier().https(), with("1.3")).await["tls"]["version"], "TLSv1.3");
        let why = refused(via, &verifier().tls12(), with("1.3")).await;
        assert!(why.to_lowercase().contains("version"), "{why}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused() {
    for via in Via::BOTH {
        let why = refused(via, &verifier().expired(), json!({"ca": pki().ca.text})).await;
        assert!(why.to_lowercase().contains("expired"), "{why}");
    }
}

#[tokio::test]
async fn no_verification_is_possible_and_loud() {
    for via in Via::BOTH {
        for base in [verifier().expired(), verifier().foreign(), verifier().other_name()] {
            let logged = Logged::start();
            seen(via, &base, json!({"verify": false})).await;
            let warnings = logged.lines("network.tls.verify is false");
            assert!(warnings.len() == 1 && warnings[0].contains("WARN"), "{warnings:?}");
            assert!(warnings[0].contains(&base), "{warnings:?}");
        }
    }
}
