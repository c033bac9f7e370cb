//! The audit log (A4): what is in it, that no edit of it goes unnoticed, and that nothing changes without it.

use openact_core::{ErrorCode, Tenant, run::Door};
use openact_store::{AuditEntry, AuditRuns, Author, ChangeSet, NewSecret};
use serde_json::json;

use crate::{connectors, secrets::credential, *};

async fn changed(store: &Store) {
    let (tenant, over) = (Tenant::default(), "default:connection/http/c@v1");
    let secrets = vec![NewSecret { tenant: tenant.clone(), name: "came".into(), value: "canary-1".into() }];
    let (connections, actions) = (vec![connection(over)], vec![action("default:action/http/a@v1", over)]);
    store.apply(ChangeSet { connections, actions, secrets, ..Default::default() }).await.unwrap();
    let mut second = connection("default:connection/http/c@v2");
    second.config.insert("z".into(), 2.into());
    store.apply(ChangeSet { connections: vec![second], ..Default::default() }).await.unwrap();
    store.put_secret(&tenant, "set", &"canary-2".into()).await.unwrap();
    store.put_secret(&tenant, "set", &"canary-3".into()).await.unwrap();
    store.put_secret(&tenant, "set", &"canary-3".into()).await.unwrap();
    store.delete_secret(&tenant, "set").await.unwrap();
    store.put_auth_connection(&credential("canary-4", 0), None).await.unwrap();
    store.put_auth_connection(&credential("canary-5", 1), None).await.unwrap();
    store.delete_auth_connection(&credential("", 0).trn, None).await.unwrap();
}

async fn log(store: &Store) -> Vec<AuditEntry> {
    let mut entries = store.list_audit(&Tenant::default(), 10_000).await.unwrap();
    entries.reverse();
    entries
}

#[tokio::test]
async fn a4_every_change_is_in_the_log_with_its_author_and_no_secret() {
    let place = Place::new();
    let store = place.open().await.acting_as(Author { actor: "alice".into(), door: Door::Rest });
    changed(&store).await;
    assert!(!store.delete_secret(&Tenant::default(), "none").await.unwrap());
    let entries = log(&store).await;
    let operations: Vec<(u64, &str, &str)> =
        entries.iter().map(|entry| (entry.id, &*entry.operation, &*entry.object)).collect();
    let auth = credential("", 0).trn.to_string();
    assert_eq!(
        operations,
        [
            (1, "connection.create", "trn:openact:default:connection/http/c@v1"),
            (2, "secret.set", "secret/came"),
            (3, "action.create", "trn:openact:default:action/http/a@v1"),
            (4, "connection.update", "trn:openact:default:connection/http/c@v2"),
            (5, "secret.set", "secret/set"),
            (6, "secret.set", "secret/set"),
            (7, "secret.set", "secret/set"),
            (8, "secret.delete", "secret/set"),
            (9, "credential.create", &*auth),
            (10, "credential.update", &*auth),
            (11, "credential.delete", &*auth),
        ]
    );
    assert!(entries.iter().all(|entry| entry.actor == "alice" && entry.door == "rest"));
    let update = &entries[3];
    assert_eq!(update.before.as_ref().unwrap()["z"], 1);
    assert_eq!(update.after.as_ref().unwrap()["z"], 2);
    assert_eq!(entries[2].after.as_ref().unwrap()["connection"], "trn:openact:default:connection/http/c@v1");
    // Equal values have equal hashes, and others others.
    assert_eq!((&entries[4].before, &entries[4].after), (&None, &entries[5].before));
    assert_ne!(entries[5].before, entries[5].after);
    assert_eq!(entries[6].before, entries[6].after);
    assert_eq!((&entries[7].before, &entries[7].after), (&entries[6].after, &None));
    assert_eq!(entries[10].before.as_ref().unwrap()["version"], 2);
    let text = format!("{entries:?}");
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(store.verify_audit().await.unwrap().error().map(|error| error.message.clone()), None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a4_a_change_that_leaves_no_entry_does_not_end_the_log() {
    let place = Place::new();
    let store = place.open().await;
    let nothing = vec![action_trn("default:action/http/none@v1")];
    store.apply(ChangeSet { deleted_actions: nothing, ..Default::default() }).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().broken, None);
    store.put_secret(&Tenant::default(), "a", &"v".into()).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().entries, 1);
}

#[tokio::test]
async fn a4_another_tenants_entries_are_not_listed_and_are_in_the_chain() {
    let place = Place::new();
    let store = place.open().await;
    let other: Tenant = "other".parse().unwrap();
    store.put_secret(&other, "a", &"v".into()).await.unwrap();
    store.rotate_key().await.unwrap_err();
    store.put_secret(&Tenant::default(), "b", &"v".into()).await.unwrap();
    assert_eq!(log(&store).await.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2]);
    assert_eq!(store.list_audit(&other, 10).await.unwrap().len(), 1);
    assert_eq!(store.verify_audit().await.unwrap().entries, 2);
}

/// The log with all that says there was one.
const REMOVED: &str = "DELETE FROM audit_keys; DELETE FROM audit_log; DELETE FROM settings WHERE key = 'audit_head';
    UPDATE settings SET value = (SELECT value FROM settings WHERE key = 'config_generation') WHERE key = 'audit_since'";

#[tokio::test]
async fn a4_a_log_that_begins_over_configuration_says_so() {
    let place = Place::new();
    let store = place.open().await;
    changed(&store).await;
    assert!(!store.verify_audit().await.unwrap().began_late);
    place.sql(REMOVED).await.unwrap();
    store.put_secret(&Tenant::default(), "s", &"v".into()).await.unwrap();
    let report = store.verify_audit().await.unwrap();
    assert_eq!((report.began_late, report.broken, report.differ), (true, None, vec![]));
    let operations: Vec<String> = log(&store).await.into_iter().map(|entry| entry.operation).collect();
    let found = ["connection.found", "connection.found", "action.found", "secret.found"];
    assert_eq!(operations, [&["audit.begin"][..], &found, &["secret.set"]].concat());
}

#[tokio::test]
async fn a4_what_was_changed_past_the_log_is_named() {
    for (sql, differ) in [
        (
            "UPDATE connections SET config_json = replace(config_json, 'api.', 'evil.') WHERE version = 2",
            &["connection/http/c@v2"][..],
        ),
        ("UPDATE actions SET config_json = '{}'", &["action/http/a@v1"]),
        ("UPDATE actions SET mcp_enabled = 0", &["action/http/a@v1"]),
        ("DELETE FROM actions", &["action/http/a@v1"]),
        (
            "INSERT INTO connections (trn, tenant, connector, name, version, config_json, created_at, updated_at) SELECT replace(trn, 'c@v2', 'c@v3'), tenant, connector, name, 3, config_json, created_at, updated_at FROM connections WHERE version = 2",
            &["connection/http/c@v3"],
        ),
    ] {
        let place = Place::new();
        let store = place.open().await;
        changed(&store).await;
        place.sql(sql).await.unwrap();
        let report = store.verify_audit().await.unwrap();
        let named: Vec<String> = differ.iter().map(|name| format!("trn:openact:default:{name}")).collect();
        assert_eq!((&report.differ, &report.broken), (&named, &None), "{sql}");
        assert!(report.error().unwrap().message.starts_with(&named[0]), "{sql}");
    }
}

#[tokio::test]
async fn a4_each_log_has_a_key_of_its_own() {
    let mut prints = Vec::new();
    for _ in 0..2 {
        let place = Place::new();
        let store = place.open().await;
        store.put_secret(&Tenant::default(), "s", &"the same".into()).await.unwrap();
        prints.push(log(&store).await.remove(0).after.unwrap());
    }
    assert_ne!(prints[0], prints[1], "who has the one could guess what is in the other");
}

/// A connector, two secrets of one name, and a credential.
async fn sealed(store: &Store) {
    let other: Tenant = "other".parse().unwrap();
    store.install_connector(&connectors::connector(b"one"), b"one").await.unwrap();
    store.put_secret(&Tenant::default(), "s", &"canary-1".into()).await.unwrap();
    store.put_secret(&other, "s", &"canary-1".into()).await.unwrap();
    store.put_secret(&other, "t", &"canary-2".into()).await.unwrap();
    store.put_auth_connection(&credential("canary-3", 0), None).await.unwrap();
}

#[tokio::test]
async fn a4_connectors_secrets_and_credentials_changed_past_the_log_are_named() {
    let auth = credential("", 0).trn.to_string();
    let (secret, of_other, connector) =
        ("secret/s of tenant default", "secret/s of tenant other", "connector/http");
    for (sql, differ) in [
        ("SELECT 1", &[][..]),
        ("UPDATE connectors SET grants = '[\"http\",\"tcp\"]'", &[connector]),
        ("UPDATE connectors SET manifest = replace(manifest, 'HTTP', 'HTTPS')", &[connector]),
        ("UPDATE connectors SET version = '0.1.1'", &[connector]),
        ("UPDATE connectors SET bytes = x'00'", &[connector]),
        ("DELETE FROM connectors", &[connector]),
        ("DELETE FROM secrets WHERE tenant = 'default'", &[secret]),
        // Sealed for a place of its own: one that is moved does not open, whatever it holds.
        (
            "UPDATE secrets SET tenant = 'third' WHERE tenant = 'default'",
            &[secret, "secret/s of tenant third"],
        ),
        (
            "UPDATE secrets SET value_nonce = data_key_nonce WHERE name = 's' AND tenant = 'other'",
            &[of_other],
        ),
        ("UPDATE secrets SET key_version = 9 WHERE name = 's' AND tenant = 'other'", &[of_other]),
        (
            "UPDATE secrets SET fingerprint = (SELECT fingerprint FROM secrets WHERE name = 't') WHERE name = 's' AND tenant = 'other'",
            &[of_other],
        ),
        (
            "UPDATE secrets SET tenant = 'NO TENANT' WHERE tenant = 'default'",
            &[secret, "secret/s of tenant NO TENANT"],
        ),
        ("UPDATE auth_connections SET scope = 'all'", &[&*auth]),
        ("UPDATE auth_connections SET expires_at = NULL", &[&*auth]),
        ("UPDATE auth_connections SET refresh_token_nonce = access_token_nonce", &[&*auth]),
        ("UPDATE auth_connections SET refresh_token_encrypted = NULL, refresh_token_nonce = NULL", &[&*auth]),
        ("DELETE FROM auth_connections", &[&*auth]),
    ] {
        let place = Place::new();
        let store = place.open().await;
        sealed(&store).await;
        place.sql(sql).await.unwrap();
        let report = store.verify_audit().await.unwrap();
        assert_eq!(
            (&report.broken, report.differ.len()),
            (&None, differ.len()),
            "{sql}: {:?}",
            report.differ
        );
        assert!(
            differ.iter().all(|name| report.differ.iter().any(|found| found == name)),
            "{sql}: {report:?}"
        );
        assert_eq!(report.error().is_some(), !differ.is_empty(), "{sql}");
        assert!(!format!("{report:?}").contains("canary"));
    }
}

#[tokio::test]
async fn a4_an_older_secret_put_back_is_named() {
    let place = Place::new();
    let store = place.open().await;
    sealed(&store).await;
    place.sql("CREATE TABLE kept AS SELECT * FROM secrets; CREATE TABLE kept_auth AS SELECT * FROM auth_connections").await.unwrap();
    store.put_secret(&Tenant::default(), "s", &"canary-4".into()).await.unwrap();
    store.put_auth_connection(&credential("canary-5", 1), None).await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().differ, Vec::<String>::new());
    place
        .sql("DELETE FROM secrets; INSERT INTO secrets SELECT * FROM kept; DELETE FROM auth_connections; INSERT INTO auth_connections SELECT * FROM kept_auth; DROP TABLE kept; DROP TABLE kept_auth")
        .await
        .unwrap();
    let differ = store.verify_audit().await.unwrap().differ;
    assert_eq!(differ, ["secret/s of tenant default".to_owned(), credential("", 0).trn.to_string()]);
}

#[tokio::test]
async fn a4_what_was_there_before_the_log_is_no_change_past_it() {
    let place = Place::new();
    let store =
        place.open_with(KeySource::File(place.folder.path().join("master.key")), RunWrites::Grouped).await;
    sealed(&store).await;
    place.sql(REMOVED).await.unwrap();
    store.put_secret(&Tenant::default(), "late", &"v".into()).await.unwrap();
    let operations: Vec<String> = log(&store).await.into_iter().map(|entry| entry.operation).collect();
    assert!(operations.contains(&"connector.found".to_owned()), "{operations:?}");
    assert!(operations.contains(&"credential.found".to_owned()), "{operations:?}");
    assert_eq!(store.verify_audit().await.unwrap().differ, Vec::<String>::new());
    // Nor is sealing everything anew.
    store.rotate_key().await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().differ, Vec::<String>::new());
    place.sql("UPDATE auth_connections SET token_type = 'MAC'").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap().differ.len(), 1);
}

#[tokio::test]
async fn a4_a_restore_is_in_the_restored_log_with_what_it_took_and_gave_up() {
    let place = Place::new();
    let url = StoreUrl::file(place.path());
    let copies = tempfile::tempdir().unwrap();
    let file = copies.path().join("copy.db");
    let store = place.open().await;
    sealed(&store).await;
    let copied = store.backup(&file).await.unwrap().audit.unwrap();
    store.put_secret(&Tenant::default(), "late", &"v".into()).await.unwrap();
    let given_up = store.verify_audit().await.unwrap().head.unwrap();
    store.close().await.unwrap();
    let author = Author { actor: "alice".into(), door: Door::Cli };
    let report = Store::restore(&url, key(1), author, &file, true).await.unwrap();
    assert!(report.logged);
    assert_eq!(report.audit.unwrap(), copied);

    let store = place.open().await;
    let entry = log(&store).await.pop().unwrap();
    assert_eq!((&*entry.operation, &*entry.object, &*entry.actor), ("database.restore", "database", "alice"));
    assert_eq!((entry.id, entry.before), (copied.entries + 1, Some(json!({ "head": given_up }))));
    let digest = openact_store::connectors::digest_of(&std::fs::read(&file).unwrap()).to_string();
    let after = entry.after.unwrap();
    assert_eq!((&after["digest"], &after["verified"]), (&json!(digest), &json!(true)), "{after}");
    assert_eq!((&after["head"], &after["entries"]), (&json!(copied.head), &json!(copied.entries)));
    assert_eq!(after["backup"], json!(file.display().to_string()));
    assert_eq!(store.verify_audit().await.unwrap().error().map(|error| error.message.clone()), None);
    assert!(store.has_audit_head(&copied.head.unwrap()).await.unwrap(), "the log goes on from the copy's");
    assert!(!store.has_audit_head(&given_up).await.unwrap(), "and not from what was replaced");
    store.close().await.unwrap();
}

#[tokio::test]
async fn a4_a_copy_whose_log_is_broken_or_sealed_is_restored_and_that_is_said() {
    let copies = tempfile::tempdir().unwrap();
    for (name, sql, with, verified, logged) in [
        ("edited", "UPDATE audit_log SET actor = 'x' WHERE id = 1", 1, true, true),
        ("beheaded", "DELETE FROM settings WHERE key = 'audit_head'", 1, true, false),
        ("sealed", "SELECT 1", 9, false, false),
    ] {
        let (place, other) = (Place::new(), Place::new());
        let store = place.open().await;
        sealed(&store).await;
        store.close().await.unwrap();
        place.sql(sql).await.unwrap();
        let file = copies.path().join(name);
        openact_store::copy_database(&place.path(), &file).await.unwrap();
        let url = StoreUrl::file(other.path());
        let report = Store::restore(&url, key(with), Author::default(), &file, false).await.unwrap();
        assert_eq!((report.audit.is_some(), report.logged), (verified, logged), "{name}");
        assert!(report.audit.is_none_or(|report| report.error().is_some()), "{name}");
        let store = other.open().await;
        let entries = log(&store).await;
        let last = entries.last().unwrap();
        assert_eq!(last.operation == "database.restore", logged, "{name}: {last:?}");
        if logged {
            assert_eq!(last.after.as_ref().unwrap()["verified"], json!(false), "{last:?}");
        }
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a4_an_older_log_put_back_lacks_the_head_that_was_kept() {
    let place = Place::new();
    let store = place.open().await;
    assert!(store.verify_audit().await.unwrap().head.is_none());
    changed(&store).await;
    let early = store.verify_audit().await.unwrap().head.unwrap();
    store.close().await.unwrap();
    let copy = std::fs::read(place.path()).unwrap();
    let store = place.open().await;
    store.put_secret(&Tenant::default(), "s", &"v".into()).await.unwrap();
    let late = store.verify_audit().await.unwrap().head.unwrap();
    assert!(early.starts_with("11-") && late.starts_with("12-"), "{early} {late}");
    assert!(store.has_audit_head(&early).await.unwrap() && store.has_audit_head(&late).await.unwrap());
    assert!(!store.has_audit_head(&late.replacen("12", "11", 1)).await.unwrap());
    assert_eq!(store.has_audit_head("12-").await.unwrap_err().code, ErrorCode::InvalidInput);
    store.close().await.unwrap();
    std::fs::write(place.path(), copy).unwrap();
    let store = place.open().await;
    assert_eq!(store.verify_audit().await.unwrap().error().map(|error| error.message.clone()), None);
    assert!(store.has_audit_head(&early).await.unwrap() && !store.has_audit_head(&late).await.unwrap());
}

/// Changes a database past the store, and says which entry is then found to be wrong first.
async fn first_bad(sql: &str) -> Option<u64> {
    let place = Place::new();
    let store = place.open().await;
    changed(&store).await;
    place.sql(sql).await.unwrap();
    let report = store.verify_audit().await.unwrap();
    assert_eq!(report.broken.is_some(), report.error().is_some());
    if let Some(broken) = &report.broken {
        assert_eq!(report.entries, broken.id - 1, "{sql}");
    }
    report.broken.map(|broken| broken.id)
}

#[tokio::test]
async fn a4_every_edit_is_found() {
    assert_eq!(first_bad("SELECT 1").await, None);
    for column in ["at", "actor", "door", "operation", "object"] {
        assert_eq!(
            first_bad(&format!("UPDATE audit_log SET {column} = {column} || 'x' WHERE id = 6")).await,
            Some(6)
        );
    }
    for (sql, bad) in [
        ("UPDATE audit_log SET tenant = NULL WHERE id = 3", 3),
        ("UPDATE audit_log SET before_json = '{}' WHERE id = 4", 4),
        ("UPDATE audit_log SET after_json = NULL WHERE id = 11 OR id = 1", 1),
        ("UPDATE audit_log SET mac = (SELECT mac FROM audit_log WHERE id = 2) WHERE id = 5", 5),
        // Deleted, and cut short.
        ("DELETE FROM audit_log WHERE id = 5", 5),
        ("DELETE FROM audit_log WHERE id = 1", 1),
        ("DELETE FROM audit_log WHERE id = 11", 11),
        ("DELETE FROM audit_log WHERE id > 4", 5),
        ("DELETE FROM audit_log", 1),
        // The gap closed again.
        ("DELETE FROM audit_log WHERE id = 5; UPDATE audit_log SET id = id - 1 WHERE id > 5", 5),
        // Added at the end, and before the first.
        (
            "INSERT INTO audit_log SELECT 12, at, tenant, actor, door, operation, object, before_json, after_json, mac FROM audit_log WHERE id = 11",
            12,
        ),
        // Swapped.
        (
            "UPDATE audit_log SET id = 99 WHERE id = 3; UPDATE audit_log SET id = 3 WHERE id = 4; UPDATE audit_log SET id = 4 WHERE id = 99",
            3,
        ),
        // With the head, by what a head looks like.
        (
            "DELETE FROM audit_log WHERE id = 11; UPDATE settings SET value = replace(value, '11 ', '10 ') WHERE key = 'audit_head'",
            11,
        ),
        ("DELETE FROM audit_log WHERE id = 11; DELETE FROM settings WHERE key = 'audit_head'", 11),
        ("DELETE FROM settings WHERE key = 'audit_head'", 12),
        ("DELETE FROM audit_keys", 1),
        ("DELETE FROM audit_keys; DELETE FROM audit_log; DELETE FROM settings WHERE key = 'audit_head'", 1),
        ("DELETE FROM audit_keys; DELETE FROM audit_log; DELETE FROM settings WHERE key GLOB 'audit*'", 1),
        (REMOVED, 1),
    ] {
        assert_eq!(first_bad(sql).await, Some(bad), "{sql}");
    }
}

#[tokio::test]
async fn a4_nothing_is_changed_where_the_log_cannot_go_on() {
    for sql in [
        "DELETE FROM settings WHERE key = 'audit_head'",
        "UPDATE settings SET value = replace(value, '11 ', '10 ') WHERE key = 'audit_head'",
        "DELETE FROM audit_keys",
        "UPDATE audit_keys SET mac_key_nonce = data_key_nonce",
        "DELETE FROM audit_keys; DELETE FROM settings WHERE key = 'audit_head'",
        "DROP TABLE audit_log",
    ] {
        let place = Place::new();
        let store = place.open().await;
        changed(&store).await;
        place.sql(sql).await.unwrap();
        let generation = store.config_generation().await.unwrap();
        let connections = vec![connection("default:connection/http/d@v1")];
        let error = store.apply(ChangeSet { connections, ..Default::default() }).await.unwrap_err();
        assert!(matches!(error.code, ErrorCode::StoreUnavailable | ErrorCode::Internal), "{sql}: {error:?}");
        store.put_secret(&Tenant::default(), "s", &"v".into()).await.unwrap_err();
        store.delete_secret(&Tenant::default(), "came").await.unwrap_err();
        assert_eq!(store.config_generation().await.unwrap(), generation, "{sql}");
        assert!(
            store.get_connection(&connection_trn("default:connection/http/d@v1")).await.unwrap().is_none()
        );
        assert_eq!(store.list_secrets(&Tenant::default()).await.unwrap().len(), 1, "{sql}");
    }
}

#[tokio::test]
async fn a4_the_log_goes_on_over_a_rotation_of_the_master_key() {
    let place = Place::new();
    let file = || KeySource::File(place.folder.path().join("master.key"));
    let store = place.open_with(file(), RunWrites::Grouped).await;
    changed(&store).await;
    store.rotate_key().await.unwrap();
    store.drop_old_keys().await.unwrap();
    store.put_secret(&Tenant::default(), "late", &"v".into()).await.unwrap();
    let entries = log(&store).await;
    let operations: Vec<&str> = entries.iter().skip(11).map(|entry| &*entry.operation).collect();
    assert_eq!(operations, ["key.rotate", "key.rotated", "key.drop_old", "secret.set"]);
    assert_eq!(store.verify_audit().await.unwrap().entries, 15);
    store.close().await.unwrap();
    let reopened = place.open_with(file(), RunWrites::Grouped).await;
    assert_eq!(reopened.verify_audit().await.unwrap().broken, None);
    reopened.close().await.unwrap();
    // With another key nobody can say anything of the log, nor change anything.
    let stranger = place.open_with(key(9), RunWrites::Grouped).await;
    assert_eq!(stranger.verify_audit().await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let connections = vec![connection("default:connection/http/d@v1")];
    stranger.apply(ChangeSet { connections, ..Default::default() }).await.unwrap_err();
    assert_eq!(log(&stranger).await, entries, "it can be read without a key");
}

#[tokio::test]
async fn a4_runs_are_in_the_log_by_setting() {
    for (runs, expected) in [
        (AuditRuns::Off, &[][..]),
        (AuditRuns::On, &["run.end"]),
        (AuditRuns::Required, &["run.start", "run.end"]),
    ] {
        for writes in [RunWrites::Grouped, RunWrites::BeforeAnswer] {
            let place = Place::new();
            let store = place.open_with(key(1), writes).await;
            store.set_audit_runs(runs).unwrap();
            let record = run("default:action/http/get@v1");
            store.audit_run_start(record.id, &record.action, Door::Mcp).await.unwrap();
            store.record_run(record.clone()).await.unwrap();
            store.flush_runs().await.unwrap();
            let entries = log(&store).await;
            let operations: Vec<&str> = entries.iter().map(|entry| &*entry.operation).collect();
            assert_eq!(operations, expected, "{runs:?}");
            if let Some(end) = entries.last() {
                assert_eq!(end.object, format!("run/{}", record.id));
                assert_eq!(end.after.as_ref().unwrap()["error"], json!("egress_denied"));
            }
            assert_eq!(store.verify_audit().await.unwrap().broken, None);
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a4_a_run_that_must_be_audited_and_cannot_does_not_begin() {
    let place = Place::new();
    let store = place.open().await;
    changed(&store).await;
    place.sql("DELETE FROM settings WHERE key = 'audit_head'").await.unwrap();
    let record = run("default:action/http/get@v1");
    store.set_audit_runs(AuditRuns::Required).unwrap();
    let error = store.audit_run_start(record.id, &record.action, Door::Cli).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::StoreUnavailable, "{error:?}");
    // What ran all the same, with a weaker setting, is recorded.
    store.set_audit_runs(AuditRuns::On).unwrap();
    store.audit_run_start(record.id, &record.action, Door::Cli).await.unwrap();
    store.record_run(record.clone()).await.unwrap();
    store.flush_runs().await.unwrap();
    assert!(store.get_run(&Tenant::default(), record.id).await.unwrap().is_some());
    let error = memory().await.set_audit_runs(AuditRuns::Required).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
}

#[tokio::test]
async fn a4_a_header_in_clear_is_a_keyed_hash_in_the_log_and_still_cannot_be_changed_past_it() {
    let place = Place::new();
    let store = place.open().await;
    let (over, mut a) =
        ("default:connection/http/c@v1", action("default:action/http/a@v1", "default:connection/http/c@v1"));
    let mut c = connection(over);
    let headers = serde_json::json!({"Authorization": "Bearer canary-1", "Accept": "text/plain"});
    c.config.insert("defaults".into(), serde_json::json!({ "headers": headers }));
    a.config.insert("headers".into(), serde_json::json!({"X-Api-Key": "canary-2"}));
    store.apply(ChangeSet { connections: vec![c], actions: vec![a], ..Default::default() }).await.unwrap();
    let entries = log(&store).await;
    let said = format!("{entries:?}");
    assert!(!said.contains("canary") && said.contains("text/plain"), "{said}");
    let after = |index: usize| entries[index].after.clone().unwrap();
    assert!(after(0)["defaults"]["headers"]["Authorization"]["fingerprint"].is_string(), "{said}");
    assert!(after(1)["config"]["headers"]["X-Api-Key"]["fingerprint"].is_string(), "{said}");
    assert_eq!(store.verify_audit().await.unwrap().differ, Vec::<String>::new());
    place
        .sql("UPDATE connections SET config_json = replace(config_json, 'canary-1', 'canary-3')")
        .await
        .unwrap();
    assert_eq!(store.verify_audit().await.unwrap().differ, [format!("trn:openact:{over}")]);
    place
        .sql("UPDATE connections SET config_json = replace(config_json, 'canary-3', 'canary-1')")
        .await
        .unwrap();
    place.sql(REMOVED).await.unwrap();
    store.put_secret(&Tenant::default(), "s", &"v".into()).await.unwrap();
    let entries = log(&store).await;
    assert!(!format!("{entries:?}").contains("canary"), "{entries:?}");
    assert_eq!(store.verify_audit().await.unwrap().differ, Vec::<String>::new());
}
