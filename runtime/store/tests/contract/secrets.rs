//! Sealing: nothing in clear on disk, nothing opens elsewhere, a wrong key is said to be one (C8).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use openact_core::{AuthTrn, Error, ErrorCode, Tenant, secret::ExposeSecret};
use openact_store::{AuthConnection, ChangeSet, NewSecret};

use crate::*;

const CANARY: &str = "canary-5up3r-s3cr3t";

pub(crate) fn credential(token: &str, version: u32) -> AuthConnection {
    AuthConnection {
        trn: "trn:openact:default:auth/github/alice%40example.com".parse().unwrap(),
        access_token: token.into(),
        refresh_token: Some(format!("{token}-refresh").into()),
        expires_at: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        token_type: "Bearer".into(),
        scope: Some("repo user".into()),
        extra: Some(format!(r#"{{"id_token":"{token}-extra"}}"#).into()),
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        version,
    }
}

#[tokio::test]
async fn secrets_are_put_opened_listed_compared_and_deleted() {
    let store = memory().await;
    let (tenant, other) = (Tenant::default(), "other".parse::<Tenant>().unwrap());
    store.put_secret(&tenant, "a", &"one".into()).await.unwrap();
    let first = store.list_secrets(&tenant).await.unwrap().remove(0);
    store.put_secret(&tenant, "a", &CANARY.into()).await.unwrap();
    assert_eq!(store.open_secret(&tenant, "a").await.unwrap().unwrap().expose_secret(), CANARY);
    let listed = store.list_secrets(&tenant).await.unwrap();
    assert_eq!((listed.len(), &listed[0].name[..], listed[0].created_at), (1, "a", first.created_at));
    assert!(listed[0].updated_at >= first.updated_at);

    assert!(store.secret_is(&tenant, "a", &CANARY.into()).await.unwrap());
    assert!(!store.secret_is(&tenant, "a", &"one".into()).await.unwrap());
    assert!(!store.secret_is(&tenant, "b", &CANARY.into()).await.unwrap(), "there is none");
    assert!(!store.secret_is(&other, "a", &CANARY.into()).await.unwrap(), "another tenant has none");

    assert!(store.open_secret(&other, "a").await.unwrap().is_none(), "another tenant has none");
    assert!(store.list_secrets(&other).await.unwrap().is_empty());
    let twice = ChangeSet {
        secrets: vec![NewSecret { tenant: tenant.clone(), name: "a".into(), value: "x".into() }],
        ..Default::default()
    };
    assert_eq!(store.apply(twice).await.unwrap_err().code, ErrorCode::Conflict);
    assert!(store.delete_secret(&tenant, "a").await.unwrap());
    assert!(store.open_secret(&tenant, "a").await.unwrap().is_none());
}

#[tokio::test]
async fn c1_no_file_of_the_database_holds_a_secret_in_clear() {
    let place = Place::new();
    let store = place.open().await;
    let tenant = Tenant::default();
    store.put_secret(&tenant, "a", &CANARY.into()).await.unwrap();
    store
        .apply(ChangeSet {
            secrets: vec![NewSecret { tenant: tenant.clone(), name: "b".into(), value: CANARY.into() }],
            ..Default::default()
        })
        .await
        .unwrap();
    store.put_auth_connection(&credential(CANARY, 0), Some("login")).await.unwrap();
    store.put_auth_connection(&credential(&format!("{CANARY}2"), 1), None).await.unwrap();
    let search = |when: &str| {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let mut bytes_seen = 0;
        for entry in std::fs::read_dir(place.folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes_seen += bytes.len();
            for form in [CANARY.to_owned(), BASE64_STANDARD.encode(CANARY)[..20].to_owned()] {
                assert!(!bytes.windows(form.len()).any(|part| part == form.as_bytes()), "{when}");
            }
        }
        assert!(bytes_seen > 10_000, "there was something to search {when}");
    };
    search("with the write-ahead log");
    store.delete_secret(&tenant, "a").await.unwrap();
    store.delete_auth_connection(&credential("", 0).trn, None).await.unwrap();
    store.close().await.unwrap();
    search("after closing");
    assert!(!place.folder.path().join("openact.db-wal").exists(), "the log is folded in");
}

#[tokio::test]
async fn c8_a_row_moved_or_relabelled_does_not_open() {
    let place = Place::new();
    let store = place.open().await;
    let (tenant, other) = (Tenant::default(), "other".parse::<Tenant>().unwrap());
    store.put_secret(&tenant, "a", &"value of a".into()).await.unwrap();
    store.put_secret(&tenant, "b", &"value of b".into()).await.unwrap();
    let swap = "UPDATE secrets SET (value_encrypted, value_nonce, data_key_encrypted, data_key_nonce) =
        (SELECT value_encrypted, value_nonce, data_key_encrypted, data_key_nonce FROM secrets s WHERE s.name = 'b')
        WHERE name = 'a'";
    place.sql(swap).await.unwrap();
    let error = store.open_secret(&tenant, "a").await.unwrap_err();
    assert!(
        error.code == ErrorCode::StoreUnavailable && error.message.contains("does not open"),
        "{error:?}"
    );
    assert_eq!(store.open_secret(&tenant, "b").await.unwrap().unwrap().expose_secret(), "value of b");

    place.sql("UPDATE secrets SET tenant = 'other' WHERE name = 'b'").await.unwrap();
    assert!(store.open_secret(&other, "b").await.is_err(), "moved to another tenant");
    place.sql("UPDATE secrets SET tenant = 'default', key_version = 2 WHERE name = 'b'").await.unwrap();
    let error = store.open_secret(&tenant, "b").await.unwrap_err();
    assert!(error.code == ErrorCode::StoreUnavailable && error.message.contains("version 2"), "{error:?}");
    place.sql("UPDATE settings SET key = 'master_key_id.2' WHERE key = 'master_key_id.1'").await.unwrap();
    assert!(store.open_secret(&tenant, "b").await.is_err(), "the version is sealed in");

    place.sql("UPDATE settings SET key = 'master_key_id.1' WHERE key = 'master_key_id.2'").await.unwrap();

    store.put_auth_connection(&credential("t", 0), None).await.unwrap();
    place.sql("UPDATE auth_connections SET access_token_encrypted = refresh_token_encrypted, access_token_nonce = refresh_token_nonce").await.unwrap();
    assert!(store.get_auth_connection(&credential("", 0).trn).await.is_err(), "moved to another column");
    store.close().await.unwrap();
}

#[tokio::test]
async fn c8_a_wrong_key_is_a_clean_error_that_names_its_version() {
    let place = Place::new();
    let store = place.open().await;
    let tenant = Tenant::default();
    store.put_secret(&tenant, "a", &"v".into()).await.unwrap();
    store.put_auth_connection(&credential("t", 0), None).await.unwrap();
    store.close().await.unwrap();

    let store = place.open_with(key(2), RunWrites::Grouped).await;
    let trn = credential("", 0).trn;
    let errors: [Error; 5] = [
        store.open_secret(&tenant, "a").await.unwrap_err(),
        store.put_secret(&tenant, "b", &"v".into()).await.unwrap_err(),
        store.secret_is(&tenant, "a", &"v".into()).await.unwrap_err(),
        store.get_auth_connection(&trn).await.unwrap_err(),
        store.put_auth_connection(&credential("t", 1), None).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.code == ErrorCode::StoreUnavailable && !error.retryable(), "{error:?}");
        assert!(
            error.message.contains("version 1 of the master key, which is not in the program"),
            "{error:?}"
        );
        assert!(error.hint.as_deref().unwrap().contains("OPENACT_MASTER_KEY"), "{error:?}");
    }
    assert_eq!(store.list_secrets(&tenant).await.unwrap().len(), 1, "nothing was sealed with it");
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_key_is_asked_for_only_when_something_is_changed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let lazy = KeySource::Environment(Box::new(move || match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Error::invalid_config("no key")),
        _ => Ok(vec![master_key(1)]),
    }));
    let place = Place::new();
    let store = place.open_with(lazy, RunWrites::Grouped).await;
    let tenant = Tenant::default();
    assert!(store.open_secret(&tenant, "none").await.unwrap().is_none());
    assert!(store.list_secrets(&tenant).await.unwrap().is_empty());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // The audit log is authenticated: without its key there is no entry, and without an entry no change.
    let changes =
        || ChangeSet { connections: vec![connection("default:connection/http/c@v1")], ..Default::default() };
    assert_eq!(store.apply(changes()).await.unwrap_err().message, "no key");
    assert_eq!(store.config_generation().await.unwrap(), 0);
    store.apply(changes()).await.unwrap();
    store.put_secret(&tenant, "a", &"v".into()).await.unwrap();
    store.open_secret(&tenant, "a").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn credentials_are_kept_with_a_history_that_outlives_them() {
    let store = memory().await;
    let trn: AuthTrn = credential("", 0).trn;
    assert_eq!(store.put_auth_connection(&credential("one", 0), Some("login")).await.unwrap(), 1);
    let read = store.get_auth_connection(&trn).await.unwrap().unwrap();
    assert_eq!(read.access_token.expose_secret(), "one");
    assert_eq!(read.refresh_token.as_ref().unwrap().expose_secret(), "one-refresh");
    assert_eq!(read.extra.as_ref().unwrap().expose_secret(), r#"{"id_token":"one-extra"}"#);
    assert_eq!(
        (read.expires_at, &read.token_type[..], read.scope.as_deref(), read.version),
        (credential("", 0).expires_at, "Bearer", Some("repo user"), 1)
    );
    assert!(!format!("{read:?}").contains("one"), "c9");

    let stale = store.put_auth_connection(&credential("stale", 0), None).await.unwrap_err();
    assert!(stale.code == ErrorCode::Conflict && stale.retryable(), "{stale:?}");
    let fewer = AuthConnection { refresh_token: None, extra: None, ..credential("two", 1) };
    assert_eq!(store.put_auth_connection(&fewer, Some("refresh")).await.unwrap(), 2);
    let second = store.get_auth_connection(&trn).await.unwrap().unwrap();
    assert!(second.refresh_token.is_none() && second.extra.is_none());
    assert_eq!(second.created_at, read.created_at);
    assert!(store.delete_auth_connection(&trn, Some("logout")).await.unwrap());
    assert!(!store.delete_auth_connection(&trn, None).await.unwrap());
    assert!(store.get_auth_connection(&trn).await.unwrap().is_none());

    let history = store.auth_connection_history(&trn).await.unwrap();
    let operations: Vec<_> =
        history.iter().map(|change| (&change.operation[..], change.reason.as_deref())).collect();
    assert_eq!(
        operations,
        [("create", Some("login")), ("update", Some("refresh")), ("delete", Some("logout"))]
    );
    let token = |side: &Option<openact_core::secret::SecretString>| {
        side.as_ref().map(|json| {
            serde_json::from_str::<serde_json::Value>(json.expose_secret()).unwrap()["access_token"].clone()
        })
    };
    let sides: Vec<_> = history.iter().map(|change| (token(&change.old), token(&change.new))).collect();
    assert_eq!(
        sides,
        [(None, Some("one".into())), (Some("one".into()), Some("two".into())), (Some("two".into()), None)]
    );
}
