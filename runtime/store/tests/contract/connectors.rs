//! Installed connectors, and checkpoints of runs: create, read, replace, delete.

use aws_lc_rs::digest;
use openact_core::{
    ErrorCode,
    manifest::{Capability, Effect, Manifest, Operation},
};
use openact_store::{ChangeSet, Checkpoint, ConnectorRecord};
use serde_json::json;

use crate::*;

const GITHUB: &str = "default:connection/http/github@v1";

pub(crate) fn connector(bytes: &[u8]) -> ConnectorRecord {
    let operation = Operation {
        name: "request".into(),
        summary: "one".into(),
        action_schema: json!({}),
        input_schema: json!({}),
        output_schema: None,
        overridable: vec!["path".into()],
        effect: Effect::Write,
        idempotent: false,
    };
    ConnectorRecord {
        name: "http".parse().unwrap(),
        version: "0.1.0".into(),
        digest: ComponentDigest(digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()),
        manifest: Manifest {
            name: "http".parse().unwrap(),
            version: "0.1.0".into(),
            summary: "HTTP".into(),
            connection_schema: json!({"type": "object"}),
            operations: vec![operation],
            default_operation: "request".into(),
            needs: vec![Capability::Http, Capability::RevealCredential],
        },
        grants: vec![Capability::Http],
        installed_at: Timestamp::now(),
    }
}

#[tokio::test]
async fn connectors_are_installed_replaced_and_removed() {
    let place = Place::new();
    let store = place.open().await;
    let (first, second) = (connector(b"one"), connector(b"two"));
    store.install_connector(&first, b"one").await.unwrap();
    assert_eq!(store.get_connector(&first.name).await.unwrap().unwrap(), first);
    store.install_connector(&second, b"two").await.unwrap();
    assert_eq!(store.list_connectors().await.unwrap(), vec![second]);
    assert_eq!(store.connector_bytes(&first.name).await.unwrap().unwrap(), b"two");
    assert!(store.install_connector(&first, b"other").await.is_err(), "the digest is another");

    let connections = vec![connection(GITHUB)];
    store.apply(ChangeSet { connections, ..Default::default() }).await.unwrap();
    assert_eq!(store.remove_connector(&first.name).await.unwrap_err().code, ErrorCode::Conflict);
    store.delete_connection(&connection_trn(GITHUB)).await.unwrap();
    place.sql("UPDATE connectors SET bytes = x'00'").await.unwrap();
    assert!(
        store
            .connector_bytes(&first.name)
            .await
            .unwrap_err()
            .message
            .contains("'http' of table 'connectors' is damaged")
    );
    assert!(store.remove_connector(&first.name).await.unwrap());
    assert!(!store.remove_connector(&first.name).await.unwrap());
    assert!(store.connector_bytes(&first.name).await.unwrap().is_none());
    store.close().await.unwrap();
}

#[tokio::test]
async fn checkpoints_are_put_got_and_deleted() {
    let store = memory().await;
    let now = Timestamp::now();
    let mut checkpoint = Checkpoint {
        run_id: RunId(uuid::Uuid::now_v7()),
        paused_state: "await_callback".into(),
        context: json!({"step": 3}),
        await_meta: None,
        created_at: now,
        updated_at: now,
        expires_at: Some(now),
    };
    store.put_checkpoint(&checkpoint).await.unwrap();
    assert_eq!(store.get_checkpoint(checkpoint.run_id).await.unwrap().unwrap(), checkpoint);
    checkpoint.paused_state = "next".into();
    checkpoint.await_meta = Some(json!({"state": "x"}));
    checkpoint.expires_at = None;
    store.put_checkpoint(&checkpoint).await.unwrap();
    assert_eq!(store.get_checkpoint(checkpoint.run_id).await.unwrap().unwrap(), checkpoint);
    assert!(store.delete_checkpoint(checkpoint.run_id).await.unwrap());
    assert!(!store.delete_checkpoint(checkpoint.run_id).await.unwrap());
    assert!(store.get_checkpoint(checkpoint.run_id).await.unwrap().is_none());
}
