//! MongoDB, and pymongo.
//!
//! Invariant: it listens from its port's very first moment with authentication on; the first user is made through the
//! exception for this machine, which ends with that.

use std::{fs, ops::Deref, os::unix::fs::PermissionsExt, path::Path, process::Command, sync::OnceLock};

use super::{By, Login, ODD, Server, run, wait_for};
use crate::{
    ca::pki,
    servers::{brought, needed, process::listens, python_bin},
};

/// A running MongoDB. Fields and methods of [`Server`] are its own, but for those here.
#[derive(Debug)]
pub struct Mongodb {
    server: Server,
}

/// The MongoDB of this process, a replica set of one, so that there are transactions.
pub fn mongodb() -> &'static Mongodb {
    static STARTED: OnceLock<Mongodb> = OnceLock::new();
    STARTED.get_or_init(|| Mongodb::own(&[]))
}

impl Mongodb {
    /// Reads and writes every database, by SCRAM-SHA-1 or -256; known to the database `admin`.
    pub const USER: Login = ("openact", "mongo-canary-a7305dc16e");
    /// May do everything.
    pub const ADMIN: Login = ("admin", "mongo-admin-canary-0c8f");
    /// As the user, by SCRAM-SHA-1 alone.
    pub const SHA1: Login = ("sha1_user", "mongo-sha1-canary-f4d2");
    /// As the user, by SCRAM-SHA-256 alone.
    pub const SHA256: Login = ("sha256_user", "mongo-sha256-canary-61b");
    /// Reads and writes [`Mongodb::DATABASE`], which knows it, rather than `admin`.
    pub const LOCAL: Login = ("local_user", "mongo-local-canary-5ae9");
    /// Everybody's database.
    pub const DATABASE: &str = "app";
    /// The replica set's name.
    pub const REPLICA_SET: &str = "rs0";

    /// A server of one's own, with arguments beside the usual.
    pub fn own(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = Server::new(
            "mongodb",
            prepare,
            |start| {
                let (folder, port, arguments) = (start.folder.to_owned(), start.port, arguments.clone());
                move || command(&folder, port, &arguments)
            },
            |port| move || listens(port),
        );
        let mongodb = Self { server };
        mongodb.ask(None, By::Plain, SETUP).unwrap_or_else(|error| panic!("mongodb is not set up: {error}"));
        mongodb
    }

    /// What a Python program prints, in which `client` is a connected `pymongo.MongoClient` of the user's, and `db` is
    /// [`Mongodb::DATABASE`]. `bson`, `json` and `json_util` are imported.
    pub fn pymongo(&self, program: &str) -> String {
        self.pymongo_as(Self::USER, By::Plain, program)
            .unwrap_or_else(|error| panic!("pymongo: {error}\n{program}"))
    }

    /// As [`Mongodb::pymongo`], by whom and how one likes; what Python complained of if it did.
    pub fn pymongo_as(&self, login: Login, by: By, program: &str) -> Result<String, String> {
        self.ask(Some(login), by, program)
    }

    /// As [`Server::start`], and waits until it may be written to.
    pub fn start(&self) {
        self.server.start();
        wait_for("mongodb", || self.pymongo_as(Self::ADMIN, By::Plain, "db.client.admin.command('ping')"));
    }

    fn ask(&self, login: Option<Login>, by: By, program: &str) -> Result<String, String> {
        let (user, password) = login.unwrap_or_default();
        let mut python = Command::new(python_bin());
        let ca = if by == By::Tls { pki().ca.path.to_str().unwrap() } else { "" };
        python.arg("-c").arg([CLIENT, program].concat());
        python.args([&self.port.to_string(), Self::DATABASE, user, password, ca]);
        if login.is_none() {
            for (user, password) in [Self::ADMIN, Self::USER, Self::SHA1, Self::SHA256, Self::LOCAL, ODD] {
                python.args([user, password]);
            }
        }
        run(&mut python)
    }
}

impl Deref for Mongodb {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

const CLIENT: &str = "
import sys, json, bson, pymongo
from bson import json_util
port, database, user, password, ca = sys.argv[1:6]
more = dict(username=user, password=password, replicaSet='rs0') if user else dict(directConnection=True)
if user == 'local_user': more['authSource'] = database
if ca: more.update(tls=True, tlsCAFile=ca)
client = pymongo.MongoClient('127.0.0.1', int(port), serverSelectionTimeoutMS=20000, **more)
db = client[database]
client.admin.command('ping')
";

const SETUP: &str = "
client.admin.command('replSetInitiate', {'_id': 'rs0', 'members': [{'_id': 0, 'host': '127.0.0.1:' + port}]})
while not client.admin.command('hello')['isWritablePrimary']: pass
users = list(zip(sys.argv[6::2], sys.argv[7::2]))
anything = ['readWriteAnyDatabase', 'dbAdminAnyDatabase', 'clusterMonitor']
def create(name, database, roles, mechanisms):
    at, password = admin[database], dict(users)[name]
    at.command('createUser', name, pwd=password, roles=roles, mechanisms=mechanisms)
admin = client
both = ['SCRAM-SHA-1', 'SCRAM-SHA-256']
(root, password), (user, _), (sha1, _), (sha256, _), (local, _), (odd, _) = users
create(root, 'admin', ['root'], both)
admin = pymongo.MongoClient('127.0.0.1', int(port), username=root, password=password, directConnection=True)
create(user, 'admin', anything, both)
create(sha1, 'admin', anything, both[:1])
create(sha256, 'admin', anything, both[1:])
create(local, database, ['readWrite'], both)
create(odd, 'admin', anything, both)
";

fn prepare(folder: &Path) {
    fs::create_dir(folder.join("data")).unwrap();
    let pem = [pki().peer.cert.text.as_str(), &pki().peer.key.text].concat();
    // Of a replica set, even of one, the members know each other by this.
    for (name, text) in [("tls.pem", pem.as_str()), ("key", "bWVtYmVycyBvZiB0aGUgdGVzdCBzZXQ=")] {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn command(folder: &Path, port: u16, arguments: &[String]) -> Command {
    let home = brought().join("mongodb");
    let mut command = Command::new(needed(home.join("mongod")));
    command.env("LD_LIBRARY_PATH", home);
    command.arg("--dbpath").arg(folder.join("data")).arg("--unixSocketPrefix").arg(folder);
    command.args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--auth", "--quiet"]);
    command.args(["--replSet", Mongodb::REPLICA_SET, "--keyFile"]).arg(folder.join("key"));
    command.args(["--tlsMode", "preferTLS", "--tlsAllowConnectionsWithoutCertificates"]);
    command.arg("--tlsCertificateKeyFile").arg(folder.join("tls.pem"));
    command.arg("--tlsCAFile").arg(&pki().ca.path);
    command.args(["--wiredTigerCacheSizeGB", "0.25"]);
    command.args(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]);
    command.args(["--setParameter", "enableTestCommands=true"]);
    command.args(arguments);
    command
}
