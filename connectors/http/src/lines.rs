//! JSON line by line (`application/x-ndjson`, `application/jsonl`): to the caller as it arrives.
//!
//! A caller that takes no stream, which the first line tells, gets the whole body as text, like any other; so does
//! whoever says what the body is to be read as or wants a part of it, and an error of the server is one answer.
//! Invariant: what is emitted is JSON, and in the order in which it came.

use openact_connector::{Failure, Host, HostError, Json, Response};
use serde_json::value::RawValue;

use crate::{
    answer::{self, As, push_headers},
    response::{ResponseSettings, too_long},
};

/// Whether an answer is JSON line by line, to be handed on as such.
pub(crate) fn are_in(response: &Response, settings: &ResponseSettings) -> bool {
    // Every answer is asked, so first what costs least.
    response.header("content-type").is_some_and(|kind| kind != "application/json")
        && response.status < 400
        && settings.read_as == As::Auto
        && settings.extract.is_none()
        && matches!(
            answer::essence(&response.headers).as_str(),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl"
        )
}

/// Emits the lines, or makes the answer the result.
pub(crate) fn result(
    mut response: Response,
    settings: &ResponseSettings,
    host: &dyn Host,
) -> Result<Json, Failure> {
    settings.admit(&mut response, settings.failing())?;
    let bytes_max = settings.max_bytes.unwrap_or(u64::MAX);
    let (mut pending, mut emitted, mut bytes) = (Vec::new(), 0_u64, 0_u64);
    loop {
        let part = response.read()?;
        bytes += part.as_ref().map_or(0, Vec::len) as u64;
        if bytes > bytes_max {
            return Err(too_long(bytes_max));
        }
        // What is complete: up to the last line break, at the end everything.
        let complete = match &part {
            Some(part) => {
                pending.extend_from_slice(part);
                let last = part.iter().rposition(|byte| *byte == b'\n');
                last.map_or(0, |at| pending.len() - part.len() + at + 1)
            }
            None => pending.len(),
        };
        let (lines, _) = pending.split_at(complete);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match emit(line, emitted, host)? {
                true => emitted += 1,
                false => return whole(pending, response, settings, bytes_max),
            }
        }
        pending.drain(..complete);
        if part.is_none() {
            let mut out = format!("{{\"status_code\":{},\"headers\":", response.status);
            push_headers(&mut out, &response.headers);
            out.push_str(&format!(",\"body\":null,\"emitted\":{emitted}}}"));
            return Ok(Json::from_text(out));
        }
    }
}

/// `false` if this is no stream after all, which only the first line can tell.
fn emit(line: &[u8], before: u64, host: &dyn Host) -> Result<bool, Failure> {
    let item = match serde_json::from_slice::<&RawValue>(line) {
        Ok(item) => item.get().to_owned(),
        Err(_) if before == 0 => return Ok(false),
        Err(_) => return Err(Failure::Protocol(format!("line {} of the answer is not JSON", before + 1))),
    };
    match host.emit(&Json::from_text(item)) {
        Ok(()) => Ok(true),
        Err(HostError::Unsupported(_)) if before == 0 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn whole(
    mut body: Vec<u8>,
    mut response: Response,
    settings: &ResponseSettings,
    bytes_max: u64,
) -> Result<Json, Failure> {
    let left = bytes_max - body.len() as u64;
    body.extend(response.take_body_within(left)?.ok_or_else(|| too_long(bytes_max))?);
    settings.result_of(response.status, &response.headers, &body)
}
