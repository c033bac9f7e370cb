//! The audit log: who changed what.
//!
//! Invariant: it is read here and never written.

use openact::Error;

use super::json;
use crate::{
    access::Manage,
    envelope::{Answer, Reply},
    extract::Params,
    shapes::{AuditList, AuditShape, Envelope, LimitQuery},
};

/// Entries of the audit log, the latest first
#[utoipa::path(get, path = "/audit", tag = "audit", params(LimitQuery),
    responses((status = 200, description = "The latest", body = Envelope<AuditList>)))]
pub(crate) async fn list(Manage(call): Manage, Params(query): Params<LimitQuery>) -> Answer {
    let limit = query.limit.unwrap_or(50);
    if limit == 0 || limit > openact::limits::PAGE_SIZE_MAX {
        return Err(
            Error::invalid_input(format!("limit must be 1 to {}", openact::limits::PAGE_SIZE_MAX)).into()
        );
    }
    // What is no tenant's tells of tokens, with the names of their tenants.
    let entries = match call.admitted.caller.is_bound() {
        true => call.openact.list_audit_of(&call.tenant, limit).await?,
        false => call.openact.list_audit(&call.tenant, limit).await?,
    };
    let entries = entries
        .into_iter()
        .map(|entry| AuditShape {
            id: entry.id,
            at: entry.at,
            tenant: entry.tenant.map(|tenant| tenant.to_string()),
            actor: entry.actor,
            door: entry.door,
            operation: entry.operation,
            object: entry.object,
            before: entry.before,
            after: entry.after,
        })
        .collect();
    Ok(Reply::new(json(AuditList { entries })?))
}
