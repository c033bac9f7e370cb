//! Run records: none lost, soon or at once.

use openact_core::{ErrorCode, Tenant};
use openact_store::RunFilter;

use crate::*;

const ACTION: &str = "default:action/http/get@v1";

#[tokio::test]
async fn a_record_is_read_back_equal() {
    for writes in [RunWrites::Grouped, RunWrites::BeforeAnswer] {
        let store = Store::open(&StoreUrl::memory(), key(1), writes).await.unwrap();
        let failed = run(ACTION);
        let passed = RunRecord {
            failure: None,
            host_calls: Vec::new(),
            door: Door::Mcp,
            dry_run: false,
            trace_id: None,
            ..run(ACTION)
        };
        for record in [&failed, &passed] {
            store.record_run(record.clone()).await.unwrap();
            store.record_run(record.clone()).await.unwrap();
            store.flush_runs().await.unwrap();
            let read = store.get_run(&Tenant::default(), record.id).await.unwrap().unwrap();
            assert_eq!(format!("{read:?}"), format!("{record:?}"));
        }
        assert_eq!(
            store.list_runs(&Tenant::default(), 10, &RunFilter::default()).await.unwrap().len(),
            2,
            "twice is once"
        );
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_grouped_records_are_all_there_after_closing() {
    let place = Place::new();
    let store = place.open().await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    store.record_run(run(ACTION)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.record_run(run(ACTION)).await.unwrap_err().code, ErrorCode::StoreUnavailable);
    let store = place.open().await;
    assert_eq!(
        store.list_runs(&Tenant::default(), 10_000, &RunFilter::default()).await.unwrap().len(),
        5_000
    );
    store.close().await.unwrap();
}

#[tokio::test]
async fn more_than_the_queue_holds_is_waited_for() {
    let store = memory().await;
    let count = openact_core::limits::RUN_QUEUE_MAX + 1_000;
    for _ in 0..count {
        store.record_run(run(ACTION)).await.unwrap();
    }
    store.flush_runs().await.unwrap();
    let all = store.list_runs(&Tenant::default(), u32::MAX, &RunFilter::default()).await.unwrap();
    assert_eq!(all.len(), count);
}

#[tokio::test]
async fn who_cannot_wait_queues_a_record_and_is_told_when_there_is_no_room() {
    for writes in [RunWrites::Grouped, RunWrites::BeforeAnswer] {
        let store = Store::open(&StoreUrl::memory(), key(1), writes).await.unwrap();
        // Nothing is written meanwhile: this thread is the only one.
        for _ in 0..openact_core::limits::RUN_QUEUE_MAX {
            store.queue_run(run(ACTION)).unwrap();
        }
        let error = store.queue_run(run(ACTION)).unwrap_err();
        assert!(error.code == ErrorCode::StoreUnavailable && error.message.contains("waiting"), "{error:?}");
        store.flush_runs().await.unwrap();
        let all = store.list_runs(&Tenant::default(), u32::MAX, &RunFilter::default()).await.unwrap();
        assert_eq!((all.len(), store.run_writes().0), (openact_core::limits::RUN_QUEUE_MAX, 0));
        store.close().await.unwrap();
        let error = store.queue_run(run(ACTION)).unwrap_err();
        assert!(error.message.contains("closed"), "{error:?}");
    }
}

#[tokio::test]
async fn a_queued_record_is_written_by_closing() {
    for writes in [RunWrites::Grouped, RunWrites::BeforeAnswer] {
        let place = Place::new();
        let store = place.open_with(key(1), writes).await;
        let record = run(ACTION);
        store.queue_run(record.clone()).unwrap();
        store.close().await.unwrap();
        let store = place.open().await;
        assert!(store.get_run(&Tenant::default(), record.id).await.unwrap().is_some(), "{writes:?}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn before_the_answer_means_that_another_process_sees_it() {
    let place = Place::new();
    let store = place.open_with(key(1), RunWrites::BeforeAnswer).await;
    let other = place.open().await;
    let record = run(ACTION);
    store.record_run(record.clone()).await.unwrap();
    assert!(other.get_run(&Tenant::default(), record.id).await.unwrap().is_some());
    store.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn runs_are_listed_newest_first_by_tenant_action_and_outcome() {
    let store = Store::open(&StoreUrl::memory(), key(1), RunWrites::BeforeAnswer).await.unwrap();
    let at = |time: &str, action: &str| RunRecord { started_at: time.parse().unwrap(), ..run(action) };
    // Ids are made in this order.
    let records = [
        at("2026-01-01T00:00:00Z", "default:action/http/other@v1"),
        at("2026-01-01T00:00:00.5Z", ACTION),
        RunRecord { failure: None, ..at("2026-01-01T00:00:01Z", ACTION) },
        at("2026-01-01T00:00:02Z", "other:action/http/get@v1"),
    ];
    for record in records.iter().rev() {
        store.record_run(record.clone()).await.unwrap();
    }
    let tenant = Tenant::default();
    let list = |limit, filter| {
        let (store, tenant, records) = (&store, &tenant, &records);
        async move {
            let found = store.list_runs(tenant, limit, &filter).await.unwrap();
            found
                .iter()
                .map(|run| records.iter().position(|record| record.id == run.id).unwrap())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(list(10, RunFilter::default()).await, [2, 1, 0]);
    assert_eq!(list(1, RunFilter::default()).await, [2]);
    assert_eq!(list(10, RunFilter { action: Some(action_trn(ACTION)), ..Default::default() }).await, [2, 1]);
    assert_eq!(list(10, RunFilter { failed_only: true, ..Default::default() }).await, [1, 0]);
    let of =
        |connector: &str| RunFilter { connector: Some(connector.parse().unwrap()), ..Default::default() };
    assert_eq!(list(2, of("http")).await, [2, 1]);
    assert_eq!(list(10, of("htt")).await, [0usize; 0]);
    assert!(
        store.get_run(&tenant, records[3].id).await.unwrap().is_none(),
        "m8: another tenant's run is not found"
    );
}
