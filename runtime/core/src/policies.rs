//! How a call goes about it: the host's sections that a connection, its `defaults` and an action may all carry.
//!
//! `connection < connection.defaults < action`, by JSON Merge Patch, section by section; then read once into types.
//!
//! | section | earlier spelling | what |
//! |---|---|---|
//! | `timeout`, `timeout_ms` | `timeout_config` | [`Timeouts`] |
//! | `retry` | `retry_policy` | [`crate::retry`] |
//! | `limits` | | [`crate::limits`] |
//! | `network` | `network_config` | [`crate::network`] |
//! | `http_policy` | | [`crate::header_policy`] |
//! | `rate_limit` (connection only) | | [`RateLimit`] |
//!
//! Invariant: sections that contradict themselves are refused here, when the configuration is read, not at a call.

use std::{num::NonZeroU32, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error, JsonObject, Result,
    header_policy::{self, HeaderPolicy},
    limits::{CallLimits, LimitOverrides},
    merge::merge_patch,
    network::{self, Network, TlsVersion},
    retry::{self, RetryPolicy},
};

/// Keys of the sections.
pub const SECTIONS: &[&str] = &["timeout", "timeout_ms", "retry", "limits", "network", "http_policy"];

/// `timeout: {connect_ms, read_ms, total_ms}`; what is absent keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// To connect, TLS included; 10,000.
    pub connect_ms: Option<u64>,
    /// Longest silence while a response arrives; 30,000.
    pub read_ms: Option<u64>,
    /// The whole call; 60,000.
    pub total_ms: Option<u64>,
}

/// What bounds the parts where nothing is said.
const DEFAULT_TOTAL: (&str, u64) = ("timeout.total_ms as it is by default", 60_000);

impl Timeouts {
    /// To connect.
    pub fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms.unwrap_or(10_000))
    }

    /// Longest silence.
    pub fn read(&self) -> Duration {
        Duration::from_millis(self.read_ms.unwrap_or(30_000))
    }

    /// Each that is set must be above zero, and connect and read within `total`, the call's, by the name it goes by.
    fn check(&self, total: Option<(&str, u64)>) -> Result<()> {
        let parts = [("connect_ms", self.connect_ms), ("read_ms", self.read_ms)];
        for (field, value) in parts.into_iter().chain([("total_ms", self.total_ms)]) {
            if value == Some(0) {
                return Err(Error::invalid_config(format!("timeout.{field} must be above 0")));
            }
        }
        for (field, value) in parts {
            if let (Some(value), Some((name, total))) = (value, total)
                && value > total
            {
                return Err(Error::invalid_config(format!(
                    "timeout.{field} ({value}) is above {name} ({total})"
                ))
                .hint("a part cannot take longer than the whole: lower it, or raise that"));
            }
        }
        Ok(())
    }
}

/// `rate_limit`: how often and how many at once a connection may ask, whatever its actions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Requests in each period.
    #[serde(default)]
    pub requests: Option<NonZeroU32>,
    /// The period, milliseconds.
    #[serde(default = "one_second")]
    pub per_ms: u64,
    /// Requests that may come at once; `requests` if absent.
    #[serde(default)]
    pub burst: Option<NonZeroU32>,
    /// Requests under way at once.
    #[serde(default)]
    pub concurrency: Option<NonZeroU32>,
}

fn one_second() -> u64 {
    1_000
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// `timeout`, with `timeout_ms` as its total.
    pub timeout: Timeouts,
    /// `retry`
    pub retry: RetryPolicy,
    /// `limits`
    pub limits: LimitOverrides,
    /// `network`
    pub network: Network,
    /// `http_policy`
    pub headers: HeaderPolicy,
}

impl Policies {
    /// Merges the sections of each layer, the weakest first, and reads them: a connection's, or those and an action's.
    /// `limits.timeout_ms` is a cap: a part above it just never comes to pass, and contradicts nothing.
    pub fn of<'a>(layers: impl IntoIterator<Item = &'a JsonObject>) -> Result<Self> {
        let policies = Self::merged(layers)?;
        let default = policies.limits.timeout_ms.is_none().then_some(DEFAULT_TOTAL);
        policies.timeout.check(policies.said_total().or(default))?;
        Ok(policies)
    }

    /// Reads the sections of an action whose connection is not at hand: only a total of its own bounds its parts.
    pub(crate) fn check_action(sections: &JsonObject) -> Result<()> {
        let policies = Self::merged([sections])?;
        policies.timeout.check(policies.said_total())
    }

    fn said_total(&self) -> Option<(&'static str, u64)> {
        self.timeout.total_ms.map(|ms| ("timeout.total_ms", ms))
    }

    fn merged<'a>(layers: impl IntoIterator<Item = &'a JsonObject>) -> Result<Self> {
        let mut merged = Value::Object(JsonObject::new());
        for layer in layers {
            let layer = normalized(layer);
            merge_patch(&mut merged, &Value::Object(layer));
        }
        let Value::Object(mut merged) = merged else { return Ok(Self::default()) };
        let policies = Self {
            timeout: section(&mut merged, "timeout")?,
            retry: RetryPolicy::parse(merged.shift_remove("retry"))?,
            limits: section(&mut merged, "limits")?,
            network: section(&mut merged, "network")?,
            headers: section(&mut merged, "http_policy")?,
        };
        policies.network.check()?;
        Ok(policies)
    }

    /// What a call may use: the defaults, the deadline, and what `limits` says.
    pub fn call_limits(&self) -> CallLimits {
        let mut limits = CallLimits::default();
        limits.wall_ms = self.timeout.total_ms.unwrap_or(limits.wall_ms);
        limits.with(&self.limits)
    }

    /// The sections with every default in place, as they would be written, for people; what could be a secret and what
    /// is off unless it is set (a proxy, certificates) is left out.
    pub fn in_force(&self) -> Value {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (limits, retry, network, headers) =
            (self.call_limits(), &self.retry, &self.network, &self.headers);
        json!({
            "timeout": {
                "connect_ms": ms(self.timeout.connect()), "read_ms": ms(self.timeout.read()), "total_ms": limits.wall_ms,
            },
            "retry": {
                "max_attempts": retry.retries.saturating_add(1), "initial_delay_ms": ms(retry.initial_delay),
                "max_delay_ms": ms(retry.max_delay), "backoff_multiplier": retry.multiplier, "total_ms": ms(retry.total),
                "retry_on_status_codes": retry.statuses, "respect_retry_after": retry.respect_retry_after,
                "jitter": retry.jitter,
            },
            "limits": {
                "memory_bytes": limits.memory_bytes, "cpu_ms": limits.cpu_ms, "host_calls": limits.host_calls,
                "max_bytes": limits.output_bytes, "response_bytes": limits.response_bytes,
                "request_bytes": limits.request_bytes, "dry_run": self.limits.dry_run.unwrap_or(false),
            },
            "network": {
                "allowed_hosts": network.allowed_hosts, "allow_plaintext": network.allow_plaintext,
                "allow_private": network.allow_private, "trace": network.trace,
                "tls": {"verify": network.tls.verify, "ca_only": network.tls.ca_only,
                    "min_version": match network.tls.min_version {
                        TlsVersion::V12 => "1.2",
                        TlsVersion::V13 => "1.3",
                    }},
            },
            "http_policy": {
                "denied_headers": headers.denied_headers, "reserved_headers": headers.reserved_headers,
                "multi_value_append_headers": headers.multi_value_append_headers,
                "drop_forbidden_headers": headers.drop_forbidden_headers,
                "max_header_value_length": headers.max_header_value_length,
                "max_total_headers": headers.max_total_headers,
                "allowed_content_types": headers.allowed_content_types, "max_redirects": headers.max_redirects,
                "cross_origin_redirects": headers.cross_origin_redirects,
            },
        })
    }
}

/// The sections of a layer in the spelling that layers are merged in. Where a field has two, they are the same one, so
/// that the later layer wins whichever it uses.
pub fn normalized(layer: &JsonObject) -> JsonObject {
    let mut layer = layer.clone();
    if let Some(total) = layer.shift_remove("timeout_ms") {
        let timeout = layer.entry("timeout").or_insert_with(|| json!({}));
        if let Some(timeout) = timeout.as_object_mut() {
            timeout.entry("total_ms").or_insert(total);
        }
    }
    if let Some(retry) = layer.get_mut("retry").and_then(Value::as_object_mut)
        && let Some(retries) = retry.shift_remove("max_retries").as_ref().and_then(Value::as_u64)
    {
        retry.entry("max_attempts").or_insert(retries.saturating_add(1).into());
    }
    layer
}

/// Takes the [`SECTIONS`] out of a configuration.
pub(crate) fn take_sections(config: &mut JsonObject) -> JsonObject {
    SECTIONS.iter().filter_map(|key| Some(((*key).to_owned(), config.shift_remove(*key)?))).collect()
}

/// Takes one section out and reads it.
pub(crate) fn section<T: serde::de::DeserializeOwned + Default>(
    object: &mut JsonObject,
    key: &str,
) -> Result<T> {
    match object.shift_remove(key) {
        None | Some(Value::Null) => Ok(T::default()),
        // The value may hold a secret, so serde's message, which can quote it, stays in the cause.
        Some(value) => serde_json::from_value(value).map_err(|error| {
            Error::invalid_config(format!("'{key}' has a wrong field or type")).because(error)
        }),
    }
}

/// Schemas of the sections.
pub(crate) fn properties() -> JsonObject {
    let ms = |max: u64| json!({"type": "integer", "minimum": 1, "maximum": max});
    let hour = CallLimits::MAX.wall_ms;
    let properties = json!({
        "timeout": {
            "type": "object", "x-aliases": ["timeout_config"], "additionalProperties": false,
            "description": "connect, read (idle) and total, milliseconds",
            "properties": {"connect_ms": ms(hour), "read_ms": ms(hour), "total_ms": ms(hour)},
        },
        "timeout_ms": {"type": "integer", "minimum": 1, "maximum": hour, "description": "the same as timeout.total_ms"},
        "retry": retry::schema(),
        "limits": limits_schema(),
        "network": network::schema(),
        "http_policy": header_policy::schema(),
    });
    match properties {
        Value::Object(properties) => properties,
        _ => JsonObject::new(),
    }
}

fn limits_schema() -> Value {
    let max = CallLimits::MAX;
    let fields = [
        ("memory_bytes", max.memory_bytes),
        ("cpu_ms", max.cpu_ms),
        ("timeout_ms", max.wall_ms),
        ("host_calls", max.host_calls),
        ("max_bytes", max.output_bytes),
        ("response_bytes", max.response_bytes),
        ("request_bytes", max.request_bytes),
    ];
    let property = |(field, max): (&str, u64)| {
        (field.to_owned(), json!({"type": "integer", "minimum": 1, "maximum": max}))
    };
    let mut properties: JsonObject = fields.into_iter().map(property).collect();
    properties.insert("dry_run".into(), json!({"type": "boolean", "description": "every call is a dry run"}));
    json!({
        "type": "object", "additionalProperties": false, "description": "what one call may use",
        "properties": properties,
    })
}

/// The schema of `rate_limit`.
pub(crate) fn rate_limit_schema() -> Value {
    let count = json!({"type": "integer", "minimum": 1, "maximum": 1_000_000});
    json!({
        "type": "object", "additionalProperties": false,
        "description": "how often, and how many at once, requests of this connection are sent; more of them wait",
        "anyOf": [{"required": ["requests"]}, {"required": ["concurrency"]}],
        "properties": {
            "requests": count, "burst": count, "concurrency": count,
            "per_ms": {"type": "integer", "minimum": 1, "maximum": 86_400_000},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> JsonObject {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn the_later_layer_wins_field_by_field_in_either_spelling() {
        let connection =
            object(json!({"timeout": {"connect_ms": 5, "total_ms": 900}, "retry": "background"}));
        let action = object(json!({"timeout_ms": 50, "retry": {"max_attempts": 2}}));
        let policies = Policies::of([&connection, &action]).unwrap();
        assert_eq!(policies.timeout.connect_ms, Some(5));
        assert_eq!(policies.timeout.total_ms, Some(50));
        assert_eq!(policies.retry.retries, 1);
        for (weaker, stronger) in [("max_attempts", "max_retries"), ("max_retries", "max_attempts")] {
            let layer = |field: &str, count: u32| object(json!({"retry": {field: count}}));
            let policies = Policies::of([&layer(weaker, 9), &layer(stronger, 2)]).unwrap();
            assert_eq!(policies.retry.retries, if stronger == "max_retries" { 2 } else { 1 }, "{stronger}");
        }
    }

    #[test]
    fn a_part_is_within_the_total_that_holds() {
        let whole = |layers: &[Value]| {
            let layers: Vec<JsonObject> = layers.iter().cloned().map(object).collect();
            Policies::of(&layers).map(drop)
        };
        let connection = |own: Value| whole(&[own]);
        let action = |own: Value| Policies::check_action(&object(own));
        let by_limit = json!({"timeout": {"connect_ms": 5_000}, "limits": {"timeout_ms": 1_000}});
        let long = json!({"timeout": {"connect_ms": 90_000}});
        let default = "timeout.connect_ms (90000) is above timeout.total_ms as it is by default (60000)";
        let total = "timeout.connect_ms (90000) is above timeout.total_ms (1000)";
        for (refused, message) in [
            (connection(long.clone()), default),
            (whole(&[json!({}), long.clone()]), default),
            (whole(&[long.clone(), json!({"timeout_ms": 1_000})]), total),
        ] {
            assert_eq!(refused.unwrap_err().message, message);
        }
        let enough = json!({"timeout_ms": 90_000});
        let below = json!({"limits": {"timeout_ms": 1_000}});
        for fits in [
            connection(below.clone()),
            // A limit caps; files of earlier versions have both.
            connection(by_limit.clone()),
            action(by_limit),
            connection(json!({"timeout": {"read_ms": 90_000}, "limits": {"timeout_ms": 90_000}})),
            // Its connection may say the total.
            action(long.clone()),
            whole(&[enough, long]),
            // An action caps what its connection says.
            whole(&[json!({"timeout": {"connect_ms": 5_000}}), below]),
        ] {
            fits.unwrap();
        }
        assert_eq!(DEFAULT_TOTAL.1, CallLimits::default().wall_ms);
    }

    #[test]
    fn contradictions_are_refused() {
        for section in [
            json!({"timeout": {"connect_ms": 10, "total_ms": 5}}),
            json!({"timeout": {"read_ms": 0}}),
            json!({"network": {"tls": {"client_cert": "x"}}}),
            json!({"network": {"tls": {"ca_only": true}}}),
            json!({"network": {"tls": {"server_name": "10.96.0.1"}}}),
            json!({"network": {"tls": {"server_name": "0x7f.1"}}}),
            json!({"network": {"tls": {"server_name": "[::1]"}}}),
            json!({"network": {"tls": {"server_name": "Ａpi.example"}}}),
            json!({"network": {"tls": {"server_name": "api.internal"}, "proxy": "http://proxy:1"}}),
            json!({"network": {"proxy": "ftp://x"}}),
            json!({"network": {"proxy": "http://u:p@x:1"}}),
            json!({"retry": "often"}),
            json!({"retry": {"initial_delay_ms": 10, "max_delay_ms": 5}}),
        ] {
            assert!(Policies::of([&object(section.clone())]).is_err(), "{section}");
        }
    }
}
