//! The arguments as typed.
//!
//! Invariant: what can be told from the arguments alone is refused here, with exit code 2; nothing is read or opened.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use openact::{Capability, ConnectorName, Name, Pattern, PrivateRule, SecretName, Tenant, limits, settings};

/// Run actions against other systems through sandboxed WebAssembly connectors.
#[derive(Debug, Parser)]
#[command(
    name = "openact",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  openact demo
  openact import connectors.yaml
  openact run http/get-user --set login=octocat
  openact run http/get-user --config connectors.yaml     (no database)

Exit codes: 0 ok, 1 internal, 2 usage, 3 invalid configuration or input, 4 not found, 5 denied,
6 authorisation required, 7 upstream or network, 8 timeout, 9 connector crashed or over a limit,
10 store unavailable, 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The database: sqlite://PATH or sqlite::memory: [default: a file in your data folder]
    // The value is hidden because the URL of a database may hold a password.
    #[arg(long, global = true, value_name = "URL", env = settings::OPENACT_DB, hide_env_values = true)]
    pub(crate) db: Option<String>,
    /// Whose configuration
    #[arg(long, global = true, value_name = "NAME", env = settings::OPENACT_TENANT, hide_env_values = true, default_value = "default")]
    pub(crate) tenant: Tenant,
    /// How results are written [default: table on a terminal, json elsewhere]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Show errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show more of what happens; up to three times
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No colours (NO_COLOR does the same)
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// How logs are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    Json,
    Yaml,
    /// Text without quotes, rows without a frame, and of an HTTP response its body: text as UTF-8, JSON as the connector
    /// has it, else its bytes; always the exact bytes of an action with response: { as: bytes }
    Raw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A tour in under a minute: nothing configured, no network, nothing left behind
    Demo,
    /// Run one action; its result goes to standard output
    #[command(visible_alias = "execute")]
    Run(Run),
    /// Bring the database to the current schema, or one of an earlier OpenAct to this one
    Migrate(Migrate),
    /// Import configuration files into the database
    Import(Import),
    /// Make the database equal to configuration files, once or whenever they change
    Sync(Sync),
    /// Delete old versions of connections and actions
    Prune(Prune),
    /// List what is stored
    List(List),
    /// Show one action, connection or run
    #[command(after_help = "Examples:\n  openact show http/get-user\n  openact show http/get-user@v2")]
    Show {
        /// connector/name, connector/name@vN, a name alone, a TRN, or a run id
        reference: String,
    },
    /// Explain a run or an action: every value with its origin, what may be reached and as whom, the exact request
    Explain(Explain),
    /// Ask connections whether they work
    Check(Check),
    /// Write the configuration as a file that import reads; secrets become ${…} placeholders
    Export(Export),
    /// Write the JSON Schema of configuration files, for editors
    Schema(Schema),
    /// Copy the database to a file, while everything goes on
    Backup(Backup),
    /// Put a copy in the place of the database
    Restore(Restore),
    /// The log of every change of configuration, credentials and grants: list it, verify it
    #[command(subcommand)]
    Audit(Audit),
    /// Look for what is wrong with this installation, and say what to do
    Doctor(Doctor),
    /// Serve actions over HTTP: a REST API and, with --mcp, MCP
    Serve(Serve),
    /// Serve actions as tools to an MCP client, over standard input and output
    Mcp(Mcp),
    /// Connectors: list, inspect, install, remove
    #[command(subcommand)]
    Connector(Connector),
    /// Secrets that configuration refers to as {"$secret": "name"}: set, list, delete
    #[command(subcommand)]
    Secret(Secret),
    /// Tokens for who uses OpenAct over HTTP: create, list, revoke
    #[command(subcommand)]
    Token(Token),
    /// The master key that seals every secret: its state, its rotation
    #[command(subcommand)]
    Key(Key),
    /// Print a completion script for a shell
    #[command(after_help = "To install:
  bash   openact completions bash > ~/.local/share/bash-completion/completions/openact
  zsh    openact completions zsh > ~/.zfunc/_openact    (with fpath+=~/.zfunc before compinit)
  fish   openact completions fish > ~/.config/fish/completions/openact.fish")]
    Completions { shell: clap_complete::Shell },
}

/// What an action is called with, and where it comes from.
#[derive(Args, Debug)]
pub(crate) struct CallArgs {
    /// The input: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(crate) input: Option<String>,
    /// One field of the input, over --input; a.b=1 reaches inside, what is not JSON is text, and so is a number that JSON
    /// writes otherwise (1234e5)
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) source: Source,
    /// With --config or --config-json: a connector's .wasm file to use beside the bundled ones
    #[arg(long, value_name = "FILE")]
    pub(crate) connector: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact run http/get-user --set login=octocat
  openact run http/create-issue --input @issue.json --set labels='[\"bug\"]'
  echo '{\"login\": \"octocat\"}' | openact run http/get-user --input -
  openact run http/get-user --config connectors.yaml --show-run
  openact run http/get-logo --format raw --output logo.png
  openact run http/list-issues --stream | jq .title")]
pub(crate) struct Run {
    /// connector/name, connector/name@vN, a name alone, or a TRN
    pub(crate) action: String,
    #[command(flatten)]
    pub(crate) call: CallArgs,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the run record as JSON on standard error
    #[arg(long)]
    pub(crate) show_run: bool,
    /// The deadline: 500ms, 30s, 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// A name for this request: asked for again, with the same input, within a day, it is answered as it was and not done
    /// again
    #[arg(long, value_name = "KEY", conflicts_with_all = ["stream", "config", "config_json"])]
    pub(crate) idempotency_key: Option<String>,
    /// Write the result to a file instead, whole or not at all
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Print each item the action streams at once, as a line of JSON; its result is logged with -v, or printed if there
    /// were none
    #[arg(long, conflicts_with_all = ["output", "format"])]
    pub(crate) stream: bool,
}

/// Where the configuration is, if not in the database.
#[derive(Args, Debug)]
pub(crate) struct Source {
    /// Straight from a configuration file, without a database
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// Straight from configuration given as JSON, without a database
    #[arg(long, value_name = "JSON", conflicts_with = "config")]
    pub(crate) config_json: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact serve
  openact serve --config connectors.yaml --mcp
  openact serve --addr 0.0.0.0:8080 --allow-private 10.1.0.0/16 --cors-origin https://app.example.com
  openact serve --mcp --public-url https://openact.example.com --oidc-issuer https://login.example.com --oidc-audience openact

Without a token in the database or an issuer of tokens (--oidc-issuer), everybody on this machine may do everything, and no
other machine can be listened to: openact token create NAME. GET /ready says whether calls can be answered; /docs is the API for people. It ends at Ctrl-C
or SIGTERM, once the calls in flight are answered; a second one ends it at once.")]
pub(crate) struct Serve {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub(crate) addr: String,
    /// A configuration file, or a folder of them, beside the database; followed
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// A connector's .wasm file to use beside the bundled and installed ones
    #[arg(long, value_name = "FILE")]
    pub(crate) connector: Vec<PathBuf>,
    /// Serve MCP, too, at /mcp
    #[arg(long)]
    pub(crate) mcp: bool,
    /// With --mcp: which tools there are
    #[arg(long, visible_alias = "preset", value_name = "SET", default_value = "mixed", requires = "mcp")]
    pub(crate) tools: Tools,
    /// Only these actions: *, connector.action, connector.* or *.action; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow: Vec<Pattern>,
    /// Not these, whatever --allow says
    #[arg(long, value_name = "PATTERN")]
    pub(crate) deny: Vec<Pattern>,
    /// A private address that connections may reach: 10.1.0.0/16, 10.1.2.3:8080, db.internal:5432
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_private: Vec<PrivateRule>,
    /// A web page's origin that may call from a browser, scheme and host
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,
    /// A name of this server in requests (Host), besides localhost
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// An OpenID provider, by its issuer: whoever has a token of it is a caller, as far as its scopes and claims say
    #[arg(long, value_name = "URL", requires = "oidc_audience")]
    pub(crate) oidc_issuer: Option<String>,
    /// With --oidc-issuer: what it writes as audience (aud) into tokens for this server
    #[arg(long, value_name = "AUDIENCE", requires = "oidc_issuer")]
    pub(crate) oidc_audience: Option<String>,
    /// How others know this server: `https://openact.example.com`; told to clients that ask where tokens are to be had
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// The longest that a call may take, whatever its caller asks for
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout_secs: Option<u64>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact mcp
  openact mcp --config connectors.yaml --allow 'http.*' --deny '*.delete'
  openact mcp --tools search

In a client's configuration:
  {\"mcpServers\": {\"openact\": {\"command\": \"openact\", \"args\": [\"mcp\"]}}}")]
pub(crate) struct Mcp {
    #[command(flatten)]
    pub(crate) source: Source,
    /// With --config or --config-json: a connector's .wasm file to use beside the bundled ones
    #[arg(long, value_name = "FILE")]
    pub(crate) connector: Vec<PathBuf>,
    /// Only these actions: *, connector.action, connector.* or *.action; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow: Vec<Pattern>,
    /// Not these, whatever --allow says
    #[arg(long, value_name = "PATTERN")]
    pub(crate) deny: Vec<Pattern>,
    /// Which tools there are
    #[arg(long, visible_alias = "preset", value_name = "SET", default_value = "mixed")]
    pub(crate) tools: Tools,
    /// Calls that run at once; further ones wait
    #[arg(long, value_name = "N", default_value_t = limits::MCP_CALLS_MAX as u32, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) max_concurrency: u32,
    /// The longest that a call may take, whatever its action says
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout_secs: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tools {
    /// One per action with mcp: { enabled: true }, and openact.execute, which runs them by name and version
    Mixed,
    /// openact.execute alone
    AOnly,
    /// One per action, without openact.execute
    BOnly,
    /// openact.search and openact.execute, for more actions than a model should be shown at once
    Search,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact explain http/get-user --set login=octocat
  openact explain http/get-user --config connectors.yaml
  openact explain 0192f1c2-7a3b-7c00-8000-0123456789ab
  openact explain http/get-user --format json | jq '.configuration[] | select(.origin != \"default\")'")]
pub(crate) struct Explain {
    /// A run id, or an action: connector/name, connector/name@vN, a name alone, or a TRN
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) call: CallArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact check http/github
  openact check --all
  openact check --all --connector http --format json | jq '.[] | select(.ok == false)'
  openact check --all --config connectors.yaml

The exit code is 0 if all is well, else that of the first connection that does not work.", group(ArgGroup::new("which").required(true)))]
pub(crate) struct Check {
    /// connector/name, connector/name@vN, a name alone, or a TRN
    #[arg(group = "which")]
    pub(crate) connection: Option<String>,
    /// Every connection, several at a time
    #[arg(long, group = "which")]
    pub(crate) all: bool,
    /// With --all: only of this connector
    #[arg(long, value_name = "NAME", requires = "all", conflicts_with = "connection", value_parser = ConnectorName::canonical)]
    pub(crate) connector: Option<ConnectorName>,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact migrate --dry-run
  openact migrate --db sqlite://old.db
  openact migrate --rollback      (the earlier tables, as they were)
  openact migrate --drop-legacy   (once all is well: they hold secrets in clear)")]
pub(crate) struct Migrate {
    /// Print what would be done and change nothing
    #[arg(long, conflicts_with_all = ["rollback", "drop_legacy"])]
    pub(crate) dry_run: bool,
    /// Do not copy the database first
    #[arg(long)]
    pub(crate) no_backup: bool,
    /// Bring back the tables of the earlier OpenAct that this database was made from
    #[arg(long)]
    pub(crate) rollback: bool,
    /// Remove the tables of the earlier OpenAct that this database was made from, and what they held, for good
    #[arg(long, conflicts_with_all = ["rollback", "no_backup"])]
    pub(crate) drop_legacy: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact sync connectors.yaml
  openact sync config/ --prune --dry-run
  openact sync connectors.yaml --watch

What differs gets a new version, as by import. Of a folder are read the .yaml, .yml, .json and .toml files in it and in
the folders in it, hidden ones left out. --prune deletes, with all its versions, what sync created from the same FILE or
FOLDER (as it is named here) and it has no longer; what import or another sync created stays, and nothing is done if an
action of theirs uses a connection that would go. Nor is it if a FILE or FOLDER has nothing left of what sync created from
it, since it may be another one of that name, in another repository: --prune-all deletes even then. Two repositories that
sync into one database give their folders different names.

--watch prints a line for each change. Files with a mistake are reported once and change nothing until they are mended;
at the start they end the command. It ends at Ctrl-C, with exit code 0.")]
pub(crate) struct Sync {
    /// Files, or folders of them; together they are what sync manages
    #[arg(required_unless_present = "config", value_name = "FILE|FOLDER")]
    pub(crate) files: Vec<PathBuf>,
    /// The same, named
    #[arg(long, value_name = "FILE|FOLDER", num_args = 1.., conflicts_with = "files")]
    pub(crate) config: Vec<PathBuf>,
    /// Delete what sync made earlier and the files have no longer
    #[arg(long)]
    pub(crate) prune: bool,
    /// The same, even if nothing is left of what sync made earlier
    #[arg(long)]
    pub(crate) prune_all: bool,
    /// Go on, and follow every change of the files
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// What becomes of ${VAR} in a secret
    #[arg(long, value_name = "HOW", default_value = "seal")]
    pub(crate) secrets: Secrets,
    /// Print the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact prune --dry-run
  openact prune --keep 10

The secrets that came with a deleted version go with it; records of runs stay. The number of a deleted version is not
given to another one.")]
pub(crate) struct Prune {
    /// How many of the latest versions of each are kept; a version that a kept action uses is kept too
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: u32,
    /// Print what would be deleted and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Schema {
    /// Write it to a file instead
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// The copy; must not exist yet
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// A file that backup wrote
    pub(crate) file: PathBuf,
    /// Replace a database that is there; it is kept beside it
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List entries, newest first
    List {
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Verify that no entry was changed, removed or added since it was written, and that connections and actions are what
    /// was last written of them
    Verify {
        /// A head that was kept elsewhere, as this command prints it, and that must still be in the log: an older copy of the
        /// database that was put in its place is found by nothing else
        #[arg(long, value_name = "HEAD")]
        expect: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// Configuration files to look at, too
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact import connectors.yaml --dry-run
  openact import base.yaml team.yaml --secrets reference
  openact import vendor.yaml --namespace acme --on-conflict abort

--versioning says what becomes of records that are stored already, --on-conflict what happens if one differs from the
files:
  overwrite  --versioning decides
  skip       every stored record stays as it is, whatever --versioning says: the same as --versioning force-rollback
  abort      nothing is imported, and every record that differs is named; if none does, --versioning decides

With --namespace NAME a connection github of the files becomes NAME-github, and so do the actions and what they say of
each other. A connection that is not in the files keeps the name it has in the database.")]
pub(crate) struct Import {
    /// YAML, JSON or TOML; several are imported in order, all of them or none. An encrypted export (.age) is imported by
    /// itself; its passphrase is asked for, or taken from OPENACT_PASSPHRASE
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// What happens to what is stored already
    #[arg(long, value_name = "HOW", default_value = "reuse-if-unchanged")]
    pub(crate) versioning: Versioning,
    /// What happens when a file differs from what is stored
    #[arg(long, value_name = "HOW", default_value = "overwrite")]
    pub(crate) on_conflict: OnConflict,
    /// Put before every name of the files, with a dash: NAME-github
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<Name>,
    /// What becomes of ${VAR} in a secret
    #[arg(long, value_name = "HOW", default_value = "seal")]
    pub(crate) secrets: Secrets,
    /// The private key of an export that was encrypted to a public one: a file of age-keygen
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Print the plan and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Versioning {
    /// A new version of everything
    AlwaysBump,
    /// A new version of what changed
    ReuseIfUnchanged,
    /// Keep what exists, create what is missing
    ForceRollback,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum OnConflict {
    /// The file makes a new version
    Overwrite,
    /// What is stored stays
    Skip,
    /// Nothing at all is imported
    Abort,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Secrets {
    /// Its value is sealed in the database
    Seal,
    /// It stays a reference to the variable, read at every call
    Reference,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    pub(crate) what: Listed,
    /// Only of this connector
    #[arg(long, value_name = "NAME", value_parser = ConnectorName::canonical)]
    pub(crate) connector: Option<ConnectorName>,
    /// Only actions over this connection
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<Name>,
    /// How many runs, newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Listed {
    Connectors,
    Connections,
    Actions,
    Runs,
    Secrets,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact export --output backup.yaml
  openact export --connector http --format json
  openact export --output backup.toml
  openact export --include-secrets --recipient age1… --output backup.yaml.age")]
pub(crate) struct Export {
    /// Write to a file, in the format of its extension: .yaml, .json or .toml, with .age after it if it is encrypted
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only of this connector; may be given several times
    #[arg(long, value_name = "NAME", value_parser = ConnectorName::canonical)]
    pub(crate) connector: Vec<ConnectorName>,
    /// With the values of secrets, the whole encrypted by age: to --recipient, else to a passphrase that is asked for, or
    /// taken from OPENACT_PASSPHRASE
    #[arg(long)]
    pub(crate) include_secrets: bool,
    /// An age public key (age1…); may be given several times
    #[arg(long, value_name = "KEY", requires = "include_secrets")]
    pub(crate) recipient: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Connector {
    /// List the connectors: those that are part of OpenAct and those installed
    List,
    /// Show what a connector says of itself
    Inspect {
        /// A component file, a template (.yaml), or the name of a connector
        #[arg(value_name = "FILE|NAME")]
        what: String,
    },
    /// Install a component or a template (.yaml), in place of an earlier one of the same name
    Install {
        file: PathBuf,
        /// A host function the connector asks for and may use; may be given several times
        #[arg(long, value_name = "CAPABILITY", value_parser = capability)]
        grant: Vec<Capability>,
        /// Replace a connector even if stored connections, with their secrets, will go to other hosts
        #[arg(long)]
        allow_new_hosts: bool,
        /// Replace a connector even if stored actions will no longer work
        #[arg(long)]
        force: bool,
    },
    /// Remove an installed connector that no connection uses
    Remove {
        #[arg(value_parser = ConnectorName::canonical)]
        name: ConnectorName,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token and print it, once
    Create(CreateToken),
    /// List tokens: for what they are good, until when, when they were last used
    List,
    /// End a token at once
    Revoke {
        /// Its name or its id
        token: String,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  openact token create ci --allow 'http.*' --deny '*.delete' --expires 90d
  openact token create admin --manage --all-tenants
  openact token create shop --tenant shop --tenant shop-test --rate 50 | pass insert -e openact/shop")]
pub(crate) struct CreateToken {
    /// What people call it; the audit log ascribes to it what is changed with it
    pub(crate) name: String,
    /// For whose actions; may be given several times
    // The same flag as everywhere, here with more than one value.
    #[arg(id = "tenant", long = "tenant", value_name = "NAME", env = settings::OPENACT_TENANT, hide_env_values = true, default_value = "default")]
    pub(crate) tenants: Vec<Tenant>,
    /// For those of every tenant
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// Only these actions: *, connector.action, connector.* or *.action; may be given several times
    #[arg(long, value_name = "PATTERN")]
    pub(crate) allow: Vec<Pattern>,
    /// Not these, whatever --allow says
    #[arg(long, value_name = "PATTERN")]
    pub(crate) deny: Vec<Pattern>,
    /// It may change configuration, secrets and tokens, too
    #[arg(long)]
    pub(crate) manage: bool,
    /// Requests in a second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// Requests at once, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrency: Option<u32>,
    /// When it ends: 12h, 30d
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    pub(crate) expires: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Seal a value under a name, in place of what was there
    Set(SetSecret),
    /// List names and times; values are never shown
    List,
    /// Delete a secret that no connection refers to
    Delete {
        name: SecretName,
        /// Delete it even if a connection refers to it
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args, Debug)]
#[command(
    long_about = "Seal a value under a name, in place of what was there

The value is asked for on a terminal, without being shown, and read whole from standard input elsewhere, less one
line break at its end. It is never given as an argument: other users can read those, and the shell keeps them in its
history.",
    after_help = "Examples:
  openact secret set github-token
  pass show github | openact secret set github-token
  openact secret set github-token --from-env GITHUB_TOKEN
  openact secret set tls-key --from-file key.pem

In a configuration file:
  auth: { type: bearer, token: { $secret: github-token } }"
)]
pub(crate) struct SetSecret {
    /// What {"$secret": "name"} says
    pub(crate) name: SecretName,
    /// Take the value from an environment variable
    #[arg(long, value_name = "VAR", conflicts_with = "from_file")]
    pub(crate) from_env: Option<String>,
    /// Take the value from a file, less one line break at its end
    #[arg(long, value_name = "PATH")]
    pub(crate) from_file: Option<PathBuf>,
    /// Here to be refused without being repeated.
    #[arg(hide = true)]
    pub(crate) refused: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Show which versions of the key records are sealed with, and where this process has its keys from
    Status,
    /// Seal every record anew with a new key, while everything goes on
    #[command(long_about = "Seal every record anew with a new key, while everything goes on

With a key file, the new key is made and added to the file. With OPENACT_MASTER_KEY, first start every process with
OPENACT_MASTER_KEY set to a new key (head -c 32 /dev/urandom | base64) and OPENACT_MASTER_KEY_PREVIOUS to the one in use;
after the rotation the second is not needed any more.

A rotation that was stopped is finished by the next one.")]
    Rotate,
    /// Remove old keys from the key file after a rotation
    #[command(long_about = "Remove old keys from the key file after a rotation

Refused until every record of this database is sealed with the key in use. Other databases that use the same key file
have to be rotated first: what they still have sealed with an old key would be lost.")]
    DropOld,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && key.split('.').all(|part| !part.is_empty()) => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("expected key=value, where the key may be dotted: a.b=1".to_owned()),
    }
}

/// `30m`, `12h`, `30d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    const YEARS: u64 = 10 * 366 * 24 * 3600;
    let lifetime = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    let lifetime = lifetime.filter(|seconds| (1..=YEARS).contains(seconds)).map(Duration::from_secs);
    lifetime.ok_or_else(|| "expected a number with m, h or d, at most ten years: 30d".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    openact::parse_duration(text)
        .map_err(|error| format!("{error}; {}", error.hint.as_deref().unwrap_or_default()))
}

fn capability(text: &str) -> Result<Capability, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "expected one of: http, sockets, reveal-credential, state, emit".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_database_url_is_not_in_the_help() {
        let help =
            Cli::command().mut_arg("db", |arg| arg.env(settings::OPENACT_DB)).render_long_help().to_string();
        assert!(help.contains("[env: OPENACT_DB]"), "{help}");
    }
}
