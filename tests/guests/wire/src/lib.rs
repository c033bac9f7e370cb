//! A connector that does with byte streams what its input says: `{"steps": [["open", …], …]}`, each a host call.
//!
//! | step | what is done |
//! |---|---|
//! | `["open", host, port, "plain" or "tls", session or null]` | opens a stream; streams are counted from 0 |
//! | `["read", stream, max]`, `["write", stream, text]` | |
//! | `["until", stream, text]` | reads until the text is there or the stream ends |
//! | `["start-tls", stream]`, `["park", stream, session, state]`, `["drop", stream]` | |
//! | `["login", stream, mechanism, parameters]` | starts a login; logins are counted from 0 |
//! | `["step", login, challenge]` | |
//! | `["length", name]`, `["sign", algorithm, name, message]`, `["reveal", name]`, `["write-credential", stream, name]` | |
//! | `["get", key]`, `["set", key, value, revision or null]`, `["delete", key]` | `state` |
//!
//! The result is what each came to: `{"ok": …}`, or `{"denied": message}` by the case of the error. Bytes are text, in
//! which a byte that is no ASCII is written as U+0080 to U+00FF.

use openact::connector::{
    credentials::{self, Login},
    sockets::{self, Endpoint, Socket, TextEncoding, TlsMode},
    state,
    types::{Capability, Effect, HostError, Operation},
};
use serde_json::{Value, json};

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "connector" });

struct Wire;

impl Guest for Wire {
    fn describe() -> Manifest {
        let text = json!({"type": "string"});
        Manifest {
            name: "wire".into(),
            version: "0.1.0".into(),
            summary: "what its input says".into(),
            connection_schema: json!({
                "type": "object", "properties": {
                    "host": {"type": "string", "x-endpoint": {"port": "port"}}, "port": {"type": "integer"},
                    "hosts": {"type": "array", "items": {"type": "string", "x-endpoint": {}}},
                    "user": text, "password": {"type": "string", "writeOnly": true},
                    "other": {"type": "string", "writeOnly": true},
                },
            })
            .to_string(),
            operations: vec![Operation {
                name: "play".into(),
                summary: "play the steps".into(),
                action_schema: json!({"type": "object"}).to_string(),
                input_schema: json!({"type": "object", "properties": {"steps": {"type": "array"}}})
                    .to_string(),
                output_schema: None,
                overridable: vec![],
                effect: Effect::Write,
                idempotent: false,
            }],
            default_operation: "play".into(),
            needs: vec![Capability::Sockets, Capability::State],
        }
    }

    fn check(_connection: String) -> Result<String, Failure> {
        Ok("{}".into())
    }

    fn invoke(invocation: Invocation) -> Result<String, Failure> {
        let input: Value = serde_json::from_str(&invocation.input).unwrap_or_default();
        let mut player = Player { sockets: Vec::new(), logins: Vec::new() };
        let steps = input["steps"].as_array().cloned().unwrap_or_default();
        let came_to: Vec<Value> = steps
            .iter()
            .map(|step| match player.step(step) {
                Ok(value) => json!({ "ok": value }),
                Err((case, message)) => json!({ case: message }),
            })
            .collect();
        Ok(Value::from(came_to).to_string())
    }
}

struct Player {
    sockets: Vec<Option<Socket>>,
    logins: Vec<Login>,
}

type Outcome = Result<Value, (&'static str, String)>;

impl Player {
    fn step(&mut self, step: &Value) -> Outcome {
        let text = |at: usize| step[at].as_str().unwrap_or_default().to_owned();
        let index = || step[1].as_u64().unwrap_or_default() as usize;
        let kept = self.sockets.get(index()).and_then(Option::as_ref);
        let socket = || kept.ok_or(("none", "there is no such stream".to_owned()));
        let nothing = |()| Value::Null;
        match step[0].as_str().unwrap_or_default() {
            "open" => {
                let endpoint = Endpoint { host: text(1), port: step[2].as_u64().unwrap_or_default() as u16 };
                let tls = if step[3] == "tls" { TlsMode::Tls } else { TlsMode::Plain };
                let opened = sockets::open(&endpoint, tls, step[4].as_str()).map_err(told)?;
                self.sockets.push(Some(opened.socket));
                Ok(opened.resumed.map_or(Value::Null, |state| latin(&state)))
            }
            "read" => {
                let read = socket()?.read(step[2].as_u64().unwrap_or(1 << 16) as u32);
                read.map(|bytes| latin(&bytes)).map_err(told)
            }
            "until" => {
                let (socket, wanted) = (socket()?, bytes(&text(2)));
                let mut seen = Vec::new();
                while !seen.windows(wanted.len()).any(|window| window == wanted) {
                    let read = socket.read(1 << 16).map_err(told)?;
                    if read.is_empty() {
                        break;
                    }
                    seen.extend(read);
                }
                Ok(latin(&seen))
            }
            "write" => socket()?.write(&bytes(&text(2))).map(nothing).map_err(told),
            "start-tls" => socket()?.start_tls().map(nothing).map_err(told),
            "write-credential" => {
                socket()?.write_credential(&text(2), TextEncoding::Utf8).map(nothing).map_err(told)
            }
            "park" => {
                if let Some(socket) = self.sockets.get_mut(index()).and_then(Option::take) {
                    Socket::park(socket, &text(2), &bytes(&text(3)));
                }
                Ok(Value::Null)
            }
            "drop" => {
                drop(self.sockets.get_mut(index()).and_then(Option::take));
                Ok(Value::Null)
            }
            "login" => {
                let login = Login::start(&text(2), socket()?, &step[3].to_string()).map_err(told)?;
                self.logins.push(login);
                Ok(Value::Null)
            }
            "step" => {
                let login = self.logins.get(index()).ok_or(("none", "there is no such login".to_owned()))?;
                login.step(&bytes(&text(2))).map(|answer| latin(&answer)).map_err(told)
            }
            "length" => credentials::length(&text(1)).map(Value::from).map_err(told),
            "sign" => credentials::sign(&text(1), &text(2), &bytes(&text(3)))
                .map(|signature| latin(&signature))
                .map_err(told),
            "reveal" => credentials::reveal(&text(1)).map(Value::from).map_err(told),
            "get" => state::get(&text(1))
                .map(|entry| entry.map_or(Value::Null, |entry| json!([latin(&entry.value), entry.revision])))
                .map_err(told),
            "set" => {
                state::set_if(&text(1), &bytes(&text(2)), step[3].as_u64()).map(Value::from).map_err(told)
            }
            "delete" => state::delete(&text(1)).map(nothing).map_err(told),
            other => Err(("none", format!("there is no step '{other}'"))),
        }
    }
}

fn latin(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

fn told(error: HostError) -> (&'static str, String) {
    match error {
        HostError::InvalidRequest(text) => ("invalid-request", text),
        HostError::Denied(text) => ("denied", text),
        HostError::AuthRequired(text) => ("auth-required", text),
        HostError::Network(text) => ("network", text),
        HostError::Timeout(text) => ("timeout", text),
        HostError::Protocol(text) => ("protocol", text),
        HostError::NotFound(text) => ("not-found", text),
        HostError::Conflict(text) => ("conflict", text),
        HostError::LimitExceeded(text) => ("limit-exceeded", text),
        HostError::Unsupported(text) => ("unsupported", text),
    }
}

export!(Wire);
