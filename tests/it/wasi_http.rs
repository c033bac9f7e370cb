//! A component that sends by `wasi:http/outgoing-handler`, as those of other toolchains do.
//!
//! Invariant: `wasi:http` opens nothing that the connection does not grant.

use openact::{ErrorCode, Format};
use serde_json::json;
use support::{guests::guest, upstream::Upstream};

use crate::setup::{config, failure, memory};

#[tokio::test]
async fn wasi_http_guest_loads() {
    let (own, other) = (Upstream::json("{}").await, Upstream::json("{}").await);
    let send =
        json!({"send": {"url": other.url(), "method": "POST", "body": "text", "headers": {"x-own": "1"}}});
    let file = config("wasi-http", json!({"base_url": own.url()}), send);
    let openact = memory(&[])
        .connector_bytes(guest("wasi-http"))
        .config_text(file, Format::Json)
        .build()
        .await
        .unwrap();
    let (error, _) = failure(&openact, "wasi-http/send", json!({})).await;
    assert_eq!(error.code, ErrorCode::EgressDenied, "{error:?}");
    assert_eq!((own.connections(), other.connections()), (0, 0));
}
