//! PostgreSQL and psql.
//!
//! Invariant: it is never run by root, which it refuses: `nobody` does, allowed to read where only root may.

use std::{
    env, fs,
    ops::Deref,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{By, Login, ODD, Server, fresh_name, is_root, run};
use crate::{
    ca::pki,
    servers::{brought, process::Process, unpacked},
};

const NOBODY: u32 = 65_534;

/// A running PostgreSQL. Fields and methods of [`Server`] are its own.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
}

/// The PostgreSQL of this process.
pub fn postgres() -> &'static Postgres {
    static STARTED: OnceLock<Postgres> = OnceLock::new();
    STARTED.get_or_init(|| Postgres::own(&[]))
}

impl Postgres {
    /// Logs in by SCRAM-SHA-256; owns [`Postgres::DATABASE`].
    pub const USER: Login = ("openact", "pg-canary-5b21e0c9d7");
    /// Superuser, by SCRAM-SHA-256.
    pub const ADMIN: Login = ("admin", "pg-admin-canary-90e1b2");
    /// Logs in by md5; a member of the user.
    pub const MD5: Login = ("md5_user", "pg-md5-canary-77a0c4e1");
    /// Logs in by its password as it is; a member of the user.
    pub const CLEARTEXT: Login = ("cleartext_user", "pg-clear-canary-1c93af");
    /// Needs no password; a member of the user.
    pub const TRUSTED: &str = "trusted_user";
    /// Logs in by SCRAM-SHA-256, over TLS alone; a member of the user.
    pub const TLS_ONLY: Login = ("tls_user", "pg-tls-canary-e08d5f2b");
    /// Logs in by the certificate `client` of [`pki`], over TLS; a member of the user.
    pub const CERTIFIED: &str = "openact-client";
    /// Everybody's database.
    pub const DATABASE: &str = "app";

    /// A server of one's own, with settings beside the usual: `&["ssl=off"]`.
    pub fn own(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let server = Server::new(
            "postgres",
            prepare,
            |start| {
                let (folder, port, settings) = (start.folder.to_owned(), start.port, settings.clone());
                move || {
                    let mut command = as_somebody(&program("postgres"));
                    command
                        .arg("-D")
                        .arg(folder.join("data"))
                        .arg("-k")
                        .arg(&folder)
                        .args(["-p", &port.to_string()]);
                    command.args(settings.iter().flat_map(|setting| ["-c", setting]));
                    // It stops without waiting for clients to leave.
                    command.env("KEEP_SIGNAL", "INT");
                    command
                }
            },
            |port| {
                move || {
                    run(program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]))
                        .is_ok()
                }
            },
        );
        let postgres = Self { server };
        let database = format!("CREATE DATABASE {} OWNER {}", Self::DATABASE, Self::USER.0);
        for sql in [setup(), database] {
            let done = postgres.psql_in("postgres", Self::ADMIN, By::Plain, &sql);
            done.unwrap_or_else(|error| panic!("postgres is not set up: {error}"));
        }
        postgres
    }

    /// What psql prints for this SQL as the user: a line per row, `|` between columns.
    pub fn psql(&self, sql: &str) -> String {
        self.psql_as(Self::USER, By::Plain, sql).unwrap_or_else(|error| panic!("psql: {error}\n{sql}"))
    }

    /// As [`Postgres::psql`], by whom and how one likes; what psql complained of if it did.
    pub fn psql_as(&self, login: Login, by: By, sql: &str) -> Result<String, String> {
        self.psql_in(Self::DATABASE, login, by, sql)
    }

    /// As [`Postgres::psql_as`], in another database.
    pub fn psql_in(
        &self,
        database: &str,
        (user, password): Login,
        by: By,
        sql: &str,
    ) -> Result<String, String> {
        let mut command = program("psql");
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        let by = match by {
            By::Tls => "verify-full",
            By::Plain => "disable",
        };
        command
            .env("PGPASSWORD", password)
            .env("PGUSER", user)
            .env("PGSSLROOTCERT", &pki().ca.path)
            .args(["-h", "localhost", "-p", &self.port.to_string(), "-d", database])
            .envs([("PGHOSTADDR", "127.0.0.1"), ("PGSSLMODE", by), ("PGCLIENTENCODING", "UTF8")])
            .envs([("PGCONNECT_TIMEOUT", "10"), ("PGOPTIONS", "-c client_min_messages=warning")])
            .args([
                "--no-psqlrc",
                "--quiet",
                "--no-align",
                "--tuples-only",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
            ]);
        if user == Self::CERTIFIED {
            let file = |name: &str| self.folder.join(name);
            command.env("PGSSLCERT", &pki().client.cert.path).env("PGSSLKEY", file("client.key"));
        }
        run(&mut command)
    }

    /// A new, empty database of the user's.
    pub fn fresh_database(&self) -> String {
        let name = fresh_name();
        let sql = format!("CREATE DATABASE {name} OWNER {}", Self::USER.0);
        self.psql_as(Self::ADMIN, By::Plain, &sql).unwrap_or_else(|error| panic!("psql: {error}"));
        name
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Of the newest there is: in Debian's own folder, unpacked, or in the `PATH`.
fn program(name: &str) -> Command {
    let versions = |root: &Path| {
        let versions = fs::read_dir(root.join("usr/lib/postgresql")).into_iter().flatten();
        let mut folders: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
        folders.sort();
        folders.into_iter().rev()
    };
    let own = brought().join("system");
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders =
        versions(Path::new("/")).chain(versions(&own)).chain(env::split_paths(&path).collect::<Vec<_>>());
    let all = ["initdb", "postgres", "psql", "pg_isready"];
    let found = folders.find(|folder| all.iter().all(|name| folder.join(name).is_file()));
    let found = found.unwrap_or_else(|| panic!("PostgreSQL is missing; run: make servers")).join(name);
    if found.starts_with(own) { unpacked(&found) } else { Command::new(found) }
}

/// The command, by `nobody` if this is root. It may still read the programs, which lie where perhaps only root looks.
fn as_somebody(command: &Command) -> Command {
    let mut somebody = if is_root() {
        let nobody = NOBODY.to_string();
        let mut somebody = Command::new("setpriv");
        somebody.args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
        somebody.args(["--securebits", "+no_setuid_fixup"]);
        somebody.args(["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]);
        somebody.arg(command.get_program());
        somebody
    } else {
        Command::new(command.get_program())
    };
    somebody.args(command.get_args());
    somebody.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    somebody
}

/// An empty cluster with the superuser, its configuration and certificates.
fn prepare(folder: &Path) {
    let owned = |path: &Path| {
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    };
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        owned(&path);
    };
    owned(folder);
    write("password", Postgres::ADMIN.1);
    let mut initdb = as_somebody(&program("initdb"));
    initdb
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-U", Postgres::ADMIN.0])
        .arg("--pwfile")
        .arg(folder.join("password"));
    initdb.args(["-A", "scram-sha-256", "--locale=C", "-E", "UTF8", "--no-sync"]);
    Process::complete(folder, &initdb).unwrap_or_else(|error| panic!("initdb: {error}"));
    fs::remove_file(folder.join("password")).unwrap();
    write("tls.key", &pki().server.key.text);
    write("client.key", &pki().client.key.text);
    let file = |name: &str| folder.join(name).display().to_string();
    let settings = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", pki().server.cert.path.display().to_string()),
        ("ssl_key_file", file("tls.key")),
        ("ssl_ca_file", pki().ca.path.display().to_string()),
        // The machine may fail, the process may not.
        ("fsync", "off".to_owned()),
        ("jit", "off".to_owned()),
        ("max_connections", "200".to_owned()),
        ("shared_buffers", "32MB".to_owned()),
    ];
    let settings: String = settings.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
    write("data/postgresql.auto.conf", &settings);
    write("data/pg_hba.conf", &who_may());
}

fn who_may() -> String {
    let from = "127.0.0.1/32";
    let (md5, clear, tls) = (Postgres::MD5.0, Postgres::CLEARTEXT.0, Postgres::TLS_ONLY.0);
    format!(
        "hostssl all \"{}\" {from} cert\nhost all {md5} {from} md5\nhost all {clear} {from} password\n\
         host all {} {from} trust\nhostssl all {tls} {from} scram-sha-256\nhost all {tls} {from} reject\n\
         host all all {from} scram-sha-256\n",
        Postgres::CERTIFIED,
        Postgres::TRUSTED,
    )
}

fn setup() -> String {
    let literal = |text: &str| format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let user = Postgres::USER.0;
    let role = |name: &str, more: String| format!("CREATE ROLE \"{name}\" LOGIN {more};\n");
    let login = |login: Login| role(login.0, format!("PASSWORD {}", literal(login.1)));
    let member = |login: Login| role(login.0, format!("IN ROLE {user} PASSWORD {}", literal(login.1)));
    [
        login(Postgres::USER),
        member(Postgres::CLEARTEXT),
        member(Postgres::TLS_ONLY),
        member(ODD),
        role(Postgres::TRUSTED, format!("IN ROLE {user}")),
        role(Postgres::CERTIFIED, format!("IN ROLE {user}")),
        "SET password_encryption = 'md5';\n".to_owned(),
        member(Postgres::MD5),
    ]
    .concat()
}
