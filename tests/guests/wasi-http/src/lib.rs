//! A connector that sends its requests by `wasi:http/outgoing-handler`, as a component that knows nothing of
//! `openact:connector/http` does. What it is granted, what is added and what is recorded has to be the same.
//!
//! `send` takes the [`Action`] and returns `{"status_code", "headers", "body"}`, with `"answers"` in place of those if
//! `repeat` is given. What went wrong is a failure whose text begins with the name of the error code.

#[cfg(target_family = "wasm")]
mod exchange;

#[cfg(target_family = "wasm")]
mod component {
    use std::collections::BTreeMap;

    use openact_connector::{Call, Capability, Connector, Failure, Host, Json, Manifest, Operation};
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use crate::exchange;

    #[derive(Deserialize, JsonSchema)]
    pub(crate) struct Connection {
        #[schemars(url)]
        pub(crate) base_url: String,
    }

    #[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq)]
    #[serde(rename_all = "lowercase")]
    pub(crate) enum Read {
        /// The body, to its end.
        #[default]
        All,
        /// Nothing: the response is dropped with its body unread.
        None,
    }

    #[derive(Default, Deserialize, JsonSchema)]
    pub(crate) struct Action {
        /// GET if absent.
        pub(crate) method: Option<String>,
        /// In place of the connection's URL, with its path.
        pub(crate) url: Option<String>,
        /// Appended to the connection's URL.
        #[serde(default)]
        pub(crate) path: String,
        #[serde(default)]
        pub(crate) headers: BTreeMap<String, String>,
        pub(crate) body: Option<String>,
        #[serde(default)]
        pub(crate) read: Read,
        /// How often the request is sent, one after the other.
        pub(crate) repeat: Option<u32>,
        /// Of `wasi:http`'s request options.
        pub(crate) connect_timeout_ms: Option<u64>,
        pub(crate) first_byte_timeout_ms: Option<u64>,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Input {}

    struct WasiHttp;

    impl Connector for WasiHttp {
        type Connection = Connection;

        fn manifest() -> Manifest<Connection> {
            let send = Operation::new("send", "send a request", send)
                .overridable(&["method", "url", "path", "headers", "body", "read", "repeat"]);
            Manifest::new("wasi-http", "0.1.0", "requests by wasi:http")
                .needs(&[Capability::Http])
                .operation(send)
        }

        fn check(connection: Connection, _host: &dyn Host) -> Result<Json, Failure> {
            Json::of(&exchange::send(&connection, &Action::default())?)
        }
    }

    fn send(call: Call<Connection, Action, Input>, _host: &dyn Host) -> Result<Json, Failure> {
        let Some(times) = call.action.repeat else {
            return Json::of(&exchange::send(&call.connection, &call.action)?);
        };
        let answers = (0..times).map(|_| exchange::send(&call.connection, &call.action));
        Json::of(&json!({"answers": answers.collect::<Result<Vec<_>, _>>()?}))
    }

    openact_connector::export!(WasiHttp);
}
