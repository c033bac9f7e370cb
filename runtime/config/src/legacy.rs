//! The spellings of earlier versions that a rename cannot bring into today's form: what was one text, stood elsewhere,
//! or was counted in seconds. Plain renames are `x-aliases` in the schemas.
//!
//! | written | read as |
//! |---|---|
//! | `authorization: api_key` and what belongs to it | see [`authorization`] |
//! | `invocation_http_parameters`, `headers`, `query`, `cookies`, `response_policy` of a connection | `defaults` |
//! | `expected_status`, `response_format` of an action | see [`response`] |
//! | `timeout: 30`, `timeout_seconds: 30` | `timeout.total_ms: 30000` |
//! | `proxy`, `verify_ssl` of a connection | `network.proxy`, `network.tls.verify` |
//! | `http://user:password@proxy:3128` | `{url, username, password}` |
//! | the bytes of a PEM text as a list | the text |
//! | `limits.max_rows`, `http_policy.follow_redirects` | the connector's own fields; see `config/README.md` |
//!
//! Invariant: whatever is moved keeps the place it was written at, and nothing a connector declares itself is touched.
//! Two spellings of one field both arrive, and the walk refuses them by the names that were written.

mod authorization;
mod nulls;
mod response;

use std::collections::HashMap;

use openact_core::{
    JsonObject,
    schema::{SchemaView, nearest},
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{
    Context,
    problems::{Problems, child},
    substitute,
    walk::report_unknown,
    written::{Member, Written},
};

pub(crate) use authorization::WORDS as AUTHORIZATION_WORDS;

/// Fields of actions that could stand on a connection.
const OF_DEFAULTS: &[&str] = &["headers", "query", "query_params", "cookies", "response_policy"];

/// Brings the fields of one entry into today's form.
pub(crate) struct Legacy<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) problems: &'a mut Problems,
    /// What the entry may hold.
    pub(crate) view: &'a SchemaView<'a>,
    /// What a connection's `defaults` may hold.
    pub(crate) defaults: Option<&'a SchemaView<'a>>,
}

impl Legacy<'_> {
    /// The fields of a connection.
    pub(crate) fn connection(&mut self, mut members: Vec<Member>) -> Vec<Member> {
        nulls::of_connection(&mut members, self.view, self.defaults);
        let mut members = self.authorization(members);
        self.defaults(&mut members);
        self.network_of_connection(&mut members);
        self.section_fields(&mut members);
        members
    }

    /// The fields of an action.
    pub(crate) fn action(&mut self, mut members: Vec<Member>) -> Vec<Member> {
        let view = self.view;
        self.limits(&mut members, view);
        for redirects in take_redirects(&mut members, view) {
            members.push(redirects);
        }
        self.response(&mut members, view);
        self.section_fields(&mut members);
        members
    }

    /// Whether the schema declares `key` itself, so that it is none of ours.
    fn declares(&self, key: &str) -> bool {
        self.view.property_names().any(|name| name == key)
    }

    /// The text with its variables; none where one is not set, which the walk reports.
    fn filled(&self, value: &Value) -> Option<String> {
        substitute::fill(value.as_str()?, self.context.env).ok().map(|filled| filled.text)
    }

    /// What an action shares with a connection and its defaults.
    fn section_fields(&mut self, members: &mut Vec<Member>) {
        let mut out = Vec::with_capacity(members.len());
        for mut member in members.drain(..) {
            match member.key.as_str() {
                "network" | "network_config" => {
                    if let Some(fields) = member.take_members() {
                        member.value = Written::Object(self.network(fields));
                    }
                    out.push(member);
                }
                "timeout" => out.extend(self.seconds(member)),
                "timeout_seconds" if !self.declares("timeout_seconds") => out.extend(self.seconds(member)),
                _ => out.push(member),
            }
        }
        *members = out;
    }

    /// `timeout`, where it is a number of seconds.
    fn seconds(&mut self, mut member: Member) -> Option<Member> {
        let in_words = member.key == "timeout_seconds";
        let seconds = match &member.value {
            Written::Value(Value::Number(number)) => number.as_f64(),
            Written::Value(text @ Value::String(_)) => match self.filled(text) {
                Some(text) => text.trim().parse().ok(),
                None => return Some(member),
            },
            Written::Value(Value::Null) => None,
            Written::Value(Value::Object(_)) | Written::Object(_) if !in_words => return Some(member),
            _ => None,
        };
        if member.is_null() {
            member.key = "timeout".into();
            return Some(member);
        }
        let Some(seconds) = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0) else {
            let message = format!("'{}' is not a number of seconds above 0", member.key);
            let hint = "write timeout_ms: 30000, or timeout: { connect_ms: …, read_ms: …, total_ms: … }";
            self.problems.value(&member.at, message, Some(hint.into()));
            return None;
        };
        // Rounded up, so that a tiny fraction is not zero; what is too large, the schema refuses.
        let total = Member::new("total_ms", Value::from((seconds * 1000.0).ceil() as u64), &member.at);
        Some(Member { key: "timeout".into(), value: Written::Object(vec![total]), at: member.at })
    }

    /// `invocation_http_parameters` and what else of actions stood on a connection, as its defaults.
    fn defaults(&mut self, members: &mut Vec<Member>) {
        let mut moved = Vec::new();
        if !self.declares("invocation_http_parameters") {
            for member in take(members, "invocation_http_parameters") {
                moved.extend(self.invocation(member));
            }
        }
        for key in OF_DEFAULTS {
            let known = self.defaults.is_some_and(|view| knows(view, key));
            if known && !self.declares(key) {
                moved.extend(take(members, key));
            }
        }
        if let Some(view) = self.defaults {
            moved.extend(take_redirects(members, view));
        }
        if let Some(first) = moved.first()
            && !members.iter().any(|member| member.key == "defaults")
        {
            let at = first.at.clone();
            members.push(Member { key: "defaults".into(), value: Written::Object(Vec::new()), at });
        }
        for member in members.iter_mut().filter(|member| member.key == "defaults") {
            if let Some(mut fields) = member.take_members() {
                nulls::of_defaults(&mut fields, self.defaults);
                fields.append(&mut moved);
                if let Some(view) = self.defaults {
                    self.limits(&mut fields, view);
                    self.response(&mut fields, view);
                }
                self.section_fields(&mut fields);
                member.value = Written::Object(fields);
            }
        }
    }

    /// The lists of `{key, value}` as objects.
    fn invocation(&mut self, mut member: Member) -> Vec<Member> {
        const LISTS: &[(&str, &str)] = &[
            ("header_parameters", "headers"),
            ("query_string_parameters", "query"),
            ("body_parameters", "body"),
        ];
        let known = || LISTS.iter().map(|(list, _)| *list);
        let mut moved = Vec::new();
        let Some(lists) = member.take_members() else {
            let hint = format!("it holds {}", known().collect::<Vec<_>>().join(", "));
            self.problems.value(&member.at, "this must hold keys and values", Some(hint));
            return moved;
        };
        for list in lists {
            let Some((_, name)) = LISTS.iter().find(|(written, _)| *written == list.key) else {
                report_unknown(self.problems, &list.at, &list.key, nearest(&list.key, known()), known());
                continue;
            };
            let Written::Value(Value::Array(items)) = list.value else {
                if !list.is_null() {
                    let hint = "write a list: [ { key: name, value: text } ]";
                    self.problems.value(&list.at, "this must be a list", Some(hint.into()));
                }
                continue;
            };
            if !items.is_empty() {
                let fields = self.key_values(items, &list.at, *name == "headers");
                moved.push(Member { key: (*name).into(), value: Written::Object(fields), at: list.at });
            }
        }
        moved
    }

    /// One member per key; the values of a key that is there several times as a list.
    fn key_values(&mut self, items: Vec<Value>, at: &str, any_case: bool) -> Vec<Member> {
        let mut out: Vec<Member> = Vec::new();
        let mut index_of: HashMap<String, usize> = HashMap::new();
        for (index, item) in items.into_iter().enumerate() {
            let at = child(at, &index.to_string());
            let key = item.get("key").filter(|key| key.is_string());
            let Some((key, value)) = key.zip(item.get("value")) else {
                self.problems.value(
                    &at,
                    "not a key and its value",
                    Some("write { key: …, value: … }".into()),
                );
                continue;
            };
            let Some(key) = self.filled(key) else {
                let message = "a variable of this key is malformed or not set";
                self.problems.value(&child(&at, "key"), message, None);
                continue;
            };
            for other in item.as_object().into_iter().flat_map(JsonObject::keys) {
                if other != "key" && other != "value" {
                    let known = ["key", "value"].into_iter();
                    report_unknown(self.problems, &child(&at, other), other, None, known);
                }
            }
            let (value, at) = (value.clone(), child(&at, "value"));
            let name = if any_case { key.to_ascii_lowercase() } else { key.clone() };
            match index_of.get(&name).and_then(|index| out.get_mut(*index)) {
                Some(member) => member.add(value, at),
                None => {
                    index_of.insert(name, out.len());
                    out.push(Member { key, value: Written::Value(value), at });
                }
            }
        }
        out
    }

    /// `proxy` and `verify_ssl` of a connection.
    fn network_of_connection(&mut self, members: &mut Vec<Member>) {
        let mut moved = Vec::new();
        for key in ["proxy", "proxy_url", "verify_ssl"] {
            if !self.declares(key) {
                moved.extend(take(members, key));
            }
        }
        let Some(first) = moved.first() else { return };
        let is_network = |member: &&mut Member| matches!(member.key.as_str(), "network" | "network_config");
        match members.iter_mut().find(is_network) {
            Some(network) => {
                if let Some(fields) = network.take_members() {
                    network.value = Written::Object(fields.into_iter().chain(moved).collect());
                }
            }
            None => {
                let at = first.at.clone();
                members.push(Member { key: "network".into(), value: Written::Object(moved), at });
            }
        }
    }

    /// The fields of `network`.
    fn network(&mut self, mut fields: Vec<Member>) -> Vec<Member> {
        let mut verify: Vec<Member> =
            take(&mut fields, "verify_ssl").chain(take(&mut fields, "verify_peer")).collect();
        if let Some(first) = verify.first()
            && !fields.iter().any(|member| member.key == "tls")
        {
            let at = first.at.clone();
            fields.push(Member { key: "tls".into(), value: Written::Object(Vec::new()), at });
        }
        let mut out = Vec::with_capacity(fields.len());
        for mut member in fields {
            match member.key.as_str() {
                "proxy" | "proxy_url" => member = self.proxy(member),
                "tls" => {
                    if let Some(tls) = member.take_members() {
                        let tls: Vec<Member> = tls.into_iter().filter_map(|field| self.pem(field)).collect();
                        member.value = Written::Object(tls.into_iter().chain(verify.drain(..)).collect());
                    }
                }
                _ => {}
            }
            out.push(member);
        }
        out
    }

    /// A proxy's URL with a user in it, in parts, so that the password is sealed.
    fn proxy(&mut self, mut member: Member) -> Member {
        let Written::Value(value) = &member.value else { return member };
        let Some(text) = self.filled(value) else { return member };
        let Some(parts) = proxy_parts(&text) else { return member };
        // What a variable held is not looked at again.
        let field =
            |(key, text): (&str, String)| Member::new(key, substitute::escape(&text).into(), &member.at);
        member.value = Written::Object(parts.into_iter().map(field).collect());
        member
    }

    /// A PEM text, which earlier exports wrote as its bytes.
    fn pem(&mut self, mut member: Member) -> Option<Member> {
        let Written::Value(Value::Array(items)) = &member.value else { return Some(member) };
        let byte = |item: &Value| item.as_u64().and_then(|byte| u8::try_from(byte).ok());
        let bytes: Option<Vec<u8>> = items.iter().map(byte).collect();
        let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            let message = format!("'{}' is not a list of the bytes of a text", member.key);
            let hint = "write the PEM itself, or its bytes as numbers from 0 to 255";
            self.problems.value(&member.at, message, Some(hint.into()));
            return None;
        };
        member.value = Written::Value(substitute::escape(&text).into());
        Some(member)
    }

    /// `limits.max_rows`, which is no bound of the sandbox.
    fn limits(&mut self, members: &mut Vec<Member>, view: &SchemaView<'_>) {
        let Some(at) = members.iter().position(|member| member.key == "limits") else { return };
        let mut limits = members.remove(at);
        let Some(mut fields) = limits.take_members() else { return members.insert(at, limits) };
        for rows in take(&mut fields, "max_rows").filter(|rows| !rows.is_null()) {
            self.max_rows(rows, members, view);
        }
        limits.value = Written::Object(fields);
        members.insert(at, limits);
    }

    /// The connector's own bound of rows, or of the items of all pages.
    fn max_rows(&mut self, mut rows: Member, members: &mut Vec<Member>, view: &SchemaView<'_>) {
        if view.property_names().any(|name| name == "max_rows") {
            return members.push(rows);
        }
        if let Some(pages) = members.iter_mut().find(|member| member.key == "pagination")
            && let Some(mut fields) = pages.take_members()
        {
            rows.key = "max_items".into();
            fields.push(rows);
            pages.value = Written::Object(fields);
            return;
        }
        // Without pages there is one answer, and no version ever counted anything in it.
        if knows(view, "pagination") {
            return;
        }
        let hint =
            "remove it; limits.max_bytes bounds the result, pagination.max_items what pages bring together";
        self.problems.value(&rows.at, "there are no rows to count here", Some(hint.into()));
    }
}

/// `http_policy.follow_redirects`, for the connector whose field it is.
fn take_redirects(members: &mut [Member], view: &SchemaView<'_>) -> Vec<Member> {
    let mut taken = Vec::new();
    let knows = view.property_names().any(|name| name == "follow_redirects");
    for policy in members.iter_mut().filter(|member| knows && member.key == "http_policy") {
        if let Some(mut fields) = policy.take_members() {
            taken.extend(take(&mut fields, "follow_redirects"));
            policy.value = Written::Object(fields);
        }
    }
    taken
}

/// Takes the members of that name out.
fn take(members: &mut Vec<Member>, key: &str) -> impl Iterator<Item = Member> + use<> {
    let (taken, left) = members.drain(..).partition::<Vec<_>, _>(|member| member.key == key);
    *members = left;
    taken.into_iter()
}

fn knows(view: &SchemaView<'_>, key: &str) -> bool {
    view.property_names().any(|name| name == key) || view.canonical_name(key).is_some()
}

fn is_authorization(key: &str) -> bool {
    matches!(key, "authorization" | "auth")
}

/// URL, user and password of a proxy's URL with a user in it.
fn proxy_parts(text: &str) -> Option<Vec<(&'static str, String)>> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, host) = authority.rsplit_once('@')?;
    let after = rest.get(authority.len()..)?;
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    let decoded = |text| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let mut parts = vec![("url", format!("{scheme}://{host}{after}")), ("username", decoded(name)?)];
    if let Some(password) = password {
        parts.push(("password", decoded(password)?));
    }
    Some(parts)
}
