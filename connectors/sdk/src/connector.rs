//! The trait an author implements, and the one place where the component's exports meet it.
//!
//! Invariant: a handler runs only with a connection, action and input that parsed as its types.

use std::{marker::PhantomData, time::Duration};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    Failure, Host, Json, Manifest,
    bindings::{self, Invocation},
    host::ComponentHost,
};

/// A connector. It has no state of its own: every call is a new instance.
pub trait Connector: 'static {
    /// The connector's own fields of a connection. A secret field is marked `"writeOnly": true` in its schema
    /// (`#[schemars(extend("writeOnly" = true))]`) and must be optional, since the connector never gets it.
    type Connection: DeserializeOwned + JsonSchema + 'static;

    /// What the connector is and can do. Always the same; asked once, without any capability.
    fn manifest() -> Manifest<Self::Connection>;

    /// Does this connection work? Say as whom and what was reached: the operator reads it.
    fn check(connection: Self::Connection, host: &dyn Host) -> Result<Json, Failure> {
        let _ = (connection, host);
        Err(Failure::Unsupported("this connector cannot check a connection".into()))
    }
}

/// One call of an operation, with its connection `C`, action `A` and input `I` parsed.
#[derive(Clone, Debug)]
pub struct Call<C, A, I = Json> {
    /// The run's id, for logs and correlation.
    pub id: String,
    /// The connection, without secrets.
    pub connection: C,
    /// The action as merged.
    pub action: A,
    /// What the caller sent.
    pub input: I,
    /// Time left when the call started. The host ends the call then in any case.
    pub deadline: Duration,
    /// Check and describe, but do nothing that has an effect. The host itself ends a dry run at [`Host::send`] and
    /// shows the request, so this is for connectors whose effects go another way.
    pub dry_run: bool,
}

pub(crate) fn parse_call<C: DeserializeOwned, A: DeserializeOwned, I: DeserializeOwned>(
    invocation: Invocation,
) -> Result<Call<C, A, I>, Failure> {
    let wrong = |what: &str, error: serde_json::Error| format!("{what} is wrong: {error}");
    Ok(Call {
        connection: parse_connection(&invocation.connection)?,
        action: serde_json::from_str(&invocation.action)
            .map_err(|error| Failure::InvalidConfig(wrong("the action", error)))?,
        input: serde_json::from_str(&invocation.input)
            .map_err(|error| Failure::InvalidInput(wrong("the input", error)))?,
        deadline: Duration::from_millis(invocation.deadline_ms),
        dry_run: invocation.dry_run,
        id: invocation.call_id,
    })
}

fn parse_connection<C: DeserializeOwned>(text: &str) -> Result<C, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::InvalidConfig(format!("the connection is wrong: {error}")))
}

pub(crate) fn check<T: Connector>(connection: &str, host: &dyn Host) -> Result<Json, Failure> {
    T::check(parse_connection(connection)?, host)
}

pub(crate) fn invoke<T: Connector>(invocation: Invocation, host: &dyn Host) -> Result<Json, Failure> {
    T::manifest().run(invocation, host)
}

/// The exports of a component, for any connector.
pub struct Exported<T>(PhantomData<T>);

impl<T: Connector> bindings::Guest for Exported<T> {
    fn describe() -> bindings::Manifest {
        T::manifest().describe()
    }

    fn check(connection: String) -> Result<String, Failure> {
        check::<T>(&connection, &ComponentHost).map(String::from)
    }

    fn invoke(invocation: Invocation) -> Result<String, Failure> {
        invoke::<T>(invocation, &ComponentHost).map(String::from)
    }
}
