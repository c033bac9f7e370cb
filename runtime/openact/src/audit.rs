//! The audit log, and who is written in it as the author of what this process changes.
//!
//! Invariant: the log is read here and written by the store alone, in the transactions of the changes.

use openact_core::{Result, Tenant};
use openact_store::{AuditEntry, AuditReport};

use crate::OpenAct;

impl OpenAct {
    /// Entries of a tenant and of what belongs to no tenant (connectors, the master key), the latest first.
    pub async fn list_audit(&self, tenant: &Tenant, limit: u32) -> Result<Vec<AuditEntry>> {
        self.0.store.list_audit(tenant, limit).await
    }

    /// Entries of a tenant alone: what belongs to none tells of the tokens of every other.
    pub async fn list_audit_of(&self, tenant: &Tenant, limit: u32) -> Result<Vec<AuditEntry>> {
        self.0.store.list_audit_of(tenant, limit).await
    }

    /// Whether every entry is as it was written and none is missing. Needs the master key.
    pub async fn verify_audit(&self) -> Result<AuditReport> {
        self.0.store.verify_audit().await
    }

    /// Whether a head of the log that was kept elsewhere is in it, which may have gone on since.
    pub async fn has_audit_head(&self, head: &str) -> Result<bool> {
        self.0.store.has_audit_head(head).await
    }
}

/// The user this process runs as, as the operating system has it; a variable could say anything.
pub(crate) fn user_of_process() -> String {
    #[cfg(unix)]
    {
        let id = rustix::process::geteuid().as_raw();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, _, user) = (fields.next()?, fields.next()?, fields.next()?);
            (user.parse() == Ok(id) && !name.is_empty()).then(|| name.to_owned())
        });
        named.unwrap_or_else(|| format!("uid {id}"))
    }
    #[cfg(not(unix))]
    std::env::var("USERNAME").unwrap_or_else(|_| "unknown".into())
}
