//! A component that sends a request while it describes itself. The manifest's summary is what the host answered, which
//! must be `denied`: a description has no capability.

use openact::connector::{
    http::{self, CredentialUse, RedirectPolicy, Request},
    types::{Capability, Effect, Operation},
};

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "connector" });

struct Http;

impl Guest for Http {
    fn describe() -> Manifest {
        let request = Request {
            method: "GET".into(),
            url: "http://127.0.0.1:9/".into(),
            headers: vec![],
            body: None,
            credential: CredentialUse::Connection,
            redirects: RedirectPolicy::Manual,
        };
        let summary = match http::send(&request) {
            Ok(response) => format!("answered {}", response.status),
            Err(error) => format!("{error:?}"),
        };
        Manifest {
            name: "describe-http".into(),
            version: "0.1.0".into(),
            summary,
            connection_schema: r#"{"type":"object"}"#.into(),
            operations: vec![Operation {
                name: "nothing".into(),
                summary: "nothing".into(),
                action_schema: "{}".into(),
                input_schema: "{}".into(),
                output_schema: None,
                overridable: vec![],
                effect: Effect::Read,
                idempotent: true,
            }],
            default_operation: "nothing".into(),
            needs: vec![Capability::Http],
        }
    }

    fn check(_connection: String) -> Result<String, Failure> {
        Ok("null".into())
    }

    fn invoke(_invocation: Invocation) -> Result<String, Failure> {
        Ok("null".into())
    }
}

export!(Http);
