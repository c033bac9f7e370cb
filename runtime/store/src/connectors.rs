//! The table `connectors`: installed components with what they say of themselves and what they were granted.
//!
//! Invariant: the bytes of a row have the digest of the row, when they go in and when they come out.

use aws_lc_rs::digest;
use openact_core::{
    ConnectorName, Error, Result, Timestamp,
    manifest::{Capability, ComponentDigest, Manifest},
};
use sqlx::FromRow;

use crate::{
    Store,
    rows::{Row, json_text, time_text},
};

/// An installed connector, without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectorRecord {
    /// Its name, which actions and connections use.
    pub name: ConnectorName,
    /// Its version, as it says.
    pub version: String,
    /// The digest of its component.
    pub digest: ComponentDigest,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Which of its needs were granted.
    pub grants: Vec<Capability>,
    /// When it was installed.
    pub installed_at: Timestamp,
}

const COLUMNS: &str = "SELECT name, version, digest, manifest, grants, installed_at FROM connectors";

impl Store {
    /// Installs a connector, in place of one of the same name. The bytes must have the record's digest.
    pub async fn install_connector(&self, record: &ConnectorRecord, bytes: &[u8]) -> Result<()> {
        if digest_of(bytes) != record.digest {
            return Err(Error::invalid_input(format!(
                "the component of connector '{}' does not have the digest {}",
                record.name, record.digest
            )));
        }
        let mut tx = self.begin_change().await?;
        self.audit_connector(&mut tx, record.name.as_str(), Some(record)).await?;
        sqlx::query(
            "INSERT INTO connectors (name, version, digest, manifest, grants, installed_at, bytes)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET version = excluded.version, digest = excluded.digest,
                 manifest = excluded.manifest, grants = excluded.grants, signer = NULL,
                 installed_at = excluded.installed_at, bytes = excluded.bytes",
        )
        .bind(record.name.as_str())
        .bind(&record.version)
        .bind(record.digest.to_string())
        .bind(json_text(&record.manifest)?)
        .bind(json_text(&record.grants)?)
        .bind(time_text(record.installed_at))
        .bind(bytes)
        .execute(&mut *tx)
        .await
        .map_err(self.failed("write a connector"))?;
        self.commit_configuration(tx).await
    }

    /// The connector of that name.
    pub async fn get_connector(&self, name: &ConnectorName) -> Result<Option<ConnectorRecord>> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(COLUMNS);
        query.push(" WHERE name = ").push_bind(name.to_string());
        let row: Option<ConnectorRow> = query
            .build_query_as()
            .fetch_optional(&self.0.readers)
            .await
            .map_err(self.failed("read a connector"))?;
        row.map(ConnectorRow::record).transpose()
    }

    /// Every installed connector, by name.
    pub async fn list_connectors(&self) -> Result<Vec<ConnectorRecord>> {
        let mut query = sqlx::QueryBuilder::<sqlx::Sqlite>::new(COLUMNS);
        query.push(" ORDER BY name");
        let rows: Vec<ConnectorRow> = query
            .build_query_as()
            .fetch_all(&self.0.readers)
            .await
            .map_err(self.failed("read connectors"))?;
        rows.into_iter().map(ConnectorRow::record).collect()
    }

    /// The component of that name.
    pub async fn connector_bytes(&self, name: &ConnectorName) -> Result<Option<Vec<u8>>> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT digest, bytes FROM connectors WHERE name = ?")
                .bind(name.as_str())
                .fetch_optional(&self.0.readers)
                .await
                .map_err(self.failed("read a connector"))?;
        let Some((digest, bytes)) = row else {
            return Ok(None);
        };
        let row = Row { table: "connectors", key: name.as_str() };
        if digest_of(&bytes) != row.parse("digest", &digest)? {
            return Err(row.damaged("bytes", "the digest is another"));
        }
        Ok(Some(bytes))
    }

    /// Removes a connector; says whether there was one. Refused while a connection is for it.
    pub async fn remove_connector(&self, name: &ConnectorName) -> Result<bool> {
        let mut tx = self.begin_change().await?;
        let user: Option<String> =
            sqlx::query_scalar("SELECT trn FROM connections WHERE connector = ? ORDER BY trn LIMIT 1")
                .bind(name.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(self.failed("remove a connector"))?;
        if let Some(user) = user {
            return Err(Error::conflict(format!("connector '{name}' is in use by {user}"))
                .hint("delete its connections first"));
        }
        self.audit_connector(&mut tx, name.as_str(), None).await?;
        let deleted = sqlx::query("DELETE FROM connectors WHERE name = ?")
            .bind(name.as_str())
            .execute(&mut *tx)
            .await
            .map_err(self.failed("remove a connector"))?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        self.commit_configuration(tx).await?;
        Ok(true)
    }
}

/// What a connector's bytes, or a template's text, are told apart by.
pub fn digest_of(bytes: &[u8]) -> ComponentDigest {
    to_digest(&digest::digest(&digest::SHA256, bytes))
}

pub(crate) fn to_digest(bytes: &digest::Digest) -> ComponentDigest {
    let mut digest = ComponentDigest([0; 32]);
    for (to, from) in digest.0.iter_mut().zip(bytes.as_ref()) {
        *to = *from;
    }
    digest
}

#[derive(FromRow)]
struct ConnectorRow {
    name: String,
    version: String,
    digest: String,
    manifest: String,
    grants: String,
    installed_at: String,
}

impl ConnectorRow {
    fn record(self) -> Result<ConnectorRecord> {
        let row = Row { table: "connectors", key: &self.name };
        Ok(ConnectorRecord {
            name: row.parse("name", &self.name)?,
            digest: row.parse("digest", &self.digest)?,
            manifest: row.json("manifest", &self.manifest)?,
            grants: row.json("grants", &self.grants)?,
            installed_at: row.parse("installed_at", &self.installed_at)?,
            version: self.version,
        })
    }
}
