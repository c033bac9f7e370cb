//! The schema of connections and tasks: HTTP alone, a column per field.
//!
//! A task named a whole URL, a connection none. So a connection becomes one per origin that its tasks ask, and per
//! credential and network where a task brought its own. What a task never sent, because its connection came first or a
//! policy took it away, is left out and reported: what is sent stays what was sent.
//!
//! Invariant: a row is carried with everything that decides what it sends and to whom, or not at all.

use std::collections::{HashMap, HashSet};

use openact_core::{ConnectorName, JsonObject, Tenant, Timestamp};
use openact_store::{LegacyRow, LegacyRows};
use serde_json::{Value, json};
use url::Url;

use super::{
    Plan, Target,
    credentials::Credentials,
    drafts::{Entry, Group},
    fields::{self, Json},
    names::{Names, OldTrn, time},
    report::{self, About, Effect, Finding},
    sent::{self, Pairs, Policy},
};

/// A connection as it was.
pub(super) struct Connection<'r> {
    pub(super) row: &'r LegacyRow,
    pub(super) about: About,
    trn: OldTrn,
    tenant: Tenant,
    pub(super) headers: Pairs,
    pub(super) query: Pairs,
    pub(super) body: Pairs,
    pub(super) policy: Option<JsonObject>,
    pub(super) network: Option<JsonObject>,
    pub(super) timeout: Option<JsonObject>,
    pub(super) retry: Option<JsonObject>,
}

/// A task as it was.
pub(super) struct Task<'r> {
    pub(super) row: &'r LegacyRow,
    pub(super) about: About,
    trn: OldTrn,
    tenant: Tenant,
    pub(super) url: Url,
    pub(super) headers: Pairs,
    pub(super) query: Pairs,
    pub(super) body: Option<Value>,
    pub(super) policy: Option<JsonObject>,
    pub(super) network: Option<JsonObject>,
    pub(super) timeout: Option<JsonObject>,
    pub(super) retry: Option<JsonObject>,
    pub(super) response: Option<JsonObject>,
}

/// What of a task needs a connection of its own.
#[derive(Clone, Debug, PartialEq)]
struct Where {
    origin: String,
    /// A header `Authorization` that was set by hand: the connection's own credential was not sent then.
    authorization: Option<String>,
    network: Option<JsonObject>,
}

/// Converts the rows of both tables.
pub(super) fn convert(rows: &LegacyRows, credentials: &Credentials, plan: &mut Plan) {
    let mut connections: HashMap<&str, Result<Connection<'_>, ()>> = HashMap::new();
    let mut order = Vec::new();
    for row in rows.of("connections") {
        let trn = row.text("trn").unwrap_or_default();
        let read = Connection::of(row).map_err(|finding| plan.findings.push(finding));
        connections.insert(trn, read);
        order.push(trn);
    }
    let mut tasks: HashMap<&str, Vec<Task<'_>>> = HashMap::new();
    for row in rows.of("tasks") {
        let named = row.text("connection_trn").unwrap_or_default();
        let exact = order.iter().find(|trn| **trn == named);
        let found = exact.or_else(|| order.iter().find(|trn| is_same(trn, named))).copied();
        let read = Task::of(row).and_then(|task| {
            let lost = |why: &str, advice: &str| {
                task.about.finding(Some("connection_trn"), Effect::RowNotCarried, why, advice)
            };
            match found.and_then(|trn| Some((trn, connections.get(trn)?))) {
                None => Err(lost("there is no such connection", "import it from a file, with a connection")),
                Some((_, Err(()))) => {
                    let advice = "mend the connection and import both from a file";
                    Err(task.about.row("its connection is not carried", advice))
                }
                Some((_, Ok(connection))) if connection.tenant != task.tenant => {
                    Err(lost("its connection is another tenant's", "import it for one tenant from a file"))
                }
                Some((trn, Ok(_))) => Ok((trn, task)),
            }
        });
        match read {
            Ok((trn, task)) => tasks.entry(trn).or_default().push(task),
            Err(finding) => plan.findings.push(finding),
        }
    }
    let mut names = Names::default();
    for trn in order {
        if let Some(Ok(connection)) = connections.get(trn) {
            let tasks = tasks.remove(trn).unwrap_or_default();
            Converter { credentials, names: &mut names, plan: &mut *plan }.connection(connection, &tasks);
        }
    }
    fields::notes_for_all(rows, &mut plan.findings);
}

/// Whether two TRNs are the same, one of them without its version.
fn is_same(one: &str, other: &str) -> bool {
    OldTrn::parse(one).is_some_and(|trn| Some(trn) == OldTrn::parse(other))
}

struct Converter<'a> {
    credentials: &'a Credentials,
    names: &'a mut Names,
    plan: &'a mut Plan,
}

impl Converter<'_> {
    fn connection(&mut self, connection: &Connection<'_>, tasks: &[Task<'_>]) {
        let mut places: Vec<(Where, Vec<&Task<'_>>)> = Vec::new();
        for task in tasks {
            let place = Where::of(connection, task);
            match places.iter_mut().find(|(other, _)| *other == place) {
                Some((_, tasks)) => tasks.push(task),
                None => places.push((place, vec![task])),
            }
        }
        if places.is_empty() {
            self.plan.findings.push(connection.about.row(
                "no task that is carried says which host it is for",
                "import it from a file, with base_url",
            ));
            return;
        }
        let own = match fields::authorization(connection, self.credentials, &mut self.plan.findings) {
            Ok(own) => own,
            // A credential that was never sent is not missed.
            Err(_) if places.iter().all(|(place, _)| place.authorization.is_some()) => Vec::new(),
            Err(finding) => {
                self.plan.findings.push(finding);
                for task in tasks {
                    let advice = "mend the connection and import both from a file";
                    self.plan.findings.push(task.about.row("its connection is not carried", advice));
                }
                return;
            }
        };
        self.say_what_is_split(connection, &places);
        let shared = fields::of_connection(connection, &mut self.plan.findings);
        for (place, tasks) in &places {
            let mut entry = self.entry(connection, place, &places, own.clone());
            entry.fields.extend(shared.iter().cloned());
            if let Some(network) = place.network.as_ref().or(connection.network.as_ref()) {
                let about = if connection.network.is_none() {
                    tasks.first().map_or(&connection.about, |task| &task.about)
                } else {
                    &connection.about
                };
                fields::network(&mut entry, network, about, &mut self.plan.findings);
            }
            let actions = tasks.iter().map(|task| self.action(connection, task, &entry.handle)).collect();
            self.plan.groups.push(Group { connector: http(), connection: entry, actions });
        }
    }

    /// The connection to one place, with what is not the same for all of them.
    fn entry(
        &mut self,
        connection: &Connection<'_>,
        place: &Where,
        places: &[(Where, Vec<&Task<'_>>)],
        own: Vec<(&'static str, &'static str, Value)>,
    ) -> Entry {
        let is_first = places.first().is_some_and(|(first, _)| first == place);
        let host = Url::parse(&place.origin).ok().and_then(|url| {
            let port = url.port().map_or(String::new(), |port| format!("-{port}"));
            Some(format!("{}{port}", url.host_str()?.trim_matches(['[', ']'])))
        });
        let id = &connection.trn.id;
        let wanted = match host.filter(|_| !is_first) {
            Some(host) => format!("{id}-{host}"),
            None => id.clone(),
        };
        let target = self.target(&connection.tenant, &connection.trn, "connection", &wanted, connection.row);
        if target.name.as_str() != wanted {
            let why = format!("its name was not free, or not a legal one: it is '{}'", target.name);
            self.plan.findings.push(connection.about.finding(Some("trn"), Effect::Note, why, ""));
        }
        let mut entry = self.plan.entry(&connection.about, target);
        entry.set("api_endpoint of its tasks", "base_url", sent::without_variables(&json!(place.origin)));
        if let Some(name) = connection.row.text("name").filter(|name| *name != id.as_str()) {
            entry.set("name", "description", sent::without_variables(&json!(name)));
        }
        match &place.authorization {
            Some(value) => {
                let section = json!({"type": "api_key", "header": "Authorization", "value": value});
                entry.set("headers", "authorization", sent::without_variables(&section));
            }
            None => own.into_iter().for_each(|(column, key, value)| entry.set(column, key, value)),
        }
        entry
    }

    fn action(&mut self, connection: &Connection<'_>, task: &Task<'_>, over: &str) -> Entry {
        let target = self.target(&task.tenant, &task.trn, "action", &task.trn.id, task.row);
        if target.name.as_str() != task.trn.id {
            let why = format!("its name was not free, or not a legal one: it is '{}'", target.name);
            self.plan.findings.push(task.about.finding(Some("trn"), Effect::Note, why, ""));
        }
        let mut entry = self.plan.entry(&task.about, target);
        entry.set("connection_trn", "connection", over);
        if let Some(name) = task.row.text("name").filter(|name| *name != task.trn.id) {
            entry.set("name", "description", sent::without_variables(&json!(name)));
        }
        fields::of_task(&mut entry, connection, task, &mut self.plan.findings);
        entry
    }

    fn target(
        &mut self,
        tenant: &Tenant,
        trn: &OldTrn,
        kind: &'static str,
        wanted: &str,
        row: &LegacyRow,
    ) -> Target {
        let name = self.names.take(kind, &format!("{tenant}:http"), wanted, trn.version);
        Target::new(tenant.clone(), http(), name, trn.version, row)
    }

    fn say_what_is_split(&mut self, connection: &Connection<'_>, places: &[(Where, Vec<&Task<'_>>)]) {
        let origins: HashSet<&str> = places.iter().map(|(place, _)| place.origin.as_str()).collect();
        if origins.len() > 1 {
            let why = format!("its tasks ask {} hosts: it is a connection for each", origins.len());
            let advice = "each of them may reach its own host only, and has the same credential";
            self.plan.findings.push(connection.about.finding(None, Effect::Note, why, advice));
        }
        for (place, tasks) in places {
            for task in tasks.iter().filter(|_| place.authorization.is_some()) {
                let (column, about) = if task.headers.contains_key("authorization") {
                    ("headers_json", &task.about)
                } else {
                    ("default_headers_json", &connection.about)
                };
                let why = "the header Authorization was sent in place of the connection's credential; it is sealed as the credential of a connection of its own";
                let finding = about.finding(Some(column), Effect::Note, why, "");
                if !self.plan.findings.contains(&finding) {
                    self.plan.findings.push(finding);
                }
            }
        }
    }
}

impl Where {
    fn of(connection: &Connection<'_>, task: &Task<'_>) -> Self {
        let policy = Policy::of(task.policy.as_ref().or(connection.policy.as_ref()));
        let sent = policy.headers(&connection.headers, &task.headers);
        Self {
            origin: task.url.origin().ascii_serialization(),
            authorization: sent.get("authorization").cloned(),
            // The connection's came first.
            network: task.network.clone().filter(|_| connection.network.is_none()),
        }
    }
}

impl<'r> Connection<'r> {
    fn of(row: &'r LegacyRow) -> Result<Self, Finding> {
        let (about, trn, tenant) = identity(row, "connections", "connection")?;
        let json = Json { row, about: &about };
        Ok(Self {
            headers: lower_case(json.key_values("default_headers_json")?),
            query: json.key_values("default_query_params_json")?.into_iter().collect(),
            body: json.key_values("default_body_json")?.into_iter().collect(),
            policy: json.object("http_policy_json")?,
            network: json.object("network_config_json")?,
            timeout: json.object("timeout_config_json")?,
            retry: json.object("retry_policy_json")?,
            row,
            trn,
            tenant,
            about: about.clone(),
        })
    }
}

impl<'r> Task<'r> {
    fn of(row: &'r LegacyRow) -> Result<Self, Finding> {
        let (about, trn, tenant) = identity(row, "tasks", "task")?;
        let json = Json { row, about: &about };
        let lost = |column: &str, why: &str, advice: &str| {
            Err(about.finding(Some(column), Effect::RowNotCarried, why, advice))
        };
        let endpoint = row.text("api_endpoint").unwrap_or_default();
        let url = match Url::parse(endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => {
                let advice = "import it from a file, over a connection with the base_url";
                return lost("api_endpoint", "it is not an http or https URL with a host", advice);
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            let advice = "import it from a file, with authorization: { type: basic, … }";
            return lost("api_endpoint", "it holds a user name or password", advice);
        }
        if row.text("method").is_none_or(str::is_empty) {
            return lost("method", "it is missing", "import it from a file");
        }
        Ok(Self {
            headers: lower_case(json.multi_values("headers_json", ", ")?),
            query: json.multi_values("query_params_json", ",")?.into_iter().collect(),
            body: json.any("request_body_json")?,
            policy: json.object("http_policy_json")?,
            network: json.object("network_config_json")?,
            timeout: json.object("timeout_config_json")?,
            retry: json.object("retry_policy_json")?,
            response: json.object("response_policy_json")?,
            row,
            trn,
            tenant,
            url,
            about: about.clone(),
        })
    }
}

fn identity(row: &LegacyRow, table: &'static str, kind: &str) -> Result<(About, OldTrn, Tenant), Finding> {
    let text = row.text("trn").unwrap_or_default();
    let about = About { table, trn: text.to_owned() };
    if let Some(column) = row.unreadable().next() {
        let advice = "import it from a file";
        return Err(about.finding(Some(column), Effect::RowNotCarried, report::UNREADABLE, advice));
    }
    let bad = |why: String| {
        about.finding(Some("trn"), Effect::RowNotCarried, why, "import it from a file, under a new name")
    };
    let trn = OldTrn::parse(text)
        .filter(|trn| trn.kind == kind)
        .ok_or_else(|| bad(format!("it is not of the form trn:openact:TENANT:{kind}/ID")))?;
    let tenant = trn.tenant().ok_or_else(|| {
        bad("its tenant is not a legal one: lower-case letters, digits and '-', at most 63".into())
    })?;
    Ok((about, trn, tenant))
}

/// The last of several spellings was sent.
fn lower_case(pairs: Vec<(String, String)>) -> Pairs {
    pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

fn http() -> ConnectorName {
    ConnectorName::canonical("http").unwrap_or_else(|_| http())
}

/// When a row was made and changed; now, where it does not say.
pub(super) fn times(row: &LegacyRow) -> (Timestamp, Timestamp) {
    let at = |column| row.text(column).and_then(time).unwrap_or_else(Timestamp::now);
    (at("created_at"), at("updated_at"))
}
