//! B7, B8 and the same for MySQL and MongoDB: one row or value by its key, as an action and by an ordinary driver.
//!
//! Both sides log in as the same user to the same server, in plain text over loopback, and keep their sessions: the
//! drivers one for each task, the engine as many as it parks. Invariant: each call asks for another key and looks into
//! the answer; our side is the whole of it, as in [`crate::http`], and so is what the connector asks the server to do to
//! make a parked session as new.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use openact::{Format, MasterKey, OpenAct};
use serde_json::{Value, json};
use support::databases::{self, Mongodb, Mysql, Postgres, Redis};

use crate::{
    figure::{Budget, Compare, Figure},
    rounds::{Caller, Effort, median, saturate},
};

/// Calls in flight, and sessions of a driver.
const TASKS: usize = 16;

/// What there is to ask for.
const ROWS: u32 = 1_000;

const WARM_UP: Duration = Duration::from_millis(200);

const HOST: &str = "127.0.0.1";
const TABLE: &str = "bench_users";

/// Calls a second, [`TASKS`] at a time.
pub(crate) async fn throughput(id: &'static str, effort: Effort) -> Result<Figure> {
    let (what, budget, (rounds, closing)) = match id {
        "B7" => (
            "SELECT of a row of PostgreSQL, 16 tasks, against tokio-postgres",
            Budget::AtLeast(0.40, Some(0.70)),
            postgres(effort).await?,
        ),
        "B8" => (
            "GET of Redis, 16 tasks, against redis-rs",
            Budget::AtLeast(0.35, Some(0.60)),
            redis(effort).await?,
        ),
        "MySQL" => {
            ("SELECT of a row of MariaDB, 16 tasks, against mysql_async", Budget::None, mysql(effort).await?)
        }
        "MongoDB" => (
            "find of a document of MongoDB, 16 tasks, against its own driver",
            Budget::None,
            mongodb(effort).await?,
        ),
        _ => bail!("no database has the figure {id}"),
    };
    Ok(Figure {
        id,
        what,
        unit: "/s",
        rounds,
        compare: Compare::Ratio,
        budget,
        note: format!("{closing:.0} % of our time is the wait for the last run records"),
    })
}

/// What a row says, so that an answer to another question is seen.
fn name(id: u32) -> String {
    format!("user {id:04} of the database")
}

fn email(id: u32) -> String {
    format!("user-{id}@mail.example")
}

/// A table of SQL with its rows.
fn sql_table() -> String {
    let rows: Vec<String> = (1..=ROWS).map(|id| format!("({id}, '{}', '{}')", name(id), email(id))).collect();
    format!(
        "CREATE TABLE {TABLE} (id integer PRIMARY KEY, name varchar(100) NOT NULL, email varchar(100) NOT NULL);
        INSERT INTO {TABLE} VALUES {};",
        rows.join(", "),
    )
}

async fn postgres(effort: Effort) -> Result<Measured> {
    let server = databases::postgres();
    server.psql(&sql_table());
    // Fresh statistics, on both sides from the first call on.
    server.psql(&format!("ANALYZE {TABLE}"));
    let (user, password) = Postgres::USER;
    let config = config(
        "postgres",
        json!({
            "host": HOST, "port": server.port, "user": user, "password": password, "database": Postgres::DATABASE,
            "tls": "disable",
        }),
        json!({
            "statement": format!("SELECT id, name, email FROM {TABLE} WHERE id = $1"),
            "parameters": [{"name": "id", "type": "integer", "required": true}],
        }),
    );
    let mut drivers = Vec::new();
    for first in 0..TASKS {
        let (client, connection) = tokio_postgres::Config::new()
            .host(HOST)
            .port(server.port)
            .user(user)
            .password(password)
            .dbname(Postgres::DATABASE)
            .connect(tokio_postgres::NoTls)
            .await?;
        tokio::spawn(connection);
        let statement = client.prepare(&format!("SELECT id, name, email FROM {TABLE} WHERE id = $1")).await?;
        let (client, mut ids) = (Arc::new(client), ids(first));
        drivers.push(move || {
            let (client, statement, id) = (Arc::clone(&client), statement.clone(), next(&mut ids));
            async move {
                let row = client.query_one(&statement, &[&(id as i32)]).await?;
                let (of, found, _): (i32, String, String) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                ensure!(of == id as i32 && found == name(id), "PostgreSQL answers {found}");
                Ok(())
            }
        });
    }
    take_turns(effort, "postgres/get", &config, drivers).await
}

async fn redis(effort: Effort) -> Result<Measured> {
    let server = databases::redis();
    let pairs: Vec<String> = (1..=ROWS).flat_map(|id| [format!("app:{id}"), name(id)]).collect();
    let mut fill = vec!["MSET"];
    fill.extend(pairs.iter().map(String::as_str));
    server.cli(&fill);
    let config = config(
        "redis",
        json!({"host": HOST, "port": server.port, "password": Redis::PASSWORD, "tls": "disable"}),
        json!({
            "command": ["GET", "app:{{id}}"],
            "parameters": [{"name": "id", "type": "integer", "required": true}],
        }),
    );
    let address = ::redis::IntoConnectionInfo::into_connection_info((HOST, server.port))?;
    let login = ::redis::RedisConnectionInfo::default().set_password(Redis::PASSWORD);
    let tcp = ::redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let client = ::redis::Client::open(address.set_redis_settings(login).set_tcp_settings(tcp))?;
    let mut drivers = Vec::new();
    for first in 0..TASKS {
        let connection = client.get_multiplexed_async_connection().await?;
        let mut ids = ids(first);
        drivers.push(move || {
            let (mut connection, id) = (connection.clone(), next(&mut ids));
            async move {
                let mut get = ::redis::cmd("GET");
                get.arg(format!("app:{id}"));
                let found: String = get.query_async(&mut connection).await?;
                ensure!(found == name(id), "Redis answers {found}");
                Ok(())
            }
        });
    }
    take_turns(effort, "redis/get", &config, drivers).await
}

struct MysqlDriver {
    connection: mysql_async::Conn,
    statement: mysql_async::Statement,
    ids: u32,
}

impl Caller for MysqlDriver {
    async fn call(&mut self) -> Result<()> {
        use mysql_async::prelude::Queryable as _;
        let id = next(&mut self.ids);
        let row: Option<(u32, String, String)> = self.connection.exec_first(&self.statement, (id,)).await?;
        let (of, found, _) = row.context("the server has no such row")?;
        ensure!(of == id && found == name(id), "the server answers {found}");
        Ok(())
    }
}

/// MariaDB, because a MySQL is not to be had everywhere.
async fn mysql(effort: Effort) -> Result<Measured> {
    use mysql_async::prelude::Queryable as _;
    let server = databases::mariadb();
    server.sql(&sql_table());
    let (user, password) = Mysql::USER;
    let select = format!("SELECT id, name, email FROM {TABLE} WHERE id = ?");
    let config = config(
        "mysql",
        json!({
            "host": HOST, "port": server.port, "user": user, "password": password, "database": Mysql::DATABASE,
            "tls": "disable",
        }),
        json!({
            "statement": select,
            "parameters": [{"name": "id", "type": "integer", "required": true}],
        }),
    );
    let login = mysql_async::OptsBuilder::default()
        .ip_or_hostname(HOST)
        .tcp_port(server.port)
        .user(Some(user))
        .pass(Some(password))
        .db_name(Some(Mysql::DATABASE))
        // Else it looks for a socket file and goes on through that.
        .prefer_socket(false);
    let mut drivers = Vec::new();
    for first in 0..TASKS {
        let mut connection = mysql_async::Conn::new(login.clone()).await?;
        let statement = connection.prep(&select).await?;
        drivers.push(MysqlDriver { connection, statement, ids: ids(first) });
    }
    take_turns(effort, "mysql/get", &config, drivers).await
}

async fn mongodb(effort: Effort) -> Result<Measured> {
    use ::mongodb::{
        Client,
        bson::{Document, doc},
        options::{ClientOptions, Credential, ServerAddress},
    };
    let server = databases::mongodb();
    let documents: Vec<Value> =
        (1..=ROWS).map(|id| json!({"_id": id, "name": name(id), "email": email(id)})).collect();
    server.pymongo(&format!("db.{TABLE}.insert_many(json.loads(r'''{}'''))", Value::from(documents)));
    let (user, password) = Mongodb::USER;
    let config = config(
        "mongodb",
        json!({
            "host": HOST, "port": server.port, "user": user, "password": password, "database": Mongodb::DATABASE,
            "auth_source": "admin",
        }),
        json!({
            "operation": "find",
            "collection": TABLE,
            "filter": {"_id": "{{id}}"},
            "limit": 1,
        }),
    );
    let address = ServerAddress::Tcp { host: HOST.into(), port: Some(server.port) };
    let login = Credential::builder().username(user.to_owned()).password(password.to_owned()).build();
    let options = ClientOptions::builder()
        .hosts(vec![address])
        .credential(login)
        .direct_connection(true)
        .max_pool_size(TASKS as u32)
        .build();
    let client = Client::with_options(options)?;
    let collection = client.database(Mongodb::DATABASE).collection::<Document>(TABLE);
    let driver = |first| {
        let (collection, mut ids) = (collection.clone(), ids(first));
        move || {
            let (collection, id) = (collection.clone(), next(&mut ids));
            async move {
                let found = collection.find_one(doc! {"_id": id}).await?.context("no such document")?;
                ensure!(found.get_str("name")? == name(id), "MongoDB answers {found}");
                Ok(())
            }
        }
    };
    take_turns(effort, "mongodb/get", &config, (0..TASKS).map(driver).collect()).await
}

/// Rounds of our side and the driver's, and how much of our time was the wait for run records, per cent.
type Measured = (Vec<(f64, f64)>, f64);

async fn take_turns<C: Caller>(
    effort: Effort,
    action: &'static str,
    config: &str,
    drivers: Vec<C>,
) -> Result<Measured> {
    let mut drivers = saturate(WARM_UP, drivers).await?;
    let (mut rounds, mut shares) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let ours = Ours::new(action, config).await?;
        let mut turn = saturate(effort.turn, ours.callers()).await?;
        let closing = Instant::now();
        ours.openact.close().await?;
        let closing = closing.elapsed();
        turn.elapsed += closing;
        shares.push(100.0 * closing.as_secs_f64() / turn.elapsed.as_secs_f64());

        drivers = saturate(effort.turn, drivers.callers).await?;
        rounds.push((turn.per_second(), drivers.per_second()));
    }
    Ok((rounds, median(shares)))
}

/// One connection, `bench`, and one action, `get`.
fn config(connector: &str, connection: Value, mut get: Value) -> String {
    get["connection"] = "bench".into();
    json!({"connectors": {connector: {"connections": {"bench": connection}, "actions": {"get": get}}}})
        .to_string()
}

struct Ours {
    openact: OpenAct,
    action: &'static str,
    /// Holds the database of the run records.
    _folder: tempfile::TempDir,
}

impl Ours {
    async fn new(action: &'static str, config: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let openact = support::builder(folder.path(), &[])
            .master_key(MasterKey::ephemeral()?)
            .config_text(config, Format::Json)
            .build()
            .await?;
        let ours = Self { openact, action, _folder: folder };
        saturate(WARM_UP, ours.callers()).await?;
        Ok(ours)
    }

    fn callers(&self) -> Vec<impl Caller> {
        let caller = |first| {
            let (openact, action, mut ids) = (self.openact.clone(), self.action, ids(first));
            move || {
                let (openact, id) = (openact.clone(), next(&mut ids));
                async move {
                    let outcome = openact.run(action, json!({"id": id})).await?;
                    let answer = outcome.result.as_str();
                    ensure!(answer.contains(&name(id)), "the action answers {answer}");
                    anyhow::Ok(())
                }
            }
        };
        (0..TASKS).map(caller).collect()
    }
}

/// Where one of the callers begins.
fn ids(caller: usize) -> u32 {
    caller as u32 * (ROWS / TASKS as u32)
}

/// Each caller asks for all in turn.
fn next(ids: &mut u32) -> u32 {
    *ids = *ids % ROWS + 1;
    *ids
}
