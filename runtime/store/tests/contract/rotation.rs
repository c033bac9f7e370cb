//! Rotating the master key: whatever happens meanwhile, every record opens with the key of its version (C8).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use openact_core::{Error, ErrorCode, Tenant, secret::ExposeSecret};
use openact_store::{AuthConnection, ChangeSet, KeyOrigin, KeyRotation, KeyState, NewSecret};

use crate::{secrets::credential, *};

impl Place {
    fn key_path(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    /// A store as a process of its own would open it: with the keys that are in the file when it first needs one.
    async fn open_with_file(&self) -> Store {
        self.open_with(KeySource::File(self.key_path()), RunWrites::Grouped).await
    }

    fn key_numbers(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.key_path()).unwrap();
        text.lines()
            .map(|line| line.split_once(':').map_or("bare", |(number, _)| number).to_owned())
            .collect()
    }
}

/// Secrets `s0`, `s1`, … of two tenants, a credential and its history.
async fn fill(store: &Store, secrets: usize) {
    let secret = |i: usize| NewSecret {
        tenant: if i.is_multiple_of(2) { Tenant::default() } else { "other".parse().unwrap() },
        name: format!("s{i}"),
        value: format!("value {i}").into(),
    };
    store
        .apply(ChangeSet { secrets: (0..secrets).map(secret).collect(), ..Default::default() })
        .await
        .unwrap();
    store.put_auth_connection(&credential("first", 0), Some("login")).await.unwrap();
    // One of the optional columns is empty.
    let second = AuthConnection { refresh_token: None, ..credential("second", 1) };
    store.put_auth_connection(&second, None).await.unwrap();
}

#[track_caller]
fn assert_key_missing(error: &Error, version: i64) {
    assert_eq!((error.code, error.code.exit_code()), (ErrorCode::StoreUnavailable, 10), "{error:?}");
    assert!(error.message.contains(&format!("version {version} of the master key")), "{error:?}");
    assert_eq!(error.details.as_ref().unwrap()["key_version"], version);
}

async fn assert_all_open(store: &Store, secrets: usize) {
    for i in 0..secrets {
        let tenant = if i.is_multiple_of(2) { Tenant::default() } else { "other".parse().unwrap() };
        let (name, value) = (format!("s{i}"), format!("value {i}"));
        let opened = store.open_secret(&tenant, &name).await.unwrap().unwrap();
        assert_eq!(opened.expose_secret(), value);
        assert!(store.secret_is(&tenant, &name, &value.into()).await.unwrap());
        assert!(!store.secret_is(&tenant, &name, &"another".into()).await.unwrap());
    }
    let trn = credential("", 0).trn;
    let stored = store.get_auth_connection(&trn).await.unwrap().unwrap();
    assert_eq!(stored.access_token.expose_secret(), "second");
    let history = store.auth_connection_history(&trn).await.unwrap();
    assert!(history[1].old.as_ref().unwrap().expose_secret().contains("first-refresh"));
}

/// State, availability and number of sealed records of each version, the newest first.
async fn versions(store: &Store) -> Vec<(Option<i64>, KeyState, bool, u64)> {
    let status = store.key_status().await.unwrap();
    let counted = status.versions.iter().map(|key| (key.version, key.state, key.available, key.records()));
    counted.collect()
}

/// Starts a rotation and stops it, as a killed process would, once some records are sealed anew and some are not.
async fn rotate_halfway(store: &Store) {
    let rotation = store.rotate_key();
    let halfway = async {
        loop {
            let states = versions(store).await;
            if states.iter().filter(|(.., records)| *records > 0).count() > 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = halfway => {}
        done = rotation => panic!("the rotation was not caught: {done:?}"),
    }
}

#[tokio::test]
async fn c8_every_sealed_record_moves_to_the_new_key() {
    let place = Place::new();
    let store = place.open_with_file().await;
    fill(&store, 120).await;
    assert_eq!(place.key_numbers(), ["bare"]);
    let old_file = std::fs::read(place.key_path()).unwrap();
    let generation = store.config_generation().await.unwrap();
    assert_eq!(versions(&store).await, [(Some(1), KeyState::Current, true, 123)]);

    let done = store.rotate_key().await.unwrap();
    assert_eq!(done, KeyRotation { version: 2, records: 123, resumed: false });
    let unused = (Some(1), KeyState::Unused, true, 0);
    assert_eq!(versions(&store).await, [(Some(2), KeyState::Current, true, 123), unused]);
    assert_eq!(store.key_status().await.unwrap().origin, KeyOrigin::File(place.key_path()));
    assert_eq!(store.config_generation().await.unwrap(), generation, "no configuration changed");
    assert_all_open(&store, 120).await;
    assert_eq!(place.key_numbers(), ["1", "2"]);
    assert_eq!(store.drop_old_keys().await.unwrap(), [1]);
    assert_eq!(place.key_numbers(), ["2"]);
    assert!(store.drop_old_keys().await.unwrap().is_empty());
    assert_all_open(&store, 120).await;
    store.close().await.unwrap();

    let store = place.open_with_file().await;
    assert_all_open(&store, 120).await;
    let stale = credential("third", 2);
    store.put_auth_connection(&stale, None).await.unwrap();
    store.close().await.unwrap();

    std::fs::write(place.key_path(), old_file).unwrap();
    let store = place.open_with_file().await;
    let tenant = Tenant::default();
    for error in [
        store.open_secret(&tenant, "s0").await.unwrap_err(),
        store.secret_is(&tenant, "s0", &"value 0".into()).await.unwrap_err(),
        store.put_secret(&tenant, "new", &"v".into()).await.unwrap_err(),
        store.rotate_key().await.unwrap_err(),
        store.drop_old_keys().await.unwrap_err(),
    ] {
        assert_key_missing(&error, 2);
    }
    assert_eq!(place.key_numbers(), ["bare"], "no key was made or lost");
    std::fs::remove_file(place.key_path()).unwrap();
    let without = place.open_with_file().await;
    assert_key_missing(&without.open_secret(&tenant, "s0").await.unwrap_err(), 2);
    assert_key_missing(&without.put_secret(&tenant, "new", &"v".into()).await.unwrap_err(), 2);
    assert!(!place.key_path().exists(), "a key that opens nothing was made");
}

#[tokio::test]
async fn c8_a_rotation_that_is_stopped_is_finished_by_the_next() {
    let place = Place::new();
    let store = place.open_with_file().await;
    fill(&store, 500).await;
    rotate_halfway(&store).await;
    store.close().await.unwrap();

    let store = place.open_with_file().await;
    let before = versions(&store).await;
    assert!(matches!(
        *before,
        [(Some(2), KeyState::Current, true, 1..), (Some(1), KeyState::Rotating, true, 1..)]
    ));
    assert_all_open(&store, 500).await;
    let early = store.drop_old_keys().await.unwrap_err();
    assert!(
        early.code == ErrorCode::Conflict && early.hint.as_ref().unwrap().contains("rotate"),
        "{early:?}"
    );
    // Rows of different versions stay their own.
    let tenant = Tenant::default();
    let relabelled = "UPDATE secrets SET key_version = 3 - key_version WHERE name IN ('s0', 's498')";
    assert_eq!(place.sql(relabelled).await.unwrap(), 2);
    for name in ["s0", "s498"] {
        let error = store.open_secret(&tenant, name).await.unwrap_err();
        assert!(error.message.contains("does not open"), "{error:?}");
    }
    place.sql(relabelled).await.unwrap();

    let done = store.rotate_key().await.unwrap();
    assert_eq!(done, KeyRotation { version: 2, records: before[1].3, resumed: true });
    assert_eq!(place.key_numbers(), ["1", "2"], "no other key was made");
    store.drop_old_keys().await.unwrap();
    store.close().await.unwrap();
    assert_all_open(&place.open_with_file().await, 500).await;
}

#[tokio::test]
async fn c8_a_key_that_was_made_and_never_used_is_the_next_one() {
    let place = Place::new();
    let store = place.open_with_file().await;
    fill(&store, 2).await;
    // What a process that was killed before it told the database leaves behind.
    let bare = std::fs::read_to_string(place.key_path()).unwrap();
    let both = format!("1:{bare}2:{}\n", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
    std::fs::write(place.key_path(), &both).unwrap();
    assert_all_open(&store, 2).await;
    store.put_secret(&Tenant::default(), "s0", &"value 0".into()).await.unwrap();
    assert_eq!(
        versions(&store).await[1],
        (Some(1), KeyState::Current, true, 5),
        "sealed with what is in use"
    );
    assert_eq!(store.rotate_key().await.unwrap().version, 2);
    assert_eq!(std::fs::read_to_string(place.key_path()).unwrap(), both);
    assert_all_open(&store, 2).await;
}

#[tokio::test]
async fn c8_of_two_rotations_at_once_one_wins() {
    let place = Place::new();
    let (store, other) = (place.open_with_file().await, place.open_with_file().await);
    fill(&store, 300).await;
    let first = store.rotate_key();
    let second = async {
        while versions(&other).await.len() < 2 {
            tokio::task::yield_now().await;
        }
        (other.rotate_key().await, other.drop_old_keys().await)
    };
    let (first, (second, dropped)) = tokio::join!(first, second);
    assert_eq!(first.unwrap(), KeyRotation { version: 2, records: 303, resumed: false });
    for error in [second.unwrap_err(), dropped.unwrap_err()] {
        assert!(error.code == ErrorCode::Conflict && error.hint.is_some(), "{error:?}");
    }
    assert_eq!(place.key_numbers(), ["1", "2"]);
    assert_eq!(other.rotate_key().await.unwrap().version, 3, "the lock ends with the rotation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_others_read_and_write_throughout() {
    let place = Place::new();
    let store = place.open_with_file().await;
    fill(&store, 200).await;
    let running = place.open_with_file().await;
    assert_all_open(&running, 200).await;
    let reader = tokio::spawn({
        let running = running.clone();
        async move {
            for round in 0..20 {
                assert_all_open(&running, 200).await;
                let name = format!("during{round}");
                running.put_secret(&Tenant::default(), &name, &"v".into()).await.unwrap();
            }
        }
    });
    for version in 2..5 {
        assert_eq!(store.rotate_key().await.unwrap().version, version);
        assert_eq!(store.drop_old_keys().await.unwrap(), [version - 1]);
    }
    reader.await.unwrap();
    assert_all_open(&running, 200).await;
    assert_eq!(versions(&store).await.len(), 1);
}

#[tokio::test]
async fn c8_keys_of_the_environment_are_rotated_by_setting_both() {
    let place = Place::new();
    let keys = Arc::new(Mutex::new(vec![1]));
    let asked = keys.clone();
    let ask = move || Ok(asked.lock().unwrap().iter().map(|byte| master_key(*byte)).collect());
    let store = place.open_with(KeySource::Environment(Box::new(ask)), RunWrites::Grouped).await;
    fill(&store, 10).await;
    let error = store.rotate_key().await.unwrap_err();
    assert!(error.code == ErrorCode::InvalidInput && error.hint.as_ref().unwrap().contains("_PREVIOUS"));
    assert_eq!(versions(&store).await, [(Some(1), KeyState::Current, true, 13)]);

    // A process that still has the old key alone seals with it, behind the rotation's back.
    let old = place.open().await;
    *keys.lock().unwrap() = vec![2, 1];
    rotate_with_latecomer(&place, &store, &old).await;
    assert_all_open(&store, 10).await;
    *keys.lock().unwrap() = vec![2];
    let late = store.open_secret(&Tenant::default(), "late").await.unwrap();
    assert_eq!(late.unwrap().expose_secret(), "v");
    assert_all_open(&store, 10).await;
    assert_eq!(versions(&store).await, [(Some(2), KeyState::Current, true, 14)]);
    assert_key_missing(&old.put_secret(&Tenant::default(), "later", &"v".into()).await.unwrap_err(), 2);
    assert_key_missing(&old.open_secret(&Tenant::default(), "s0").await.unwrap_err(), 2);
    assert_eq!(store.drop_old_keys().await.unwrap_err().code, ErrorCode::InvalidInput);
}

async fn rotate_with_latecomer(place: &Place, store: &Store, old: &Store) {
    // As if `store` had begun and stopped before its first batch.
    let id = {
        let other = Place::new();
        let new = other.open_with(key(2), RunWrites::Grouped).await;
        fill(&new, 1).await;
        new.key_status().await.unwrap().versions[0].id.clone()
    };
    let begun = format!("INSERT INTO settings (key, value) VALUES ('master_key_id.2', '{id}')");
    place.sql(&begun).await.unwrap();
    old.put_secret(&Tenant::default(), "late", &"v".into()).await.unwrap();
    assert_eq!(versions(old).await[1], (Some(1), KeyState::Rotating, true, 14));
    assert!(!versions(old).await[0].2, "the new key is not the old process's");
    assert_key_missing(&old.rotate_key().await.unwrap_err(), 2);
    let done = store.rotate_key().await.unwrap();
    assert_eq!(done, KeyRotation { version: 2, records: 14, resumed: true });
}

#[tokio::test]
async fn c8_a_key_that_goes_between_a_row_and_its_opening_is_not_missed() {
    let place = Place::new();
    fill(&place.open().await, 1).await;
    let (tenant, trn) = (Tenant::default(), credential("", 0).trn);
    for new in 2..6 {
        // Asked for its key when the row is read, this process gets the key of after a whole rotation.
        let path = place.path();
        let late = move || {
            let path = path.clone();
            let rotated = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let keys = KeySource::Keys(vec![master_key(new), master_key(new - 1)]);
                    let store = Store::open(&StoreUrl::file(&path), keys, RunWrites::Grouped).await.unwrap();
                    // Asked again, there is nothing left to do.
                    let _ = store.rotate_key().await;
                    store.close().await.unwrap();
                });
            });
            rotated.join().unwrap();
            Ok(vec![master_key(new)])
        };
        let store = place.open_with(KeySource::Environment(Box::new(late)), RunWrites::Grouped).await;
        let found = match new {
            2 => store.open_secret(&tenant, "s0").await.unwrap().is_some(),
            3 => store.secret_is(&tenant, "s0", &"value 0".into()).await.unwrap(),
            4 => store.get_auth_connection(&trn).await.unwrap().is_some(),
            _ => store.auth_connection_history(&trn).await.unwrap().len() == 2,
        };
        assert!(found, "{new}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn c8_a_damaged_record_holds_the_end_up_and_nothing_else() {
    let place = Place::new();
    let store = place.open_with_file().await;
    fill(&store, 60).await;
    place.sql("UPDATE secrets SET value_nonce = data_key_nonce WHERE name = 's0'").await.unwrap();
    let error = store.rotate_key().await.unwrap_err();
    assert!(error.message.contains("not finished") && error.message.contains("default:s0"), "{error:?}");
    let states = versions(&store).await;
    assert_eq!(states, [(Some(2), KeyState::Current, true, 62), (Some(1), KeyState::Rotating, true, 1)]);
    assert_eq!(store.drop_old_keys().await.unwrap_err().code, ErrorCode::Conflict);
    store.put_secret(&Tenant::default(), "s0", &"value 0".into()).await.unwrap();
    let done = store.rotate_key().await.unwrap();
    assert_eq!(done, KeyRotation { version: 2, records: 0, resumed: true });
    assert_all_open(&store, 60).await;
}

#[tokio::test]
async fn two_databases_with_one_key_file_rotate_apart() {
    let place = Place::new();
    let one = place.open_with_file().await;
    let other_path = place.folder.path().join("other.db");
    let other_url = StoreUrl::file(&other_path);
    let source = || KeySource::File(place.key_path());
    let other = Store::open(&other_url, source(), RunWrites::Grouped).await.unwrap();
    fill(&one, 3).await;
    fill(&other, 3).await;
    assert_eq!(one.rotate_key().await.unwrap().version, 2);
    assert_all_open(&other, 3).await;
    assert_eq!(versions(&other).await[0], (Some(2), KeyState::Unused, true, 0));
    assert!(other.drop_old_keys().await.unwrap().is_empty(), "a newer key is not an old one");
    // The key the first one made does for the second.
    assert_eq!(other.rotate_key().await.unwrap().version, 2);
    assert_eq!(place.key_numbers(), ["1", "2"]);
    assert_eq!(other.drop_old_keys().await.unwrap(), [1]);
    assert_all_open(&one, 3).await;
    assert_all_open(&other, 3).await;
}

#[tokio::test]
async fn a_database_in_memory_has_no_key_to_rotate() {
    let store = memory().await;
    assert_eq!(store.rotate_key().await.unwrap_err().code, ErrorCode::InvalidInput);
    assert!(store.key_status().await.unwrap().versions[0].available);
}
