//! Attempts to reach what was not granted. Each returns what it was told.

use std::{collections::BTreeMap, fs, io::Write, net::TcpStream};

use openact_connector::{
    Failure, Host, HostError, Json, Request, credentials, output,
    sockets::{self, Endpoint, TlsMode},
    state,
};
use serde_json::{Value, json};
use wasip2::http::{
    outgoing_handler,
    types::{Fields, Method, OutgoingRequest, Scheme},
};

use crate::component::{Attack, url};

type Outcome = Result<Json, Failure>;

/// Asks for a host; what the host says becomes the failure of the call.
pub(crate) fn open_ungranted_host(call: Attack, host: &dyn Host) -> Outcome {
    let response = host.send(Request::get(url(&call)?))?;
    Json::of(&json!({"status": response.status}))
}

/// One call of every interface that this version of the host does not implement, or does not grant.
pub(crate) fn call_ungranted(_call: Attack, _host: &dyn Host) -> Outcome {
    fn said<T>(result: Result<T, HostError>) -> String {
        match result {
            Ok(_) => "ok".into(),
            Err(error) => format!("{error:?}"),
        }
    }
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: 9 };
    Json::of(&json!({
        "sockets.open": said(sockets::open(&endpoint, TlsMode::Plain, None)),
        "credentials.length": said(credentials::length("token")),
        "credentials.sign": said(credentials::sign("hmac-sha256", "token", b"message")),
        "credentials.reveal": said(credentials::reveal("token")),
        "state.get": said(state::get("key")),
        "state.set-if": said(state::set_if("key", b"value", None)),
        "state.delete": said(state::delete("key")),
        "output.emit": said(output::emit("{}")),
    }))
}

pub(crate) fn read_environment(_call: Attack, _host: &dyn Host) -> Outcome {
    let mut stdin = String::new();
    let _ = std::io::stdin().read_line(&mut stdin);
    Json::of(&json!({
        "environment": std::env::vars().collect::<BTreeMap<_, _>>(),
        "arguments": std::env::args().collect::<Vec<_>>(),
        "folder": std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default(),
        "stdin": stdin,
    }))
}

/// What could be opened; each list is empty in a sandbox.
pub(crate) fn read_files(_call: Attack, _host: &dyn Host) -> Outcome {
    let files = ["/etc/passwd", "/proc/self/environ", "/proc/self/mem", "../../etc/passwd", "Cargo.toml"];
    let read: Vec<&str> = files.into_iter().filter(|path| fs::read(path).is_ok()).collect();
    let listed: Vec<&str> =
        ["/", ".", "/tmp", "/home"].into_iter().filter(|path| fs::read_dir(path).is_ok()).collect();
    let written: Vec<&str> = ["/tmp/openact-hostile", "openact-hostile"]
        .into_iter()
        .filter(|path| fs::write(path, "x").is_ok())
        .collect();
    let preopened = wasip2::filesystem::preopens::get_directories().len();
    Json::of(&json!({"read": read, "listed": listed, "written": written, "preopened": preopened}))
}

/// Connects to `addr` by WASI's sockets, past the host's own functions.
pub(crate) fn raw_wasi_socket(call: Attack, _host: &dyn Host) -> Outcome {
    let addr = call.input.addr.unwrap_or_else(|| "127.0.0.1:9".into());
    let said =
        match TcpStream::connect(&addr).and_then(|mut stream| stream.write_all(b"GET / HTTP/1.0\r\n\r\n")) {
            Ok(()) => "connected".to_owned(),
            Err(error) => error.to_string(),
        };
    let resolved = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok();
    Json::of(&json!({"connect": said, "resolved": resolved}))
}

/// Sends a GET by `wasi:http`, past the host's own functions.
pub(crate) fn raw_wasi_http(call: Attack, _host: &dyn Host) -> Outcome {
    let url = url(&call)?;
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
    let authority = rest.split('/').next().unwrap_or_default();
    let request = OutgoingRequest::new(Fields::new());
    let set = [
        request.set_method(&Method::Get),
        request.set_scheme(Some(&if scheme == "https" { Scheme::Https } else { Scheme::Http })),
        request.set_authority(Some(authority)),
        request.set_path_with_query(Some("/")),
    ];
    if set.contains(&Err(())) {
        return Err(Failure::InvalidInput("the URL was refused".into()));
    }
    let answer: Value = match outgoing_handler::handle(request, None) {
        Err(code) => json!({"error": format!("{code:?}")}),
        Ok(future) => {
            future.subscribe().block();
            match future.get() {
                Some(Ok(Ok(response))) => json!({"status": response.status()}),
                Some(Ok(Err(code))) => json!({"error": format!("{code:?}")}),
                other => json!({"error": format!("{other:?}")}),
            }
        }
    };
    Ok(answer.into())
}
