//! The weather of a city, from an API that is asked with the connection's credential.

use openact_connector::{Call, Capability, Connector, Effect, Failure, Host, Json, Manifest};
use openact_connector::{Operation, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where: the connector's own fields of a connection.
#[derive(Deserialize, JsonSchema)]
pub struct Connection {
    /// Such as https://weather.example.com
    #[schemars(url)]
    base_url: String,
}

/// What: the fields of an action.
#[derive(Deserialize, JsonSchema)]
pub struct Forecast {
    /// How far ahead.
    days: u8,
}

/// What a caller sends.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct City {
    city: String,
}

/// The connector.
pub struct Weather;

impl Connector for Weather {
    type Connection = Connection;

    fn manifest() -> Manifest<Connection> {
        Manifest::new("weather", "0.1.0", "weather forecasts")
            .needs(&[Capability::Http])
            .operation(Operation::new("forecast", "the weather of a city", forecast).effect(Effect::Read))
    }
}

fn forecast(call: Call<Connection, Forecast, City>, host: &dyn Host) -> Result<Json, Failure> {
    let url = format!("{}/forecast?days={}", call.connection.base_url, call.action.days);
    let answer: Json = host.send(Request::new("POST", url).json(&call.input)?)?.success()?.json()?;
    Ok(answer)
}

openact_connector::export!(Weather);
