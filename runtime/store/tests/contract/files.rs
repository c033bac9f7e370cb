//! Which files are accepted, how the others are refused, and two stores on one file (A2).

use std::fs;

use openact_core::{Error, ErrorCode, Tenant};
use openact_store::{ChangeSet, ConnectionFilter};

use crate::*;

async fn refusal(place: &Place) -> Error {
    let url = StoreUrl::file(place.path());
    match Store::open(&url, key(1), RunWrites::Grouped).await {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error,
    }
}

fn assert_clean(error: &Error, part: &str) {
    assert_eq!(error.code, ErrorCode::StoreUnavailable, "{error:?}");
    assert!(!error.retryable(), "{error:?}");
    assert!(error.message.contains(part), "{error:?}");
    assert!(error.message.contains("openact.db"), "the path is named: {error:?}");
    assert!(error.hint.is_some(), "{error:?}");
}

#[tokio::test]
async fn absent_and_empty_files_become_databases() {
    for prepare in [|_: &Place| {}, |place: &Place| fs::write(place.path(), b"").unwrap()] {
        let place = Place::new();
        prepare(&place);
        let store = place.open().await;
        store
            .apply(ChangeSet {
                connections: vec![connection("default:connection/http/c@v1")],
                ..Default::default()
            })
            .await
            .unwrap();
        store.close().await.unwrap();
        let store = place.open().await;
        assert_eq!(store.config_generation().await.unwrap(), 1);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn migrate_creates_once_and_then_has_nothing_to_do() {
    let place = Place::new();
    let url = StoreUrl::file(place.path());
    let report = Store::migrate(&url, true).await.unwrap();
    assert!(report.created && report.applied.contains(&"0001_initial".to_owned()), "{report:?}");
    let again = Store::migrate(&url, true).await.unwrap();
    assert!(!again.created && again.applied.is_empty(), "{again:?}");
    place.open().await.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_database_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/openact.db");
    let url = StoreUrl::file(&path);
    let missing = Store::open(&url, key(1), RunWrites::Grouped).await.err().unwrap();
    assert_clean(&missing, "there is no folder");
    let store = Store::open(&url.creating_folder(), key(1), RunWrites::Grouped).await.unwrap();
    store.put_secret(&Tenant::default(), "a", &"v".into()).await.unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn foreign_newer_and_older_databases_are_refused_and_not_touched() {
    let foreign = Place::new();
    fs::write(foreign.path(), b"").unwrap();
    foreign.sql("CREATE TABLE customers (x TEXT)").await.unwrap();
    let before = fs::read(foreign.path()).unwrap();
    assert_clean(&refusal(&foreign).await, "not OpenAct's");
    assert!(Store::migrate(&StoreUrl::file(foreign.path()), true).await.is_err());
    assert_eq!(fs::read(foreign.path()).unwrap(), before);
    assert_eq!(fs::read_dir(foreign.folder.path()).unwrap().count(), 1);

    let newer = Place::new();
    newer.open().await.close().await.unwrap();
    newer
        .sql("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 0)")
        .await
        .unwrap();
    assert_clean(&refusal(&newer).await, "newer OpenAct: migration 9999");

    let older = Place::new();
    older.open().await.close().await.unwrap();
    older
        .sql(
            "DROP TRIGGER connections_retire; DROP TRIGGER actions_retire; DROP TABLE synced;
             DROP TABLE retired_versions; DELETE FROM _sqlx_migrations WHERE version = 4",
        )
        .await
        .unwrap();
    let error = refusal(&older).await;
    assert_clean(&error, "older OpenAct");
    assert_eq!(error.hint.as_deref(), Some("run: openact migrate"));
}

#[tokio::test]
async fn a2_damaged_files_are_refused() {
    let text = Place::new();
    fs::write(text.path(), "just a text file\n".repeat(100)).unwrap();
    assert_clean(&refusal(&text).await, "is not a SQLite database");

    let truncated = Place::new();
    truncated.open().await.close().await.unwrap();
    let whole = fs::read(truncated.path()).unwrap();
    for length in [whole.len() / 2, 5000, 4096, 1000, 50] {
        fs::write(truncated.path(), &whole[..length]).unwrap();
        let error = refusal(&truncated).await;
        assert_clean(&error, "openact.db");
        assert!(
            error.message.contains("damaged") || error.message.contains("not a SQLite database"),
            "{length}: {error:?}"
        );
    }

    let scribbled = Place::new();
    let mut bytes = whole.clone();
    bytes[100..2000].fill(0xff);
    fs::write(scribbled.path(), bytes).unwrap();
    assert_clean(&refusal(&scribbled).await, "damaged");

    let folder = Place::new();
    fs::create_dir(folder.path()).unwrap();
    assert_clean(&refusal(&folder).await, "it is a folder");
}

#[cfg(unix)]
#[tokio::test]
async fn a2_a_read_only_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.open().await.close().await.unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o444)).unwrap();
    assert_clean(&refusal(&place).await, "read-only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_write_one_file_at_once() {
    let place = Place::new();
    let url = StoreUrl::file(place.path());
    // The file does not exist yet: they also race to make it.
    let (one, two) = tokio::join!(
        Store::open(&url, key(1), RunWrites::Grouped),
        Store::open(&url, key(1), RunWrites::BeforeAnswer),
    );
    let stores = [one.unwrap(), two.unwrap()];
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let store = stores[i % 2].clone();
            tokio::spawn(async move {
                let connections = vec![connection(&format!("default:connection/http/c{i}@v1"))];
                store.apply(ChangeSet { connections, ..Default::default() }).await.unwrap();
                store.put_secret(&Tenant::default(), &format!("s{i}"), &"v".into()).await.unwrap();
                store.record_run(run("default:action/http/get@v1")).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for store in &stores {
        assert_eq!(
            store.find_connections(&Tenant::default(), &ConnectionFilter::default()).await.unwrap().len(),
            40
        );
        assert_eq!(store.list_secrets(&Tenant::default()).await.unwrap().len(), 40);
        assert_eq!(store.config_generation().await.unwrap(), 80, "no change was overlooked");
    }
    stores[0].close().await.unwrap();
    assert_eq!(stores[1].list_runs(&Tenant::default(), 100, &Default::default()).await.unwrap().len(), 40);
    stores[1].close().await.unwrap();
}
