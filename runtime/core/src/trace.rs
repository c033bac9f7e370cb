//! W3C Trace Context: to which trace of somebody else's a call belongs, and how that is said to the next system.
//!
//! Invariant: a [`TraceContext`] is well-formed and short, wherever it came from: what it writes is safe in a header.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    limits::{TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX},
};

/// The identity of a trace: 16 bytes that are not all zero, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The identity of a span in its trace: 8 bytes that are not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// What `traceparent` and `tracestate` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that what follows is a child of.
    pub span_id: SpanId,
    /// Bit 0: whoever began it records it. Bit 1: its identity is random.
    pub flags: u8,
    /// What tracing systems tell each other, as it came. Nobody's secret, and nothing of ours reads it.
    state: Option<Arc<str>>,
}

/// The flags that mean something in version 00 of the header.
const FLAGS: u8 = 0b11;

/// A `traceparent` of version 00, and the beginning of later ones.
const PARENT_BYTES: usize = 55;

impl TraceId {
    /// None if all bytes are zero.
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// None if all bytes are zero.
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl TraceContext {
    /// A context without `tracestate`.
    pub fn new(trace_id: TraceId, span_id: SpanId, flags: u8) -> Self {
        Self { trace_id, span_id, flags: flags & FLAGS, state: None }
    }

    /// What a caller's headers say; none if `traceparent` is malformed, as if it had not come (a door then leaves it to
    /// who traces to begin a trace). A malformed `tracestate` is left out, and does not spoil the other header.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let context = parent(traceparent.as_bytes())?;
        Some(context.with_state(tracestate.unwrap_or_default()))
    }

    /// The same from a request. More than one `traceparent` is as good as a malformed one; several `tracestate` are one list.
    pub fn of_headers(headers: &http::HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let states = headers.get_all("tracestate").iter().map(|state| state.to_str().unwrap_or("?"));
        let state = states.collect::<Vec<_>>().join(",");
        Self::parse(parent.to_str().ok()?, Some(&state))
    }

    /// With that `tracestate`, or none if it is malformed or empty.
    #[must_use]
    pub fn with_state(mut self, tracestate: &str) -> Self {
        self.state = state(tracestate).map(Arc::from);
        self
    }

    /// The same trace, as what is below `span` has it.
    #[must_use]
    pub fn child(&self, span: SpanId) -> Self {
        Self { span_id: span, ..self.clone() }
    }

    /// The header `traceparent`.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The header `tracestate`, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// `VERSION-TRACE-SPAN-FLAGS`. A later version may say more after these; version `ff` is none.
fn parent(text: &[u8]) -> Option<TraceContext> {
    let (known, rest) = text.split_at_checked(PARENT_BYTES)?;
    let mut fields = known.split(|byte| *byte == b'-');
    let [version] = hex(fields.next()?)?;
    let (trace, span) = (TraceId::new(hex(fields.next()?)?)?, SpanId::new(hex(fields.next()?)?)?);
    let [flags] = hex(fields.next()?)?;
    let may_say_more = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => matches!(rest.first(), None | Some(b'-')),
    };
    (fields.next().is_none() && may_say_more).then(|| TraceContext::new(trace, span, flags))
}

/// Lower case only, as the header has it.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

/// `KEY=VALUE,KEY=VALUE`: at most 32 of them, no key twice; without what is empty between commas.
fn state(text: &str) -> Option<String> {
    if text.len() > TRACESTATE_BYTES_MAX {
        return None;
    }
    let mut members: Vec<&str> = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        let is_twice =
            members.iter().any(|other| other.split_once('=').is_some_and(|(other, _)| other == key));
        if is_twice || !is_key(key) || !is_value(value) || members.len() == TRACESTATE_MEMBERS_MAX {
            return None;
        }
        members.push(member);
    }
    (!members.is_empty()).then(|| members.join(","))
}

fn is_key(key: &str) -> bool {
    let is_word = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_part = |part: &str, max: usize| !part.is_empty() && part.len() <= max && part.bytes().all(is_word);
    let begins = key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let is_named = match key.split_once('@') {
        Some((tenant, system)) => is_part(tenant, 241) && is_part(system, 14),
        None => is_part(key, 256),
    };
    begins && is_named
}

fn is_value(value: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_plain)
}

macro_rules! written_as_hex {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

written_as_hex!(TraceId, SpanId);

impl FromStr for TraceId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bytes = hex(text.as_bytes()).and_then(Self::new);
        bytes.ok_or_else(|| Error::invalid_input("not a trace id").hint("expected 32 hexadecimal digits"))
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str) -> Option<TraceContext> {
        TraceContext::parse(parent, None)
    }

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context = read(PARENT).unwrap();
        assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((context.span_id.to_string().as_str(), context.flags), ("b7ad6b7169203331", 1));
        assert_eq!(context.traceparent(), PARENT);
        let child = context.child(SpanId::new([1; 8]).unwrap());
        assert_eq!(child.traceparent(), "00-0af7651916cd43dd8448eb211c80319c-0101010101010101-01");
        let json = serde_json::to_string(&context.trace_id).unwrap();
        assert_eq!(serde_json::from_str::<TraceId>(&json).unwrap(), context.trace_id);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in
            [PARENT.replacen("00", "cc", 1), format!("{}-what-comes", PARENT.replacen("00", "01", 1))]
        {
            assert_eq!(read(&later).unwrap().traceparent(), PARENT, "{later}");
        }
        // Flags nobody knows are not passed on.
        let flags = read(&PARENT.replace("-01", "-ff")).unwrap();
        assert_eq!(flags.flags, 3);
    }

    #[test]
    fn a_malformed_traceparent_is_none() {
        let bad = [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-01"),
            &format!("{PARENT} "),
            &format!("{}.x", PARENT.replacen("00", "cc", 1)),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replace('-', "_"),
            &PARENT.replace("-b7ad", "-g7ad"),
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ];
        for text in bad {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_tracestate_is_kept_if_it_is_well_formed() {
        let state = |text: &str| {
            let context = TraceContext::parse(PARENT, Some(text)).unwrap();
            context.tracestate().map(str::to_owned)
        };
        assert_eq!(
            state("rojo=00f067aa0ba902b7, congo=t61 x ,,a@b=1").unwrap(),
            "rojo=00f067aa0ba902b7,congo=t61 x,a@b=1"
        );
        let many = |count: usize| (0..count).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        assert!(state(&many(32)).is_some());
        let long = format!("a={}", "x".repeat(257));
        for text in [
            "",
            ",",
            "a",
            "a=",
            "=a",
            "A=1",
            "a=1,a=2",
            "a=1=2",
            "a=\u{e9}",
            "a=1\n",
            "@a=1",
            "a@=1",
            &many(33),
            &long,
        ] {
            assert_eq!(state(text), None, "{text}");
        }
        let wide = (0..3).map(|n| format!("k{n}={}", "x".repeat(200))).collect::<Vec<_>>().join(",");
        assert_eq!(state(&wide), None, "more than 512 bytes");
    }

    #[test]
    fn two_parents_are_none_and_two_states_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(TraceContext::of_headers(&headers), None);
        headers.append("traceparent", HeaderValue::from_static(PARENT));
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        headers.append("tracestate", HeaderValue::from_static("b=2"));
        assert_eq!(TraceContext::of_headers(&headers).unwrap().tracestate(), Some("a=1,b=2"));
        headers.append("traceparent", HeaderValue::from_static(PARENT));
        assert_eq!(TraceContext::of_headers(&headers), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_written_is_a_header(parent in ".{0,80}", state in ".{0,80}", flags: u8) {
            if let Some(context) = TraceContext::parse(&parent, Some(&state)) {
                prop_assert!(parent.starts_with(&context.traceparent()[..2]) || !parent.starts_with("00"));
            }
            let parent = format!("{}{flags:02x}", &PARENT[..53]);
            let context = TraceContext::parse(&parent, Some(&state)).unwrap();
            prop_assert!(HeaderValue::from_str(&context.traceparent()).is_ok());
            if let Some(state) = context.tracestate() {
                prop_assert!(HeaderValue::from_str(state).is_ok());
                prop_assert_eq!(TraceContext::parse(&parent, Some(state)).unwrap(), context.clone(), "read again");
            }
        }
    }
}
