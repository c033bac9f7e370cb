//! Copies of a database while it is written, and putting one in its place (A2).

use std::{
    fs,
    path::{Path, PathBuf},
};

use openact_core::{Error, ErrorCode, Tenant, Timestamp, scope::TokenScope, secret::ExposeSecret};
use openact_store::{Author, ChangeSet, ConnectionFilter, copy_database};

use crate::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn connections(store: &Store) -> usize {
    store.find_connections(&Tenant::default(), &ConnectionFilter::default()).await.unwrap().len()
}

async fn add(store: &Store, number: usize) {
    let connections = vec![connection(&format!("default:connection/http/c{number}@v1"))];
    store.apply(ChangeSet { connections, ..Default::default() }).await.unwrap();
}

/// A folder for copies beside the database's.
fn elsewhere() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("copy.db");
    (folder, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_a_copy_made_while_others_write_is_whole_and_becomes_a_database_again() {
    let place = Place::new();
    let store = place.open().await;
    let (folder, file) = elsewhere();
    store.put_secret(&Tenant::default(), "s", &"value".into()).await.unwrap();
    for number in 0..20 {
        add(&store, number).await;
    }
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            for number in 20..60 {
                add(&store, number).await;
            }
        }
    });
    let report = store.backup(&file).await.unwrap();
    writing.await.unwrap();
    assert_eq!(names(folder.path()), ["copy.db"], "nothing but the copy is left");
    assert_eq!(report.bytes, fs::metadata(&file).unwrap().len());
    let copied = report.rows.iter().find(|(table, _)| table == "connections").unwrap().1;
    assert!((20..=60).contains(&copied), "{report:?}");
    // A change and its entry are in it together.
    let audit = report.audit.unwrap();
    assert_eq!((audit.entries, audit.broken), (copied + 1, None));
    store.close().await.unwrap();

    let other = Place::new();
    let url = StoreUrl::file(other.path());
    let restored = Store::restore(&url, key(1), Author::default(), &file, false).await.unwrap();
    assert_eq!((&restored.rows, &restored.replaced), (&report.rows, &None));
    assert_eq!(restored.audit.unwrap().entries, copied + 1);
    assert!(restored.missing.is_empty());
    assert_eq!(names(other.folder.path()), ["openact.db"]);
    let store = other.open().await;
    assert_eq!(connections(&store).await as u64, copied);
    assert_eq!(store.open_secret(&Tenant::default(), "s").await.unwrap().unwrap().expose_secret(), "value");
    // It is written by several processes again.
    let second = other.open().await;
    add(&second, 100).await;
    add(&store, 101).await;
    store.close().await.unwrap();
    second.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a2_copies_are_their_owners_alone_and_overwrite_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open().await;
    let (folder, file) = elsewhere();
    store.backup(&file).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&file).unwrap();
    let error = store.backup(&file).await.unwrap_err();
    assert!(error.code == ErrorCode::Conflict && error.message.contains("exists already"), "{error:?}");
    assert_eq!(fs::read(&file).unwrap(), before);
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    assert_eq!(store.backup(&folder.path().join("link")).await.unwrap_err().code, ErrorCode::Conflict);
    let error = store.backup(&folder.path().join("no/folder/x.db")).await.unwrap_err();
    assert!(error.code == ErrorCode::StoreUnavailable && error.hint.is_some(), "{error:?}");
    assert_eq!(names(folder.path()), ["copy.db", "link"]);
    let mode = {
        let other = Place::new();
        Store::restore(&StoreUrl::file(other.path()), key(1), Author::default(), &file, false).await.unwrap();
        fs::metadata(other.path()).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o600);
    let in_memory = memory().await.backup(&folder.path().join("memory.db")).await.unwrap_err();
    assert_eq!(in_memory.code, ErrorCode::InvalidInput);
    assert_eq!(names(folder.path()), ["copy.db", "link"]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a2_a_database_is_replaced_with_force_alone_and_kept() {
    let place = Place::new();
    let store = place.open().await;
    let (_folder, file) = elsewhere();
    add(&store, 1).await;
    store.backup(&file).await.unwrap();
    add(&store, 2).await;
    let url = StoreUrl::file(place.path());
    let restore = |force| {
        let (url, file) = (url.clone(), file.clone());
        async move { Store::restore(&url, key(1), Author::default(), &file, force).await }
    };
    let error = restore(false).await.unwrap_err();
    assert!(error.code == ErrorCode::Conflict && error.hint.as_ref().unwrap().contains("--force"));
    let error = restore(true).await.unwrap_err();
    assert!(error.code == ErrorCode::Conflict && error.message.contains("another process has"), "{error:?}");
    add(&store, 3).await;
    assert_eq!(connections(&store).await, 3, "it goes on as if nothing had happened");
    store.close().await.unwrap();

    let report = restore(true).await.unwrap();
    let replaced = report.replaced.unwrap();
    let name = replaced.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("openact.db.replaced-2"), "{name}");
    assert_eq!(names(place.folder.path()), ["openact.db", name]);
    let store = place.open().await;
    assert_eq!(connections(&store).await, 1);
    store.close().await.unwrap();
    let kept = Store::open(&StoreUrl::file(&replaced), key(1), RunWrites::Grouped).await.unwrap();
    assert_eq!(connections(&kept).await, 3);
    kept.close().await.unwrap();
    // Twice in a second is no collision.
    assert_ne!(restore(true).await.unwrap().replaced, restore(true).await.unwrap().replaced);
}

#[tokio::test]
async fn a2_a_damaged_database_is_replaced_with_its_log() {
    let (_folder, file) = elsewhere();
    let place = Place::new();
    let store = place.open().await;
    add(&store, 1).await;
    store.backup(&file).await.unwrap();
    store.close().await.unwrap();
    fs::write(place.path(), "just a text file\n".repeat(100)).unwrap();
    let log = place.folder.path().join("openact.db-wal");
    fs::write(&log, "what a killed process left").unwrap();
    let report =
        Store::restore(&StoreUrl::file(place.path()), key(1), Author::default(), &file, true).await.unwrap();
    assert!(!log.exists());
    let store = place.open().await;
    assert_eq!(connections(&store).await, 1);
    store.close().await.unwrap();
    assert!(fs::read_to_string(report.replaced.unwrap()).unwrap().starts_with("just a text"));
}

async fn refusal(file: &Path) -> Error {
    let place = Place::new();
    let error = Store::restore(&StoreUrl::file(place.path()), key(1), Author::default(), file, true)
        .await
        .unwrap_err();
    assert!(names(place.folder.path()).is_empty(), "something is left of it");
    assert!(error.hint.is_some() && error.message.contains("copy.db"), "{error:?}");
    error
}

#[tokio::test]
async fn a2_foreign_newer_damaged_and_truncated_copies_are_refused() {
    let (_folder, file) = elsewhere();
    assert_eq!(refusal(&file).await.code, ErrorCode::NotFound);
    let place = Place::new();
    let store = place.open().await;
    for number in 0..50 {
        add(&store, number).await;
    }
    store.backup(&file).await.unwrap();
    store.close().await.unwrap();
    let whole = fs::read(&file).unwrap();
    for length in [0, 50, 1000, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..length]).unwrap();
        let error = refusal(&file).await;
        assert_eq!(error.code, ErrorCode::StoreUnavailable, "{length}: {error:?}");
    }
    let mut scribbled = whole.clone();
    let middle = scribbled.len() / 2;
    scribbled[middle..middle + 8192].fill(0xff);
    fs::write(&file, &scribbled).unwrap();
    assert!(refusal(&file).await.message.contains("damaged"));
    fs::write(&file, "text ".repeat(2000)).unwrap();
    assert!(refusal(&file).await.message.contains("is not a SQLite database"));
    fs::write(&file, &whole).unwrap();
    for log in ["copy.db-wal", "copy.db-journal"] {
        fs::write(file.with_file_name(log), "x").unwrap();
        assert!(refusal(&file).await.message.contains("in use"), "{log}");
        fs::remove_file(file.with_file_name(log)).unwrap();
    }

    for (sql, part) in [
        ("PRAGMA application_id = 7", "not OpenAct's"),
        (
            "PRAGMA application_id = 0x4F414354; INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, 1, x'00', 0)",
            "newer OpenAct",
        ),
        (
            "DELETE FROM _sqlx_migrations WHERE version = 9999; PRAGMA foreign_keys = OFF; INSERT INTO actions SELECT 'trn:openact:default:action/http/a@v1', 'default', 'http', 'a', 'trn:openact:default:connection/http/gone@v1', '{}', 0, NULL, '', '', 1",
            "refers to one that is gone",
        ),
    ] {
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let error = refusal(&file).await;
        assert!(error.message.contains(part), "{part}: {error:?}");
    }
}

#[tokio::test]
async fn a2_a_copy_with_a_schema_of_somebody_elses_is_refused_and_not_opened() {
    let endless = "AS WITH RECURSIVE n(version) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT version, x'00' AS checksum, 1 AS success FROM n";
    for (sql, part) in [
        (
            "CREATE TRIGGER t AFTER INSERT ON connections BEGIN UPDATE connections SET config_json = replace(config_json, 'api', 'evil'); END",
            "trigger 't' of 'connections'",
        ),
        (
            "CREATE TRIGGER legacy_t AFTER INSERT ON connections BEGIN DELETE FROM actions; END",
            "trigger 'legacy_t'",
        ),
        (
            "CREATE TABLE legacy_x (x TEXT REFERENCES connections (trn) ON DELETE CASCADE);
             CREATE TRIGGER t AFTER DELETE ON legacy_x BEGIN DELETE FROM secrets; END",
            "refers to one that is",
        ),
        (
            "CREATE TRIGGER m AFTER INSERT ON _sqlx_migrations BEGIN DELETE FROM secrets; END",
            "trigger 'm' of '_sqlx_migrations'",
        ),
        ("CREATE VIEW v AS SELECT 1", "view 'v'"),
        ("CREATE VIEW legacy_v AS SELECT 1", "view 'legacy_v'"),
        ("CREATE UNIQUE INDEX once ON secrets (name)", "index 'once'"),
        ("ALTER TABLE settings ADD COLUMN x TEXT", "lacks what makes 'CREATE TABLE settings'"),
        (
            "DROP TRIGGER actions_match_their_connection_insert",
            "lacks what makes 'CREATE TRIGGER actions_match",
        ),
        (
            &*format!("DROP TABLE _sqlx_migrations; CREATE VIEW _sqlx_migrations {endless}"),
            "view '_sqlx_migrations'",
        ),
    ] {
        let (_folder, file) = elsewhere();
        let place = Place::new();
        let store = place.open().await;
        store.backup(&file).await.unwrap();
        store.close().await.unwrap();
        fs::rename(&file, place.path()).unwrap();
        place.sql(sql).await.unwrap();
        let opened = Store::open(&StoreUrl::file(place.path()), key(1), RunWrites::Grouped).await;
        let error = opened.err().unwrap_or_else(|| panic!("{sql}: it opened"));
        assert!(error.message.contains(part) && error.hint.is_some(), "{error:?}");
        fs::rename(place.path(), &file).unwrap();
        assert!(refusal(&file).await.message.contains(part), "{part}");
    }
}

#[tokio::test]
async fn a2_tables_of_an_earlier_openact_and_statistics_are_no_alteration() {
    let place = Place::new();
    place.open().await.close().await.unwrap();
    let sql = "CREATE TABLE notes (x TEXT); CREATE TABLE legacy_x (x TEXT PRIMARY KEY); CREATE INDEX by_x ON legacy_x (x); ANALYZE;
        CREATE TRIGGER t AFTER UPDATE ON legacy_x BEGIN DELETE FROM legacy_x; END";
    place.sql(sql).await.unwrap();
    place.open().await.close().await.unwrap();
}

#[tokio::test]
async fn a2_neither_itself_nor_a_foreign_database_is_replaced() {
    let (_folder, file) = elsewhere();
    let place = Place::new();
    let store = place.open().await;
    store.backup(&file).await.unwrap();
    store.close().await.unwrap();
    let url = StoreUrl::file(place.path());
    let error = Store::restore(&url, key(1), Author::default(), &place.path(), true).await.unwrap_err();
    assert!(error.message.contains("the database itself"), "{error:?}");
    let foreign = Place::new();
    foreign.sql_new("CREATE TABLE customers (x TEXT)").await;
    let before = fs::read(foreign.path()).unwrap();
    let error = Store::restore(&StoreUrl::file(foreign.path()), key(1), Author::default(), &file, true)
        .await
        .unwrap_err();
    assert!(error.message.contains("not OpenAct's"), "{error:?}");
    assert_eq!(fs::read(foreign.path()).unwrap(), before);
    assert_eq!(names(foreign.folder.path()), ["openact.db"]);
    let in_memory =
        Store::restore(&StoreUrl::memory(), key(1), Author::default(), &file, true).await.unwrap_err();
    assert_eq!(in_memory.code, ErrorCode::InvalidInput);
}

#[tokio::test]
async fn any_database_can_be_copied() {
    let (folder, file) = elsewhere();
    let foreign = Place::new();
    foreign
        .sql_new("CREATE TABLE \"cust\"\"omers\" (x TEXT); INSERT INTO \"cust\"\"omers\" VALUES ('a'), ('b')")
        .await;
    let report = copy_database(&foreign.path(), &file).await.unwrap();
    assert_eq!((report.rows, report.audit), (vec![("cust\"omers".to_owned(), 2)], None));
    assert_eq!(copy_database(&foreign.path(), &file).await.unwrap_err().code, ErrorCode::Conflict);
    let missing =
        copy_database(&folder.path().join("none.db"), &folder.path().join("b.db")).await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::StoreUnavailable);
    assert_eq!(names(folder.path()), ["copy.db"]);
}

impl Place {
    async fn sql_new(&self, statements: &'static str) {
        fs::write(self.path(), b"").unwrap();
        self.sql(statements).await.unwrap();
    }
}

/// Names of the tokens, those that are over with a `-`.
async fn tokens(store: &Store) -> Vec<String> {
    let now = Timestamp::now();
    let shown = |token: openact_store::ApiToken| match token.is_over(now) {
        true => format!("-{}", token.name),
        false => token.name,
    };
    store.list_tokens().await.unwrap().into_iter().map(shown).collect()
}

#[tokio::test]
async fn m1_a_restore_makes_no_token_valid_and_opens_no_door() {
    let (place, (_folder, file)) = (Place::new(), elsewhere());
    let store = place.open().await;
    for name in ["kept", "made-anew", "revoked"] {
        store.create_token(name, TokenScope::default(), None).await.unwrap();
    }
    store.backup(&file).await.unwrap();
    store.revoke_token("revoked").await.unwrap();
    store.revoke_token("made-anew").await.unwrap();
    store.create_token("made-anew", TokenScope::default(), None).await.unwrap();
    store.create_token("since", TokenScope::default(), None).await.unwrap();
    store.close().await.unwrap();
    let restore = async |to: &Place, with: u8| {
        let url = StoreUrl::file(to.path());
        let report = Store::restore(&url, key(with), Author::default(), &file, true).await.unwrap();
        let store = to.open().await;
        let found = (report.ended_tokens, tokens(&store).await, store.verify_audit().await.unwrap());
        store.close().await.unwrap();
        found
    };
    let (ended, there, audit) = restore(&place, 1).await;
    assert_eq!(ended, ["made-anew", "revoked", "since"]);
    assert_eq!(there, ["kept", "-made-anew", "-revoked", "-since"]);
    assert!(audit.error().is_none(), "{audit:?}");

    // Where nothing is known of revocations, none is valid: on a new disk, over a database that cannot be read, without the
    // key by which an entry of it could be made.
    let (new, damaged) = (Place::new(), Place::new());
    fs::write(damaged.path(), "SQLite format 3\0 and no more").unwrap();
    for (place, with, logged) in [(&new, 1, true), (&damaged, 1, true), (&Place::new(), 9, false)] {
        let (ended, there, audit) = restore(place, with).await;
        assert_eq!(ended, ["kept", "made-anew", "revoked"]);
        assert_eq!(there, ["-kept", "-made-anew", "-revoked"]);
        assert_eq!(audit.error().is_none(), logged, "{audit:?}");
    }

    // Of before the first token: the doors want one still.
    let (place, (_folder, empty)) = (Place::new(), elsewhere());
    let store = place.open().await;
    store.put_secret(&Tenant::default(), "s", &"value".into()).await.unwrap();
    store.backup(&empty).await.unwrap();
    store.create_token("first", TokenScope::default(), None).await.unwrap();
    store.close().await.unwrap();
    let url = StoreUrl::file(place.path());
    Store::restore(&url, key(1), Author::default(), &empty, true).await.unwrap();
    let store = place.open().await;
    assert_eq!(tokens(&store).await, ["-first"]);
    assert!(store.verify_audit().await.unwrap().error().is_none());
    store.close().await.unwrap();
}
