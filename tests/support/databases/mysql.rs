//! MariaDB and MySQL with their clients.
//!
//! Invariant: where there is no MySQL, whoever asks for it is told so on standard error, past what the test harness
//! holds back, and `make test` says it once more at its end.

use std::{
    fs,
    io::Write,
    ops::Deref,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{By, Login, ODD, Server, fresh_name, is_root, run, wait_for};
use crate::{
    ca::pki,
    servers::{
        brought,
        process::{Process, listens},
        program,
    },
};

/// A running MariaDB or MySQL. Fields and methods of [`Server`] are its own.
#[derive(Debug)]
pub struct Mysql {
    server: Server,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Logs in by `mysql_native_password`.
    Mariadb,
    /// Logs in by `caching_sha2_password`.
    Mysql,
}

/// The MariaDB of this process: its users log in by `mysql_native_password`.
pub fn mariadb() -> &'static Mysql {
    static STARTED: OnceLock<Mysql> = OnceLock::new();
    STARTED.get_or_init(|| Mysql::own_mariadb(&[]))
}

/// The MySQL of this process, whose users log in by `caching_sha2_password`; none, said loudly, if it could not be had.
pub fn mysql() -> Option<&'static Mysql> {
    static STARTED: OnceLock<Option<Mysql>> = OnceLock::new();
    if skip_note().exists() {
        return skipped();
    }
    STARTED.get_or_init(|| Mysql::own_mysql(&[])).as_ref()
}

impl Mysql {
    /// All of [`Mysql::DATABASE`], and of the databases of [`Mysql::fresh_database`].
    pub const USER: Login = ("openact", "my-canary-c2f90b41e8");
    /// The same, over TLS alone.
    pub const TLS_ONLY: Login = ("tls_user", "my-tls-canary-3d70a6");
    /// The same, over TLS with the certificate `client` of [`pki`] beside the password.
    pub const CERTIFIED: Login = ("certified", "my-cert-canary-84be1f");
    /// The same, with no password.
    pub const TRUSTED: &str = "trusted_user";
    /// Everybody's database.
    pub const DATABASE: &str = "app";

    /// A MariaDB of one's own, with arguments beside the usual: `&["--skip-ssl"]`.
    pub fn own_mariadb(arguments: &[&str]) -> Self {
        Self::own(Kind::Mariadb, arguments)
    }

    /// A MySQL of one's own, with arguments beside the usual; none if it could not be had.
    pub fn own_mysql(arguments: &[&str]) -> Option<Self> {
        if skip_note().exists() {
            return skipped();
        }
        Some(Self::own(Kind::Mysql, arguments))
    }

    /// Whether it is a MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.kind == Kind::Mariadb
    }

    /// What the client prints for this SQL as the user: a line per row, tabs between columns, NULL as `NULL`.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_as(Self::USER, By::Plain, sql).unwrap_or_else(|error| panic!("mysql: {error}\n{sql}"))
    }

    /// As [`Mysql::sql`], by whom and how one likes; what the client complained of if it did.
    pub fn sql_as(&self, (user, password): Login, by: By, sql: &str) -> Result<String, String> {
        let mut command = self.client();
        command.env("MYSQL_PWD", password).args([
            "-h",
            "127.0.0.1",
            "-P",
            &self.port.to_string(),
            "-u",
            user,
        ]);
        command.args(match (self.kind, by) {
            (Kind::Mariadb, By::Tls) => ["--ssl", "--ssl-verify-server-cert"].as_slice(),
            (Kind::Mariadb, By::Plain) => &["--skip-ssl"],
            (Kind::Mysql, By::Tls) => &["--ssl-mode=VERIFY_IDENTITY"],
            (Kind::Mysql, By::Plain) => &["--ssl-mode=DISABLED", "--get-server-public-key"],
        });
        if by == By::Tls {
            command.arg("--ssl-ca").arg(&pki().ca.path);
            command
                .arg("--ssl-cert")
                .arg(&pki().client.cert.path)
                .arg("--ssl-key")
                .arg(&pki().client.key.path);
        }
        run(command.args([Self::DATABASE, "-e", sql]))
    }

    /// The same as root, through the socket.
    pub fn sql_as_root(&self, sql: &str) -> String {
        self.ask_as_root(sql).unwrap_or_else(|error| panic!("mysql as root: {error}\n{sql}"))
    }

    /// Makes the server forget who logged in before, so that the next login by `caching_sha2_password` is a full one.
    pub fn forget_logins(&self) {
        self.sql_as_root("FLUSH PRIVILEGES");
    }

    /// A new, empty database that the users may do everything in.
    pub fn fresh_database(&self) -> String {
        let name = fresh_name();
        self.sql(&format!("CREATE DATABASE {name}"));
        name
    }

    fn own(kind: Kind, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = Server::new(
            kind.name(),
            |folder| kind.prepare(folder),
            |start| {
                let (folder, port, arguments) = (start.folder.to_owned(), start.port, arguments.clone());
                move || kind.command(&folder, port, &arguments)
            },
            |port| move || listens(port),
        );
        let mysql = Self { server, kind };
        wait_for(kind.name(), || mysql.ask_as_root("SELECT 1"));
        mysql.sql_as_root(&setup(kind));
        mysql
    }

    fn client(&self) -> Command {
        let mut command = match self.kind {
            Kind::Mariadb => program("mariadb"),
            Kind::Mysql => unstable("usr/bin/mysql"),
        };
        command.args(["--no-defaults", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
        command
    }

    fn ask_as_root(&self, sql: &str) -> Result<String, String> {
        run(self.client().arg("-S").arg(self.folder.join("s")).args(["-u", "root", "-e", sql]))
    }
}

impl Deref for Mysql {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "mariadb",
            Self::Mysql => "mysql",
        }
    }

    fn prepare(self, folder: &Path) {
        fs::create_dir(folder.join("tmp")).unwrap();
        let mut command = match self {
            Self::Mariadb => {
                let script = program("mariadb-install-db");
                let base = Path::new(script.get_program()).ancestors().nth(2).unwrap().to_owned();
                let mut command = Command::new("sh");
                command.arg(script.get_program());
                command.envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
                command.arg("--no-defaults").arg(format!("--basedir={}", base.display()));
                command.args(["--auth-root-authentication-method=normal", "--skip-test-db", "--force"]);
                command
            }
            Self::Mysql => {
                let mut command = self.program();
                command.arg("--initialize-insecure");
                command
            }
        };
        command.args(own(folder)).args(small());
        if is_root() {
            command.arg("--user=root");
        }
        Process::complete(folder, &command).unwrap_or_else(|error| panic!("{}: {error}", self.name()));
    }

    fn program(self) -> Command {
        match self {
            Self::Mariadb => {
                let mut command = program("mariadbd");
                command.arg("--no-defaults");
                command
            }
            Self::Mysql => {
                let base = root_of_unstable().join("usr");
                let mut command = unstable("usr/sbin/mysqld");
                command.arg("--no-defaults").arg("--mysqlx=OFF").arg(format!("--basedir={}", base.display()));
                command.arg(format!("--lc-messages-dir={}", base.join("share/mysql").display()));
                command.arg(format!("--plugin-dir={}", base.join("lib/mysql/plugin").display()));
                command
            }
        }
    }

    fn command(self, folder: &Path, port: u16, arguments: &[String]) -> Command {
        let mut command = self.program();
        let server = &pki().server;
        command.args(own(folder)).args(small());
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--local-infile=ON",
            "--skip-log-bin",
        ]);
        command.args([format!("--port={port}")]);
        command.arg(format!("--socket={}", folder.join("s").display()));
        command.arg(format!("--pid-file={}", folder.join("pid").display()));
        command.arg(format!("--secure-file-priv={}", folder.display()));
        command.arg(format!("--ssl-ca={}", pki().ca.path.display()));
        command.arg(format!("--ssl-cert={}", server.cert.path.display()));
        command.arg(format!("--ssl-key={}", server.key.path.display()));
        if is_root() {
            command.arg("--user=root");
        }
        command.args(arguments);
        command
    }
}

/// Where it keeps everything. A MariaDB that starts deletes all temporary tables in its `tmpdir`; in one that they shared,
/// those of the others too, which crash of that.
fn own(folder: &Path) -> [String; 2] {
    [("datadir", "data"), ("tmpdir", "tmp")]
        .map(|(name, own)| format!("--{name}={}", folder.join(own).display()))
}

/// What is committed outlives the process, not the machine.
fn small() -> [&'static str; 3] {
    ["--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"]
}

fn setup(kind: Kind) -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let plugin = match kind {
        Kind::Mariadb => "mysql_native_password",
        Kind::Mysql => "caching_sha2_password",
    };
    let user = |(name, password): Login, more: &str| {
        let name = format!("{}@'%'", literal(name));
        let by = match (password, kind) {
            ("", _) => String::new(),
            (_, Kind::Mariadb) => format!("IDENTIFIED VIA {plugin} USING PASSWORD({})", literal(password)),
            (_, Kind::Mysql) => format!("IDENTIFIED WITH {plugin} BY {}", literal(password)),
        };
        format!(
            "CREATE USER {name} {by} {more};\nGRANT ALL ON app.* TO {name};\nGRANT ALL ON `t\\_%`.* TO {name};\n"
        )
    };
    [
        format!("CREATE DATABASE {} CHARACTER SET utf8mb4;\n", Mysql::DATABASE),
        user(Mysql::USER, ""),
        user(Mysql::TLS_ONLY, "REQUIRE SSL"),
        user(Mysql::CERTIFIED, "REQUIRE X509"),
        user((Mysql::TRUSTED, ""), ""),
        user(ODD, ""),
    ]
    .concat()
}

/// Debian unstable's packages, with the libraries that they need.
fn root_of_unstable() -> PathBuf {
    brought().join("unstable")
}

/// An unstable program, by unstable's own loader: it may want a newer C library than there is.
fn unstable(program: &str) -> Command {
    let root = root_of_unstable();
    let folders =
        fs::read_dir(root.join("usr/lib")).unwrap_or_else(|_| panic!("MySQL is missing; run: make servers"));
    let files = folders.filter_map(|folder| fs::read_dir(folder.unwrap().path()).ok()).flatten();
    let mut files = files.map(|file| file.unwrap().path());
    let is_loader = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("ld-linux") && name.contains(".so")
    };
    let loader = files.find(is_loader).expect("the unpacked libraries have a loader");
    let mut command = Command::new(&loader);
    command.arg("--library-path").arg(loader.parent().unwrap()).arg(root.join(program));
    command
}

/// Says why `.ci/servers` could not bring MySQL.
fn skip_note() -> PathBuf {
    brought().join("mysql.skipped")
}

/// Nothing, and tells so: written past the capture of the test harness.
fn skipped<T>() -> Option<T> {
    let why = fs::read_to_string(skip_note()).unwrap_or_default();
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: what {test} does with MySQL: {}", why.trim_end());
    None
}
