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
//! takes the place of that delay, clamped to the longest and without jitter. Where the delay would end after the time in
//! all, there is no further attempt. Invariants: a request that may have been received is sent again only if it is
//! [`replayable`]; the last answer is never lost.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Result, Timestamp};

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
        Self::of(0, 1_000, 16_000, 60_000, true)
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
        let asked = match last {
            Attempt::NotSent => None,
            Attempt::Broken if replayable => None,
            Attempt::Answered(status, asked) if replayable && self.statuses.contains(&status) => asked,
            Attempt::Broken | Attempt::Answered(..) => return None,
        };
        if attempts > self.retries {
            return None;
        }
        let delay = match asked.filter(|_| self.respect_retry_after) {
            Some(asked) => asked.min(self.max_delay),
            None => self.delay(attempts.saturating_sub(1), random),
        };
        elapsed.checked_add(delay).is_some_and(|end| end <= self.total).then_some(delay)
    }

    /// Delay `n`, from 0. What no number can hold is the longest delay.
    fn delay(&self, n: u32, random: f64) -> Duration {
        // Nothing grows to nothing; an infinite factor would make it no number.
        if self.initial_delay.is_zero() {
            return Duration::ZERO;
        }
        let factor = self.multiplier.powi(i32::try_from(n).unwrap_or(i32::MAX));
        let delay = Duration::try_from_secs_f64(self.initial_delay.as_secs_f64() * factor)
            .map_or(self.max_delay, |delay| delay.min(self.max_delay));
        if !self.jitter {
            return delay;
        }
        Duration::try_from_secs_f64(delay.as_secs_f64() * random).map_or(delay, |part| part.min(delay))
    }
}

/// What a `Retry-After` asks for (RFC 9110 section 10.2.3): seconds, or a date in any of the three forms, where one that
/// has passed is no delay. None if it is neither.
pub fn retry_after(value: &[u8], now: Timestamp) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    // `1*DIGIT`: the integer parser also takes "+5". More digits than fit are longer than anyone waits.
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::from(now)).unwrap_or_default())
}

/// Whether sending the request twice is the same as once: an idempotent method (RFC 9110 section 9.2.2), or a key by
/// which the other side tells the second from another request.
pub fn replayable(method: &Method, headers: &HeaderMap) -> bool {
    let idempotent = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
    idempotent.contains(method)
        || headers.get("idempotency-key").is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
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

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::HeaderName};
    use proptest::prelude::*;

    use super::*;

    const PRESETS: [&str; 6] = ["none", "api_calls", "background", "health", "aggressive", "conservative"];
    /// The largest number a die in [0, 1) can show.
    const NEARLY_ONE: f64 = 1.0 - f64::EPSILON / 2.0;
    const BUSY: Attempt = Attempt::Answered(503, None);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends until the policy has enough, each attempt taking `each`; gives the delays. There is one attempt more than
    /// delays.
    fn run(
        policy: &RetryPolicy,
        each: Duration,
        last: Attempt,
        replayable: bool,
        random: f64,
    ) -> Vec<Duration> {
        let (mut now, mut delays) = (Duration::ZERO, Vec::new());
        for attempt in 1..1_000 {
            now += each;
            let Some(delay) = policy.wait(attempt, now, last, replayable, random) else { return delays };
            now += delay;
            delays.push(delay);
        }
        panic!("never has enough");
    }

    #[test]
    fn each_preset_makes_exactly_the_promised_attempts_and_delays() {
        // Milliseconds with the die at its highest: the delays themselves.
        let expected: [&[u64]; 6] = [
            &[],
            &[1_000, 2_000, 4_000],
            &[2_000, 4_000, 8_000, 16_000, 32_000],
            &[500],
            &[200, 400, 800, 1_600, 3_200],
            &[2_000, 4_000],
        ];
        for (name, expected) in PRESETS.iter().zip(expected) {
            let policy = RetryPolicy::preset(name).unwrap();
            let scaled = |by: f64| {
                let by = if policy.jitter { by } else { 1.0 };
                expected.iter().map(|delay| ms(*delay).mul_f64(by)).collect::<Vec<_>>()
            };
            for last in [BUSY, Attempt::Broken, Attempt::NotSent] {
                assert_eq!(run(&policy, ms(1), last, true, NEARLY_ONE), scaled(1.0), "{name}");
                assert_eq!(run(&policy, ms(1), last, true, 0.5), scaled(0.5), "{name}");
                assert_eq!(run(&policy, ms(1), last, true, 0.0), scaled(0.0), "{name}");
            }
        }
    }

    #[test]
    fn each_preset_takes_retry_after_in_its_place_clamped() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        let values: [(&[u8], u64); 5] = [
            (b"0", 0),
            (b"1", 1_000),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", 7_000),
            (b"Sun Nov  6 08:49:00 1994", 0),
            (b"3600", 3_600_000),
        ];
        for name in PRESETS {
            let policy = RetryPolicy::preset(name).unwrap();
            for (value, asked) in values {
                let asked_for = retry_after(value, now);
                assert_eq!(asked_for, Some(ms(asked)));
                let delay = ms(asked).min(policy.max_delay);
                // As often as the preset says, or as fits into the time in all.
                let times = (0..policy.retries).take_while(|n| delay * (n + 1) <= policy.total).count();
                for random in [NEARLY_ONE, 0.0] {
                    let delays =
                        run(&policy, Duration::ZERO, Attempt::Answered(429, asked_for), true, random);
                    assert_eq!(delays, vec![delay; times], "{name} {}", value.escape_ascii());
                }
            }
        }
        // 16 s, clamped, three times; the fourth would end at 64 s of 60.
        let policy = RetryPolicy { retries: 9, ..RetryPolicy::preset("api_calls").unwrap() };
        let delays = run(&policy, Duration::ZERO, Attempt::Answered(503, Some(Duration::MAX)), true, 0.3);
        assert_eq!(delays, vec![ms(16_000); 3]);
    }

    #[test]
    fn retry_after_is_not_heeded_where_the_policy_says_so() {
        let policy = RetryPolicy {
            respect_retry_after: false,
            jitter: false,
            ..RetryPolicy::preset("api_calls").unwrap()
        };
        let last = Attempt::Answered(503, Some(ms(9)));
        assert_eq!(run(&policy, ms(0), last, true, 0.0), [ms(1_000), ms(2_000), ms(4_000)]);
    }

    #[test]
    fn delays_are_capped_and_end_with_the_total() {
        let policy = RetryPolicy {
            retries: 20,
            multiplier: 3.0,
            initial_delay: ms(10),
            max_delay: ms(100),
            total: ms(500),
            jitter: false,
            ..RetryPolicy::default()
        };
        let delays = run(&policy, ms(0), BUSY, true, 0.0);
        assert_eq!(delays, [10, 30, 90, 100, 100, 100].map(ms));
        // The attempts take time too: with six of 12 ms, the sixth delay would end at 502 ms.
        let delays = run(&policy, ms(12), BUSY, true, 0.0);
        assert_eq!(delays, [10, 30, 90, 100, 100].map(ms));
        // The end itself is in time.
        assert_eq!(policy.wait(1, ms(490), BUSY, true, 0.0), Some(ms(10)));
        assert_eq!(policy.wait(1, ms(491), BUSY, true, 0.0), None);
    }

    #[test]
    fn what_may_have_been_received_is_sent_again_only_if_replayable() {
        for name in PRESETS {
            let policy = RetryPolicy::preset(name).unwrap();
            for last in [BUSY, Attempt::Answered(429, Some(ms(1))), Attempt::Broken] {
                assert!(run(&policy, ms(1), last, false, 0.5).is_empty(), "{name}");
            }
            let unsent = run(&policy, ms(1), Attempt::NotSent, false, 0.5).len();
            assert_eq!(unsent, policy.retries as usize, "{name}");
            for status in [200, 301, 400, 401, 404, 501] {
                assert!(run(&policy, ms(1), Attempt::Answered(status, Some(ms(1))), true, 0.5).is_empty());
            }
        }
    }

    #[test]
    fn idempotent_methods_and_keyed_requests_are_replayable() {
        let none = HeaderMap::new();
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"] {
            assert!(replayable(&method.parse().unwrap(), &none), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "PURGE"] {
            let method = method.parse().unwrap();
            assert!(!replayable(&method, &none), "{method}");
            for (key, expected) in [("k-1", true), ("", false), ("  ", false)] {
                let name = HeaderName::from_bytes(b"Idempotency-Key").unwrap();
                let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(key))]);
                assert_eq!(replayable(&method, &headers), expected, "{method} {key:?}");
            }
        }
    }

    #[test]
    fn retry_after_has_four_forms() {
        let now: Timestamp = "1994-11-06T08:48:37.5Z".parse().unwrap();
        let minute = Duration::from_millis(59_500);
        let max = Duration::from_secs(u64::MAX);
        let cases: [(&[u8], Option<Duration>); 19] = [
            (b"120", Some(Duration::from_secs(120))),
            (b" 120\t", Some(Duration::from_secs(120))),
            (b"007", Some(Duration::from_secs(7))),
            (b"18446744073709551615", Some(max)),
            (b"18446744073709551616", Some(max)),
            (b"99999999999999999999999999999999999999999", Some(max)),
            (b"Sun, 06 Nov 1994 08:49:37 GMT", Some(minute)),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", Some(minute)),
            (b"Sun Nov  6 08:49:37 1994", Some(minute)),
            (b"Sat, 05 Nov 1994 08:49:37 GMT", Some(Duration::ZERO)),
            (b"Thu, 01 Jan 1970 00:00:00 GMT", Some(Duration::ZERO)),
            (b"", None),
            (b"-1", None),
            (b"+5", None),
            (b"1.5", None),
            (b"soon", None),
            (b"1994-11-06T08:49:37Z", None),
            (b"Sun, 36 Nov 1994 08:49:37 GMT", None),
            (b"\xff\xfe", None),
        ];
        for (value, expected) in cases {
            assert_eq!(retry_after(value, now), expected, "{}", value.escape_ascii());
        }
        assert!(retry_after(b"Fri, 31 Dec 9999 23:59:59 GMT", Timestamp::MIN).is_some());
    }

    #[test]
    fn numbers_beyond_reason_are_clamped() {
        let policy = RetryPolicy {
            retries: u32::MAX,
            initial_delay: ms(1),
            max_delay: ms(50),
            total: Duration::MAX,
            ..RetryPolicy::default()
        };
        for multiplier in [10.0, f64::MAX, f64::INFINITY, f64::NAN, -2.0] {
            for attempts in [0, 2_000, u32::MAX] {
                for random in [0.0, NEARLY_ONE, f64::NAN, f64::INFINITY, -1.0] {
                    let policy = RetryPolicy { multiplier, ..policy.clone() };
                    let wait = policy.wait(attempts, Duration::ZERO, BUSY, true, random).unwrap();
                    assert!(wait <= ms(50), "{multiplier} {attempts} {random}");
                    assert_eq!(policy.wait(attempts, Duration::MAX, BUSY, true, NEARLY_ONE), None);
                }
            }
        }
        let none = RetryPolicy { initial_delay: Duration::ZERO, multiplier: 10.0, ..policy };
        assert_eq!(none.wait(u32::MAX, Duration::ZERO, BUSY, true, NEARLY_ONE), Some(Duration::ZERO));
    }

    fn attempts() -> impl Strategy<Value = Attempt> {
        let asked = proptest::option::of(any::<u64>().prop_map(Duration::from_millis));
        prop_oneof![
            Just(Attempt::NotSent),
            Just(Attempt::Broken),
            (prop_oneof![Just(503), Just(429), Just(200)], asked)
                .prop_map(|(status, asked)| Attempt::Answered(status, asked)),
        ]
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_happens(
            (retries, initial, max, total) in (0u32..20, 0u64..5_000, 0u64..20_000, 0u64..100_000),
            (multiplier, jitter, respect_retry_after) in (1.0f64..10.0, any::<bool>(), any::<bool>()),
            steps in prop::collection::vec((attempts(), 0u64..5_000, 0.0f64..1.0, any::<bool>()), 40),
        ) {
            let policy = RetryPolicy {
                retries, multiplier, jitter, respect_retry_after,
                initial_delay: ms(initial), max_delay: ms(max), total: ms(total),
                ..RetryPolicy::default()
            };
            let (mut now, mut sent) = (Duration::ZERO, 0);
            for (last, took, random, replayable) in steps {
                sent += 1;
                now += ms(took);
                let Some(delay) = policy.wait(sent, now, last, replayable, random) else { break };
                prop_assert!(replayable || last == Attempt::NotSent);
                prop_assert!(delay <= policy.max_delay);
                now += delay;
                prop_assert!(now <= policy.total);
            }
            prop_assert!(sent <= retries + 1);
        }
    }
}
