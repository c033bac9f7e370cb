//! `migrate` on a database of the earlier OpenAct: from its rows to records of today, and what could not come along.
//!
//! ```text
//! rows ─┬─ credentials                      re-sealed, under their TRNs of today
//!       └─ tasks | actions ─ fields, sent ─ drafts ─► connections, actions, secrets ─► one transaction of the store
//! ```
//!
//! Read in this order: [`report`] (what is said), `tasks` and `actions` (the two schemas), `fields` and `sent` (what a
//! row did), `credentials`, `names`, `drafts` (through the reader of files), `literals` (no text becomes a reference).
//!
//! Invariant: what is carried sends what it sent before; what does not, is in the report.

mod actions;
mod credentials;
mod drafts;
mod fields;
mod literals;
mod names;
pub mod report;
mod sent;
mod tasks;

use std::{collections::HashMap, path::PathBuf};

use openact_config::{Context, SecretsMode};
use openact_core::{
    ActionTrn, ConnectionTrn, ConnectorName, Name, Result, Tenant, Timestamp, Version, action::ActionRecord,
    connection::ConnectionRecord, run::Door,
};
use openact_store::{
    ChangeSet, LegacyChanges, LegacyRow, LegacyRows, LegacySchema, NewSecret, Store, Survey,
};

use self::{
    credentials::Credentials,
    drafts::{Drafts, Entry, Group},
    report::{About, Carried, Finding, LegacyReport, TableCount},
};
use crate::{
    OpenAct,
    plan::{rename_secrets, secret_name},
    settings,
};

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct MigrateOptions {
    /// Say what would be done and change nothing, not a byte.
    pub dry_run: bool,
    /// Copy a database before it is changed.
    pub backup: bool,
    /// Through which door it is asked for, for the audit log.
    pub door: Door,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self { dry_run: false, backup: true, door: Door::Embedded }
    }
}

/// What a migration did, or would do.
#[derive(Clone, Debug, Default)]
pub struct Migration {
    /// Whether the database was made.
    pub created: bool,
    /// The migrations applied, such as `0001_initial`.
    pub applied: Vec<String>,
    /// The copy of what the database was.
    pub backup: Option<PathBuf>,
    /// What became of a database of the earlier OpenAct.
    pub legacy: Option<LegacyReport>,
    /// Tables of an earlier OpenAct that an earlier migration set aside.
    pub set_aside: Vec<String>,
}

/// Brings the database at `url` to the current schema, creating it if it is absent and converting it if it is of the
/// earlier OpenAct.
pub async fn migrate(url: &str, options: &MigrateOptions) -> Result<Migration> {
    let url = settings::store_url(url)?;
    let survey = Store::survey(&url).await?;
    let is_legacy = matches!(survey, Survey::Legacy(_));
    let connectors = if is_legacy { Some(Connectors::bundled().await?) } else { None };
    let set_aside = match survey {
        Survey::Current { set_aside } => set_aside,
        Survey::Legacy(rows) if options.dry_run => {
            let (_, legacy) = convert(&rows, connectors.as_ref())?;
            return Ok(Migration { legacy: Some(legacy), ..Default::default() });
        }
        Survey::Older(applied) if options.dry_run => return Ok(Migration { applied, ..Default::default() }),
        Survey::Empty(applied) if options.dry_run => {
            return Ok(Migration { applied, created: true, ..Default::default() });
        }
        _ => Vec::new(),
    };
    if options.dry_run {
        return Ok(Migration { set_aside, ..Default::default() });
    }
    if is_legacy {
        let (key, author) = settings::key_and_author(&url, options.door)?;
        let convert = |rows: &LegacyRows| convert(rows, connectors.as_ref());
        let converted = Store::convert_legacy(&url, key, author, options.backup, convert).await?;
        if let Some(converted) = converted {
            let (applied, backup) = (converted.applied, converted.backup);
            let legacy = Some(converted.outcome);
            return Ok(Migration { applied, backup, legacy, ..Default::default() });
        }
        // Another process was faster.
    }
    let report = Store::migrate(&url, options.backup).await?;
    let openact_store::MigrateReport { applied, created, backup } = report;
    Ok(Migration { created, applied, backup, legacy: None, set_aside })
}

/// Brings the tables of the earlier OpenAct back that [`migrate`] set aside, and removes this version's. What happened
/// since is only in the copy, the audit log too, which gets a last entry there.
pub async fn roll_back(url: &str, backup: bool, door: Door) -> Result<openact_store::RolledBack> {
    let url = settings::store_url(url)?;
    let (key, author) = settings::key_and_author(&url, door)?;
    Store::roll_back_legacy(&url, key, author, backup).await
}

/// Removes the tables of the earlier OpenAct that [`migrate`] set aside, with every trace of what they held. There is no
/// way back but a copy, which holds the same secrets. The audit log says so, or nothing is removed.
pub async fn drop_legacy(url: &str, door: Door) -> Result<Vec<String>> {
    let url = settings::store_url(url)?;
    let (key, author) = settings::key_and_author(&url, door)?;
    Store::drop_legacy(&url, key, author).await
}

/// The connectors there are before a database can tell of any.
struct Connectors {
    manifests: HashMap<ConnectorName, std::sync::Arc<openact_core::manifest::Manifest>>,
    names: Vec<ConnectorName>,
}

impl Connectors {
    async fn bundled() -> Result<Self> {
        let openact = OpenAct::builder().instances_max(1).build().await?;
        let names = openact.0.catalog.names(&openact.0).await?;
        let mut manifests = HashMap::new();
        for name in &names {
            let connector = openact.0.catalog.connector(&openact.0, name).await?;
            manifests.insert(name.clone(), connector.manifest().clone());
        }
        openact.close().await?;
        Ok(Self { manifests, names })
    }
}

/// What a row becomes, but for its configuration.
struct Target {
    tenant: Tenant,
    connector: ConnectorName,
    name: Name,
    version: Version,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Target {
    fn new(tenant: Tenant, connector: ConnectorName, name: Name, version: Version, row: &LegacyRow) -> Self {
        let (created_at, updated_at) = tasks::times(row);
        Self { tenant, connector, name, version, created_at, updated_at }
    }

    fn connection(&self) -> ConnectionTrn {
        ConnectionTrn::new(self.tenant.clone(), self.connector.clone(), self.name.clone(), self.version)
    }

    fn action(&self) -> ActionTrn {
        ActionTrn::new(self.tenant.clone(), self.connector.clone(), self.name.clone(), self.version)
    }
}

/// What is put together before it is read.
#[derive(Default)]
struct Plan {
    groups: Vec<Group>,
    targets: HashMap<String, (About, Target)>,
    findings: Vec<Finding>,
}

impl Plan {
    /// An entry that is to become `target`.
    fn entry(&mut self, about: &About, target: Target) -> Entry {
        let handle = format!("e{}", self.targets.len());
        self.targets.insert(handle.clone(), (about.clone(), target));
        Entry { handle, about: about.clone(), fields: Vec::new() }
    }
}

fn convert(rows: &LegacyRows, connectors: Option<&Connectors>) -> Result<(LegacyChanges, LegacyReport)> {
    let none = Connectors { manifests: HashMap::new(), names: Vec::new() };
    let connectors = connectors.unwrap_or(&none);
    let (mut plan, mut report) = (Plan::default(), LegacyReport::default());
    report.schema = rows.schema.name();
    report.kept_as = rows.tables.iter().map(|table| format!("legacy_{table}")).collect();
    let credentials = Credentials::of(rows, &mut plan.findings, &mut report.carried, &mut report.tables);
    let second = match rows.schema {
        LegacySchema::Tasks => {
            tasks::convert(rows, &credentials, &mut plan);
            "tasks"
        }
        LegacySchema::Actions => {
            actions::convert(rows, &credentials, &mut plan);
            "actions"
        }
    };
    let (env, manifest) = (|_: &str| None, |name: &ConnectorName| connectors.manifests.get(name).cloned());
    let context = Context {
        env: &env,
        manifest: &manifest,
        connectors: &connectors.names,
        secrets: SecretsMode::Seal,
        made_of: &|_, _| Ok(()),
    };
    let drafts = drafts::read(std::mem::take(&mut plan.groups), &context);
    plan.findings.extend(drafts.findings.iter().cloned());
    let configuration = records(drafts, &plan.targets, &mut report.carried)?;
    for table in ["connections", second] {
        let mut from: Vec<&str> =
            report.carried.iter().filter(|row| row.table == table).map(|row| row.from.as_str()).collect();
        from.sort_unstable();
        from.dedup();
        let count = TableCount { table, rows: rows.of(table).len(), carried: from.len() };
        report.tables.push(count);
    }
    plan.findings.extend(strangers(rows));
    plan.findings.sort_by_key(|finding| finding.effect);
    report.findings = plan.findings;
    let Credentials { records, history, .. } = credentials;
    Ok((LegacyChanges { configuration, credentials: records, history }, report))
}

/// The records that drafts become, and a line of the report for each row.
fn records(
    drafts: Drafts,
    targets: &HashMap<String, (About, Target)>,
    carried: &mut Vec<Carried>,
) -> Result<ChangeSet> {
    let mut changes = ChangeSet::default();
    let mut note = |about: &About, to: String| match carried
        .iter_mut()
        .find(|row| row.table == about.table && row.from == about.trn)
    {
        Some(row) => row.to.push(to),
        None => carried.push(Carried { table: about.table, from: about.trn.clone(), to: vec![to] }),
    };
    let mut connections: Vec<_> = drafts.connections.into_iter().collect();
    connections.sort_by_key(|(handle, _)| number(handle));
    for (handle, mut draft) in connections {
        let Some((about, target)) = targets.get(&handle) else { continue };
        let trn = target.connection();
        note(about, trn.to_string());
        rename_secrets(&mut draft.config, &|pointer| secret_name(&trn, pointer));
        changes.secrets.extend(draft.secrets.into_iter().map(|taken| NewSecret {
            tenant: trn.tenant.clone(),
            name: secret_name(&trn, &taken.pointer),
            value: taken.value,
        }));
        let (created_at, updated_at) = (target.created_at, target.updated_at);
        changes.connections.push(ConnectionRecord { trn, config: draft.config, created_at, updated_at });
    }
    let mut actions: Vec<_> = drafts.actions.into_iter().collect();
    actions.sort_by_key(|(handle, _)| number(handle));
    for (handle, draft) in actions {
        let found = targets.get(&handle).zip(targets.get(draft.connection.as_str()));
        let Some(((about, target), (_, connection))) = found else { continue };
        note(about, target.action().to_string());
        changes.actions.push(ActionRecord {
            trn: target.action(),
            connection: connection.connection(),
            config: draft.config,
            mcp_enabled: draft.mcp_enabled,
            mcp_overrides: draft.mcp_overrides,
            created_at: target.created_at,
            updated_at: target.updated_at,
        });
    }
    Ok(changes)
}

/// The order in which entries were made.
fn number(handle: &str) -> u64 {
    handle.trim_start_matches('e').parse().unwrap_or(u64::MAX)
}

/// Tables and columns that no earlier OpenAct had.
fn strangers(rows: &LegacyRows) -> Vec<Finding> {
    let about = |table: &str| About { table: "database", trn: table.to_owned() };
    let mut findings: Vec<Finding> = rows
        .strangers
        .iter()
        .map(|table| {
            let why = "it is no table of OpenAct";
            about(table).finding(None, report::Effect::Note, why, "it stays as it is")
        })
        .collect();
    for (table, known) in COLUMNS {
        let mut unknown: Vec<&str> =
            rows.of(table).iter().flat_map(LegacyRow::filled).filter(|name| !known.contains(name)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for column in unknown {
            let about = About { table, trn: "*".into() };
            let why = "it is no column of the earlier OpenAct";
            let advice = "it stays in the earlier table";
            findings.push(about.finding(Some(column), report::Effect::FieldNotCarried, why, advice));
        }
    }
    findings
}

/// Every column that is read, or that says nothing that would be missed.
const COLUMNS: &[(&str, &[&str])] = &[
    (
        "connections",
        &[
            "trn",
            "name",
            "authorization_type",
            "auth_params_encrypted",
            "auth_params_nonce",
            "auth_ref",
            "default_headers_json",
            "default_query_params_json",
            "default_body_json",
            "network_config_json",
            "timeout_config_json",
            "http_policy_json",
            "retry_policy_json",
            "key_version",
            "created_at",
            "updated_at",
            "version",
            "connector",
            "config_json",
        ],
    ),
    (
        "tasks",
        &[
            "trn",
            "name",
            "connection_trn",
            "api_endpoint",
            "method",
            "headers_json",
            "query_params_json",
            "request_body_json",
            "timeout_config_json",
            "network_config_json",
            "http_policy_json",
            "response_policy_json",
            "retry_policy_json",
            "created_at",
            "updated_at",
            "version",
        ],
    ),
    (
        "actions",
        &[
            "trn",
            "connector",
            "name",
            "connection_trn",
            "config_json",
            "mcp_enabled",
            "mcp_overrides_json",
            "created_at",
            "updated_at",
            "version",
        ],
    ),
];
