//! The text format of OpenMetrics 1.0, read strictly: what a scraper would refuse or misread is a panic.
//!
//! Invariant: a sample is one of the family whose `# TYPE` stands before it, with the suffix that its type asks for.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, as written: `openact_runs_total{connector="http",…}`.
pub type Samples = BTreeMap<String, f64>;

/// Reads a whole answer.
pub fn parse(text: &str) -> Samples {
    let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
    let (mut samples, mut families, mut family) = (Samples::new(), BTreeSet::new(), None);
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            assert!(is_name(name), "{line}");
            match kind {
                "HELP" => assert!(families.insert(name.to_owned()), "twice: {line}"),
                "TYPE" => family = Some((name.to_owned(), rest.to_owned())),
                other => panic!("{other}: {line}"),
            }
            continue;
        }
        let (name, kind) = family.as_ref().expect("a type stands before its samples");
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let own = series.split('{').next().unwrap();
        let suffix = own.strip_prefix(name.as_str()).unwrap_or_else(|| panic!("not of {name}: {line}"));
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_count", "_sum"],
            other => panic!("{other}: {line}"),
        };
        assert!(allowed.contains(&suffix) && value >= 0.0, "{line}");
        check_labels(&series[own.len()..]);
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    check_histograms(&samples);
    samples
}

fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_word)
}

/// `{name="value",…}`, without escapes: no label of ours has a value that needs one.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).expect(text);
    for label in inner.split(',') {
        let (name, value) = label.split_once('=').expect(text);
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(text);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+');
        assert!(is_name(name) && !value.is_empty() && value.chars().all(is_plain), "{text}");
    }
}

/// Buckets grow, and the last one holds all.
fn check_histograms(samples: &Samples) {
    let mut last = BTreeMap::<String, Vec<(f64, f64)>>::new();
    for (series, value) in samples {
        let Some((name, labels)) = series.split_once("_bucket{") else { continue };
        let (bound, others): (Vec<&str>, Vec<&str>) =
            labels.trim_end_matches('}').split(',').partition(|label| label.starts_with("le="));
        let bound = bound[0].trim_start_matches("le=").trim_matches('"').replace("+Inf", "inf");
        let of = format!("{name}_count{{{}}}", others.join(","));
        last.entry(of).or_default().push((bound.parse().unwrap(), *value));
    }
    for (count, mut buckets) in last {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{count}: {buckets:?}");
        let (bound, all) = *buckets.last().unwrap();
        assert!(bound.is_infinite() && samples[&count] == all, "{count}: {buckets:?}");
    }
}
