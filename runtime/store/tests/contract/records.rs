//! Connections and actions: create, read, delete, and what holds them together.

use openact_core::{ErrorCode, Tenant};
use openact_store::{ActionFilter, ChangeSet, ConnectionFilter, DeletedConnection, Kind, NewSecret, Synced};

use crate::{connectors::connector, *};

const GITHUB: &str = "default:connection/http/github@v1";

fn changes(connections: &[&str], actions: &[(&str, &str)]) -> ChangeSet {
    ChangeSet {
        connections: connections.iter().map(|text| connection(text)).collect(),
        actions: actions.iter().map(|(text, over)| action(text, over)).collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_was_applied_is_read_back_equal() {
    let store = memory().await;
    let (connection, action) = (connection(GITHUB), action("default:action/http/get@v1", GITHUB));
    store
        .apply(ChangeSet {
            connections: vec![connection.clone()],
            actions: vec![action.clone()],
            ..Default::default()
        })
        .await
        .unwrap();
    let read = store.get_connection(&connection.trn).await.unwrap().unwrap();
    assert_eq!(read, connection);
    assert_eq!(read.config.keys().collect::<Vec<_>>(), ["z", "base_url", "a"], "the order of keys is kept");
    assert_eq!(store.get_action(&action.trn).await.unwrap().unwrap(), action);
    assert!(store.get_action(&action_trn("default:action/http/get@v2")).await.unwrap().is_none());
    assert!(
        store.get_connection(&connection_trn("other:connection/http/github@v1")).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn versions_live_side_by_side_and_the_latest_is_the_highest_number() {
    let store = memory().await;
    let versions = [9, 10, 2];
    let trns = |version| {
        (format!("default:connection/http/github@v{version}"), format!("default:action/http/get@v{version}"))
    };
    for (connection, action) in versions.map(trns) {
        store.apply(changes(&[&connection], &[(&action, &connection)])).await.unwrap();
    }
    store.apply(changes(&["other:connection/http/github@v77"], &[])).await.unwrap();
    let tenant = Tenant::default();
    let all = store.find_connections(&tenant, &ConnectionFilter::default()).await.unwrap();
    assert_eq!(all.iter().map(|c| c.trn.version.get()).collect::<Vec<_>>(), [2, 9, 10]);
    let latest =
        ConnectionFilter { name: Some("github".parse().unwrap()), latest_only: true, ..Default::default() };
    let latest = store.find_connections(&tenant, &latest).await.unwrap();
    assert_eq!(latest.iter().map(|c| c.trn.version.get()).collect::<Vec<_>>(), [10]);

    let filter = async |filter| {
        let found = store.find_actions(&tenant, &filter).await.unwrap();
        found.iter().map(|action| action.trn.version.get()).collect::<Vec<_>>()
    };
    assert_eq!(filter(ActionFilter { latest_only: true, ..Default::default() }).await, [10]);
    assert_eq!(
        filter(ActionFilter { connector: Some("postgres".parse().unwrap()), ..Default::default() }).await,
        [0u32; 0]
    );
    let over = Some(connection_trn("default:connection/http/github@v9"));
    assert_eq!(filter(ActionFilter { connection: over, ..Default::default() }).await, [9]);
}

#[tokio::test]
async fn an_existing_version_is_never_overwritten() {
    let store = memory().await;
    store.apply(changes(&[GITHUB], &[("default:action/http/get@v1", GITHUB)])).await.unwrap();
    for again in [changes(&[GITHUB], &[]), changes(&[], &[("default:action/http/get@v1", GITHUB)])] {
        let error = store.apply(again).await.unwrap_err();
        assert!(
            error.code == ErrorCode::Conflict && error.message.contains("@v1 exists already"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_action_has_the_connector_and_tenant_of_its_connection() {
    let place = Place::new();
    let store = place.open().await;
    let others = ["default:connection/postgres/pg@v1", "other:connection/http/github@v1"];
    store
        .apply(changes(&[GITHUB, others[0], others[1]], &[("default:action/http/ok@v1", GITHUB)]))
        .await
        .unwrap();
    for other in others {
        let error = store.apply(changes(&[], &[("default:action/http/bad@v1", other)])).await.unwrap_err();
        assert!(
            error.code == ErrorCode::Conflict && error.message.contains("tenant or connector"),
            "{error:?}"
        );
        let update = format!("UPDATE actions SET connection_trn = 'trn:openact:{other}'");
        let error = place.sql(&update).await.unwrap_err().to_string();
        assert!(error.contains("openact: an action must have the tenant and connector"), "{error}");
    }
    let missing = store
        .apply(changes(&[], &[("default:action/http/bad@v1", "default:connection/http/none@v1")]))
        .await
        .unwrap_err();
    assert!(missing.code == ErrorCode::Conflict && missing.message.contains("does not exist"), "{missing:?}");
    for update in [
        "UPDATE connections SET connector = 'redis' WHERE name = 'github'",
        "UPDATE actions SET tenant = 'other'",
        "UPDATE actions SET connector = 'postgres'",
        "DELETE FROM connections WHERE tenant = 'default' AND name = 'github'",
        "INSERT INTO connections SELECT 'trn:x', tenant, connector, 'n', config_json, created_at, updated_at, 1 FROM connections LIMIT 1",
    ] {
        assert!(place.sql(update).await.is_err(), "{update}");
    }
    let stored = store.find_actions(&Tenant::default(), &ActionFilter::default()).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].connection, connection_trn(GITHUB));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_change_set_is_applied_whole_or_not_at_all() {
    let store = memory().await;
    store.apply(changes(&[GITHUB], &[])).await.unwrap();
    let before = store.config_generation().await.unwrap();
    let mut bad = changes(
        &["default:connection/http/new@v1"],
        &[
            ("default:action/http/a@v1", GITHUB),
            ("default:action/http/b@v1", "default:connection/http/none@v1"),
        ],
    );
    bad.secrets.push(NewSecret { tenant: Tenant::default(), name: "s".into(), value: "v".into() });
    assert_eq!(store.apply(bad).await.unwrap_err().code, ErrorCode::Conflict);
    let tenant = Tenant::default();
    assert_eq!(store.find_connections(&tenant, &ConnectionFilter::default()).await.unwrap().len(), 1);
    assert!(store.find_actions(&tenant, &ActionFilter::default()).await.unwrap().is_empty());
    assert!(store.list_secrets(&tenant).await.unwrap().is_empty());
    assert_eq!(store.config_generation().await.unwrap(), before);
}

#[tokio::test]
async fn ten_thousand_actions_are_one_change_set() {
    let store = memory().await;
    let mut many = changes(&[GITHUB], &[]);
    many.actions = (0..10_000).map(|i| action(&format!("default:action/http/a{i}@v1"), GITHUB)).collect();
    store.apply(many).await.unwrap();
    assert_eq!(store.find_actions(&Tenant::default(), &ActionFilter::default()).await.unwrap().len(), 10_000);
    assert_eq!(store.config_generation().await.unwrap(), 1);
}

#[tokio::test]
async fn a_connection_in_use_stays() {
    let store = memory().await;
    store.apply(changes(&[GITHUB], &[("default:action/http/get@v1", GITHUB)])).await.unwrap();
    let error = store.delete_connection(&connection_trn(GITHUB)).await.unwrap_err();
    assert!(error.code == ErrorCode::Conflict && error.message.contains("action/http/get@v1"), "{error:?}");
    assert!(store.delete_action(&action_trn("default:action/http/get@v1")).await.unwrap());
    assert!(!store.delete_action(&action_trn("default:action/http/get@v1")).await.unwrap());
    assert!(store.delete_connection(&connection_trn(GITHUB)).await.unwrap());
    assert!(!store.delete_connection(&connection_trn(GITHUB)).await.unwrap());
}

#[tokio::test]
async fn the_generation_grows_with_configuration_and_with_nothing_else() {
    let store = memory().await;
    let tenant = Tenant::default();
    let mut last = store.config_generation().await.unwrap();
    let mut grew = async |what: &str, expected: bool| {
        let now = store.config_generation().await.unwrap();
        assert_eq!(now > last, expected, "{what}");
        last = now;
    };
    store.apply(changes(&[GITHUB], &[("default:action/http/get@v1", GITHUB)])).await.unwrap();
    grew("apply", true).await;
    store.apply(ChangeSet::default()).await.unwrap();
    grew("apply of nothing", false).await;
    store.put_secret(&tenant, "s", &"v".into()).await.unwrap();
    grew("put_secret", true).await;
    store.delete_secret(&tenant, "s").await.unwrap();
    grew("delete_secret", true).await;
    store.delete_secret(&tenant, "s").await.unwrap();
    grew("delete_secret of none", false).await;
    store.install_connector(&connector(b"x"), b"x").await.unwrap();
    grew("install_connector", true).await;
    store.delete_action(&action_trn("default:action/http/get@v1")).await.unwrap();
    grew("delete_action", true).await;
    store.delete_connection(&connection_trn(GITHUB)).await.unwrap();
    grew("delete_connection", true).await;
    store.remove_connector(&"http".parse().unwrap()).await.unwrap();
    grew("remove_connector", true).await;
    store.record_run(run("default:action/http/get@v1")).await.unwrap();
    store.flush_runs().await.unwrap();
    grew("record_run", false).await;
}

#[tokio::test]
async fn a_damaged_row_is_an_error_that_names_it() {
    let place = Place::new();
    let store = place.open().await;
    store.apply(changes(&[GITHUB], &[("default:action/http/get@v1", GITHUB)])).await.unwrap();
    let trn = action_trn("default:action/http/get@v1");
    for (damage, column) in [
        ("UPDATE actions SET created_at = 'yesterday'", "created_at"),
        ("UPDATE actions SET config_json = '[1]'", "config_json"),
        ("PRAGMA ignore_check_constraints = ON; UPDATE actions SET config_json = '{'", "config_json"),
        ("PRAGMA foreign_keys = OFF; UPDATE actions SET connection_trn = 'trn:nonsense'", "connection_trn"),
    ] {
        place.sql(damage).await.unwrap();
        let error = store.get_action(&trn).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Internal);
        for part in ["'actions'", "action/http/get@v1", column] {
            assert!(error.message.contains(part), "{error:?}");
        }
        assert!(store.find_actions(&Tenant::default(), &ActionFilter::default()).await.is_err());
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_in_memory_is_one_database_for_every_task() {
    let store = memory().await;
    let tasks: Vec<_> = (0..20)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let trn = format!("default:connection/http/c{i}@v1");
                store.apply(changes(&[&trn], &[])).await.unwrap();
                assert!(store.get_connection(&connection_trn(&trn)).await.unwrap().is_some());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        store.find_connections(&Tenant::default(), &ConnectionFilter::default()).await.unwrap().len(),
        20
    );
    let other = memory().await;
    assert!(
        other.find_connections(&Tenant::default(), &ConnectionFilter::default()).await.unwrap().is_empty()
    );
    store.close().await.unwrap();
    assert_eq!(store.config_generation().await.unwrap_err().code, ErrorCode::StoreUnavailable);
}

#[tokio::test]
async fn a_plan_for_another_configuration_is_a_conflict_that_may_be_planned_anew() {
    let store = memory().await;
    let planned_at = Some(store.config_generation().await.unwrap());
    store.apply(changes(&[GITHUB], &[])).await.unwrap();
    let late = ChangeSet { planned_at, ..changes(&["default:connection/http/other@v1"], &[]) };
    let error = store.apply(late).await.unwrap_err();
    assert_eq!((error.code, error.retryable()), (ErrorCode::Conflict, true), "{error:?}");
    let planned_at = Some(store.config_generation().await.unwrap());
    let fits = ChangeSet { planned_at, ..changes(&["default:connection/http/other@v1"], &[]) };
    store.apply(fits).await.unwrap();
    // One that exists already stays so, however often it is planned.
    assert!(!store.apply(changes(&[GITHUB], &[])).await.unwrap_err().retryable());
}

#[tokio::test]
async fn deleted_versions_go_with_their_secrets_and_their_numbers_are_remembered() {
    let store = memory().await;
    let tenant = Tenant::default();
    let (http, name): (openact_core::ConnectorName, openact_core::Name) =
        ("http".parse().unwrap(), "github".parse().unwrap());
    let second = "default:connection/http/github@v2";
    let secret = |name: &str| NewSecret { tenant: tenant.clone(), name: name.to_owned(), value: "v".into() };
    let synced = Synced {
        kind: Kind::Connection,
        connector: http.clone(),
        name: name.clone(),
        source: "c.yaml".to_owned(),
    };
    store
        .apply(ChangeSet {
            secrets: ["connection/http/github@v1#/a", "connection/http/github@v2#/a", "by-hand"]
                .map(secret)
                .into(),
            synced: vec![(tenant.clone(), synced.clone())],
            ..changes(&[GITHUB, second], &[("default:action/http/get@v1", second)])
        })
        .await
        .unwrap();
    assert_eq!(store.list_synced(&tenant).await.unwrap(), std::slice::from_ref(&synced));
    let delete = async |trn: &str| {
        let trn = connection_trn(trn);
        let secrets = format!("connection/{}#", trn.short());
        let deleted_connections = vec![DeletedConnection { trn, secrets }];
        store.apply(ChangeSet { deleted_connections, ..Default::default() }).await
    };
    let retired = async || {
        let names = std::slice::from_ref(&name);
        store.retired_versions(&tenant, Kind::Connection, &http, names).await.unwrap().get(&name).copied()
    };
    // In use: nothing of it is deleted.
    assert_eq!(delete(second).await.unwrap_err().code, ErrorCode::Conflict);
    assert_eq!((store.list_secrets(&tenant).await.unwrap().len(), retired().await), (3, None));
    delete(GITHUB).await.unwrap();
    let names: Vec<String> =
        store.list_secrets(&tenant).await.unwrap().into_iter().map(|secret| secret.name).collect();
    assert_eq!(names, ["by-hand", "connection/http/github@v2#/a"]);
    assert_eq!((retired().await, store.list_synced(&tenant).await.unwrap().len()), (Some(1), 1));
    store.delete_action(&action_trn("default:action/http/get@v1")).await.unwrap();
    delete(second).await.unwrap();
    assert_eq!((retired().await, store.list_synced(&tenant).await.unwrap().len()), (Some(2), 0));
}
