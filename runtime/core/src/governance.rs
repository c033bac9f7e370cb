//! Which actions a caller may see and run: patterns that allow, patterns that deny.
//!
//! Invariant: deny wins, and what no pattern allows is not allowed, once there is a pattern that allows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ActionTrn, Error, Result};

/// `*`, `connector.action`, `prefix.*` or `*.suffix`, compared with an action's `connector.action`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`
    Any,
    /// `http.get-user`
    Exact(String),
    /// `http.*`: what begins with `http.`
    Prefix(String),
    /// `*.get-user`: what ends with `.get-user`
    Suffix(String),
    /// What both match; made by [`Governance::within`] and never read.
    Both(Box<Pattern>, Box<Pattern>),
}

impl Pattern {
    /// Whether it matches `name`, an action's `connector.action`.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => name.ends_with(suffix.as_str()),
            Self::Both(one, other) => one.matches(name) && other.matches(name),
        }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let inner = |part: &str| !part.contains('*') && part.len() > 1;
        let is_name = |text: &str| {
            let parts = text
                .split_once('.')
                .filter(|(connector, action)| !connector.is_empty() && !action.is_empty());
            parts.is_some() && !text.contains(|c: char| c == '*' || c.is_whitespace())
        };
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), _) => Some(Self::Any),
            (Some(suffix), None) if inner(suffix) && suffix.starts_with('.') => {
                Some(Self::Suffix(suffix.to_owned()))
            }
            (None, Some(prefix)) if inner(prefix) && prefix.ends_with('.') => {
                Some(Self::Prefix(prefix.to_owned()))
            }
            (None, None) if is_name(text) => Some(Self::Exact(text.to_owned())),
            _ => None,
        };
        pattern.ok_or_else(|| {
            Error::invalid_input(format!("'{}' is not a pattern of actions", text.escape_debug()))
                .hint("expected *, connector.action, connector.* or *.action: http.get-user, postgres.*")
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Both(one, other) => write!(f, "{one} & {other}"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a caller may see and run. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Governance {
    /// What is allowed; everything if empty.
    pub allow: Vec<Pattern>,
    /// What is not, whatever `allow` says.
    pub deny: Vec<Pattern>,
}

impl Governance {
    /// Whether `action` may be seen and run.
    pub fn allows(&self, action: &ActionTrn) -> bool {
        if self.allow.is_empty() && self.deny.is_empty() {
            return true;
        }
        let name = format!("{}.{}", action.connector, action.name);
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(&name));
        !any(&self.deny) && (self.allow.is_empty() || any(&self.allow))
    }

    /// What both allow: of a caller, behind a door that has its own.
    #[must_use]
    pub fn within(&self, outer: &Self) -> Self {
        let both = |one: &Pattern| {
            let one = Box::new(one.clone());
            outer.allow.iter().map(move |other| Pattern::Both(one.clone(), Box::new(other.clone())))
        };
        let allow = match (self.allow.as_slice(), outer.allow.as_slice()) {
            ([], outer) => outer.to_vec(),
            (own, []) => own.to_vec(),
            (own, _) => own.iter().flat_map(both).collect(),
        };
        Self { allow, deny: self.deny.iter().chain(&outer.deny).cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn trn(connector: &str, name: &str) -> ActionTrn {
        format!("trn:openact:default:action/{connector}/{name}@v1").parse().unwrap()
    }

    #[test]
    fn m7_deny_wins_and_what_is_not_allowed_is_denied() {
        let governance = Governance {
            allow: patterns(&["http.*", "*.list"]),
            deny: patterns(&["http.delete", "redis.*"]),
        };
        for (connector, name, allowed) in [
            ("http", "get", true),
            ("http", "delete", false),
            ("postgres", "list", true),
            ("postgres", "listing", false),
            ("redis", "list", false),
            ("httpx", "get", false),
        ] {
            assert_eq!(governance.allows(&trn(connector, name)), allowed, "{connector}.{name}");
        }
        assert!(Governance::default().allows(&trn("http", "get")));
        assert!(!Governance { allow: vec![], deny: patterns(&["*"]) }.allows(&trn("http", "get")));
    }

    #[test]
    fn m7_within_another_is_what_both_allow() {
        let caller =
            Governance { allow: patterns(&["http.*", "redis.get"]), deny: patterns(&["http.delete"]) };
        let door = Governance { allow: patterns(&["*.get", "*.delete"]), deny: patterns(&["http.list"]) };
        for (connector, name) in
            [("http", "get"), ("http", "delete"), ("redis", "get"), ("http", "list"), ("pg", "get")]
        {
            let both = caller.allows(&trn(connector, name)) && door.allows(&trn(connector, name));
            assert_eq!(caller.within(&door).allows(&trn(connector, name)), both, "{connector}.{name}");
            assert_eq!(door.within(&caller).allows(&trn(connector, name)), both, "{connector}.{name}");
        }
        assert_eq!(caller.within(&Governance::default()), caller);
        assert_eq!(Governance::default().within(&door), door);
    }

    #[test]
    fn patterns_are_written_as_they_are_read_and_others_are_refused() {
        for text in ["*", "http.get-user", "http.*", "*.get-user"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for text in ["", "http", "**", "*.*", "h*p.get", "http*", "*get", ".", ".*", "*.", "a. b", "http.*.x"]
        {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
