//! Every bound of a call, a queue, a cache and what comes from outside, in one place: default, unit, why.
//!
//! A call over a bound of its sandbox ends with the code named in the table; `details.limit` of the error is the
//! field's name.
//!
//! | field of [`CallLimits`] | default | code when passed |
//! |---|---|---|
//! | `memory_bytes` | 64 MiB | `limit_exceeded` |
//! | `cpu_ms` | 10 s | `limit_exceeded` |
//! | `wall_ms` | 60 s | `timeout` |
//! | `host_calls` | 10,000 | `limit_exceeded` |
//! | `output_bytes` | 16 MiB | `limit_exceeded` |
//! | `response_bytes` | 32 MiB | `limit_exceeded` |
//! | `request_bytes` | 32 MiB | `limit_exceeded` |
//!
//! All instances in use until the deadline passes is `overloaded`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What one call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Linear memory of the guest, bytes. Enough to hold a large response twice; small enough for many at once.
    pub memory_bytes: u64,
    /// Time the guest itself computes, milliseconds (host calls and waiting not counted). A parser needs
    /// milliseconds; a loop that never ends must not hold a core for the whole deadline.
    pub cpu_ms: u64,
    /// From start to result, milliseconds, waiting for other systems included.
    pub wall_ms: u64,
    /// Calls of host functions, WASI's included, but for items that the caller took. Bounds work the host does that fuel
    /// and epochs do not see.
    pub host_calls: u64,
    /// Length of the result, bytes. It is held in memory and handed to a person or a model.
    pub output_bytes: u64,
    /// Body bytes received from other systems, all requests together.
    pub response_bytes: u64,
    /// Body bytes sent to other systems, all requests together.
    pub request_bytes: u64,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu_ms: 10_000,
            wall_ms: 60_000,
            host_calls: 10_000,
            output_bytes: 16 * MIB,
            response_bytes: 32 * MIB,
            request_bytes: 32 * MIB,
        }
    }
}

impl CallLimits {
    /// The wall-clock bound.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }

    /// These limits with what a connection or action says, which may only be lower than or equal to
    /// [`CallLimits::MAX`].
    #[must_use]
    pub fn with(mut self, overrides: &LimitOverrides) -> Self {
        let set =
            |field: &mut u64, value: Option<u64>, max: u64| *field = value.unwrap_or(*field).clamp(1, max);
        set(&mut self.memory_bytes, overrides.memory_bytes, Self::MAX.memory_bytes);
        set(&mut self.cpu_ms, overrides.cpu_ms, Self::MAX.cpu_ms);
        set(&mut self.wall_ms, overrides.timeout_ms, Self::MAX.wall_ms);
        set(&mut self.host_calls, overrides.host_calls, Self::MAX.host_calls);
        set(&mut self.output_bytes, overrides.max_bytes, Self::MAX.output_bytes);
        set(&mut self.response_bytes, overrides.response_bytes, Self::MAX.response_bytes);
        set(&mut self.request_bytes, overrides.request_bytes, Self::MAX.request_bytes);
        self
    }

    /// The highest a configuration may ask for. Memory is what the pool reserves for an instance.
    pub const MAX: Self = Self {
        memory_bytes: 64 * MIB,
        cpu_ms: 600_000,
        wall_ms: 3_600_000,
        host_calls: 1_000_000,
        output_bytes: 48 * MIB,
        response_bytes: 4096 * MIB,
        request_bytes: 4096 * MIB,
    };
}

/// The `limits` section of a connection or action; what is absent keeps its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverrides {
    /// See [`CallLimits::memory_bytes`].
    pub memory_bytes: Option<u64>,
    /// See [`CallLimits::cpu_ms`].
    pub cpu_ms: Option<u64>,
    /// See [`CallLimits::wall_ms`].
    pub timeout_ms: Option<u64>,
    /// See [`CallLimits::host_calls`].
    pub host_calls: Option<u64>,
    /// See [`CallLimits::output_bytes`].
    pub max_bytes: Option<u64>,
    /// See [`CallLimits::response_bytes`].
    pub response_bytes: Option<u64>,
    /// See [`CallLimits::request_bytes`].
    pub request_bytes: Option<u64>,
    /// Whether every call is a dry run, whatever its caller asks for.
    pub dry_run: Option<bool>,
}

/// Period of the epoch ticker: how late a spinning guest can be noticed. Shorter costs wake-ups for nothing.
pub const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Calls in the sandbox at once. More wait for a place, until their deadline; 1,000 is B6's figure, doubled.
pub const INSTANCES_MAX: u32 = 2_000;

/// Core wasm instances per component instance. A Rust component has 3 to 4; a dynamically linked Python one about 30.
pub const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 50;

/// Linear memories per component instance; toolchains make one.
pub const MEMORIES_PER_COMPONENT_MAX: u32 = 2;

/// Tables per component instance. A Rust component has 2, a dynamically linked one a few more.
pub const TABLES_PER_COMPONENT_MAX: u32 = 16;

/// Entries of one table. The function table of a Python component has several thousand.
pub const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Size of a component file, bytes. A Python connector is 18 MB.
pub const COMPONENT_BYTES_MAX: u64 = 64 * MIB;

/// Compiling a component, in all. A Python component takes 14 s on a slow machine.
pub const COMPILE_TIME_MAX: Duration = Duration::from_secs(120);

/// A manifest's JSON, bytes: schemas with documentation fit; a component cannot fill the host's memory with it.
pub const MANIFEST_BYTES_MAX: usize = MIB as usize;

/// What `describe` may use: it is pure and small.
pub const DESCRIBE: CallLimits = CallLimits {
    memory_bytes: 64 * MIB,
    cpu_ms: 5_000,
    wall_ms: 10_000,
    host_calls: 1_000,
    output_bytes: MIB,
    response_bytes: 0,
    request_bytes: 0,
};

/// Particulars of a failure that a connector returns, bytes of JSON; longer ones are left out.
pub const FAILURE_DETAILS_BYTES_MAX: usize = 64 * KIB as usize;

/// A file that `{"$file": …}` names, bytes. It is read at every call.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 * KIB;

/// Components being compiled at once; each may use every core and a few hundred MiB.
pub const COMPILERS_MAX: usize = 1;

/// One piece of a `wasi:http` request body on its way from the guest, bytes. A guest may have as many bodies open as
/// [`RESOURCES_MAX`], and each may hold one.
pub const WASI_HTTP_CHUNK_BYTES: usize = 16 * KIB as usize;

/// Input of a call, bytes of JSON.
pub const INPUT_BYTES_MAX: usize = 16 * MIB as usize;

/// A body up to this many bytes travels inline with the response: most API answers, in one crossing.
pub const HTTP_INLINE_BYTES: usize = 256 * KIB as usize;

/// One read of a body stream, bytes.
pub const HTTP_READ_BYTES_MAX: u32 = MIB as u32;

/// Headers of one request or response, count. Servers refuse more than about 100.
pub const HTTP_HEADERS_MAX: usize = 128;

/// Names and values of one request's headers together, bytes. Common servers refuse more than 8 to 64 KiB.
pub const HTTP_HEADER_BYTES_MAX: usize = 64 * KIB as usize;

/// A URL, bytes. Longer ones are refused by most servers (RFC 9110 section 4.1 asks for at least 8,000).
pub const HTTP_URL_BYTES_MAX: usize = 16 * KIB as usize;

/// Answer of a token endpoint or vault to the host itself, bytes. Tokens are a few KiB.
pub const EXCHANGE_BYTES_MAX: usize = 256 * KIB as usize;

/// How long a value of a vault is used before it is read again: a rotation there is seen within it.
pub const VAULT_FRESH: Duration = Duration::from_secs(60);

/// Values of vaults, and rate limiters of connections, kept in memory, whichever were used last.
pub const CONNECTION_STATE_MAX: usize = 10_000;

/// One exchange of the host itself, in all: a token endpoint or vault that takes longer is as good as down.
pub const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(30);

/// What a credential adds to a request, bytes each: servers refuse longer headers, and every answer is searched for it.
pub const CREDENTIAL_BYTES_MAX: usize = 16 * KIB as usize;

/// A cause that another program or server worded, bytes of a message.
pub const CAUSE_BYTES_MAX: usize = 300;

/// Bodies of `wasi:http` requests that a call has begun and not yet sent, bytes together. They are in the host's memory
/// before they count as sent.
pub const WASI_HTTP_BUFFERED_MAX: usize = 64 * MIB as usize;

/// Secrets shorter than this, bytes, are not blanked out of answers and logs: they would blank out ordinary text, and so
/// give themselves away.
pub const REDACTED_BYTES_MIN: usize = 6;

/// Access tokens kept in memory, whichever were used last.
pub const TOKENS_MAX: usize = 10_000;

/// How long before its end an access token is replaced, so that it does not end on the way. RFC 6749 gives no figure;
/// a minute is more than any request's way, and half of a shorter lifetime is taken instead.
pub const TOKEN_EARLY: Duration = Duration::from_secs(60);

/// Lifetime of an access token whose issuer names none (RFC 6749 section 5.1 leaves it open).
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// How long one token request may take. Nobody's deadline stops it, because others may be waiting for it too.
pub const TOKEN_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failed token request, how long there is no other one; a `Retry-After` may ask for more, up to
/// [`TOKEN_COOLDOWN_MAX`]. Long enough not to hammer an endpoint, short enough for a person who just mended it.
pub const TOKEN_COOLDOWN: Duration = Duration::from_secs(5);

/// See [`TOKEN_COOLDOWN`].
pub const TOKEN_COOLDOWN_MAX: Duration = Duration::from_secs(300);

/// Rounds of SCRAM's key derivation that a server may ask for. RFC 7677 wants at least the first: fewer make a proof
/// cheap to guess from. The second is 600,000, which is advised for new passwords, and room: half a second of a core.
pub const SCRAM_ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;

/// Keys that SCRAM derived, kept in memory, whichever were used last.
pub const SCRAM_KEYS_MAX: usize = 1_000;

/// Keys of SCRAM being derived at once, each with a core to itself; further logins wait their turn.
pub const SCRAM_DERIVATIONS_AT_ONCE: usize = 4;

/// A challenge of a login, bytes. The longest is a public key.
pub const LOGIN_CHALLENGE_BYTES_MAX: usize = 8 * KIB as usize;

/// What is kept of a socket's beginning, bytes each way, to tell a login from what comes after it.
pub const LOGIN_HEARD_BYTES_MAX: usize = 16 * KIB as usize;

/// Redirects followed for one request.
pub const HTTP_REDIRECTS_MAX: usize = 5;

/// HTTP clients kept, whichever were used last: one per port, proxy and TLS settings.
pub const HTTP_CLIENTS_MAX: usize = 1_000;

/// Idle connections the host keeps per host and port.
pub const HTTP_IDLE_PER_HOST_MAX: usize = 64;

/// Byte streams that one call opens. A cluster of some dozens of nodes, each asked once.
pub const SOCKETS_PER_CALL_MAX: u64 = 64;

/// The name of a host that a byte stream goes to, bytes. Names in DNS have at most 253.
pub const SOCKET_HOST_BYTES_MAX: usize = 256;

/// The first read of a byte stream, bytes; it doubles while there is more, up to [`SOCKET_READ_BYTES_MAX`]. Most answers
/// of a database fit.
pub const SOCKET_READ_BYTES_MIN: usize = 16 * KIB as usize;

/// One read of a byte stream, bytes.
pub const SOCKET_READ_BYTES_MAX: usize = 256 * KIB as usize;

/// What is remembered of either direction of a byte stream for a login, bytes. Handshakes have some hundreds.
pub const SOCKET_HEARD_BYTES_MAX: usize = 16 * KIB as usize;

/// How long before the end of its call a byte stream stops waiting, at most (else a tenth of the call's time): enough for
/// a connector to ask the server to stop.
pub const SOCKET_GRACE_MAX: Duration = Duration::from_millis(500);

/// Hosts that a seed list in DNS may have. A replica set has at most 50 members, a sharded cluster some more routers.
pub const SEEDS_MAX: usize = 100;

/// The text that stands beside a seed list, bytes: a database's name and a replica set's.
pub const SEED_TEXT_BYTES_MAX: usize = 1024;

/// How long what DNS has of a seed list is used before it is looked up again, whatever its records say: not at each call,
/// and soon enough to notice a server that moved.
pub const SEEDS_FRESH: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(300);

/// How long no seed list is looked up again after that failed. Calls that come meanwhile fail as it did.
pub const SEEDS_FAILED: Duration = Duration::from_secs(1);

/// How long a server of DNS has for one answer. It is asked twice.
pub const SEEDS_ANSWER_MAX: Duration = Duration::from_secs(3);

/// How long one address of a host has before the next is tried as well: RFC 8305 section 5 advises so.
pub const CONNECT_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Parked sessions of one connection version and connector on one endpoint. A server allows some hundreds in all.
pub const SESSIONS_PER_KEY_MAX: usize = 32;

/// Parked sessions of one connection version, whatever its connector calls them, so that it leaves others room.
pub const SESSIONS_PER_CONNECTION_MAX: usize = 128;

/// What a connector calls a session, bytes.
pub const SESSION_NAME_BYTES_MAX: usize = 1024;

/// Parked sessions in all; each holds a file descriptor.
pub const SESSIONS_MAX: usize = 512;

/// How long a parked session is kept unused. Firewalls forget silent streams after some minutes.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(60);

/// How long a session is used in all, so that a changed password or a moved server is noticed.
pub const SESSION_AGE_MAX: Duration = Duration::from_secs(900);

/// What a connector keeps of a parked session, bytes.
pub const SESSION_STATE_BYTES_MAX: usize = 64 * KIB as usize;

/// A key of a connector's state, bytes.
pub const STATE_KEY_BYTES_MAX: usize = 256;

/// A value of a connector's state, bytes.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * KIB as usize;

/// Values that a connector keeps for one connection version.
pub const STATE_KEYS_MAX: i64 = 100;

/// Values of a connector's state that hold schemas of inputs (`x-input`): with 64 KiB each, room for the tools of a large
/// server, and the rest of the state is left for other things.
pub const INPUT_SHELVES: u32 = 16;

/// Parts of such a schema, each as often as it is referred to: it is the other system's, and a few lines of references to
/// references would take for ever to hold an input against.
pub const INPUT_SCHEMA_NODES_MAX: usize = 10_000;

/// Parts within parts of it: compilers of schemas recurse, and a stack is small.
pub const INPUT_SCHEMA_DEPTH_MAX: usize = 64;

/// Connections whose schemas of inputs are in memory, a MiB each at most.
pub const INPUTS_KEPT_MAX: usize = 200;

/// How long an idle connection is kept. Below the 60 s after which many servers close.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Log lines of one call; the rest is counted and dropped.
pub const LOG_LINES_MAX: u32 = 200;

/// One log line, bytes, message and fields; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 4 * KIB as usize;

/// Standard output and error of a guest, bytes each; the rest is dropped.
pub const STDIO_BYTES_MAX: usize = 64 * KIB as usize;

/// Host-side resources (streams, bodies, pollables) of one call (S4). A few KiB each.
pub const RESOURCES_MAX: usize = 1_000;

/// Bytes a guest may hand to one host call (wasmtime's hostcall fuel, S4).
pub const HOSTCALL_BYTES_MAX: usize = 64 * MIB as usize;

/// Random bytes of one call of `wasi:random` (S4).
pub const RANDOM_BYTES_MAX: u64 = 64 * KIB;

/// Host calls kept in a run record; the rest is counted.
pub const RUN_HOST_CALLS_MAX: usize = 50;

/// Connections being checked at once: enough that waiting for other systems takes little of the time, few enough to leave
/// the sandbox to calls.
pub const CHECKS_AT_ONCE: usize = 16;

/// Run records waiting to be written. A full queue makes the callers wait rather than lose one.
pub const RUN_QUEUE_MAX: usize = 10_000;

/// How long a run record waits for others before its group is written. A transaction costs as much as fifty records;
/// a person who looks for a run does not notice.
pub const RUN_GROUP_WAIT: Duration = Duration::from_millis(10);

/// Run records written in one transaction.
pub const RUN_GROUP_MAX: usize = 500;

/// Prepared action versions kept in memory, whichever were used last.
pub const PREPARED_MAX: usize = 10_000;

/// How soon another process's change of configuration is seen.
pub const SNAPSHOT_POLL: Duration = Duration::from_millis(500);

/// How often configuration files that are followed are looked at. What changed is read once two looks find it alike, so
/// that a file is not read while it is being written; both and an import are well within a second.
pub const CONFIG_POLL: Duration = Duration::from_millis(200);

/// How soon configuration files that were refused are tried again without having changed: what they lacked (a connector,
/// the database) may be there by then.
pub const CONFIG_RETRY: Duration = Duration::from_secs(5);

/// How often an import is planned anew because somebody else changed the configuration after it was planned.
pub const PLANS_MAX: u32 = 50;

/// Folders within folders of configuration files. A link that leads back into itself ends there.
pub const CONFIG_FOLDERS_DEEP_MAX: usize = 16;

/// A configuration file, bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 * MIB;

/// What YAML aliases may add to a configuration file's own size when they are followed, bytes of text and nodes.
pub const CONFIG_EXPANSION_MAX: u64 = MIB;

/// Work factor of a passphrase (scrypt's log2 N) that a file encrypted by age may ask for. age itself writes 18, which
/// takes 256 MiB and about a second; each step doubles both.
pub const AGE_WORK_MAX: u8 = 20;

/// Work factor of a passphrase that an encrypted export is written with: age's own.
pub const AGE_WORK: u8 = 18;

/// Mistakes of one configuration file that are reported; the rest is counted.
pub const CONFIG_PROBLEMS_MAX: usize = 50;

/// A connector template's text.
pub const TEMPLATE_BYTES_MAX: usize = 256 * KIB as usize;

/// Operations of a connector template; each carries the schemas of its base.
pub const TEMPLATE_OPERATIONS_MAX: usize = 100;

/// What the parameters of a connector template may add to one connection, bytes.
pub const TEMPLATE_EXPANSION_MAX: usize = MIB as usize;

/// API tokens, all of which are kept in memory so that asking for one costs no SQL.
pub const API_TOKENS_MAX: u32 = 10_000;

/// The name of an API token, bytes.
pub const API_TOKEN_NAME_BYTES_MAX: usize = 64;

/// What is taken for an API token, bytes; ours have 85.
pub const API_TOKEN_BYTES_MAX: usize = 256;

/// How often it is noted that an API token was used.
pub const API_TOKEN_USE_NOTED: Duration = Duration::from_secs(60);

/// A token of an OpenID provider, bytes. Those that list a person's groups have a few KiB.
pub const OIDC_TOKEN_BYTES_MAX: usize = 16 * KIB as usize;

/// The subject of one, bytes: OpenID Connect Core, section 2.
pub const OIDC_SUBJECT_BYTES_MAX: usize = 255;

/// Keys of an OpenID provider that are kept; it has one or two, and those of before.
pub const OIDC_KEYS_MAX: usize = 100;

/// How long keys of an OpenID provider are used before they are read again, so that one that is withdrawn is noticed.
pub const OIDC_KEYS_FRESH: Duration = Duration::from_secs(600);

/// How long they are used while the provider does not answer. An outage of an hour should not be one of ours.
pub const OIDC_KEYS_KEPT: Duration = Duration::from_secs(3600);

/// After tokens with a key that is not known made us read the keys, how long no such token does so again.
pub const OIDC_ASK_PAUSE: Duration = Duration::from_secs(5);

/// How long an OpenID provider is not asked again after that failed. Callers who come meanwhile are told why.
pub const OIDC_FAILED: Duration = Duration::from_secs(1);

/// How long reading the keys may take, in all: callers wait for it.
pub const OIDC_ASK_TIME_MAX: Duration = Duration::from_secs(10);

/// How far the clocks of an OpenID provider and of this machine may be apart.
pub const OIDC_LEEWAY: Duration = Duration::from_secs(30);

/// Runs that were started without waiting for them and are not over, of one process. More are refused.
pub const RUNS_PENDING_MAX: usize = 1_000;

/// Of these, how many are run at once; the others wait. It leaves most of the sandbox to callers who wait.
pub const RUNS_AT_ONCE_MAX: usize = 64;

/// Items of a streaming run kept in memory for who follows it, count. Who comes later or is slower misses the oldest.
pub const RUN_ITEMS_MAX: usize = 1_000;

/// The same, bytes together.
pub const RUN_ITEMS_BYTES_MAX: usize = MIB as usize;

/// Runs that are over whose items are kept in memory still, of one process.
pub const RUNS_OVER_MAX: usize = 100;

/// How long the outcome of a run that somebody may come back for is kept, and an idempotency key. A day is what clients of
/// other services count with.
pub const OUTCOME_KEPT: Duration = Duration::from_secs(24 * 3600);

/// An outcome that is kept, bytes. Of a larger result there is only that the run succeeded.
pub const OUTCOME_BYTES_MAX: usize = 4 * MIB as usize;

/// All outcomes that are kept, bytes together; the oldest go first. Idempotency keys and states of runs stay.
pub const OUTCOMES_BYTES_MAX: u64 = 1024 * MIB;

/// An idempotency key, bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// How long a statement waits for another process's write lock on the SQLite file.
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A value of an earlier database, bytes. A row with a longer one is not carried: no configuration of that length was
/// ever typed.
pub const LEGACY_CELL_BYTES_MAX: u64 = MIB;

/// Every row of an earlier database together, bytes. They are held in memory several times while they are converted.
pub const LEGACY_ROWS_BYTES_MAX: u64 = 256 * MIB;

/// Connections of clients that the server has open at once. Each costs some tens of KiB and a file descriptor; more wait to
/// be accepted.
pub const SERVER_CONNECTIONS_MAX: usize = 4_096;

/// How long a client may take for the head of a request, and a connection may lie unused.
pub const SERVER_HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// The head of a request, bytes.
pub const SERVER_HEAD_BYTES_MAX: usize = 64 * KIB as usize;

/// The body of a request, bytes: an input of [`INPUT_BYTES_MAX`] and what is around it.
pub const SERVER_BODY_BYTES_MAX: usize = 17 * MIB as usize;

/// How long nothing of a body may arrive.
pub const SERVER_SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long a whole body may take.
pub const SERVER_BODY_TIME_MAX: Duration = Duration::from_secs(120);

/// How long a client may take nothing of an answer.
pub const SERVER_WRITE_SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long calls in flight have to finish when the server is asked to end.
pub const SERVER_GRACE: Duration = Duration::from_secs(30);

/// How often a silent stream says that it is still there, so that proxies keep it and a reader that left is noticed.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Items of a stream on their way to a slow reader; then the action waits.
pub const STREAM_ITEMS_AHEAD: usize = 16;

/// How often a server whose store is down tries to open it.
pub const STORE_RETRY: Duration = Duration::from_secs(1);

/// Callers whose rate and concurrency are counted, whichever called last.
pub const CALLERS_MAX: usize = 10_000;

/// Configurations that are in a request run at once, each in a sandbox of its own.
pub const SERVER_INLINE_MAX: usize = 4;

/// Records of a list on one page.
pub const PAGE_SIZE_MAX: u32 = 1_000;

/// Tools or resources on one page of a list of the MCP server. Some clients never ask for a second one.
pub const MCP_PAGE: usize = 200;

/// Calls that an MCP server runs at once, if it is not told otherwise.
pub const MCP_CALLS_MAX: usize = 64;

/// How long a call of a tool waits for others to end.
pub const MCP_CALL_WAIT: Duration = Duration::from_secs(30);

/// One message of an MCP client: an input, and what is around it.
pub const MCP_MESSAGE_BYTES_MAX: usize = INPUT_BYTES_MAX + 256 * KIB as usize;

/// Sessions of the MCP server over HTTP, which clients of the earlier protocols have. Each is a few tasks and queues.
pub const MCP_SESSIONS_MAX: usize = 1_000;

/// Tenants whose tools are kept in memory.
pub const MCP_TENANTS_MAX: usize = 1_000;

/// Runs in the resource that lists recent ones.
pub const MCP_RUNS: u32 = 20;

/// Actions that one search finds at most.
pub const MCP_FOUND_MAX: usize = 50;

/// A caller's `tracestate`; W3C Trace Context asks that this much be passed on.
pub const TRACESTATE_BYTES_MAX: usize = 512;

/// Members of it.
pub const TRACESTATE_MEMBERS_MAX: usize = 32;

/// Connectors that metrics tell apart; those that come later are counted together.
pub const METRICS_CONNECTORS_MAX: usize = 100;

/// How long closing waits until the last spans are exported.
pub const SPANS_FLUSH_MAX: Duration = Duration::from_secs(5);
