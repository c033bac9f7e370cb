//! A connector whose operations attack the host or try to get out of the sandbox, one way each.
//!
//! Every operation takes the same open [`Input`]. One that is stopped by force never returns; one that is refused
//! returns what it was told, so that a test sees the refusal from inside.
//!
//! | module | attacks |
//! |---|---|
//! | [`compute`] | processor, memory, the result |
//! | [`flood`] | host calls, logs, streams, handles, random bytes |
//! | [`escape`] | hosts, environment, files, sockets, functions it may not use |
//! | [`snoop`] | secrets in its own memory, traces of earlier calls |

#[cfg(target_family = "wasm")]
mod compute;
#[cfg(target_family = "wasm")]
mod escape;
#[cfg(target_family = "wasm")]
mod flood;
#[cfg(target_family = "wasm")]
mod snoop;

#[cfg(target_family = "wasm")]
mod component {
    use openact_connector::{Call, Capability, Connector, Failure, Host, Json, Manifest, Operation};
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use crate::{compute, escape, flood, snoop};

    #[derive(Deserialize, JsonSchema)]
    pub(crate) struct Connection {
        #[schemars(url)]
        pub(crate) base_url: Option<String>,
    }

    #[derive(Deserialize, JsonSchema)]
    pub(crate) struct Action {}

    #[derive(Deserialize, JsonSchema)]
    pub(crate) struct Input {
        /// A URL to try instead of the connection's.
        pub(crate) url: Option<String>,
        /// `host:port` to connect to.
        pub(crate) addr: Option<String>,
        /// How often, or how much; without end if absent.
        pub(crate) count: Option<u64>,
        /// Secrets to look for, each spelt backwards, so that looking does not put them into memory.
        #[serde(default)]
        pub(crate) reversed: Vec<String>,
        /// Put the secrets into memory first, to prove that looking finds them.
        #[serde(default)]
        pub(crate) plant: bool,
    }

    pub(crate) type Attack = Call<Connection, Action, Input>;

    impl Input {
        pub(crate) fn count(&self) -> u64 {
            self.count.unwrap_or(u64::MAX)
        }
    }

    type Handler = fn(Attack, &dyn Host) -> Result<Json, Failure>;

    /// The URL of the input, else the connection's.
    pub(crate) fn url(call: &Attack) -> Result<String, Failure> {
        let url = call.input.url.as_ref().or(call.connection.base_url.as_ref());
        url.cloned().ok_or_else(|| Failure::InvalidInput("'url' is missing".into()))
    }

    struct Hostile;

    impl Connector for Hostile {
        type Connection = Connection;

        fn manifest() -> Manifest<Connection> {
            let attacks: [(&str, Handler); 29] = [
                ("echo", echo),
                ("spin", compute::spin),
                ("spin-in-host", compute::spin_in_host),
                ("allocate", compute::allocate),
                ("panic", compute::panic),
                ("overflow-stack", compute::overflow_stack),
                ("exit", compute::exit),
                ("huge-output", compute::huge_output),
                ("big-output", compute::big_output),
                ("malformed-json", compute::malformed_json),
                ("flood-host-calls", flood::host_calls),
                ("flood-wasi", flood::wasi),
                ("flood-log", flood::log),
                ("flood-stdout", flood::stdout),
                ("huge-log", flood::huge_log),
                ("flood-huge-log", flood::huge_logs),
                ("twice-log", flood::twice_log),
                ("huge-request", flood::huge_request),
                ("leak-handles", flood::leak_handles),
                ("leak-responses", flood::leak_responses),
                ("random-huge", flood::random_huge),
                ("open-ungranted-host", escape::open_ungranted_host),
                ("call-ungranted", escape::call_ungranted),
                ("read-environment", escape::read_environment),
                ("read-files", escape::read_files),
                ("raw-wasi-socket", escape::raw_wasi_socket),
                ("raw-wasi-http", escape::raw_wasi_http),
                ("dump-memory", snoop::dump_memory),
                ("stash", snoop::stash),
            ];
            // All but the right to see a secret, which stays denied.
            let manifest = Manifest::new("hostile", "0.1.0", "attacks on the host").needs(&[
                Capability::Http,
                Capability::Sockets,
                Capability::State,
                Capability::Emit,
            ]);
            attacks.into_iter().fold(manifest, |manifest, (name, attack)| {
                manifest.operation(Operation::new(name, "an attack", attack))
            })
        }

        fn check(_connection: Connection, _host: &dyn Host) -> Result<Json, Failure> {
            Err(Failure::Unsupported("nothing to check".into()))
        }
    }

    fn echo(call: Attack, _host: &dyn Host) -> Result<Json, Failure> {
        Ok(json!({
            "id": call.id,
            "base_url": call.connection.base_url,
            "url": call.input.url,
            "count": call.input.count,
            "deadline_ms": call.deadline.as_millis() as u64,
            "dry_run": call.dry_run,
        })
        .into())
    }

    openact_connector::export!(Hostile);
}
