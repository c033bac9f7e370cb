//! `openact:connector@0.1.0`, generated from `wit/v0.1`.

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "connector",
        imports: { default: async | trappable },
        exports: { default: async },
        with: {
            "openact:connector/http.body-stream": crate::host::http::BodyStream,
            "openact:connector/sockets.socket": crate::host::sockets::Socket,
            "openact:connector/credentials.login": crate::host::credentials::Login,
        },
    });
}

pub(crate) use generated::openact::connector::{credentials, http, log, output, sockets, state, types};
pub(crate) use generated::{Connector, ConnectorPre};
