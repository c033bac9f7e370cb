//! What the bearer of an API token may do.
//!
//! Invariant: a scope that says nothing of a tenant, an action or management does not open it; what it leaves out is closed
//! but for the bounds, which are then the server's.

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Tenant, governance::Governance};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenScope {
    /// Whose records; none for those of every tenant.
    pub tenants: Option<Vec<Tenant>>,
    /// Which actions.
    #[serde(default)]
    pub governance: Governance,
    /// Whether it may change configuration and read what is managed, beside running actions.
    #[serde(default)]
    pub may_manage: bool,
    /// Requests in a second.
    #[serde(default)]
    pub rate_per_second: Option<u32>,
    /// Requests at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
}

impl TokenScope {
    /// Fails for a scope with which nothing could be done.
    pub fn check(&self) -> Result<()> {
        if self.tenants.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::invalid_input("a token has to be for a tenant at least"));
        }
        if self.rate_per_second == Some(0) || self.concurrency == Some(0) {
            return Err(Error::invalid_input("a rate or concurrency of 0 lets nothing through")
                .hint("leave it out for the server's own bound"));
        }
        Ok(())
    }

    /// Whether the bearer may do something for `tenant`.
    pub fn covers(&self, tenant: &Tenant) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m8_a_scope_covers_its_tenants_and_no_others() {
        let (one, other): (Tenant, Tenant) = ("one".parse().unwrap(), "other".parse().unwrap());
        let scope = TokenScope { tenants: Some(vec![one.clone()]), ..Default::default() };
        assert!(scope.covers(&one) && !scope.covers(&other));
        assert!(TokenScope::default().covers(&other));
        assert!(TokenScope { tenants: Some(Vec::new()), ..Default::default() }.check().is_err());
        assert!(TokenScope { rate_per_second: Some(0), ..Default::default() }.check().is_err());
        assert!(scope.check().is_ok());
    }

    #[test]
    fn a_scope_reads_as_it_was_written_and_an_unknown_field_is_no_permission() {
        let scope = TokenScope {
            tenants: None,
            governance: Governance { allow: vec!["http.*".parse().unwrap()], deny: Vec::new() },
            may_manage: true,
            rate_per_second: Some(5),
            concurrency: None,
        };
        let text = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<TokenScope>(&text).unwrap(), scope);
        assert!(serde_json::from_str::<TokenScope>(r#"{"tenants": null, "admin": true}"#).is_err());
        assert!(serde_json::from_str::<TokenScope>("{}").unwrap().tenants.is_none());
    }
}
