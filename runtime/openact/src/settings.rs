//! Where OpenAct keeps things when it is not told, and which environment variables it reads.
//!
//! Precedence of a setting, first one wins:
//!
//! 1. the command line, or the call of [`crate::Builder`]
//! 2. the environment (`OPENACT_*`)
//! 3. the configuration file
//! 4. the database
//! 5. the default
//!
//! | variable | what |
//! |---|---|
//! | `OPENACT_DB` | the database's URL |
//! | `OPENACT_TENANT` | the tenant |
//! | `OPENACT_MASTER_KEY` | the key that seals secrets: base64 of 32 bytes |
//! | `OPENACT_MASTER_KEY_PREVIOUS` | while the key is rotated: the one before it |
//! | `OPENACT_AUDIT_RUNS` | whether runs are in the audit log: `off`, `on`, `required` |
//! | `OPENACT_PASSPHRASE` | of an encrypted export, where nobody can be asked for it |
//! | `OPENACT_DNS_SERVER` | the server of DNS that is asked for lists of hosts (`mongodb+srv://`): `10.0.0.2` or `10.0.0.2:5353` |
//! | `OPENACT_HOME` | one folder for data, configuration and cache, instead of the platform's three |

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use etcetera::BaseStrategy;
use openact_core::{
    Error, Result,
    run::Door,
    secret::{ExposeSecret, SecretString},
};
use openact_store::{AuditRuns, Author, KeySource, MasterKey, StoreUrl};

use crate::Environment;

/// The database's URL.
pub const OPENACT_DB: &str = "OPENACT_DB";
/// The tenant.
pub const OPENACT_TENANT: &str = "OPENACT_TENANT";
/// The key that seals secrets.
pub const OPENACT_MASTER_KEY: &str = "OPENACT_MASTER_KEY";
/// While the key is rotated: the one before it.
pub const OPENACT_MASTER_KEY_PREVIOUS: &str = "OPENACT_MASTER_KEY_PREVIOUS";
/// Whether runs are in the audit log.
pub const OPENACT_AUDIT_RUNS: &str = "OPENACT_AUDIT_RUNS";
/// The passphrase of an encrypted export.
pub const OPENACT_PASSPHRASE: &str = "OPENACT_PASSPHRASE";
/// The server of DNS for lists of hosts.
pub const OPENACT_DNS_SERVER: &str = "OPENACT_DNS_SERVER";
/// One folder for everything.
pub const OPENACT_HOME: &str = "OPENACT_HOME";

/// All of them.
pub const VARIABLES: [&str; 8] = [
    OPENACT_DB,
    OPENACT_TENANT,
    OPENACT_MASTER_KEY,
    OPENACT_MASTER_KEY_PREVIOUS,
    OPENACT_AUDIT_RUNS,
    OPENACT_PASSPHRASE,
    OPENACT_DNS_SERVER,
    OPENACT_HOME,
];

/// The folders of this user.
#[derive(Clone, Debug)]
pub struct Folders {
    data: PathBuf,
    config: PathBuf,
    cache: PathBuf,
}

impl Folders {
    /// The platform's folders, or those under `OPENACT_HOME`; none if the user has no home.
    pub fn of_platform() -> Option<Self> {
        if let Some(home) = std::env::var_os(OPENACT_HOME).filter(|home| !home.is_empty()) {
            let home = PathBuf::from(home);
            return Some(Self {
                data: home.join("data"),
                config: home.join("config"),
                cache: home.join("cache"),
            });
        }
        let base = etcetera::choose_base_strategy().ok()?;
        let own = |folder: PathBuf| folder.join("openact");
        Some(Self {
            data: own(base.data_dir()),
            config: own(base.config_dir()),
            cache: own(base.cache_dir()),
        })
    }

    /// The default database file.
    pub fn database(&self) -> PathBuf {
        self.data.join("openact.db")
    }

    /// The master key's file. Not beside the database: who copies that should not copy the key with it.
    pub fn master_key(&self) -> PathBuf {
        self.config.join("master.key")
    }

    /// Compiled connectors.
    pub fn compiled(&self) -> PathBuf {
        self.cache.join("compiled")
    }
}

/// The default database's URL.
pub fn default_store() -> Result<String> {
    let folders = Folders::of_platform().ok_or_else(|| {
        Error::invalid_config("there is no home folder to keep the database in")
            .hint("set --db or OPENACT_DB")
    })?;
    Ok(format!("sqlite://{}", folders.database().display()))
}

/// Parses a database's URL. The folder of the default database is made when it is opened: nobody chose it.
pub(crate) fn store_url(text: &str) -> Result<StoreUrl> {
    let url: StoreUrl = text.parse()?;
    let is_default = Folders::of_platform().is_some_and(|folders| url.path() == Some(&folders.database()));
    Ok(if is_default { url.creating_folder() } else { url })
}

/// Which server of DNS is asked for lists of hosts; none: the operating system's.
pub(crate) fn dns_server(env: &Environment) -> Result<Option<SocketAddr>> {
    let Some(text) = env(OPENACT_DNS_SERVER).filter(|text| !text.is_empty()) else { return Ok(None) };
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT)));
    address.map(Some).map_err(|_| {
        Error::invalid_config(format!(
            "{OPENACT_DNS_SERVER} is no address of a server: '{}'",
            text.escape_debug()
        ))
        .hint("expected an address, with a port if it is not 53: 10.0.0.2 or 10.0.0.2:5353")
    })
}

const DNS_PORT: u16 = 53;

/// Whether runs are in the audit log.
pub(crate) fn audit_runs(env: &Environment) -> Result<AuditRuns> {
    match env(OPENACT_AUDIT_RUNS).filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|error: Error| error.context(OPENACT_AUDIT_RUNS)),
        None => Ok(AuditRuns::Off),
    }
}

/// What opens the database at `url`, and who asks through `door`, for what is done without an [`crate::OpenAct`].
pub(crate) fn key_and_author(url: &StoreUrl, door: Door) -> Result<(KeySource, Author)> {
    let env: Environment = std::sync::Arc::new(|name| std::env::var(name).ok());
    Ok((key_source(url, &env)?, Author { actor: crate::audit::user_of_process(), door }))
}

/// The keys of a store that was given none. They are read only when a secret is first sealed or opened.
pub(crate) fn key_source(url: &StoreUrl, env: &Environment) -> Result<KeySource> {
    if env(OPENACT_MASTER_KEY).map(SecretString::from).is_some() {
        let env = env.clone();
        return Ok(KeySource::Environment(Box::new(move || {
            let parsed = |name: &str, text: SecretString| {
                MasterKey::from_base64(text.expose_secret()).map_err(|error| error.context(name))
            };
            let key = env(OPENACT_MASTER_KEY).map(|text| parsed(OPENACT_MASTER_KEY, text.into()));
            let previous = env(OPENACT_MASTER_KEY_PREVIOUS).filter(|text| !text.is_empty());
            let previous = previous.map(|text| parsed(OPENACT_MASTER_KEY_PREVIOUS, text.into()));
            key.into_iter().chain(previous).collect()
        })));
    }
    if url.path().is_none() {
        return Ok(KeySource::Keys(vec![MasterKey::ephemeral()?]));
    }
    Ok(match Folders::of_platform() {
        Some(folders) => KeySource::File(folders.master_key()),
        // Said when a key is needed, which may be never.
        None => KeySource::Environment(Box::new(|| {
            Err(Error::invalid_config("there is no home folder to keep the master key in")
                .hint("set OPENACT_MASTER_KEY"))
        })),
    })
}
