//! Streams: each item as a progress notification of the call, for clients that asked for progress, and all of them in
//! the result.
//!
//! Invariant: every item is in the result, whether it was told before or not, and a client that reads slowly holds back the
//! action, not the memory.

use openact::{Error, ItemSender, limits::CallLimits};
use rmcp::{
    Peer, RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
};
use serde_json::{Value, value::RawValue};
use tokio::sync::mpsc::{Receiver, channel};

/// Items on their way to the client.
pub(crate) struct Stream {
    items: Receiver<Box<RawValue>>,
    peer: Peer<RoleServer>,
    token: ProgressToken,
}

/// What came.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    items: Vec<Value>,
    bytes: u64,
    is_too_much: bool,
}

impl Stream {
    /// A stream to a client, and where the action's items go in.
    pub(crate) fn new(peer: Peer<RoleServer>, token: ProgressToken) -> (ItemSender, Self) {
        let (sender, items) = channel(1);
        (sender, Self { items, peer, token })
    }

    /// Hands items on until the action has no more.
    pub(crate) async fn gather(mut self) -> Gathered {
        let mut gathered = Gathered::default();
        while let Some(item) = self.items.recv().await {
            if !gathered.add(&item) {
                break;
            }
            let progress = ProgressNotificationParam::new(self.token.clone(), gathered.items.len() as f64);
            let told = self.peer.notify_progress(progress.with_message(item.get())).await;
            if let Err(error) = told {
                tracing::debug!("the client takes no more progress: {error}");
                break;
            }
        }
        gathered
    }
}

impl Gathered {
    /// Whether there was room for it.
    fn add(&mut self, item: &RawValue) -> bool {
        self.bytes += item.get().len() as u64;
        self.is_too_much = self.bytes > CallLimits::default().output_bytes;
        // What an action streams was checked to be JSON.
        self.items.push(serde_json::from_str(item.get()).unwrap_or(Value::Null));
        !self.is_too_much
    }

    /// Whether nothing was streamed.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Why there is no result, if it would have been too long.
    pub(crate) fn failure(&self) -> Option<Error> {
        let max = CallLimits::default().output_bytes;
        self.is_too_much.then(|| {
            Error::limit_exceeded(format!("the streamed items have more than {max} bytes together"))
                .hint("ask the action for fewer, or take its stream by REST or the command line")
                .details(serde_json::json!({ "limit": "output_bytes" }))
        })
    }

    /// The result with the items in it, where it would have had them had they not been streamed: connectors leave a null
    /// there and say how many were `emitted`.
    pub(crate) fn whole(self, result: Value) -> Value {
        if self.items.is_empty() {
            return result;
        }
        let Value::Object(fields) = result else {
            return serde_json::json!({ "items": self.items, "result": result });
        };
        let mut items = Some(Value::Array(self.items));
        let mut whole = serde_json::Map::new();
        let mut before: Option<String> = None;
        for (key, value) in fields {
            if key != "emitted" {
                before = value.is_null().then(|| key.clone());
                whole.insert(key, value);
                continue;
            }
            let place = before.take().unwrap_or_else(|| "items".to_owned());
            if let Some(items) = items.take() {
                whole.insert(place, items);
            }
        }
        if let Some(items) = items {
            whole.insert("items".to_owned(), items);
        }
        Value::Object(whole)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gathered(items: &[Value]) -> Gathered {
        let mut gathered = Gathered::default();
        for item in items {
            assert!(gathered.add(&RawValue::from_string(item.to_string()).unwrap()));
        }
        gathered
    }

    #[test]
    fn streamed_items_are_where_they_would_have_been() {
        for (result, expected) in [
            (
                json!({"columns": ["a"], "rows": null, "emitted": 2}),
                json!({"columns": ["a"], "rows": [1, 2]}),
            ),
            (
                json!({"status_code": 200, "headers": {}, "body": null, "emitted": 2, "truncated": true}),
                json!({"status_code": 200, "headers": {}, "body": [1, 2], "truncated": true}),
            ),
            (json!({"emitted": 2, "pages": 1}), json!({"items": [1, 2], "pages": 1})),
            (json!({"done": true}), json!({"done": true, "items": [1, 2]})),
            (json!(5), json!({"items": [1, 2], "result": 5})),
        ] {
            assert_eq!(gathered(&[json!(1), json!(2)]).whole(result), expected);
        }
        assert_eq!(
            gathered(&[]).whole(json!({"rows": [], "emitted": null})),
            json!({"rows": [], "emitted": null})
        );
    }

    #[test]
    fn items_have_a_bound_together() {
        let mut gathered = Gathered::default();
        let item = RawValue::from_string(format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
        let added = (0..).take_while(|_| gathered.add(&item)).count();
        assert_eq!(added, 15);
        assert_eq!(gathered.failure().unwrap().code, openact::ErrorCode::LimitExceeded);
    }
}
