//! What connectors keep between calls: whose it is, over which revision it is written, how it is sealed.

use openact_core::{
    ErrorCode,
    limits::STATE_KEYS_MAX,
    manifest::ComponentDigest,
    state::{StateEntry, StateOwner, States},
};
use openact_store::ChangeSet;

use crate::*;

fn owner(connection: &str, digest: u8) -> StateOwner {
    StateOwner { connection: connection_trn(connection), connector: ComponentDigest([digest; 32]) }
}

const ONE: &str = "default:connection/http/one@v1";
const TWO: &str = "default:connection/http/two@v1";

async fn fill(store: &Store) {
    let connections = [ONE, TWO].map(connection).into();
    store.apply(ChangeSet { connections, ..Default::default() }).await.unwrap();
}

async fn value(store: &Store, owner: &StateOwner, key: &str) -> Option<(Vec<u8>, u64)> {
    store.get_state(owner, key).await.unwrap().map(|StateEntry { value, revision }| (value, revision))
}

#[tokio::test]
async fn a_value_is_written_over_the_revision_its_writer_read() {
    let store = memory().await;
    fill(&store).await;
    let owner = owner(ONE, 1);
    assert_eq!(value(&store, &owner, "k").await, None);
    assert_eq!(store.set_state(&owner, "k", b"a\0\xff", None).await.unwrap(), 1);
    assert_eq!(value(&store, &owner, "k").await, Some((b"a\0\xff".to_vec(), 1)));
    for stale in [None, Some(0), Some(2)] {
        let error = store.set_state(&owner, "k", b"b", stale).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict, "{stale:?}");
    }
    assert_eq!(store.set_state(&owner, "k", b"", Some(1)).await.unwrap(), 2);
    assert_eq!(value(&store, &owner, "k").await, Some((Vec::new(), 2)));
    store.delete_state(&owner, "k").await.unwrap();
    store.delete_state(&owner, "k").await.unwrap();
    assert_eq!(value(&store, &owner, "k").await, None);
    assert_eq!(store.set_state(&owner, "k", b"c", Some(2)).await.unwrap_err().code, ErrorCode::Conflict);
}

#[tokio::test]
async fn of_writers_that_read_the_same_one_wins() {
    let store = memory().await;
    fill(&store).await;
    let owner = owner(ONE, 1);
    let writers = (0..10).map(|index| {
        let (store, owner) = (store.clone(), owner.clone());
        tokio::spawn(async move { store.set_state(&owner, "k", &[index], None).await.is_ok() })
    });
    let mut won = 0;
    for writer in writers.collect::<Vec<_>>() {
        won += usize::from(writer.await.unwrap());
    }
    assert_eq!((won, value(&store, &owner, "k").await.unwrap().1), (1, 1));
}

#[tokio::test]
async fn c6_a_value_is_its_connections_and_its_components() {
    let store = memory().await;
    fill(&store).await;
    store.set_state(&owner(ONE, 1), "k", b"mine", None).await.unwrap();
    for other in [owner(TWO, 1), owner(ONE, 2)] {
        assert_eq!(value(&store, &other, "k").await, None, "{other:?}");
        store.delete_state(&other, "k").await.unwrap();
    }
    assert_eq!(value(&store, &owner(ONE, 1), "k").await, Some((b"mine".to_vec(), 1)));
    let gone = owner("default:connection/http/gone@v1", 1);
    assert!(store.set_state(&gone, "k", b"x", None).await.is_err(), "no such connection");
}

#[tokio::test]
async fn a_connector_keeps_so_many_values_and_no_more() {
    let store = memory().await;
    fill(&store).await;
    let owner = owner(ONE, 1);
    for index in 0..STATE_KEYS_MAX {
        store.set_state(&owner, &index.to_string(), b"v", None).await.unwrap();
    }
    let error = store.set_state(&owner, "one more", b"v", None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitExceeded);
    assert_eq!(store.set_state(&owner, "0", b"w", Some(1)).await.unwrap(), 2, "in place of one");
}

#[tokio::test]
async fn c8_a_value_opens_at_its_own_row_alone_and_goes_with_its_connection() {
    let place = Place::new();
    let store = place.open().await;
    fill(&store).await;
    let (one, two) = (owner(ONE, 1), owner(TWO, 1));
    store.set_state(&one, "a", b"canary of one", None).await.unwrap();
    store.set_state(&two, "a", b"two", None).await.unwrap();
    let bytes = std::fs::read(place.path()).unwrap();
    let wal = std::fs::read(format!("{}-wal", place.path().display())).unwrap_or_default();
    assert!(![bytes, wal].concat().windows(6).any(|window| window == b"canary"), "in clear");
    let swap =
        "UPDATE connector_state SET (value_encrypted, value_nonce, data_key_encrypted, data_key_nonce) =
        (SELECT value_encrypted, value_nonce, data_key_encrypted, data_key_nonce FROM connector_state s
         WHERE s.connection_trn LIKE '%/one@v1') WHERE connection_trn LIKE '%/two@v1'";
    assert_eq!(place.sql(swap).await.unwrap(), 1);
    let error = store.get_state(&two, "a").await.unwrap_err();
    assert!(error.message.contains("does not open"), "{error:?}");
    assert_eq!(value(&store, &one, "a").await, Some((b"canary of one".to_vec(), 1)));

    place.sql("PRAGMA foreign_keys = ON; DELETE FROM connections WHERE name = 'one'").await.unwrap();
    assert_eq!(value(&store, &one, "a").await, None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn c8_values_move_to_a_new_key() {
    let place = Place::new();
    let keys = |bytes: &[u8]| KeySource::Keys(bytes.iter().map(|byte| master_key(*byte)).collect());
    let store = place.open().await;
    fill(&store).await;
    let owner = owner(ONE, 1);
    store.set_state(&owner, "a", b"kept", None).await.unwrap();
    store.close().await.unwrap();
    let store = place.open_with(keys(&[2, 1]), RunWrites::Grouped).await;
    let rotated = store.rotate_key().await.unwrap();
    assert_eq!(rotated.records, 1);
    store.close().await.unwrap();
    let store = place.open_with(keys(&[2]), RunWrites::Grouped).await;
    assert_eq!(value(&store, &owner, "a").await, Some((b"kept".to_vec(), 1)));
    store.close().await.unwrap();
}
