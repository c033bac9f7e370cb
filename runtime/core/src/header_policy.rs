//! `http_policy`: which headers may leave, whoever set them: connection, action, input or guest.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `denied_headers` | none | may not be sent, beside those the host owns |
//! | `reserved_headers` | none | the connection's value stands, whatever action, input and guest say |
//! | `multi_value_append_headers` | none | the connection's value and the other one are joined by `, ` |
//! | `drop_forbidden_headers` | false | a denied one is left out with a warning, instead of failing the request |
//! | `max_header_value_length` | 8192 | bytes of one value |
//! | `max_total_headers` | 128 | headers of one request |
//! | `allowed_content_types` | any | types a request's body may have; `text/*` covers a family |
//! | `max_redirects` | 5 | redirects followed for one request |
//! | `cross_origin_redirects` | true | whether a redirect may leave the origin |
//!
//! Names are compared without case and mean themselves: there are no patterns. Appended values are taken as lists (RFC
//! 9110 section 5.6.1): no element is sent twice, so applying the policy to its own outcome changes nothing. A name that
//! is denied stays denied if it is reserved or appended too. A request without `Content-Type` is of no type, and none is
//! asked of it.
//!
//! Invariant: what the host owns ([`is_host_owned`]) is never sent on a guest's word, policy or not (E10).

mod list;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Result, limits};

/// `http_policy`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderPolicy {
    /// May not be sent.
    pub denied_headers: Vec<String>,
    /// The connection's value stands.
    pub reserved_headers: Vec<String>,
    /// Joined with the connection's value.
    pub multi_value_append_headers: Vec<String>,
    /// Leave a denied one out instead of failing.
    pub drop_forbidden_headers: bool,
    /// Header names are always compared and sent in lower case; the earlier system's switch for it.
    pub normalize_header_names: bool,
    /// Bytes of one value.
    pub max_header_value_length: usize,
    /// Headers of one request.
    pub max_total_headers: usize,
    /// Types a body may have; empty is any.
    pub allowed_content_types: Vec<String>,
    /// Redirects followed for one request.
    pub max_redirects: usize,
    /// Whether a redirect may leave the origin.
    pub cross_origin_redirects: bool,
}

impl Default for HeaderPolicy {
    fn default() -> Self {
        Self {
            denied_headers: Vec::new(),
            reserved_headers: Vec::new(),
            multi_value_append_headers: Vec::new(),
            drop_forbidden_headers: false,
            normalize_header_names: true,
            max_header_value_length: 8192,
            max_total_headers: limits::HTTP_HEADERS_MAX,
            allowed_content_types: Vec::new(),
            max_redirects: limits::HTTP_REDIRECTS_MAX,
            cross_origin_redirects: true,
        }
    }
}

impl HeaderPolicy {
    /// Makes `headers` (merged: connection < action < input, then the guest's) what may leave. `connection` are the
    /// connection's own. Gives the names that were dropped. Called for each request before the credential is applied,
    /// which is the host's own and not subject to it.
    pub fn apply(&self, connection: &HeaderMap, headers: &mut HeaderMap) -> Result<Vec<HeaderName>> {
        let dropped = self.forbid(headers)?;
        for name in self.names(&self.reserved_headers) {
            replace(&name, connection, headers)?;
        }
        for name in self.names(&self.multi_value_append_headers) {
            list::join(&name, connection, headers)?;
        }
        self.measure(headers)?;
        self.check_content_type(headers)?;
        Ok(dropped)
    }

    /// Those of `list` that may be sent.
    fn names(&self, list: &[String]) -> impl Iterator<Item = HeaderName> {
        let names = list.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        names.filter(|name| !is_host_owned(name) && !self.denies(name))
    }

    /// Whether `denied_headers` has it.
    pub fn denies(&self, name: &HeaderName) -> bool {
        self.denied_headers.iter().any(|denied| denied.eq_ignore_ascii_case(name.as_str()))
    }

    fn forbid(&self, headers: &mut HeaderMap) -> Result<Vec<HeaderName>> {
        let forbidden: Vec<HeaderName> =
            headers.keys().filter(|name| is_host_owned(name) || self.denies(name)).cloned().collect();
        for name in &forbidden {
            if self.drop_forbidden_headers {
                headers.remove(name);
                continue;
            }
            let why = if is_host_owned(name) { "set by the host" } else { "denied by http_policy" };
            return Err(Error::egress_denied(format!("the header '{name}' is {why}"))
                .hint(format!("remove '{name}' from the headers of the action, connection or input")));
        }
        Ok(forbidden)
    }

    fn measure(&self, headers: &HeaderMap) -> Result<()> {
        if headers.len() > self.max_total_headers {
            return Err(too_large(format!("the request has more than {} headers", self.max_total_headers)));
        }
        let mut bytes = 0;
        for (name, value) in headers {
            if value.len() > self.max_header_value_length {
                let max = self.max_header_value_length;
                return Err(too_large(format!("the value of header '{name}' is longer than {max} bytes")));
            }
            bytes += name.as_str().len() + value.len();
        }
        if bytes > limits::HTTP_HEADER_BYTES_MAX {
            return Err(too_many());
        }
        Ok(())
    }

    fn check_content_type(&self, headers: &HeaderMap) -> Result<()> {
        if self.allowed_content_types.is_empty() {
            return Ok(());
        }
        for value in headers.get_all(CONTENT_TYPE) {
            let found = essence(std::str::from_utf8(value.as_bytes()).unwrap_or_default());
            if !self.allowed_content_types.iter().any(|allowed| covers(essence(allowed), found)) {
                return Err(Error::invalid_input(format!(
                    "the content type '{}' is not allowed by http_policy",
                    found.escape_debug()
                ))
                .hint(format!("allowed: {}", self.allowed_content_types.join(", "))));
            }
        }
        Ok(())
    }
}

/// The headers that a guest asks for: names and values that are well-formed, within the bounds of any request. Whether
/// they may be sent, [`HeaderPolicy::apply`] says.
pub fn parse_headers(raw: Vec<(String, Vec<u8>)>) -> Result<HeaderMap> {
    let bytes: usize = raw.iter().map(|(name, value)| name.len() + value.len()).sum();
    if raw.len() > limits::HTTP_HEADERS_MAX || bytes > limits::HTTP_HEADER_BYTES_MAX {
        return Err(too_many());
    }
    // Room for what a credential adds.
    let mut headers = HeaderMap::with_capacity(raw.len() + 2);
    for (name, value) in raw {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| Error::invalid_input(format!("'{}' is not a header name", name.escape_debug())))?;
        // Takes the vector over instead of copying it.
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).map_err(|_| {
            Error::invalid_input(format!(
                "the value of header '{parsed}' holds a line break or control character"
            ))
        })?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// Headers the host or the HTTP library decides; a guest that could set them could smuggle (E10).
pub fn is_host_owned(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "upgrade"
            | "te"
            | "trailer"
            | "expect"
            | "http2-settings"
    ) || name.as_str().starts_with("proxy-")
}

/// The connection's values of `name`, if it has any, in place of those there are.
fn replace(name: &HeaderName, connection: &HeaderMap, headers: &mut HeaderMap) -> Result<()> {
    if connection.contains_key(name) {
        headers.remove(name);
    }
    for value in connection.get_all(name) {
        // Fails where the map itself is full, at 32,768.
        headers.try_append(name, value.clone()).map_err(|_| too_many())?;
    }
    Ok(())
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether `allowed` is `found`, its family or everything.
fn covers(allowed: &str, found: &str) -> bool {
    match (allowed.strip_suffix("/*"), found.split_once('/')) {
        (Some("*"), _) => true,
        (Some(family), Some((of, _))) => family.eq_ignore_ascii_case(of),
        _ => allowed.eq_ignore_ascii_case(found),
    }
}

fn too_large(message: String) -> Error {
    Error::limit_exceeded(message).details(json!({ "limit": "request_headers" }))
}

fn too_many() -> Error {
    let (count, bytes) = (limits::HTTP_HEADERS_MAX, limits::HTTP_HEADER_BYTES_MAX);
    too_large(format!("more than {count} headers or {bytes} bytes of them"))
}

/// The JSON Schema of `http_policy`.
pub(crate) fn schema() -> Value {
    let names =
        json!({"type": "array", "items": {"type": "string", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"}});
    json!({
        "type": "object", "additionalProperties": false, "description": "which headers may leave, and redirects",
        "properties": {
            "denied_headers": names, "reserved_headers": names, "multi_value_append_headers": names,
            "drop_forbidden_headers": {"type": "boolean"}, "normalize_header_names": {"type": "boolean"},
            "max_header_value_length": {"type": "integer", "minimum": 1, "maximum": limits::HTTP_HEADER_BYTES_MAX},
            "max_total_headers": {"type": "integer", "minimum": 1, "maximum": limits::HTTP_HEADERS_MAX},
            "allowed_content_types": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "max_redirects": {"type": "integer", "minimum": 0, "maximum": 20},
            "cross_origin_redirects": {"type": "boolean"},
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorCode;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let raw = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        parse_headers(raw.collect()).unwrap()
    }

    fn policy(fields: Value) -> HeaderPolicy {
        serde_json::from_value(fields).unwrap()
    }

    /// What leaves, as `name: value` lines in alphabetical order, then `-name` for each dropped; or the error's code.
    fn applied(policy: &HeaderPolicy, connection: &[(&str, &str)], headers: &[(&str, &str)]) -> String {
        let (connection, mut headers) = (map(connection), map(headers));
        let dropped = match policy.apply(&connection, &mut headers) {
            Ok(dropped) => dropped,
            Err(error) => return error.code.to_string(),
        };
        let line =
            |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
        lines.extend(dropped.iter().map(|name| format!("-{name}")));
        lines.join("\n")
    }

    const OWNED: [&str; 14] = [
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Keep-Alive",
        "Upgrade",
        "TE",
        "Trailer",
        "Expect",
        "HTTP2-Settings",
        "Proxy-Authorization",
        "Proxy-Connection",
        "PROXY-X",
        "proxy-",
    ];

    #[test]
    fn e10_what_the_host_owns_is_never_sent() {
        let drop = policy(json!({"drop_forbidden_headers": true}));
        let keep = policy(
            json!({"reserved_headers": OWNED, "multi_value_append_headers": OWNED, "drop_forbidden_headers": true}),
        );
        for name in OWNED {
            let mut headers = map(&[("a", "1"), (name, "x")]);
            let error = HeaderPolicy::default().apply(&HeaderMap::new(), &mut headers).unwrap_err();
            assert_eq!(error.code, ErrorCode::EgressDenied, "{name}");
            assert_eq!(error.message, format!("the header '{}' is set by the host", name.to_lowercase()));
            assert!(error.hint.is_some());
            let left = format!("a: 1\n-{}", name.to_lowercase());
            assert_eq!(applied(&drop, &[], &[("a", "1"), (name, "x"), (name, "y")]), left);
            // Reserving one does not bring the connection's in.
            assert_eq!(applied(&keep, &[(name, "y")], &[("a", "1"), (name, "x")]), left);
        }
    }

    #[test]
    fn e10_line_breaks_nul_and_shapes_of_smuggling_are_refused() {
        for value in ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "\u{7f}", "\r", "a\r\n "] {
            let error = parse_headers(vec![("x".into(), value.into())]).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidInput, "{value:?}");
        }
        for name in [
            "",
            "a b",
            "a:b",
            "a:",
            ":authority",
            "a\r\nb",
            "a\n",
            "a\0",
            " a",
            "a\t",
            "ä",
            "Content-Length ",
        ] {
            let error = parse_headers(vec![(name.into(), b"1".to_vec())]).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidInput, "{name:?}");
        }
        let value = b"\xff\tok".to_vec();
        assert_eq!(parse_headers(vec![("X-Raw".into(), value.clone())]).unwrap()["x-raw"].as_bytes(), value);
    }

    #[test]
    fn denied_headers_fail_or_are_dropped_in_either_case() {
        let denied = json!({"denied_headers": ["X-Debug", "cookie"]});
        let headers = [("x-a", "1"), ("X-DEBUG", "1"), ("Cookie", "b"), ("cookie", "c")];
        assert_eq!(applied(&policy(denied.clone()), &[], &headers), "egress_denied");
        assert_eq!(applied(&policy(denied.clone()), &[], &headers[..1]), "x-a: 1");
        let mut drop = policy(denied);
        drop.drop_forbidden_headers = true;
        assert_eq!(applied(&drop, &[], &headers), "x-a: 1\n-x-debug\n-cookie");
        // A longer name is another one.
        assert_eq!(applied(&drop, &[], &[("x-debug-id", "1")]), "x-debug-id: 1");
        drop.reserved_headers = vec!["cookie".into()];
        assert_eq!(applied(&drop, &[("cookie", "own")], &headers[..1]), "x-a: 1");
    }

    #[test]
    fn reserved_headers_stay_as_the_connection_has_them() {
        let policy = policy(json!({"reserved_headers": ["Authorization", "x-none"]}));
        let own = [("authorization", "own"), ("Authorization", "second")];
        let kept = "authorization: own\nauthorization: second";
        assert_eq!(applied(&policy, &own, &[("AUTHORIZATION", "theirs")]), kept);
        assert_eq!(applied(&policy, &own, &[]), kept);
        assert_eq!(applied(&policy, &own, &own), kept);
        // What the connection does not have is anyone's, and what is not reserved the later one's.
        assert_eq!(
            applied(&policy, &[("x-a", "own")], &[("x-none", "1"), ("x-a", "2")]),
            "x-a: 2\nx-none: 1"
        );
    }

    #[test]
    fn appended_headers_are_joined_the_connections_first() {
        let policy = policy(json!({"multi_value_append_headers": ["Accept"]}));
        let sent = applied(
            &policy,
            &[("accept", "a, b"), ("x-a", "1")],
            &[("ACCEPT", "b"), ("accept", "c"), ("x-a", "2")],
        );
        assert_eq!(sent, "accept: a, b, c\nx-a: 2");
        assert_eq!(applied(&policy, &[("accept", "a")], &[]), "");
        assert_eq!(applied(&policy, &[], &[("accept", "b"), ("accept", "b")]), "accept: b\naccept: b");
    }

    #[test]
    fn e14_counts_and_lengths_are_bounded() {
        let limit = |policy: &HeaderPolicy, headers: &[(&str, &str)]| {
            let error = policy.apply(&HeaderMap::new(), &mut map(headers)).err()?;
            assert_eq!(error.code, ErrorCode::LimitExceeded);
            assert_eq!(error.details, Some(json!({"limit": "request_headers"})));
            Some(error.message.clone())
        };
        let small = policy(json!({"max_header_value_length": 3, "max_total_headers": 2}));
        assert_eq!(limit(&small, &[("a", "123"), ("b", "")]), None);
        assert!(limit(&small, &[("a", "1234")]).unwrap().contains("'a' is longer than 3 bytes"));
        assert!(limit(&small, &[("a", "1"), ("a", "2"), ("b", "")]).unwrap().contains("more than 2 headers"));
        let default = HeaderPolicy::default();
        let long = "x".repeat(8192);
        assert_eq!(limit(&default, &[("a", &long)]), None);
        assert!(limit(&default, &[("a", &format!("{long}x"))]).is_some());
        // Each value is short enough, together they are not.
        let mut headers = map(&[("a", long.as_str()); 7]);
        assert!(default.apply(&HeaderMap::new(), &mut headers).is_ok());
        headers.append("b", HeaderValue::from_str(&long).unwrap());
        assert!(default.apply(&HeaderMap::new(), &mut headers).is_err());
        // What joining makes is measured.
        let append = policy(json!({"max_header_value_length": 3, "multi_value_append_headers": ["a"]}));
        assert_eq!(applied(&append, &[("a", "12")], &[("a", "34")]), "limit_exceeded");
        assert_eq!(applied(&append, &[("a", "12")], &[("a", "12")]), "a: 12");
        let raw = |count: usize, bytes: usize| vec![("a".to_owned(), vec![b'x'; bytes]); count];
        assert!(parse_headers(raw(128, 511)).is_ok());
        for raw in [raw(129, 1), raw(128, 512), raw(1, limits::HTTP_HEADER_BYTES_MAX)] {
            assert_eq!(parse_headers(raw).unwrap_err().code, ErrorCode::LimitExceeded);
        }
    }

    #[test]
    fn a_body_has_one_of_the_allowed_types() {
        let some = policy(json!({"allowed_content_types": ["application/json; charset=utf-8", "Text/*"]}));
        let any = policy(json!({"allowed_content_types": ["*/*"]}));
        for (value, allowed) in [
            ("Application/JSON;charset=latin1", true),
            ("text/plain", true),
            ("TEXT/x-y ; a=b", true),
            ("application/jsonx", false),
            ("application/xml", false),
            ("textual/plain", false),
            ("text", false),
            ("", false),
            ("application/xml; x=application/json", false),
        ] {
            let sent = |policy| applied(policy, &[], &[("Content-Type", value)]);
            assert_eq!(sent(&some) != "invalid_input", allowed, "{value:?}");
            assert_ne!(sent(&any), "invalid_input");
            assert_ne!(sent(&HeaderPolicy::default()), "invalid_input");
        }
        assert_eq!(applied(&some, &[], &[("a", "1")]), "a: 1");
        let both = [("content-type", "text/plain"), ("content-type", "application/xml")];
        assert_eq!(applied(&some, &[], &both), "invalid_input");
        assert!(
            some.apply(
                &HeaderMap::new(),
                &mut parse_headers(vec![("content-type".into(), vec![0xff])]).unwrap()
            )
            .is_err()
        );
    }

    #[test]
    fn names_are_sent_in_lower_case_whatever_the_switch_says() {
        for normalize in [true, false] {
            let policy = policy(json!({"normalize_header_names": normalize}));
            assert_eq!(applied(&policy, &[], &[("X-Mixed-Case", "V")]), "x-mixed-case: V");
        }
    }

    fn raw_headers() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let name = prop_oneof![
            "[aAbBcC]",
            prop::sample::select(OWNED.to_vec()).prop_map(str::to_owned),
            Just("content-type".to_owned()),
            "\\PC{0,4}",
        ];
        let value = prop_oneof![
            "[a-c, \"\\\\]{0,12}".prop_map(String::into_bytes),
            "(text|image)/[a-z]{1,3}(;x)?".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..6),
        ];
        prop::collection::vec((name, value), 0..8)
    }

    proptest! {
        #[test]
        fn e10_nothing_forbidden_is_left_and_the_bounds_hold(
            own in raw_headers(), raw in raw_headers(), drop_forbidden_headers: bool,
            (max_header_value_length, max_total_headers) in (1usize..24, 1usize..10),
            lists in prop::collection::vec(prop::collection::vec("[aAbBcC]|host|TE|proxy-x", 0..3), 3),
            types in prop::collection::vec(prop::sample::select(vec!["text/*", "image/a", "*/*"]), 0..2),
        ) {
            let policy = HeaderPolicy {
                denied_headers: lists[0].clone(),
                reserved_headers: lists[1].clone(),
                multi_value_append_headers: lists[2].clone(),
                allowed_content_types: types.into_iter().map(str::to_owned).collect(),
                drop_forbidden_headers, max_header_value_length, max_total_headers,
                ..HeaderPolicy::default()
            };
            let own = parse_headers(own).unwrap_or_default();
            let Ok(mut headers) = parse_headers(raw) else { return Ok(()) };
            let Ok(dropped) = policy.apply(&own, &mut headers) else { return Ok(()) };
            prop_assert!(drop_forbidden_headers || dropped.is_empty());
            prop_assert!(headers.len() <= max_total_headers);
            for (name, value) in &headers {
                prop_assert!(!is_host_owned(name) && !policy.denies(name));
                prop_assert!(value.len() <= max_header_value_length);
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
            // Once applied, it changes nothing more: a request that is sent again is the same.
            let again = headers.clone();
            prop_assert_eq!(policy.apply(&own, &mut headers).unwrap().len(), 0);
            prop_assert_eq!(headers, again);
        }
    }
}
