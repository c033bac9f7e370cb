//! Who calls through a door: API tokens, what their bearers may do, and in whose name configuration is changed.
//!
//! ```text
//! text of a token ─► id ─► in memory (every token; read when configuration changed) ─► digest compared ─► Caller
//!        └─ is a JWT ─► `oidc`, if an issuer is configured ─► Caller
//! ```
//!
//! Invariant: whoever shows what is no API token is told the same, whatever is wrong with it; a token that is revoked is
//! none at once in this process, and within [`SNAPSHOT_POLL`](crate::limits::SNAPSHOT_POLL) in others.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use openact_core::{
    Error, ErrorCode, Result, Tenant, Timestamp,
    governance::Governance,
    limits::{API_TOKEN_BYTES_MAX, API_TOKEN_NAME_BYTES_MAX, API_TOKEN_USE_NOTED},
    scope::TokenScope,
    secret::SecretString,
};
use openact_store::{ApiToken, Author, Store, parse_token};
use serde_json::{Value, json};

use crate::{OpenAct, oidc};

/// A token to make.
#[derive(Clone, Debug, Default)]
pub struct NewToken {
    /// What people call it; the audit log ascribes to it what is changed with it.
    pub name: String,
    /// What its bearer may do.
    pub scope: TokenScope,
    /// When it ends; never by itself if absent.
    pub expires_at: Option<Timestamp>,
}

/// A token as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenInfo {
    /// The part of its text that may be shown.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What its bearer may do.
    pub scope: TokenScope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

impl TokenInfo {
    fn of(token: ApiToken) -> Self {
        let ApiToken { id, name, scope, created_at, expires_at, last_used_at, .. } = token;
        Self { id, name, scope, created_at, expires_at, last_used_at }
    }

    /// Whether it can be used now.
    pub fn is_live(&self) -> bool {
        self.expires_at.is_none_or(|end| end > Timestamp::now())
    }

    /// The token as lists print it.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "tenants": self.scope.tenants,
            "allow": self.scope.governance.allow,
            "deny": self.scope.governance.deny,
            "manage": self.scope.may_manage,
            "rate_per_second": self.scope.rate_per_second,
            "concurrency": self.scope.concurrency,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "last_used_at": self.last_used_at,
            "live": self.is_live(),
        })
    }
}

/// Somebody who may use the doors.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token's id, or whatever else names this caller and no other.
    pub id: String,
    /// What people call them.
    pub name: String,
    /// For which tenants; none for every one.
    pub tenants: Option<Vec<Tenant>>,
    /// Whether they may change configuration, and read what is managed.
    pub may_manage: bool,
    /// Which actions they may see and run.
    pub governance: Arc<Governance>,
    /// Requests in a second; the server's own bound if absent.
    pub rate_per_second: Option<u32>,
    /// Requests at once; the server's own bound if absent.
    pub concurrency: Option<u32>,
    /// The OpenID provider that vouches for them; none for the bearer of an API token.
    pub issuer: Option<Arc<str>>,
}

impl Caller {
    /// With what a scope allows.
    pub fn new(id: impl Into<String>, name: impl Into<String>, scope: TokenScope) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            tenants: scope.tenants,
            may_manage: scope.may_manage,
            governance: Arc::new(scope.governance),
            rate_per_second: scope.rate_per_second,
            concurrency: scope.concurrency,
            issuer: None,
        }
    }

    /// Fails for a caller who may run actions and not manage them, with what they would need.
    pub fn check_manage(&self) -> Result<()> {
        let message = "this token may run actions and not manage them";
        match (self.may_manage, &self.issuer) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(oidc::insufficient_scope(message, oidc::MANAGE)),
            (false, None) => Err(Error::new(ErrorCode::Forbidden, message)
                .hint("make one that may: openact token create NAME --manage")),
        }
    }

    /// Whether they are bound to tenants or actions: what is about all of them is not for them.
    pub fn is_bound(&self) -> bool {
        self.tenants.is_some() || *self.governance != Governance::default()
    }

    /// Whether they may do something for `tenant`.
    pub fn covers(&self, tenant: &Tenant) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

/// What is known of tokens, in memory.
#[derive(Default)]
pub(crate) struct Callers {
    known: RwLock<Option<Arc<Known>>>,
    /// Counts the clearings, so that what was read before one is not kept after it.
    epoch: AtomicU64,
    /// Held while they are read, so that many callers at once read once.
    reading: tokio::sync::Mutex<()>,
}

type Known = HashMap<String, KnownToken>;

struct KnownToken {
    token: ApiToken,
    caller: Caller,
    /// When it was last noted that it was used, seconds.
    noted: AtomicI64,
}

impl Callers {
    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self, store: &Store) -> Result<Arc<Known>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.reading.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let tokens = store.list_tokens().await?.into_iter().map(|token| {
            let caller = Caller::new(&token.id, &token.name, token.scope.clone());
            let noted = token.last_used_at.map_or(i64::MIN, Timestamp::as_second).into();
            (token.id.clone(), KnownToken { token, caller, noted })
        });
        let known = Arc::new(tokens.collect::<Known>());
        let mut kept = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if self.epoch.load(Ordering::Acquire) == epoch {
            *kept = Some(known.clone());
        }
        Ok(known)
    }
}

impl KnownToken {
    /// Off the caller's way, and in this process no more often than has to be.
    fn note_use(&self, store: &Store, now: Timestamp) {
        let (last, second) = (self.noted.load(Ordering::Relaxed), now.as_second());
        let is_due = second.saturating_sub(last) >= API_TOKEN_USE_NOTED.as_secs().cast_signed();
        let is_mine =
            || self.noted.compare_exchange(last, second, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_due && is_mine() {
            let (store, id) = (store.clone(), self.token.id.clone());
            tokio::spawn(async move {
                if let Err(error) = store.note_token_use(&id, now, API_TOKEN_USE_NOTED).await {
                    tracing::debug!("{error:?}");
                }
            });
        }
    }
}

impl OpenAct {
    /// The same, with what it changes ascribed to `author` in the audit log. Shares everything else.
    #[must_use]
    pub fn acting_as(&self, author: Author) -> Self {
        Self(self.0.clone(), Some(self.0.store.acting_as(author)))
    }

    /// Makes a token. Its text is given here and never again.
    pub async fn create_token(&self, new: NewToken) -> Result<(TokenInfo, SecretString)> {
        check_name(&new.name)?;
        new.scope.check()?;
        if new.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            return Err(Error::invalid_input("the token would be over when it is made"));
        }
        let (token, text) = self.store().create_token(&new.name, new.scope, new.expires_at).await?;
        self.0.callers.clear();
        Ok((TokenInfo::of(token), text))
    }

    /// Every token, by name, those that are over included.
    pub async fn list_tokens(&self) -> Result<Vec<TokenInfo>> {
        Ok(self.0.store.list_tokens().await?.into_iter().map(TokenInfo::of).collect())
    }

    /// Ends a token, by name or id. The next call with it is refused.
    pub async fn revoke_token(&self, name_or_id: &str) -> Result<TokenInfo> {
        let revoked = self.store().revoke_token(name_or_id).await?;
        self.0.callers.clear();
        revoked.map(TokenInfo::of).ok_or_else(|| {
            let named = name_or_id.chars().take(API_TOKEN_NAME_BYTES_MAX).collect::<String>();
            Error::not_found(format!("there is no token '{}'", named.escape_debug()))
                .hint("see: openact token list")
        })
    }

    /// Who shows this text as a token: one of our own, or a JWT of the issuer of [`Builder::oidc`](crate::Builder::oidc).
    /// Costs no SQL but after a change of configuration. That the issuer cannot be asked is an error of the network, and no
    /// word on the token.
    pub async fn authenticate(&self, text: &str) -> Result<Caller> {
        if let Some(oidc) = &self.0.oidc
            && oidc::is_jwt(text)
        {
            return oidc.authenticate(text, Instant::now()).await;
        }
        let parts = parse_token(text).filter(|_| text.len() <= API_TOKEN_BYTES_MAX);
        let (id, secret) = parts.ok_or_else(unknown)?;
        let known = self.0.callers.read(&self.0.store).await?;
        let known = known.get(id).filter(|known| known.token.has_secret(&secret)).ok_or_else(unknown)?;
        let now = Timestamp::now();
        if known.token.is_over(now) {
            return Err(unknown());
        }
        known.note_use(&self.0.store, now);
        Ok(known.caller.clone())
    }

    /// Whether the doors want a token where they could do without: from the first one until the last is revoked. One that is
    /// over still counts: no door opens because a day went by. With an issuer, always.
    pub async fn wants_tokens(&self) -> Result<bool> {
        Ok(self.0.oidc.is_some() || !self.0.callers.read(&self.0.store).await?.is_empty())
    }

    /// The OpenID provider whose tokens are accepted, if there is one.
    pub fn issuer(&self) -> Option<&str> {
        self.0.oidc.as_ref().map(|oidc| oidc.issuer())
    }
}

fn unknown() -> Error {
    Error::new(ErrorCode::Unauthenticated, "the token is none, or no longer")
        .hint("make one with: openact token create NAME")
}

/// A name goes into lists, logs and the audit log.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.len() > API_TOKEN_NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Err(Error::invalid_input(format!(
            "'{}' is not the name of a token",
            name.chars().take(API_TOKEN_NAME_BYTES_MAX).collect::<String>().escape_debug()
        ))
        .hint(format!("letters, digits, '.', '_', '-' and '@', at most {API_TOKEN_NAME_BYTES_MAX}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use openact_core::secret::ExposeSecret;

    async fn openact() -> OpenAct {
        OpenAct::builder().without_cache().build().await.unwrap()
    }

    fn token(name: &str) -> NewToken {
        let scope = TokenScope { tenants: Some(vec![Tenant::default()]), ..Default::default() };
        NewToken { name: name.into(), scope, expires_at: None }
    }

    async fn refused(openact: &OpenAct, text: &str) -> String {
        let error = openact.authenticate(text).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{error:?}");
        error.to_json().to_string()
    }

    #[tokio::test]
    async fn a_token_is_its_bearer_until_it_is_revoked() {
        let openact = openact().await;
        assert!(!openact.wants_tokens().await.unwrap());
        let mut new = token("ci");
        new.scope.governance.deny = vec!["http.delete".parse().unwrap()];
        let (info, text) = openact.create_token(new).await.unwrap();
        let text = text.expose_secret();
        assert!(openact.wants_tokens().await.unwrap());
        let caller = openact.authenticate(text).await.unwrap();
        assert_eq!((&*caller.name, &caller.id, caller.may_manage), ("ci", &info.id, false));
        assert!(caller.covers(&Tenant::default()) && !caller.covers(&"other".parse().unwrap()));
        assert_eq!(*caller.governance, info.scope.governance);

        // Another secret of the same token, another token with the same secret: told the same.
        let last = if text.ends_with('0') { '1' } else { '0' };
        let mut wrong = text.to_owned();
        wrong.pop();
        wrong.push(last);
        let told = refused(&openact, &wrong).await;
        let elsewhere = text.replace(&info.id, "0000000000000000");
        assert_eq!(refused(&openact, &elsewhere).await, told);
        assert_eq!(refused(&openact, "Bearer").await, told);

        openact.revoke_token("ci").await.unwrap();
        assert_eq!(refused(&openact, text).await, told);
        assert!(!openact.wants_tokens().await.unwrap());
        assert_eq!(openact.revoke_token("ci").await.unwrap_err().code, ErrorCode::NotFound);
    }

    #[tokio::test]
    async fn a_token_that_is_over_is_none() {
        let openact = openact().await;
        let (info, text) = openact.create_token(token("short")).await.unwrap();
        let text = text.expose_secret();
        openact.authenticate(text).await.unwrap();
        // The clock cannot be set; what is known of the token can.
        let known = openact.0.callers.read(&openact.0.store).await.unwrap();
        let caller = known[&info.id].caller.clone();
        let mut over = known[&info.id].token.clone();
        over.expires_at = Some(Timestamp::UNIX_EPOCH);
        let known = KnownToken { token: over, caller, noted: AtomicI64::new(i64::MAX) };
        *openact.0.callers.known.write().unwrap() = Some(Arc::new([(info.id.clone(), known)].into()));
        refused(&openact, text).await;
        assert!(openact.wants_tokens().await.unwrap(), "a door opened because a day went by");
        let ended = NewToken { expires_at: Some(Timestamp::UNIX_EPOCH), ..token("past") };
        assert_eq!(openact.create_token(ended).await.unwrap_err().code, ErrorCode::InvalidInput);
    }

    #[tokio::test]
    async fn names_are_one_tokens_and_plain() {
        let openact = openact().await;
        openact.create_token(token("ci")).await.unwrap();
        assert_eq!(openact.create_token(token("ci")).await.unwrap_err().code, ErrorCode::Conflict);
        for name in ["", "a b", "a\nb", "é", &"x".repeat(65)] {
            assert_eq!(openact.create_token(token(name)).await.unwrap_err().code, ErrorCode::InvalidInput);
        }
        assert_eq!(openact.list_tokens().await.unwrap().len(), 1);
    }
}
