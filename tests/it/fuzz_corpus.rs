//! S6: what fuzzing starts from, and every case it ever found, through the targets of `support::fuzz`.
//!
//! Invariant: a file that is put into `fuzz/corpus` or `fuzz/found` is replayed, and one in a folder of no target is
//! noticed.

use std::{collections::BTreeSet, fs, path::Path};

use openact::Format;
use serde_json::json;
use support::{
    fuzz::{TARGETS, cases},
    guests::guest,
    upstream::Upstream,
};

use crate::setup::{config, failure, memory, value};

/// Every case of `target`, in one test: a case that fails is named, and so are the others that fail.
fn replay(target: &str) {
    let (_, run) = TARGETS.into_iter().find(|(name, _)| *name == target).unwrap();
    let cases = cases(target);
    assert!(!cases.is_empty(), "{target} has nothing to start from");
    let mut failed = Vec::new();
    for case in cases {
        let data = fs::read(&case).unwrap();
        if std::panic::catch_unwind(|| run(&data)).is_err() {
            failed.push(case);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn s6_config_files_of_fuzzing() {
    replay("config");
}

#[test]
fn s6_values_of_guests_of_fuzzing() {
    replay("guest");
}

/// The replay would also pass with a guest that does nothing.
#[tokio::test]
async fn the_guest_of_fuzzing_does_what_its_script_says() {
    let upstream = Upstream::json("{}").await;
    let text = config("puppet", json!({"base_url": upstream.url()}), json!({"play": {}}));
    let builder = memory(&[]).connector_bytes(guest("puppet")).config_text(text, Format::Json);
    let openact = builder.build().await.unwrap();
    let script = |lines: &str| {
        let hex: String = lines.bytes().map(|byte| format!("{byte:02x}")).collect();
        json!({ "script": hex })
    };
    let played = value(&openact, "puppet/play", script("SPUT\t@/x\ta:b\tbody\t\no{\"a\": 1}")).await;
    assert_eq!(played, json!({"a": 1}));
    let received = &upstream.received()[0];
    assert_eq!((received.method.as_str(), received.target.as_str()), ("PUT", "/x"));
    assert_eq!((received.header("a"), received.body.as_slice()), (vec!["b"], b"body".as_slice()));
    let (error, _) = failure(&openact, "puppet/play", script("f6\twhy")).await;
    assert!(error.message.contains("why"), "{error:?}");
}

#[test]
fn s6_headers_of_fuzzing() {
    replay("headers");
}

#[test]
fn s6_manifests_of_fuzzing() {
    replay("manifest");
}

#[test]
fn s6_replies_of_databases_of_fuzzing() {
    replay("replies");
}

/// What real servers answered is taken for that: the replay would also pass with connectors that refuse everything.
#[test]
fn the_replies_that_fuzzing_starts_from_are_results() {
    let mut results = 0;
    for case in cases("replies") {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let is_odd = ["-error", "-long", "-deep", "nothing"].iter().any(|odd| name.ends_with(odd));
        let is_found = case.parent().unwrap().parent().unwrap().ends_with("found");
        let outcome = support::replies::outcome(&fs::read(&case).unwrap()).expect("it names a call");
        assert!(is_odd || is_found || outcome.is_ok(), "{name}: {outcome:?}");
        results += usize::from(outcome.is_ok());
    }
    assert!(results >= 16, "{results}: every call has one");
}

#[test]
fn s6_templates_of_fuzzing() {
    replay("template");
}

#[test]
fn s6_urls_of_fuzzing() {
    replay("url");
}

#[test]
fn every_case_is_of_a_target() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let folders = ["corpus", "found"].map(|folder| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
        entries
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    });
    let [corpus, found]: [BTreeSet<_>; 2] = folders;
    assert_eq!(corpus, names);
    assert!(found.is_subset(&names), "{found:?}");
}
