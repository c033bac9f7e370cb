//! The schema of connections and actions: every connector, the fields as JSON, as earlier files had them.
//!
//! | of `http`, before | now |
//! |---|---|
//! | a path with `/` replaced the path of `base_url` | `base_url` is the origin, and the paths are written out |
//! | of the values of a header or parameter, the first was sent | the first |
//! | redirects were followed | `defaults.follow_redirects` |
//! | `{{x}}` and `${X}` in a body were text | the same, escaped |
//!
//! Invariant: what is no field of the connector is a finding, as it is a mistake in a file.

use std::collections::HashMap;

use openact_core::{ConnectorName, JsonObject, Tenant};
use openact_store::{LegacyRow, LegacyRows};
use serde_json::{Value, json};
use url::Url;

use super::{
    Plan, Target,
    credentials::Credentials,
    drafts::{Entry, Group},
    fields::Json,
    names::{Names, OldTrn},
    report::{self, About, Effect, Finding},
    sent::{literal, without_variables},
};

struct Record<'r> {
    row: &'r LegacyRow,
    about: About,
    tenant: Tenant,
    connector: ConnectorName,
    trn: OldTrn,
    name: String,
    config: JsonObject,
}

/// Fields of actions that are sent, and are templates today.
const SENT: &[&str] = &["headers", "query", "query_params", "cookies", "body", "request_body"];

/// Converts the rows of both tables.
pub(super) fn convert(rows: &LegacyRows, credentials: &Credentials, plan: &mut Plan) {
    let mut groups: Vec<(&str, Record<'_>, Vec<Record<'_>>)> = Vec::new();
    let mut lost = HashMap::new();
    for row in rows.of("connections") {
        let trn = row.text("trn").unwrap_or_default();
        match Record::of(row, "connections", "connection") {
            Ok(record) => groups.push((trn, record, Vec::new())),
            Err(finding) => {
                plan.findings.push(finding);
                lost.insert(trn, ());
            }
        }
    }
    for row in rows.of("actions") {
        let over = row.text("connection_trn").unwrap_or_default();
        let refused = |record: &Record<'_>, why: &str| {
            let advice = "import it from a file, with its connection";
            record.about.finding(Some("connection_trn"), Effect::RowNotCarried, why, advice)
        };
        match Record::of(row, "actions", "action") {
            Err(finding) => plan.findings.push(finding),
            Ok(action) => match groups.iter_mut().find(|(trn, ..)| *trn == over) {
                Some((_, connection, actions))
                    if (&connection.connector, &connection.tenant) == (&action.connector, &action.tenant) =>
                {
                    actions.push(action);
                }
                Some(_) => {
                    plan.findings.push(refused(&action, "its connection is another connector's or tenant's"))
                }
                None if lost.contains_key(over) => {
                    plan.findings.push(refused(&action, "its connection is not carried"));
                }
                None => plan.findings.push(refused(&action, "there is no such connection")),
            },
        }
    }
    let mut names = Names::default();
    for (_, connection, actions) in groups {
        group(connection, actions, credentials, &mut names, plan);
    }
    for table in ["connections", "actions"] {
        if rows.of(table).iter().any(|row| row.text("version").is_some_and(|version| version != "1")) {
            let about = About { table, trn: "*".into() };
            let why = "it counted edits; the version of today is the @v of the TRN";
            plan.findings.push(about.finding(Some("version"), Effect::Note, why, ""));
        }
    }
}

/// A connection and its actions, as entries of a file.
fn group(
    mut connection: Record<'_>,
    mut actions: Vec<Record<'_>>,
    credentials: &Credentials,
    names: &mut Names,
    plan: &mut Plan,
) {
    if connection.connector.as_str() == "http" {
        as_it_was_sent(&mut connection, &mut actions, &mut plan.findings);
    }
    let reference = connection.config.get("auth_ref").and_then(Value::as_str);
    if let Some(trn) = reference.and_then(|text| credentials.reference(text)) {
        connection.config.insert("auth_ref".into(), trn.to_string().into());
    }
    if connection.config.get("auth_ref").is_some_and(Value::is_string)
        && connection.config.contains_key("auth_parameters")
    {
        let why = "client id, secret and token URL are only in the earlier table: the stored token is used until it expires, and is not refreshed yet";
        let advice = "authorise again when it has expired";
        let column = Some("config_json, auth_parameters");
        plan.findings.push(connection.about.finding(column, Effect::FieldNotCarried, why, advice));
    }
    let entry = entry(&connection, "connection", names, plan);
    let actions = actions
        .iter()
        .map(|action| {
            let mut made = self::entry(action, "action", names, plan);
            made.set("connection_trn", "connection", entry.handle.as_str());
            mcp(action, &mut made);
            made
        })
        .collect();
    plan.groups.push(Group { connector: connection.connector.clone(), connection: entry, actions });
}

impl<'r> Record<'r> {
    fn of(row: &'r LegacyRow, table: &'static str, kind: &str) -> Result<Self, Finding> {
        let text = row.text("trn").unwrap_or_default();
        let about = About { table, trn: text.to_owned() };
        let lost = |column: &str, why: &str| {
            about.finding(Some(column), Effect::RowNotCarried, why, "import it from a file, mended")
        };
        if let Some(column) = row.unreadable().next() {
            return Err(lost(column, report::UNREADABLE));
        }
        let trn = OldTrn::parse(text).filter(|trn| trn.kind == kind);
        let trn = trn
            .ok_or_else(|| lost("trn", "it is not of the form trn:openact:TENANT:KIND/CONNECTOR/NAME@vN"))?;
        let (connector, name) = trn
            .id
            .rsplit_once('/')
            .or_else(|| row.text("connector").map(|connector| (connector, trn.id.as_str())))
            .ok_or_else(|| lost("trn", "it names no connector"))?;
        let name = name.to_owned();
        let connector =
            ConnectorName::canonical(connector).map_err(|error| lost("connector", &error.message))?;
        let tenant = trn.tenant().ok_or_else(|| lost("trn", "its tenant is not a legal one"))?;
        let json = Json { row, about: &about };
        let mut config = json.object("config_json")?.ok_or_else(|| lost("config_json", "it is empty"))?;
        // What the row itself says.
        for key in
            ["kind", "connector", "connection", "connection_trn", "trn", "name", "version", "mcp_enabled"]
        {
            if !(key == "name" || key == "version")
                || config.get(key) == row.text(key).map(Value::from).as_ref()
            {
                config.shift_remove(key);
            }
        }
        json.object("mcp_overrides_json")?;
        Ok(Self { row, tenant, connector, name, config, trn, about: about.clone() })
    }
}

fn entry(record: &Record<'_>, kind: &'static str, names: &mut Names, plan: &mut Plan) -> Entry {
    let scope = format!("{}:{}", record.tenant, record.connector);
    let name = names.take(kind, &scope, &record.name, record.trn.version);
    if name.as_str() != record.name {
        let why = format!("its name was not free, or not a legal one: it is '{name}'");
        plan.findings.push(record.about.finding(Some("trn"), Effect::Note, why, ""));
    }
    let (tenant, connector) = (record.tenant.clone(), record.connector.clone());
    let target = Target::new(tenant, connector, name, record.trn.version, record.row);
    let mut entry = plan.entry(&record.about, target);
    for (key, value) in &record.config {
        let is_sent =
            SENT.contains(&key.as_str()) || key == "invocation_http_parameters" || key == "defaults";
        let value = if is_sent && record.connector.as_str() == "http" {
            literal(value)
        } else {
            without_variables(value)
        };
        entry.set(&format!("config_json, {key}"), key, value);
    }
    entry
}

fn mcp(action: &Record<'_>, entry: &mut Entry) {
    let enabled = action.row.text("mcp_enabled") == Some("1");
    let overrides = action.row.text("mcp_overrides_json").and_then(|text| serde_json::from_str(text).ok());
    let mut mcp: JsonObject = overrides.unwrap_or_default();
    mcp.retain(|_, value| !value.is_null());
    entry.fields.retain(|field| field.key != "mcp");
    if enabled {
        mcp.insert("enabled".into(), true.into());
    }
    if !mcp.is_empty() {
        entry.set("mcp_overrides_json", "mcp", without_variables(&Value::Object(mcp)));
    }
}

/// What the earlier `http` made of a connection and its actions.
fn as_it_was_sent(connection: &mut Record<'_>, actions: &mut [Record<'_>], findings: &mut Vec<Finding>) {
    let defaults = connection.config.entry("defaults").or_insert_with(|| json!({}));
    if let Some(defaults) = defaults.as_object_mut() {
        defaults.entry("follow_redirects").or_insert(true.into());
    }
    write_paths_out(connection, actions, findings);
    for action in actions.iter_mut() {
        for key in ["headers", "query_params"] {
            let Some(pairs) = action.config.get_mut(key).and_then(Value::as_object_mut) else { continue };
            for (name, value) in pairs.iter_mut() {
                let Some(first) =
                    value.as_array().filter(|list| list.len() > 1).and_then(|list| list.first())
                else {
                    continue;
                };
                *value = first.clone();
                let why = format!("of the values of '{}' only the first was sent", name.escape_debug());
                let advice = "to send them all: set them in the action, as a list";
                findings.push(action.about.finding(
                    Some("config_json"),
                    Effect::FieldNotCarried,
                    why,
                    advice,
                ));
            }
        }
        let method =
            action.config.get("method").and_then(Value::as_str).unwrap_or("GET").to_ascii_uppercase();
        let has_body = ["body", "request_body"]
            .iter()
            .any(|key| action.config.get(*key).is_some_and(|body| !body.is_null()));
        if has_body && matches!(method.as_str(), "GET" | "HEAD") {
            let why = format!("a body was sent with {method}, which has none here");
            let advice = "use another method, if the other side reads the body";
            findings.push(action.about.finding(Some("config_json"), Effect::Changed, why, advice));
        }
        if action.config.get("path").and_then(Value::as_str).is_some_and(|path| path.contains('{')) {
            let why = "a {name} in the path was sent as it is; it is filled in from the input now";
            let advice = "call it with that field, or write %7B for a brace";
            findings.push(action.about.finding(Some("config_json"), Effect::Changed, why, advice));
        }
        // Typed bodies had a column of their own; this one was JSON whatever it looked like.
        if action.config.get("request_body").is_some_and(|body| body.get("type").is_some()) {
            action.config.entry("body_type").or_insert("json".into());
        }
    }
}

/// A path that begins with `/` replaced the path of the base; today it is appended to it.
fn write_paths_out(connection: &mut Record<'_>, actions: &mut [Record<'_>], findings: &mut Vec<Finding>) {
    let Some(base) = connection.config.get("base_url").and_then(Value::as_str) else { return };
    let Ok(url) = Url::parse(base) else { return };
    let under = url.path().trim_end_matches('/').to_owned();
    let path = |action: &Record<'_>| {
        action.config.get("path").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if under.is_empty() || !actions.iter().any(|action| path(action).starts_with('/')) {
        return;
    }
    for action in actions.iter_mut().filter(|action| !path(action).starts_with('/')) {
        let whole = match path(action) {
            empty if empty.is_empty() => url.path().to_owned(),
            relative => format!("{under}/{relative}"),
        };
        action.config.insert("path".into(), whole.into());
    }
    connection.config.insert("base_url".into(), url.origin().ascii_serialization().into());
    let why = format!(
        "a path that begins with / replaced '{under}' of base_url; base_url is the host alone now, and the paths are written out"
    );
    findings.push(connection.about.finding(Some("config_json"), Effect::Note, why, ""));
}
