//! Earlier identities and times, and the names of today.
//!
//! Invariant: no two records get the same TRN, whatever the earlier ones were called.

use std::collections::HashSet;

use openact_core::{Name, Tenant, Timestamp, Version};

/// `trn:openact:{tenant}:{kind}/{id}[@vN]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldTrn {
    pub(super) tenant: String,
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) version: Version,
}

impl OldTrn {
    /// Reads one; none if it has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (tenant, rest) = text.strip_prefix("trn:openact:")?.split_once(':')?;
        let (kind, id) = rest.split_once('/')?;
        let (id, version) = match id.rsplit_once("@v") {
            // The earlier parser took v0 and v-1 for versions, too.
            Some((id, number)) if number.parse::<i64>().is_ok() => {
                (id, number.parse().ok().and_then(Version::new).unwrap_or(Version::FIRST))
            }
            _ => (id, Version::FIRST),
        };
        let whole = !tenant.is_empty() && !id.is_empty();
        whole.then(|| Self { tenant: tenant.into(), kind: kind.into(), id: id.into(), version })
    }

    /// Its tenant, in lower case as tenants are today.
    pub(super) fn tenant(&self) -> Option<Tenant> {
        self.tenant.to_ascii_lowercase().parse().ok()
    }
}

/// The names that are taken.
#[derive(Default)]
pub(super) struct Names(HashSet<(&'static str, String)>);

impl Names {
    /// A name like `wanted` that nobody has among the records of `kind` that `scope` stands for.
    pub(super) fn take(&mut self, kind: &'static str, scope: &str, wanted: &str, version: Version) -> Name {
        let fitting = fitting(wanted);
        let mut name = fitting.clone();
        let mut number = 2_u32;
        while !self.0.insert((kind, format!("{scope}/{name}@v{version}"))) {
            let suffix = format!("-{number}");
            name = cut(&fitting, 128 - suffix.len()) + &suffix;
            number = number.saturating_add(1);
        }
        // It is made of what a name may have.
        name.parse().unwrap_or_else(|_| unnamed())
    }
}

fn unnamed() -> Name {
    "unnamed".parse().unwrap_or_else(|_| unnamed())
}

/// `text` with what a name cannot have replaced.
fn fitting(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = text.chars().map(plain).collect();
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "unnamed".into() } else { cut(name, 128) }
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// A time as SQLite's `CURRENT_TIMESTAMP` or the earlier program wrote it.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_identities() {
        let old = |text: &str| OldTrn::parse(text).map(|trn| (trn.kind, trn.id, trn.version.get()));
        assert_eq!(old("trn:openact:t:task/qs"), Some(("task".into(), "qs".into(), 1)));
        assert_eq!(old("trn:openact:t:connection/a/b@v3"), Some(("connection".into(), "a/b".into(), 3)));
        assert_eq!(old("trn:openact:t:task/x@v0"), Some(("task".into(), "x".into(), 1)));
        assert_eq!(old("trn:openact:t:task/me@home"), Some(("task".into(), "me@home".into(), 1)));
        for bad in
            ["", "qs", "trn:openact::task/x", "trn:openact:t:task/", "trn:other:t:task/x", "trn:openact:t"]
        {
            assert_eq!(old(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_legal_and_nobody_elses() {
        let mut names = Names::default();
        let mut take = |wanted: &str| names.take("connection", "t:http", wanted, Version::FIRST).to_string();
        assert_eq!(take("qs"), "qs");
        assert_eq!(take("qs"), "qs-2");
        assert_eq!(take("qs-2"), "qs-2-2");
        assert_eq!(take("é x"), "x");
        assert_eq!(take("..."), "unnamed");
        assert_eq!(take(&"a".repeat(300)).len(), 128);
        assert_eq!(take(&"a".repeat(300)).len(), 128);
        assert_eq!(names.take("action", "t:http", "qs", Version::FIRST).as_str(), "qs");
    }

    #[test]
    fn earlier_times() {
        for text in ["2025-01-02 03:04:05", "2025-01-02T03:04:05Z", "2025-01-02T05:04:05.000+02:00"] {
            assert_eq!(time(text).unwrap().to_string(), "2025-01-02T03:04:05Z", "{text}");
        }
        assert!(time("yesterday").is_none());
    }
}
