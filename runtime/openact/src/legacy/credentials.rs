//! Stored credentials of an earlier database, their history, and flows that were waiting.
//!
//! | nonce | the column is |
//! |---|---|
//! | `no-encryption`, as it is or as base64 | base64 of the text |
//! | none or empty, in the later schema | the text |
//! | `nonce_placeholder` | nothing: a token was never written |
//! | anything else | sealed with a key that this version does not have |
//!
//! Invariant: what cannot be read is reported and never handed out as if it were the token.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use openact_core::{AuthTrn, Timestamp, secret::SecretString};
use openact_store::{AuthChange, AuthConnection, LegacyRow, LegacyRows, LegacySchema};

use super::{
    names::{OldTrn, time},
    report::{self, About, Carried, Effect, Finding, TableCount},
};

const PLAIN: &str = "no-encryption";
const PLAIN_AS_BASE64: &str = "bm8tZW5jcnlwdGlvbg==";
const AGAIN: &str = "authorise again; the row stays as it was in the earlier tables";

/// Credentials, and what references to them become.
#[derive(Default)]
pub(super) struct Credentials {
    pub(super) records: Vec<AuthConnection>,
    pub(super) history: Vec<(AuthTrn, AuthChange)>,
    renamed: HashMap<String, AuthTrn>,
}

/// The text of a column that an earlier version sealed or said it had.
pub(super) fn opened(schema: LegacySchema, value: &str, nonce: Option<&str>) -> Result<String, &'static str> {
    match nonce.unwrap_or("") {
        PLAIN | PLAIN_AS_BASE64 => BASE64_STANDARD
            .decode(value.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or("it is not base64 of a text"),
        "" if schema == LegacySchema::Actions => Ok(value.to_owned()),
        "nonce_placeholder" => Err("it is a placeholder: no token was ever written"),
        "" => Err("its nonce is missing"),
        _ => Err("its nonce is not known: it is sealed with a key that is not this version's"),
    }
}

impl Credentials {
    /// Reads those of `rows`.
    pub(super) fn of(
        rows: &LegacyRows,
        findings: &mut Vec<Finding>,
        carried: &mut Vec<Carried>,
        counts: &mut Vec<TableCount>,
    ) -> Self {
        let mut all = Self::default();
        let table = "auth_connections";
        for row in rows.of(table) {
            let from = row.text("trn").unwrap_or_default().to_owned();
            let about = About { table, trn: from.clone() };
            match all.credential(rows.schema, row, &about, findings) {
                Ok(record) => {
                    carried.push(Carried { table, from: from.clone(), to: vec![record.trn.to_string()] });
                    all.renamed.insert(from, record.trn.clone());
                    all.records.push(record);
                }
                Err(finding) => findings.push(finding),
            }
        }
        counts.push(TableCount { table, rows: rows.of(table).len(), carried: all.records.len() });
        let table = "auth_connection_history";
        for (index, row) in rows.of(table).iter().enumerate() {
            let trn = row.text("trn").unwrap_or_default();
            let number = row.text("id").map_or_else(|| (index + 1).to_string(), str::to_owned);
            let about = About { table, trn: format!("{trn} (id {number})") };
            match all.change(rows.schema, row, trn) {
                Ok(change) => all.history.push(change),
                Err((column, why)) => {
                    let advice = "nothing to do: it is a record of the past, and stays in the earlier tables";
                    findings.push(about.finding(column, Effect::RowNotCarried, why, advice));
                }
            }
        }
        counts.push(TableCount { table, rows: rows.of(table).len(), carried: all.history.len() });
        let table = "run_checkpoints";
        for row in rows.of(table) {
            let about = About { table, trn: row.text("run_id").unwrap_or_default().to_owned() };
            findings.push(
                about.row(
                    "a flow of the earlier OpenAct that waits cannot go on here",
                    "start the flow again",
                ),
            );
        }
        counts.push(TableCount { table, rows: rows.of(table).len(), carried: 0 });
        all
    }

    /// What an `auth_ref` is today: the TRN of the record it named, else of the one it would name.
    pub(super) fn reference(&self, text: &str) -> Option<AuthTrn> {
        if let Some(trn) = self.renamed.get(text) {
            return Some(trn.clone());
        }
        let old = OldTrn::parse(text)?;
        let (provider, user) = match old.kind.as_str() {
            "auth" | "auth_connection" => old.id.split_once('/').or_else(|| old.id.split_once('-'))?,
            _ => return None,
        };
        AuthTrn::new(old.tenant()?, provider.to_ascii_lowercase().parse().ok()?, user).ok()
    }

    /// Whether there is a credential of that name.
    pub(super) fn has(&self, trn: &AuthTrn) -> bool {
        self.records.iter().any(|record| record.trn == *trn)
    }

    fn credential(
        &self,
        schema: LegacySchema,
        row: &LegacyRow,
        about: &About,
        findings: &mut Vec<Finding>,
    ) -> Result<AuthConnection, Finding> {
        let lost =
            |column: Option<&str>, why: String| about.finding(column, Effect::RowNotCarried, why, AGAIN);
        if let Some(column) = row.unreadable().next() {
            return Err(lost(Some(column), report::UNREADABLE.into()));
        }
        if OldTrn::parse(&about.trn).is_some_and(|trn| trn.kind == "token") {
            let why = "it is a token of client credentials, which is asked for anew when it is needed";
            return Err(about.row(why, "nothing to do"));
        }
        let trn = identity(row).map_err(|(column, why)| lost(Some(column), why))?;
        if self.has(&trn) {
            return Err(lost(None, format!("{trn} is another row's already")));
        }
        let open = |column: &str, nonce: &str| {
            row.text(column).filter(|text| !text.is_empty()).map(|text| opened(schema, text, row.text(nonce)))
        };
        let access = match open("access_token_encrypted", "access_token_nonce") {
            Some(Ok(token)) if !token.is_empty() => token,
            Some(Err(why)) => return Err(lost(Some("access_token_encrypted"), why.into())),
            _ => return Err(lost(Some("access_token_encrypted"), "it is empty".into())),
        };
        let mut optional = |column: &'static str, nonce| match open(column, nonce)? {
            Ok(text) => Some(text).filter(|text| !text.is_empty() && text != "null"),
            Err(why) => {
                findings.push(about.finding(Some(column), Effect::FieldNotCarried, why, AGAIN));
                None
            }
        };
        let refresh = optional("refresh_token_encrypted", "refresh_token_nonce");
        // The later schema kept what else there is as plain JSON beside the nonce of nothing.
        let extra = optional("extra_data_encrypted", "extra_data_nonce");
        let expires_at = match row.text("expires_at") {
            None | Some("") => None,
            Some(text) => {
                Some(time(text).ok_or_else(|| lost(Some("expires_at"), "it is not a time".into()))?)
            }
        };
        let mut when = |column: &'static str| match row.text(column).and_then(time) {
            Some(time) => time,
            None => {
                findings.push(about.finding(Some(column), Effect::FieldNotCarried, "it is not a time", ""));
                Timestamp::now()
            }
        };
        Ok(AuthConnection {
            created_at: when("created_at"),
            updated_at: when("updated_at"),
            trn,
            access_token: access.into(),
            refresh_token: refresh.map(SecretString::from),
            expires_at,
            token_type: row.text("token_type").unwrap_or("Bearer").to_owned(),
            scope: row.text("scope").map(str::to_owned),
            extra: extra.map(SecretString::from),
            version: row.text("version").and_then(|text| text.parse().ok()).unwrap_or(1).max(1),
        })
    }

    fn change(
        &self,
        schema: LegacySchema,
        row: &LegacyRow,
        trn: &str,
    ) -> Result<(AuthTrn, AuthChange), (Option<&'static str>, String)> {
        if row.unreadable().next().is_some() {
            return Err((None, format!("of one of its columns, {}", report::UNREADABLE)));
        }
        let trn = self
            .reference(trn)
            .ok_or((Some("trn"), "it names no credential, or none that is carried".to_owned()))?;
        let operation = row.text("operation").unwrap_or_default();
        if !["create", "update", "delete"].contains(&operation) {
            return Err((Some("operation"), "it is none of create, update and delete".into()));
        }
        let side = |column: &'static str, nonce: &str| match row.text(column).filter(|text| !text.is_empty())
        {
            None => Ok(None),
            Some(text) => opened(schema, text, row.text(nonce))
                .map(|text| Some(SecretString::from(text)))
                .map_err(|why| (Some(column), why.to_owned())),
        };
        let created_at = row.text("created_at").and_then(time);
        let change = AuthChange {
            operation: operation.to_owned(),
            old: side("old_data_encrypted", "old_data_nonce")?,
            new: side("new_data_encrypted", "new_data_nonce")?,
            created_at: created_at.ok_or((Some("created_at"), "it is not a time".to_owned()))?,
            reason: row.text("reason").map(str::to_owned),
        };
        Ok((trn, change))
    }
}

/// The TRN of today, from the columns that say whose a credential is.
fn identity(row: &LegacyRow) -> Result<AuthTrn, (&'static str, String)> {
    let part = |column: &str| row.text(column).unwrap_or_default();
    let tenant = part("tenant").to_ascii_lowercase().parse();
    let tenant = tenant.map_err(|_| ("tenant", "it is not the name of a tenant".to_owned()))?;
    let provider = part("provider").to_ascii_lowercase().replace('_', "-").parse();
    let provider = provider.map_err(|_| ("provider", "it is not the name of a provider".to_owned()))?;
    AuthTrn::new(tenant, provider, part("user_id")).map_err(|error| ("user_id", error.message.clone()))
}
