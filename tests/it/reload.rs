//! Configuration that changes while calls run: by this process, by another one, by files.
//!
//! The connection and the action of a configuration carry the same marker; the upstream checks that every request has both
//! of one configuration. Nothing here waits by the clock: calls are made until one shows what is waited for.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use openact::{Builder, ErrorCode, Format, ImportOptions, MasterKey, OpenAct, SyncOptions};
use serde_json::{Value, json};
use support::upstream::{Answer, Received, Upstream};

use crate::{
    import::Home,
    setup::{config, memory, value},
};

/// Calls after which something that should have come will not come any more; each takes a millisecond or so.
const CALLS_MAX: usize = 200_000;

/// A server that answers with the marker of a request, or 500 if there are two.
async fn markers() -> Upstream {
    Upstream::start_forgetful(marked).await
}

fn marked(received: &Received) -> Answer {
    let (connection, action) = (received.header("x-marker").concat(), received.target[1..].to_owned());
    let token = received.header("authorization").concat();
    let is_one = connection == action && token == format!("Bearer token-{action}");
    Answer::full(if is_one { 200 } else { 500 }, &[("content-type", "application/json")], action)
}

/// What only a whole configuration has right: header and credential of the connection, path of the action.
fn file(url: &str, marker: usize) -> Value {
    let connection = json!({
        "base_url": url, "defaults": {"headers": {"x-marker": marker.to_string()}},
        "auth": {"type": "bearer", "token": format!("token-{marker}")},
    });
    serde_json::from_str(&config("http", connection, json!({"get": {"path": format!("/{marker}")}}))).unwrap()
}

fn write(path: &Path, content: &Value) {
    std::fs::write(path, content.to_string()).unwrap();
}

/// As editors and deployments do.
fn replace(path: &Path, content: &Value) {
    let beside = path.with_extension("new");
    write(&beside, content);
    std::fs::rename(beside, path).unwrap();
}

async fn marker(openact: &OpenAct) -> usize {
    let result = value(openact, "http/get", json!({})).await;
    assert_eq!(result["status_code"], 200, "half a configuration: {result}");
    result["body"].as_u64().unwrap() as usize
}

/// Calls until the new configuration is there.
async fn until(openact: &OpenAct, wanted: usize) {
    for _ in 0..CALLS_MAX {
        if marker(openact).await == wanted {
            return;
        }
    }
    panic!("configuration {wanted} did not come");
}

fn on_disk(folder: &Path) -> Builder {
    let key = MasterKey::from_base64("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    support::builder(folder, &[]).instances_max(64).master_key(key)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_of_200_tasks_under_100_swaps_no_call_fails_and_none_sees_half() {
    const TASKS: usize = 200;
    const SWAPS: usize = 100;
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    let (swapped, other) = (
        on_disk(folder.path()).build().await.unwrap(),
        // As another process has it: it learns of changes from the database.
        on_disk(folder.path()).build().await.unwrap(),
    );
    let import = async |number: usize| {
        let text = file(&upstream.url(), number).to_string();
        swapped.import_text("c", &text, Format::Json, &ImportOptions::default()).await.unwrap();
    };
    import(0).await;
    let (done, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let openact = if task % 4 == 0 { other.clone() } else { swapped.clone() };
        let (done, calls) = (done.clone(), calls.clone());
        tasks.spawn(async move {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::Acquire) {
                seen.insert(marker(&openact).await);
                calls.fetch_add(1, Ordering::AcqRel);
            }
            seen
        });
    }
    for number in 1..=SWAPS {
        let before = calls.load(Ordering::Acquire);
        import(number).await;
        // The next one comes while calls of this one run.
        while calls.load(Ordering::Acquire) < before + 20 {
            assert!(tasks.try_join_next().is_none(), "a task ended");
            tokio::task::yield_now().await;
        }
    }
    // What was imported is what the next call uses.
    assert_eq!(marker(&swapped).await, SWAPS);
    until(&other, SWAPS).await;
    done.store(true, Ordering::Release);
    let mut seen = BTreeSet::new();
    while let Some(task) = tasks.join_next().await {
        seen.extend(task.expect("no call fails, and none sees half a configuration"));
    }
    assert!(seen.len() > SWAPS / 2, "the swaps were not under load: {seen:?}");
    swapped.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn a_change_by_another_process_is_seen() {
    assert!(openact::limits::SNAPSHOT_POLL.as_millis() <= 500, "within a second, that is");
    let (upstream, home) = (markers().await, Home::new());
    home.write("c.json", &file(&upstream.url(), 1));
    home.json(&["import", "c.json"]);
    // The command sealed the token.
    let key = walk(home.path()).into_iter().find(|path| path.file_name().unwrap() == "master.key");
    let openact = support::builder(home.path(), &[])
        .store(format!("sqlite://{}", home.path().join("data.db").display()))
        .key_file(key.expect("the command made a key"))
        .build()
        .await
        .unwrap();
    assert_eq!(marker(&openact).await, 1);
    home.write("c.json", &file(&upstream.url(), 2));
    let imported = tokio::task::spawn_blocking(move || {
        home.json(&["import", "c.json"]);
        home
    });
    let _home = imported.await.unwrap();
    until(&openact, 2).await;
    openact.close().await.unwrap();
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(walk(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test]
async fn a3_a_file_is_followed_whole_and_a_bad_one_changes_nothing() {
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("c.json");
    write(&path, &file(&upstream.url(), 1));
    let openact = memory(&[]).config_file(&path).build().await.unwrap();
    assert_eq!(marker(&openact).await, 1);
    // Written in place, replaced, half-written and then whole, gone and there again.
    write(&path, &file(&upstream.url(), 2));
    until(&openact, 2).await;
    replace(&path, &file(&upstream.url(), 3));
    until(&openact, 3).await;
    let whole = file(&upstream.url(), 4).to_string();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..500 {
        assert_eq!(marker(&openact).await, 3);
    }
    std::fs::write(&path, &whole).unwrap();
    until(&openact, 4).await;
    std::fs::remove_file(&path).unwrap();
    for _ in 0..500 {
        assert_eq!(marker(&openact).await, 4);
    }
    write(&path, &file(&upstream.url(), 5));
    until(&openact, 5).await;
    // A mistake in the last action keeps the rest of the file out, too.
    let mut bad = file(&upstream.url(), 6);
    bad["connectors"]["http"]["actions"]["z"] = json!({"connection": "nowhere"});
    write(&path, &bad);
    for _ in 0..500 {
        assert_eq!(marker(&openact).await, 5);
    }
    write(&path, &file(&upstream.url(), 7));
    until(&openact, 7).await;
    openact.close().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_kubernetes_config_map_is_followed() {
    use std::os::unix::fs::symlink;
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    // Two files that change together, by one link that is replaced.
    let version = |name: &str, marker: usize| {
        let version = folder.path().join(name);
        std::fs::create_dir(&version).unwrap();
        let mut connections = file(&upstream.url(), marker);
        let actions = connections["connectors"]["http"].as_object_mut().unwrap().remove("actions").unwrap();
        write(&version.join("connections.json"), &connections);
        write(&version.join("actions.json"), &json!({"connectors": {"http": {"actions": actions}}}));
        symlink(name, folder.path().join("..data_tmp")).unwrap();
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    };
    version("..1", 1);
    for name in ["connections.json", "actions.json"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let of_folder = memory(&[]).config_file(folder.path()).build().await.unwrap();
    let of_files = memory(&[])
        .config_file(folder.path().join("actions.json"))
        .config_file(folder.path().join("connections.json"))
        .build()
        .await
        .unwrap();
    for number in 1..=3 {
        if number > 1 {
            version(&format!("..{number}"), number);
            std::fs::remove_dir_all(folder.path().join(format!("..{}", number - 1))).unwrap();
        }
        for openact in [&of_folder, &of_files] {
            until(openact, number).await;
        }
    }
}

#[tokio::test]
async fn calls_in_flight_finish_on_the_configuration_they_began_with() {
    let upstream = Upstream::start(|received| match received.target.as_str() {
        "/held" => Answer::Held("\"old\"".into()),
        _ => Answer::Json("\"new\"".into()),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    let of = |actions: Value| {
        let text = config("http", json!({"base_url": upstream.url()}), actions);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    write(&path, &of(json!({"get": {"path": "/held"}, "gone": {"path": "/held"}})));
    let openact = memory(&[]).config_file(&path).build().await.unwrap();
    let mut held = Vec::new();
    for action in ["http/get", "http/gone"] {
        let openact = openact.clone();
        held.push(tokio::spawn(async move { openact.run(action, json!({})).await }));
    }
    upstream.wait_for_held(2).await;
    // One is another action now, and one is deleted with all its versions: the database is the file's alone.
    replace(&path, &of(json!({"get": {"path": "/new"}, "also": {"path": "/new"}})));
    for call in 0.. {
        assert!(call < CALLS_MAX, "the action did not come");
        match openact.run("http/also", json!({})).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.code, ErrorCode::NotFound, "{error:?}"),
        }
    }
    assert_eq!(value(&openact, "http/get", json!({})).await["body"], "new");
    assert_eq!(openact.run("http/gone", json!({})).await.unwrap_err().code, ErrorCode::NotFound);
    upstream.release();
    for call in held {
        let outcome = call.await.unwrap().unwrap();
        assert_eq!(outcome.result.value().unwrap()["body"], "old");
        assert_eq!(outcome.run.action.version.get(), 1);
    }
    openact.close().await.unwrap();
}

#[tokio::test]
async fn what_a_file_dropped_stays_in_a_database_on_disk() {
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("c.json");
    let mut two = file(&upstream.url(), 1);
    two["connectors"]["http"]["actions"]["also"] = json!({"connection": "c", "path": "/1"});
    write(&path, &two);
    let openact = on_disk(folder.path()).config_file(&path).build().await.unwrap();
    replace(&path, &file(&upstream.url(), 2));
    until(&openact, 2).await;
    let result = value(&openact, "http/also", json!({})).await;
    assert_eq!((&result["status_code"], &result["body"]), (&json!(200), &json!(1)), "over its own version");
    openact.close().await.unwrap();
}

#[tokio::test]
async fn following_ends_with_openact() {
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("c.json");
    write(&path, &file(&upstream.url(), 1));
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for closes in [true, false] {
        // What OpenAct holds is gone when nothing runs any more that could use it.
        let held = Arc::new(());
        let (weak, kept) = (Arc::downgrade(&held), held);
        let openact = memory(&[])
            .env(move |_| {
                let _ = &kept;
                None
            })
            .config_file(&path)
            .build()
            .await
            .unwrap();
        until(&openact, 1).await;
        if closes {
            openact.close().await.unwrap();
        }
        drop(openact);
        while weak.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
    drop(upstream);
    while alive() > before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_that_is_read_once_is_not_followed() {
    let (upstream, folder) = (markers().await, tempfile::tempdir().unwrap());
    let (once, followed) = (folder.path().join("once.json"), folder.path().join("followed.json"));
    for path in [&once, &followed] {
        write(path, &file(&upstream.url(), 1));
    }
    let fixed = memory(&[]).config_file(&once).config_once().build().await.unwrap();
    let follows = memory(&[]).config_file(&followed).build().await.unwrap();
    for path in [&once, &followed] {
        replace(path, &file(&upstream.url(), 2));
    }
    until(&follows, 2).await;
    assert_eq!(marker(&fixed).await, 1);
}

#[tokio::test]
async fn watch_tells_each_change_and_each_mistake_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.json");
    write(&path, &file("http://127.0.0.1:9", 1));
    let openact = memory(&[]).build().await.unwrap();
    let paths = [path.clone()];
    let (first, mut watch) = openact.watch(&paths, &SyncOptions::default()).await.unwrap();
    assert_eq!(first.changes.len(), 2);
    replace(&path, &file("http://127.0.0.1:9", 2));
    let lines = |plan: openact::Plan| plan.changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let changed = lines(watch.next().await.unwrap());
    assert!(
        changed[0].starts_with("~ connection http/c@v2 (") && changed[1].starts_with("~ action http/get@v2")
    );
    std::fs::write(&path, "{").unwrap();
    let error = watch.next().await.unwrap_err();
    assert_eq!(
        (error.code, error.place.clone().unwrap().file),
        (ErrorCode::InvalidConfig, path.display().to_string())
    );
    // Another mistake is told too; the file as it was is mended, if nothing new.
    write(&path, &json!({"connectors": {"http": {"conections": {}}}}));
    assert!(watch.next().await.unwrap_err().message.contains("conections"));
    replace(&path, &file("http://127.0.0.1:9", 2));
    let mended = watch.next().await.unwrap();
    assert!(mended.is_empty(), "{mended:?}");
}
