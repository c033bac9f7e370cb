//! A connector that parses its connection, action and input and returns: what a call costs besides its work (B3).

use openact_connector::{Call, Connector, Effect, Failure, Host, Json, Manifest, Operation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize, JsonSchema)]
pub struct Connection {
    #[serde(default)]
    #[schemars(url)]
    pub base_url: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub struct Action {
    #[serde(default)]
    pub factor: u32,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Input {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub count: u32,
}

pub struct Noop;

impl Connector for Noop {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        let nothing =
            Operation::new("nothing", "parse and return", nothing).effect(Effect::Read).idempotent();
        Manifest::new("noop", "0.1.0", "nothing").operation(nothing)
    }

    fn check(_connection: Connection, _host: &dyn Host) -> Result<Json, Failure> {
        Json::of(&true)
    }
}

fn nothing(mut call: Call<Connection, Action, Input>, _host: &dyn Host) -> Result<Json, Failure> {
    call.input.count = call.input.count.wrapping_mul(call.action.factor);
    Json::of(&call.input)
}

openact_connector::export!(Noop);
