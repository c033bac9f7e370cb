//! `authorization` as a word, with what belongs to it elsewhere, as one object.
//!
//! | `authorization` | what belongs to it | read as `type` |
//! |---|---|---|
//! | `none` | | `none` |
//! | `bearer`, `bearer_token` | `token` | `bearer` |
//! | `api_key` | `auth_parameters.api_key_auth_parameters`, or `api_key` and `api_key_name` | `api_key` or `bearer` |
//! | `basic` | `auth_parameters.basic_auth_parameters`, or `username`, `password` | `basic` |
//! | `oauth2_client_credentials`, `oauth2` | `auth_parameters.oauth_parameters`, or its fields | `oauth2_client_credentials` |
//! | `oauth2_authorization_code`, `oauth2_authflow`, `authflow` | `auth_ref` | nothing: the stored credential is it |
//! | `oauth2_client_credentials`, `oauth2`, with `auth_ref` beside it | the same | nothing: the stored credential comes first |
//!
//! An API key goes where its name says: with "authorization" in it to that header, as `Bearer` unless the value brings a
//! scheme; with "key" in it or `x-` before it to that header; else to the query parameter of that name.
//!
//! Invariant: every secret ends in a field of `authorization` that is sealed, or the entry is refused.

use openact_core::schema::nearest;
use serde_json::Value;

use super::{Legacy, is_authorization, take};
use crate::{
    SecretsMode,
    parse::shown,
    substitute,
    walk::report_unknown,
    written::{Member, Written},
};

/// Where a field is written, and its name today; none if today nothing depends on it.
type Field = (&'static str, Option<&'static str>);

/// A kind and the fields that belong to it.
struct Kind {
    /// Of `auth_parameters`; empty if there is none for it.
    group: &'static str,
    fields: &'static [Field],
}

const NONE: Kind = Kind { group: "", fields: &[] };
const BEARER: Kind = Kind { group: "", fields: &[("token", Some("token"))] };
const API_KEY: Kind = Kind {
    group: "api_key_auth_parameters",
    fields: &[
        ("api_key_name", Some("name")),
        ("api_key_value", Some("value")),
        ("api_key", Some("value")),
        ("header_name", Some("header")),
        ("prefix", Some("prefix")),
    ],
};
const BASIC: Kind = Kind {
    group: "basic_auth_parameters",
    fields: &[("username", Some("username")), ("password", Some("password"))],
};
/// What only the flow in a browser needs is left to the flow.
const OAUTH: Kind = Kind {
    group: "oauth_parameters",
    fields: &[
        ("client_id", Some("client_id")),
        ("client_secret", Some("client_secret")),
        ("token_url", Some("token_url")),
        ("scope", Some("scope")),
        ("scopes", Some("scope")),
        ("auth_url", None),
        ("authorization_url", None),
        ("redirect_uri", None),
        ("callback_url", None),
        ("use_pkce", None),
        ("provider", None),
    ],
};

/// `authorization` as a word.
pub(crate) const WORDS: &[&str] = &[
    "none",
    "bearer",
    "bearer_token",
    "api_key",
    "basic",
    "oauth2_client_credentials",
    "oauth2",
    "oauth2_authorization_code",
    "oauth2_authflow",
    "authflow",
];
/// Kinds of today that only an object can describe.
const OBJECTS: &[&str] = &["digest", "aws_sigv4", "hmac", "jwt"];

impl Legacy<'_> {
    /// Puts a connection's credential together.
    pub(super) fn authorization(&mut self, mut members: Vec<Member>) -> Vec<Member> {
        let Some(at) = members.iter().position(|member| is_authorization(&member.key)) else {
            return self.without_authorization(members);
        };
        let written = members.remove(at);
        let made = match &written.value {
            Written::Value(text @ Value::String(_)) => match self.filled(text) {
                Some(word) => self.word(&word, written, &mut members),
                // The walk reports the variable.
                None => Some(written),
            },
            Written::Value(Value::Object(_)) => self.object(written, &mut members),
            _ => Some(written),
        };
        if let Some(made) = made {
            members.insert(at.min(members.len()), made);
        }
        members
    }

    /// A word, and what belongs to it.
    fn word(&mut self, word: &str, written: Member, members: &mut Vec<Member>) -> Option<Member> {
        let groups = self.take_groups(members);
        let kind = self.kind(word, &written)?;
        let mut fields = self.group_fields(word, &kind, groups);
        for (name, _) in kind.fields {
            if !self.declares(name) {
                fields.extend(take(members, name));
            }
        }
        self.made(word, &kind, written, fields, members)
    }

    /// Neither word nor object: then nothing may belong to it.
    fn without_authorization(&mut self, mut members: Vec<Member>) -> Vec<Member> {
        for stray in take(&mut members, "auth_parameters").chain(take(&mut members, "authflow")) {
            let message = format!("'{}' without 'authorization'", stray.key);
            self.problems.key(
                &stray.at,
                message,
                Some("say what it is for, such as authorization: api_key".into()),
            );
        }
        members
    }

    /// The kind that a word stands for.
    fn kind(&mut self, word: &str, written: &Member) -> Option<Kind> {
        Some(match word {
            "none" => NONE,
            "bearer" | "bearer_token" => BEARER,
            "api_key" => API_KEY,
            "basic" => BASIC,
            "oauth2_client_credentials" | "oauth2" | "oauth2_authorization_code" => OAUTH,
            "oauth2_authflow" | "authflow" => OAUTH,
            object if OBJECTS.contains(&object) => {
                let message = format!("authorization '{object}' needs fields");
                let hint = format!("write authorization: {{ type: {object}, … }}");
                self.problems.value(&written.at, message, Some(hint));
                return None;
            }
            other => {
                let meant = nearest(other, WORDS.iter().copied())
                    .map_or(String::new(), |word| format!("; did you mean '{word}'?"));
                let message = format!("there is no authorization '{}'{meant}", shown(other));
                let hint = format!("one of {}", WORDS.join(", "));
                self.problems.value(&written.at, message, Some(hint));
                return None;
            }
        })
    }

    /// An object as of today, but for the names of its types.
    fn object(&mut self, mut written: Member, members: &mut Vec<Member>) -> Option<Member> {
        for stray in self.take_groups(members) {
            let message = format!("'{}' and '{}' are the same", stray.key, written.key);
            self.problems.key(&stray.at, message, Some("keep one of the two".into()));
        }
        let mut fields = written.take_members()?;
        let of_type = fields.iter_mut().find(|field| field.key == "type");
        let word = of_type.as_ref().and_then(|field| match &field.value {
            Written::Value(text) => self.filled(text),
            _ => None,
        });
        match (word.as_deref(), of_type) {
            (Some("bearer_token"), Some(of_type)) => of_type.value = Written::Value("bearer".into()),
            (Some(word @ ("oauth2" | "oauth2_authorization_code" | "oauth2_authflow" | "authflow")), _) => {
                let known = |field: &Member| OAUTH.fields.iter().any(|(name, _)| *name == field.key);
                let own = fields.into_iter().filter(|field| field.key != "type");
                let (fields, more): (Vec<_>, Vec<_>) = own.partition(known);
                let mut made = self.made(word, &OAUTH, written, fields, members)?;
                if let Written::Object(fields) = &mut made.value {
                    fields.extend(more);
                }
                return Some(made);
            }
            _ => {}
        }
        written.value = Written::Object(fields);
        Some(written)
    }

    /// Takes `auth_parameters` and `authflow` out.
    fn take_groups(&mut self, members: &mut Vec<Member>) -> Vec<Member> {
        let mut groups = Vec::new();
        for key in ["auth_parameters", "authflow"] {
            if !self.declares(key) {
                groups.extend(take(members, key));
            }
        }
        groups
    }

    /// The fields of `auth_parameters` and `authflow` that belong to `kind`.
    fn group_fields(&mut self, word: &str, kind: &Kind, groups: Vec<Member>) -> Vec<Member> {
        let mut out = Vec::new();
        let mut named = Vec::new();
        for mut group in groups {
            let at = group.at.clone();
            if group.key == "authflow" {
                named.push(group);
                continue;
            }
            match group.take_members() {
                Some(members) => named.extend(members),
                None => self.problems.value(&at, "this must hold keys and values", None),
            }
        }
        let groups = [&API_KEY, &BASIC, &OAUTH].map(|kind| kind.group);
        for mut group in named {
            let is_flow = group.key == "authflow";
            if !is_flow && !groups.contains(&group.key.as_str()) {
                let known = || groups.into_iter();
                report_unknown(self.problems, &group.at, &group.key, nearest(&group.key, known()), known());
                continue;
            }
            let at = group.at.clone();
            let Some(fields) = group.take_members() else {
                self.problems.value(&at, "this must hold keys and values", None);
                continue;
            };
            let flows = [OAUTH.group, API_KEY.group];
            if group.key != kind.group && !(is_flow && flows.contains(&kind.group)) {
                let message = format!("'{}' does not belong to authorization '{word}'", group.key);
                self.problems.key(&at, message, Some("remove it, or change authorization".into()));
                continue;
            }
            if !is_flow {
                self.all_there(&group.key, &fields, &at);
            }
            for field in fields {
                let known = || kind.fields.iter().map(|(name, _)| *name);
                // A flow may hold what only its other kind needs.
                let other = if kind.group == OAUTH.group { &API_KEY } else { &OAUTH };
                let of_flow = is_flow && other.fields.iter().any(|(name, _)| *name == field.key);
                if known().any(|name| name == field.key) {
                    out.push(field);
                } else if !of_flow {
                    report_unknown(
                        self.problems,
                        &field.at,
                        &field.key,
                        nearest(&field.key, known()),
                        known(),
                    );
                }
            }
        }
        out
    }

    /// An API key has a name and a value; what the other kinds need, the schema says by the same names.
    fn all_there(&mut self, group: &str, fields: &[Member], at: &str) {
        for name in ["api_key_name", "api_key_value"] {
            if group == API_KEY.group && !fields.iter().any(|field| field.key == name) {
                self.problems.value(at, format!("'{name}' is missing"), None);
            }
        }
    }

    /// The credential that `fields` describe; none if it is a stored one.
    fn made(
        &mut self,
        word: &str,
        kind: &Kind,
        written: Member,
        fields: Vec<Member>,
        members: &[Member],
    ) -> Option<Member> {
        let has = |members: &[Member], key: &str| members.iter().any(|member| member.key == key);
        let is_word = matches!(written.value, Written::Value(Value::String(_)));
        let is_stored = match word {
            "oauth2_authorization_code" | "oauth2_authflow" | "authflow" => true,
            // Both were legal, and the stored credential came first.
            "oauth2" | "oauth2_client_credentials" if is_word && has(members, "auth_ref") => true,
            "oauth2" => {
                has(&fields, "auth_url")
                    || has(&fields, "authorization_url")
                    || (has(members, "auth_ref") && !has(&fields, "client_id"))
            }
            _ => false,
        };
        if is_stored {
            if !has(members, "auth_ref") {
                let message = format!("authorization '{word}' needs 'auth_ref'");
                let hint = "the flow that makes a stored credential comes with a later version; name one there is: auth_ref: provider/user";
                self.problems.value(&written.at, message, Some(hint.into()));
            }
            return None;
        }
        let renamed = |mut field: Member| {
            let (_, today) = kind.fields.iter().find(|(name, _)| *name == field.key)?;
            field.key = (*today)?.to_owned();
            Some(field)
        };
        let fields: Vec<Member> = fields.into_iter().filter_map(renamed).collect();
        let mut fields = if word == "api_key" { self.placed(fields, &written.at) } else { fields };
        let today = match word {
            "bearer_token" => "bearer",
            "oauth2" => "oauth2_client_credentials",
            other => other,
        };
        if !has(&fields, "type") {
            fields.insert(0, Member::new("type", today.into(), &written.at));
        }
        Some(Member { value: Written::Object(fields), ..written })
    }

    /// The fields of an API key, where its name says.
    fn placed(&mut self, mut fields: Vec<Member>, at: &str) -> Vec<Member> {
        let Some(name_at) = fields.iter().position(|field| field.key == "name") else {
            return fields;
        };
        let mut name = fields.remove(name_at);
        let Written::Value(text) = &name.value else { return fields };
        // What is not text, or not set, is reported where it stands.
        let lower = self.filled(text).unwrap_or_default().to_ascii_lowercase();
        if lower.contains("authorization") {
            name.value = Written::Value("Authorization".into());
            let value = fields.iter_mut().find(|field| field.key == "value");
            match value {
                Some(value) if !self.brings_scheme(&value.value) && name.key == "name" => {
                    value.key = "token".into();
                    fields.insert(0, Member::new("type", "bearer".into(), at));
                    return fields;
                }
                _ => name.key = "header".into(),
            }
        } else if lower.starts_with("x-") || lower.contains("key") {
            name.key = "header".into();
        } else {
            name.key = "query".into();
        }
        fields.push(name);
        fields
    }

    /// Whether a value for the header Authorization starts with a scheme, as in `Token x`.
    fn brings_scheme(&self, value: &Written) -> bool {
        let Written::Value(Value::String(text)) = value else { return false };
        // What becomes a reference is not known yet. `Bearer` in front of it is taken off at call time.
        if self.context.secrets == SecretsMode::Reference && substitute::sole_variable(text).is_some() {
            return false;
        }
        let Ok(filled) = substitute::fill(text, self.context.env) else { return false };
        let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        filled.text.trim_start().split_once(' ').is_some_and(|(scheme, rest)| {
            !scheme.is_empty() && scheme.bytes().all(token) && !rest.trim().is_empty()
        })
    }
}
