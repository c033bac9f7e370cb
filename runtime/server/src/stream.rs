//! Results as they come: server-sent events, or a line of JSON each (NDJSON).
//!
//! | form | an item | the end |
//! |---|---|---|
//! | `text/event-stream` | `event: item`, `data: ITEM` | `event: result` or `event: error`, `data:` the envelope |
//! | `application/x-ndjson` | `{"item": ITEM}` | the envelope |
//!
//! Invariants: a call that fails before its first item is answered as any other, with the status of its code; a reader that is
//! slow holds the action back, and one that leaves ends it; the last word is always there, so that a broken-off stream shows.

use std::convert::Infallible;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use openact::{
    Error, Execution, Going, Json, Request, Result, RunEvent, RunEventKind, RunEvents, RunId, limits,
};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    access::Call,
    envelope::{Failure, Metadata, last_word},
};

/// How items are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Events,
    Lines,
}

impl Form {
    /// As the caller accepts it; lines, if anything is.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self> {
        let accepts = |wanted: &str| {
            let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|kind| {
                kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
            })
        };
        if accepts("text/event-stream") {
            return Ok(Self::Events);
        }
        let any = !headers.contains_key(header::ACCEPT) || accepts("*/*") || accepts("application/*");
        if any || accepts("application/x-ndjson") {
            return Ok(Self::Lines);
        }
        Err(Error::invalid_input("a stream was asked for that the caller does not accept")
            .hint("send the header accept: text/event-stream or application/x-ndjson"))
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn item(self, item: &Json) -> Bytes {
        // A line break in JSON is never part of a text.
        let item = item.as_str().replace(['\n', '\r'], " ");
        match self {
            Self::Events => format!("event: item\ndata: {item}\n\n").into(),
            Self::Lines => format!("{{\"item\":{item}}}\n").into(),
        }
    }

    fn last(self, mut envelope: Vec<u8>, succeeded: bool) -> Bytes {
        for byte in &mut envelope {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        match self {
            Self::Events => {
                let name = if succeeded { "result" } else { "error" };
                let mut event = format!("event: {name}\ndata: ").into_bytes();
                event.append(&mut envelope);
                event.extend_from_slice(b"\n\n");
                event.into()
            }
            Self::Lines => {
                envelope.push(b'\n');
                envelope.into()
            }
        }
    }
}

/// Runs `request` and writes what it streams.
pub(crate) async fn respond(call: Call, mut request: Request, form: Form, warnings: Vec<String>) -> Response {
    let (sender, items) = mpsc::channel(limits::STREAM_ITEMS_AHEAD);
    request.items = Some(sender);
    // Its deadline passes even while nobody reads.
    let going = call.openact.start(request);
    let mut streamed = Streamed { call, form, items, going: Some(going), first: None, warnings };
    match streamed.items.recv().await {
        Some(item) => streamed.first = Some(item.into()),
        None => {
            let Execution { result, run } = streamed.ended().await;
            let mut metadata = Metadata::of(run.as_deref());
            metadata.warnings.append(&mut streamed.warnings);
            match result {
                Err(error) => return Failure::from(error).metadata(metadata).into_response(),
                Ok(result) => {
                    let word = last_word(Ok(result), metadata, &streamed.call.id);
                    return response(form, Body::from(form.last(word, true)));
                }
            }
        }
    }
    let body = stream::unfold(streamed, |mut streamed| async {
        let bytes = streamed.next().await?;
        Some((Ok::<_, Infallible>(bytes), streamed))
    });
    response(form, Body::from_stream(body))
}

/// What happens in a run that was started before, with ids to come back with.
pub(crate) fn run_events(call: Call, id: RunId, events: RunEvents) -> Response {
    let body = stream::unfold((call, events), move |(call, mut events)| async move {
        let bytes = match timeout(limits::STREAM_KEEP_ALIVE, events.next()).await {
            Ok(None) => return None,
            Ok(Some(event)) => run_event(&call, id, event),
            Err(_) => Bytes::from_static(b": still there\n\n"),
        };
        Some((Ok::<_, Infallible>(bytes), (call, events)))
    });
    response(Form::Events, Body::from_stream(body))
}

fn run_event(call: &Call, id: RunId, event: RunEvent) -> Bytes {
    let metadata = || Metadata { run_id: Some(id.to_string()), ..Metadata::default() };
    let written = match event.kind {
        RunEventKind::Item(item) => Form::Events.item(&item),
        RunEventKind::Missed(count) => format!("event: missed\ndata: {{\"items\":{count}}}\n\n").into(),
        RunEventKind::Result(result) => Form::Events.last(last_word(Ok(result), metadata(), &call.id), true),
        RunEventKind::Error(error) => Form::Events.last(last_word(Err(error), metadata(), &call.id), false),
    };
    let mut bytes = format!("id: {}\n", event.id).into_bytes();
    bytes.extend_from_slice(&written);
    bytes.into()
}

fn response(form: Form, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that hold answers back until they are whole are told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Streamed {
    /// Also keeps the caller's place.
    call: Call,
    form: Form,
    items: mpsc::Receiver<Box<serde_json::value::RawValue>>,
    /// None once its end was told.
    going: Option<Going>,
    first: Option<Json>,
    warnings: Vec<String>,
}

impl Streamed {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(item) = self.first.take() {
            return Some(self.form.item(&item));
        }
        self.going.as_ref()?;
        let received = match self.form {
            Form::Lines => self.items.recv().await,
            Form::Events => match timeout(limits::STREAM_KEEP_ALIVE, self.items.recv()).await {
                Ok(received) => received,
                Err(_) => return Some(Bytes::from_static(b": still there\n\n")),
            },
        };
        if let Some(item) = received {
            return Some(self.form.item(&item.into()));
        }
        let Execution { result, run } = self.ended().await;
        let mut metadata = Metadata::of(run.as_deref());
        metadata.warnings.append(&mut self.warnings);
        let succeeded = result.is_ok();
        Some(self.form.last(last_word(result, metadata, &self.call.id), succeeded))
    }

    async fn ended(&mut self) -> Execution {
        match self.going.take() {
            Some(going) => going.end().await,
            None => Execution { result: Err(Error::internal("a call broke off")), run: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_as_accepted() {
        for (accept, expected) in [
            (None, Some(Form::Lines)),
            (Some("*/*"), Some(Form::Lines)),
            (Some("application/x-ndjson"), Some(Form::Lines)),
            (Some("text/event-stream"), Some(Form::Events)),
            (Some("application/json, text/event-stream;q=0.5"), Some(Form::Events)),
            (Some("application/json"), None),
            (Some("text/html"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(Form::of(&headers).ok(), expected, "{accept:?}");
        }
    }

    #[test]
    fn an_item_is_one_line_however_it_was_written() {
        let item =
            Json::from(serde_json::value::RawValue::from_string("{\n  \"a\": \"b\\n\"\r\n}".into()).unwrap());
        let lines = Form::Lines.item(&item);
        assert_eq!(std::str::from_utf8(&lines).unwrap().lines().count(), 1);
        let events = Form::Events.item(&item);
        assert_eq!(std::str::from_utf8(&events).unwrap().lines().count(), 3, "event, data, nothing");
    }
}
