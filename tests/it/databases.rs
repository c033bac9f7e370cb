//! The databases that other tests rely on, asked by their ordinary clients: over TLS and in plain text, with the right
//! password and with a wrong one, before and after they were stopped.
//!
//! Invariant: nothing of OpenAct is at work here.

use support::databases::{
    By, Mongodb, Mysql, ODD, Postgres, Redis, mariadb, mongodb, mysql, postgres, redis, redis_cluster,
};

const EACH: [By; 2] = [By::Tls, By::Plain];

fn refused(answer: Result<String, String>, why: &str) {
    let error = answer.expect_err("it was let in");
    assert!(error.contains(why), "{error}");
}

#[test]
fn postgres_knows_its_users() {
    let server = postgres();
    let trusted = (Postgres::TRUSTED, "");
    for by in EACH {
        for login in [Postgres::USER, Postgres::ADMIN, Postgres::MD5, Postgres::CLEARTEXT, trusted, ODD] {
            let sql = "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let tls = if by == By::Tls { "t" } else { "f" };
            assert_eq!(server.psql_as(login, by, sql).unwrap(), format!("{}|{tls}", login.0));
        }
        for (user, _) in [Postgres::USER, Postgres::MD5, Postgres::CLEARTEXT, ODD] {
            refused(server.psql_as((user, "wrong"), by, "SELECT 1"), "password authentication failed");
        }
    }
    assert_eq!(server.psql_as(Postgres::TLS_ONLY, By::Tls, "SELECT 1").unwrap(), "1");
    refused(server.psql_as(Postgres::TLS_ONLY, By::Plain, "SELECT 1"), "pg_hba.conf");
    let certified = (Postgres::CERTIFIED, "");
    assert_eq!(server.psql_as(certified, By::Tls, "SELECT current_user").unwrap(), Postgres::CERTIFIED);
    refused(server.psql_as(certified, By::Plain, "SELECT 1"), "no password supplied");
    let stored = |login: (&str, &str)| {
        let sql = format!("SELECT left(rolpassword, 5) FROM pg_authid WHERE rolname = '{}'", login.0);
        server.psql_as(Postgres::ADMIN, By::Plain, &sql).unwrap()
    };
    assert_eq!(
        [stored(Postgres::USER), stored(Postgres::MD5)].map(|kind| kind[..3].to_owned()),
        ["SCR", "md5"]
    );
}

#[test]
fn postgres_starts_again_with_what_it_kept() {
    let server = Postgres::own(&["ssl=off"]);
    server.psql("CREATE TABLE kept AS SELECT 7 AS x");
    refused(server.psql_as(Postgres::USER, By::Tls, "SELECT 1"), "server does not support SSL");
    server.stop();
    refused(server.psql_as(Postgres::USER, By::Plain, "SELECT 1"), "refused");
    server.start();
    server.psql("UPDATE kept SET x = 8");
    server.kill();
    refused(server.psql_as(Postgres::USER, By::Plain, "SELECT 1"), "refused");
    server.start();
    assert_eq!(server.psql("SELECT x FROM kept"), "8");
    let (folder, fresh) = (server.folder.clone(), server.fresh_database());
    assert_eq!(
        server.psql_in(&fresh, Postgres::USER, By::Plain, "SELECT current_database()").unwrap(),
        fresh
    );
    drop(server);
    assert!(!folder.exists());
}

fn mysql_knows_its_users(server: &Mysql) {
    let trusted = (Mysql::TRUSTED, "");
    for by in EACH {
        for login in [Mysql::USER, trusted, ODD] {
            let sql = "SELECT CURRENT_USER(); SHOW STATUS LIKE 'Ssl_version'";
            let answer = server.sql_as(login, by, sql).unwrap();
            assert!(answer.starts_with(&format!("{}@%\n", login.0)), "{answer}");
            assert_eq!(answer.contains("TLSv1.3"), by == By::Tls, "{answer}");
        }
        for (user, _) in [Mysql::USER, trusted, ODD] {
            refused(server.sql_as((user, "wrong"), by, "SELECT 1"), "Access denied");
        }
    }
    for login in [Mysql::TLS_ONLY, Mysql::CERTIFIED] {
        assert_eq!(server.sql_as(login, By::Tls, "SELECT 1").unwrap(), "1");
        refused(server.sql_as(login, By::Plain, "SELECT 1"), "Access denied");
    }
    let fresh = server.fresh_database();
    assert_eq!(server.sql(&format!("CREATE TABLE {fresh}.x (y INT); SHOW TABLES IN {fresh}")), "x");
    let plugins =
        server.sql_as_root("SELECT DISTINCT plugin FROM mysql.user WHERE host = '%' AND user != ''");
    let expected = if server.is_mariadb() { "mysql_native_password" } else { "caching_sha2_password" };
    assert_eq!(plugins, expected);
    server.forget_logins();
    assert_eq!(server.sql("SELECT 1"), "1");
}

fn mysql_starts_again_with_what_it_kept(server: Mysql) {
    server.sql("CREATE TABLE kept (x INT); INSERT INTO kept VALUES (7)");
    server.stop();
    refused(server.sql_as(Mysql::USER, By::Plain, "SELECT 1"), "connect");
    server.start();
    server.sql("UPDATE kept SET x = 8");
    server.kill();
    server.start();
    assert_eq!(server.sql("SELECT x FROM kept"), "8");
    let folder = server.folder.clone();
    drop(server);
    assert!(!folder.exists());
}

#[test]
fn mariadb_knows_its_users() {
    mysql_knows_its_users(mariadb());
}

#[test]
fn mysql_knows_its_users_too() {
    if let Some(server) = mysql() {
        mysql_knows_its_users(server);
    }
}

#[test]
fn mariadb_starts_again_with_what_it_kept() {
    mysql_starts_again_with_what_it_kept(Mysql::own_mariadb(&[]));
}

#[test]
fn mysql_starts_again_too() {
    if let Some(server) = Mysql::own_mysql(&[]) {
        mysql_starts_again_with_what_it_kept(server);
    }
}

#[test]
fn redis_knows_its_users() {
    let server = redis();
    for by in EACH {
        for login in [Redis::USER, Redis::LIMITED, ODD] {
            assert_eq!(server.cli_as(login, by, &["acl", "whoami"]).unwrap(), login.0);
            refused(server.cli_as((login.0, "wrong"), by, &["ping"]), "WRONGPASS");
        }
    }
    server.cli(&["set", "app:x", "1"]);
    server.cli(&["set", "other", "1"]);
    assert_eq!(server.cli_as(Redis::LIMITED, By::Tls, &["get", "app:x"]).unwrap(), "1");
    refused(server.cli_as(Redis::LIMITED, By::Tls, &["get", "other"]), "NOPERM");
    refused(server.cli_as(Redis::LIMITED, By::Tls, &["keys", "app:*"]), "NOPERM");
}

#[test]
fn redis_starts_again_with_what_it_kept() {
    let server = Redis::own(&["appendonly yes", "appendfsync always"]);
    server.cli(&["set", "kept", "7"]);
    server.stop();
    refused(server.cli_as(Redis::USER, By::Plain, &["ping"]), "refused");
    server.start();
    assert_eq!(server.cli(&["incr", "kept"]), "8");
    server.kill();
    server.start();
    assert_eq!(server.cli_as(Redis::USER, By::Tls, &["get", "kept"]).unwrap(), "8");
}

#[test]
fn redis_shares_the_keys_of_a_cluster() {
    let cluster = redis_cluster();
    // Of different slots, so that no node has them all.
    for key in ["a", "b", "c"] {
        assert_eq!(cluster.cli(&["set", key, key]), "OK");
        let has = |node: &&Redis| node.cli_as(Redis::USER, By::Plain, &["get", key]).as_deref() == Ok(key);
        assert_eq!(cluster.nodes.iter().filter(has).count(), 1, "{key}");
    }
    refused(
        cluster
            .nodes
            .iter()
            .map(|node| node.cli_as(Redis::USER, By::Plain, &["get", "a"]))
            .find(Result::is_err)
            .unwrap(),
        "MOVED",
    );
}

#[test]
fn mongodb_knows_its_users() {
    let server = mongodb();
    let who = "print(client.admin.command('connectionStatus')['authInfo']['authenticatedUsers'][0]['user'])";
    for by in EACH {
        for login in [Mongodb::USER, Mongodb::SHA1, Mongodb::SHA256, Mongodb::LOCAL, ODD] {
            assert_eq!(server.pymongo_as(login, by, who).unwrap(), login.0);
        }
        refused(server.pymongo_as((Mongodb::USER.0, "wrong"), by, who), "Authentication failed");
    }
    let mechanisms = "print(client.admin.command('usersInfo', 'sha1_user')['users'][0]['mechanisms'])";
    assert_eq!(server.pymongo_as(Mongodb::ADMIN, By::Tls, mechanisms).unwrap(), "['SCRAM-SHA-1']");
    let transaction = "
things = db.transactions
with client.start_session() as session, session.start_transaction():
    things.insert_one({'x': 1}, session=session)
    print(things.count_documents({}), things.count_documents({}, session=session))
";
    assert_eq!(server.pymongo(transaction), "0 1");
    refused(
        server.pymongo_as(Mongodb::LOCAL, By::Plain, "client.other.things.insert_one({})"),
        "not authorized",
    );
}

#[test]
fn mongodb_starts_again_with_what_it_kept() {
    let server = Mongodb::own(&[]);
    server.pymongo("db.kept.insert_one({'x': 7})");
    server.stop();
    server.start();
    server.pymongo("db.kept.update_one({}, {'$inc': {'x': 1}})");
    server.kill();
    server.start();
    assert_eq!(server.pymongo("print(db.kept.find_one()['x'])"), "8");
}
