//! A component that its author wrote against `wit/v0.1` with plain `wit-bindgen`, without the SDK.
//!
//! Invariant: it is treated like any other: given, installed, reloaded from the database, refused a bundled name.

use openact::{Capability, ConnectorSource, ErrorCode, Format, ImportOptions, MasterKey, Replacing, Tenant};
use serde_json::json;
use support::{guests::guest, upstream::Upstream};

use crate::setup::{config, failure, memory, value};

#[tokio::test]
async fn a_foreign_component_installs_runs_and_survives_reopening() {
    let upstream = Upstream::json("hi").await;
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let key = MasterKey::from_base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
        support::builder(folder.path(), &[]).instances_max(4).master_key(key).build()
    };
    let openact = open().await.unwrap();
    let path = folder.path().join("plain.wasm");
    std::fs::write(&path, guest("plain")).unwrap();
    let looked_at = openact.inspect_connector_file(&path).await.unwrap();
    assert_eq!(looked_at.source, ConnectorSource::File);
    let name = looked_at.manifest.name.clone();
    assert_eq!(openact.connector_info(&name).await.unwrap_err().code, ErrorCode::NotFound);

    let installed =
        openact.install_connector_file(&path, vec![Capability::Http], Replacing::default()).await.unwrap();
    assert_eq!((installed.source, installed.digest), (ConnectorSource::Installed, looked_at.digest));
    let connection = json!({
        "base_url": upstream.url(), "authorization": {"type": "bearer", "token": "canary-token"},
    });
    let text = config("plain", connection, json!({"greet": {"greeting": "good day"}}));
    openact.import_text("x", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    let expected = json!({"greeting": "good day, you", "answer": {"status": 200, "text": "hi"}});
    assert_eq!(value(&openact, "plain/greet", json!({"name": "you"})).await, expected);
    openact.close().await.unwrap();

    std::fs::remove_file(&path).unwrap();
    let openact = open().await.unwrap();
    let info = openact.connector_info(&name).await.unwrap();
    assert_eq!((info.source, info.digest), (ConnectorSource::Installed, installed.digest));
    assert_eq!(info.manifest.version, "1.2.3");
    let outcome = openact.run("greet", json!({"name": "you"})).await.unwrap();
    assert_eq!(outcome.result.value().unwrap(), expected);
    assert_eq!(outcome.run.connector_digest, installed.digest);
    for received in upstream.received() {
        assert_eq!(received.header("authorization"), ["Bearer canary-token"]);
    }
    openact.close().await.unwrap();
}

#[tokio::test]
async fn a_component_is_used_from_its_file_without_installing_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("anything.wasm");
    std::fs::write(&path, guest("plain")).unwrap();
    let openact = memory(&[])
        .connector_file(&path)
        .config_text(config("plain", json!({}), json!({"greet": {}})), Format::Json)
        .build()
        .await
        .unwrap();
    assert_eq!(
        value(&openact, "plain/greet", json!({"name": "you"})).await,
        json!({"greeting": "hello, you"})
    );
    assert_eq!(
        openact.connector_info(&"plain".parse().unwrap()).await.unwrap().source,
        ConnectorSource::Given
    );
    let (error, _) = failure(&openact, "plain/greet", json!({})).await;
    assert_eq!(error.code, ErrorCode::InvalidInput, "its own input schema is checked: {error:?}");
}

#[tokio::test]
async fn an_unknown_connector_and_a_missing_file_say_so() {
    let text = config("plain", json!({}), json!({"greet": {}}));
    let error = memory(&[]).config_text(text, Format::Json).build().await.map(|_| ()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig, "{error:?}");
    assert!(error.message.contains("plain"), "{}", error.message);
    let error = memory(&[]).connector_file("/nowhere/x.wasm").build().await.map(|_| ()).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    assert!(error.message.contains("/nowhere/x.wasm"), "{}", error.message);
}

#[tokio::test]
async fn an_installed_component_in_use_is_not_removed() {
    let openact = memory(&[]).build().await.unwrap();
    openact.install_connector(guest("plain"), vec![]).await.unwrap();
    let name = "plain".parse().unwrap();
    let text = config("plain", json!({}), json!({"greet": {}}));
    openact.import_text("x", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    assert_eq!(openact.remove_connector(&name).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!(value(&openact, "greet", json!({"name": "x"})).await["greeting"], "hello, x");
    let ungranted = openact.install_connector(guest("plain"), vec![Capability::Sockets]).await.unwrap_err();
    assert_eq!(ungranted.code, ErrorCode::InvalidInput);
    assert_eq!(openact.list_actions(&Tenant::default(), Some(&name), None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_sdks_example_is_a_component_too() {
    let openact = memory(&[]).connector_bytes(guest("fifty")).build().await.unwrap();
    let given =
        openact.list_connectors().await.unwrap().into_iter().find(|c| c.source == ConnectorSource::Given);
    assert!(!given.unwrap().manifest.operations.is_empty());
}
