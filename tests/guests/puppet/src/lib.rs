//! A connector that does what its input says: `{"script": HEX}` are lines, each a host call or the end of the call.
//!
//! | line | what is done; fields are parted by tabs |
//! |---|---|
//! | `S` method, url, headers, body, flags | `http.send`; `@` in front of a URL is the connection's; headers are `name:value` parted by `\|`; flags: `n` no credential, `f` follow redirects, `b` an empty body instead of none |
//! | `R` index, max | reads from the body kept at that place |
//! | `K` index | drops it |
//! | `L` level, message, fields | `log.write` |
//! | `E` json | `output.emit` |
//! | `G` key, value, revision | `state.get`, `set-if` and `delete` |
//! | `C` name, algorithm, message | `credentials.length`, `sign` and `reveal` |
//! | `O` host, port, tls, session | `sockets.open` |
//! | `o` json | ends the call with that result |
//! | `f` case, text, details | ends the call with that case of `failure` |
//!
//! Every line is something, so that a fuzzer's changes stay scripts. What the host answers is ignored. A field whose
//! first byte is 0xFF is passed on as it is, although it may be no UTF-8: what a hostile component could do.

use openact::connector::{
    credentials,
    http::{self, BodyStream, CredentialUse, RedirectPolicy, Request},
    log::{self, Level},
    output,
    sockets::{self, Endpoint, TlsMode},
    state,
    types::{Capability, Effect, Operation, UpstreamFailure},
};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "connector" });

struct Puppet;

impl Guest for Puppet {
    fn describe() -> Manifest {
        Manifest {
            name: "puppet".into(),
            version: "0.1.0".into(),
            summary: "what its input says".into(),
            connection_schema: json!({
                "type": "object", "properties": {"base_url": {"type": "string", "format": "uri"}},
            })
            .to_string(),
            operations: vec![Operation {
                name: "play".into(),
                summary: "play a script".into(),
                action_schema: json!({"type": "object"}).to_string(),
                input_schema: json!({"type": "object", "properties": {"script": {"type": "string"}}})
                    .to_string(),
                output_schema: None,
                overridable: vec![],
                effect: Effect::Write,
                idempotent: false,
            }],
            default_operation: "play".into(),
            needs: vec![Capability::Http, Capability::Sockets, Capability::State, Capability::Emit],
        }
    }

    fn check(_connection: String) -> Result<String, Failure> {
        Ok("{}".into())
    }

    fn invoke(invocation: Invocation) -> Result<String, Failure> {
        let connection: Value = serde_json::from_str(&invocation.connection).unwrap_or_default();
        let input: Value = serde_json::from_str(&invocation.input).unwrap_or_default();
        let base_url = connection["base_url"].as_str().unwrap_or_default();
        let script = bytes(input["script"].as_str().unwrap_or_default());
        let mut bodies = Vec::new();
        for line in script.split(|byte| *byte == b'\n') {
            let (op, rest) = line.split_first().unwrap_or((&b'o', &[]));
            let mut fields = Fields(rest.split(|byte| *byte == b'\t').collect());
            match op {
                b'S' => bodies.extend(send(base_url, &mut fields)),
                b'f' => return Err(failure(&mut fields)),
                b'o' => return Ok(fields.text()),
                b'R' | b'K' => body(*op, &mut bodies, &mut fields),
                op => call(*op, &mut fields),
            }
        }
        Ok("{}".into())
    }
}

/// The fields of a line that are not used yet.
struct Fields<'a>(Vec<&'a [u8]>);

impl<'a> Fields<'a> {
    fn next(&mut self) -> &'a [u8] {
        if self.0.is_empty() { &[] } else { self.0.remove(0) }
    }

    fn text(&mut self) -> String {
        text(self.next())
    }

    /// A number in decimal, else the sum of the bytes.
    fn number(&mut self) -> u64 {
        let field = self.next();
        let parsed = std::str::from_utf8(field).ok().and_then(|text| text.trim().parse().ok());
        parsed.unwrap_or_else(|| field.iter().map(|byte| u64::from(*byte)).sum())
    }

    fn optional(&mut self) -> Option<String> {
        let field = self.next();
        (!field.is_empty()).then(|| text(field))
    }
}

fn text(field: &[u8]) -> String {
    match field.split_first() {
        // SAFETY: none, on purpose. It is only handed to the host, which must not trust it.
        Some((0xff, rest)) => unsafe { String::from_utf8_unchecked(rest.to_vec()) },
        _ => String::from_utf8_lossy(field).into_owned(),
    }
}

/// From hexadecimal digits, by pairs.
fn bytes(hex: &str) -> Vec<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

fn send(base_url: &str, fields: &mut Fields<'_>) -> Option<Option<BodyStream>> {
    let method = fields.text();
    let url = fields.next();
    let url = match url.strip_prefix(b"@") {
        Some(rest) => base_url.trim_end_matches('/').to_owned() + &text(rest),
        None => text(url),
    };
    let header = |field: &[u8]| {
        let colon = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
        let (name, value) = field.split_at(colon);
        (text(name), value.strip_prefix(b":").unwrap_or(value).to_vec())
    };
    let headers = fields.next().split(|byte| *byte == b'|').filter(|field| !field.is_empty());
    let headers = headers.map(header).collect();
    let body = fields.next().to_vec();
    let flags = fields.next();
    let request = Request {
        method,
        url,
        headers,
        body: (!body.is_empty() || flags.contains(&b'b')).then_some(body),
        credential: if flags.contains(&b'n') { CredentialUse::None } else { CredentialUse::Connection },
        redirects: if flags.contains(&b'f') { RedirectPolicy::Follow } else { RedirectPolicy::Manual },
    };
    http::send(&request).ok().map(|response| response.rest)
}

fn body(op: u8, bodies: &mut [Option<BodyStream>], fields: &mut Fields<'_>) {
    let (index, max) = (fields.number(), fields.number());
    let count = bodies.len().max(1) as u64;
    let Some(body) = bodies.get_mut((index % count) as usize) else { return };
    match op {
        b'R' => drop(body.as_ref().map(|body| body.read(max as u32))),
        _ => drop(body.take()),
    }
}

fn call(op: u8, fields: &mut Fields<'_>) {
    match op {
        b'L' => {
            let level = match fields.number() % 5 {
                0 => Level::Trace,
                1 => Level::Debug,
                2 => Level::Info,
                3 => Level::Warn,
                _ => Level::Error,
            };
            log::write(level, &fields.text(), &fields.text());
        }
        b'E' => drop(output::emit(&fields.text())),
        b'G' => {
            let (key, value) = (fields.text(), fields.next());
            let revision = fields.number();
            let _ = (state::get(&key), state::set_if(&key, value, Some(revision)), state::delete(&key));
        }
        b'C' => {
            let (name, algorithm) = (fields.text(), fields.text());
            let _ = (credentials::length(&name), credentials::sign(&algorithm, &name, fields.next()));
            let _ = credentials::reveal(&name);
        }
        b'O' => {
            let endpoint = Endpoint { host: fields.text(), port: fields.number() as u16 };
            let tls = if fields.number().is_multiple_of(2) { TlsMode::Plain } else { TlsMode::Tls };
            let _ = sockets::open(&endpoint, tls, fields.optional().as_deref());
        }
        _ => {}
    }
}

fn failure(fields: &mut Fields<'_>) -> Failure {
    let case = fields.number();
    match case % 11 {
        0 => Failure::InvalidConfig(fields.text()),
        1 => Failure::InvalidInput(fields.text()),
        2 => Failure::Unauthenticated(fields.text()),
        3 => Failure::Denied(fields.text()),
        4 => Failure::RateLimited(fields.optional().map(|text| text.parse().unwrap_or(u64::MAX))),
        5 => Failure::Network(fields.text()),
        6 => Failure::Timeout(fields.text()),
        7 => Failure::Protocol(fields.text()),
        8 => Failure::LimitExceeded(fields.text()),
        9 => Failure::Unsupported(fields.text()),
        _ => Failure::Upstream(UpstreamFailure {
            message: fields.text(),
            details: fields.optional(),
            code: fields.optional(),
            retryable: case.is_multiple_of(2),
        }),
    }
}

export!(Puppet);
