//! The table `api_tokens`: who may use the doors, and for what.
//!
//! ```text
//! oat_<id>_<secret>    id: 16 hexadecimal digits, which name the row · secret: 64, of which the row has the SHA-256
//! ```
//!
//! A secret of 256 random bits needs no slow hash: nobody can try them all.
//! Invariant: a secret leaves this module once, when it is made; afterwards it is only compared, in constant time.

use std::fmt;

use aws_lc_rs::{constant_time, digest};
use openact_core::{
    Error, Result, Timestamp, limits,
    scope::TokenScope,
    secret::{ExposeSecret, SecretString},
};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store, failure,
    rows::{Row, json_text, time_text},
    seal::random,
};

const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token, without its secret.
#[derive(Clone, PartialEq)]
pub struct ApiToken {
    /// The public part of the text.
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
    /// SHA-256 of the secret, hexadecimal.
    digest: String,
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {} ({})", self.name, self.id)
    }
}

impl ApiToken {
    /// Whether `secret`, the last part of a token's text, is this one's.
    pub fn has_secret(&self, secret: &SecretString) -> bool {
        let given = hex(digest::digest(&digest::SHA256, secret.expose_secret().as_bytes()).as_ref());
        constant_time::verify_slices_are_equal(given.as_bytes(), self.digest.as_bytes()).is_ok()
    }

    /// Whether it has ended by `now`.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// The parts of a token's text, id and secret; none if it is no such text.
pub fn parse_token(text: &str) -> Option<(&str, SecretString)> {
    let (id, secret) = text.strip_prefix("oat_")?.split_once('_')?;
    let is_hex = |part: &str, bytes: usize| {
        part.len() == 2 * bytes && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then(|| (id, SecretString::from(secret)))
}

impl Store {
    /// Makes a token and gives its text, which is not to be had again. A name that is taken is a `conflict`.
    pub async fn create_token(
        &self,
        name: &str,
        scope: TokenScope,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiToken, SecretString)> {
        let (mut id, mut secret) = ([0; ID_BYTES], zeroize::Zeroizing::new([0; SECRET_BYTES]));
        random(&mut id)?;
        random(&mut *secret)?;
        let (id, secret) = (hex(&id), zeroize::Zeroizing::new(hex(&*secret)));
        let token = ApiToken {
            digest: hex(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref()),
            id,
            name: name.to_owned(),
            scope,
            created_at: Timestamp::now(),
            expires_at,
            last_used_at: None,
        };
        let mut tx = self.begin_change().await?;
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM api_tokens")
            .fetch_one(&mut *tx)
            .await
            .map_err(self.failed(READ))?;
        if count >= i64::from(limits::API_TOKENS_MAX) {
            return Err(Error::limit_exceeded(format!("there are {count} tokens already"))
                .hint("revoke those that nobody uses: openact token list, openact token revoke"));
        }
        self.audit_token(&mut tx, "token.create", None, Some(&token)).await?;
        let inserted = token.insert("INSERT")?.build().execute(&mut *tx).await;
        failure::explain_constraint(inserted, &self.0.place, "write a token", |code, _| match code {
            failure::code::CONSTRAINT_UNIQUE => Some(
                Error::conflict(format!("there is a token '{name}' already"))
                    .hint("take another name, or revoke that one first"),
            ),
            _ => None,
        })?;
        self.commit_configuration(tx).await?;
        let text = zeroize::Zeroizing::new(format!("oat_{}_{}", token.id, *secret));
        Ok((token, SecretString::from(text.as_str())))
    }

    /// Every token, by name.
    pub async fn list_tokens(&self) -> Result<Vec<ApiToken>> {
        let rows: Vec<TokenRow> = QueryBuilder::<Sqlite>::new(COLUMNS)
            .push(" ORDER BY name")
            .build_query_as()
            .fetch_all(&self.0.readers)
            .await
            .map_err(self.failed(READ))?;
        rows.into_iter().map(TokenRow::token).collect()
    }

    /// Ends the token of that name or id; none if there is none.
    pub async fn revoke_token(&self, name_or_id: &str) -> Result<Option<ApiToken>> {
        let mut tx = self.begin_change().await?;
        // A name that looks like another one's id is the name.
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE name = ").push_bind(name_or_id).push(" OR id = ").push_bind(name_or_id);
        query.push(" ORDER BY name <> ").push_bind(name_or_id).push(" LIMIT 1");
        let row: Option<TokenRow> =
            query.build_query_as().fetch_optional(&mut *tx).await.map_err(self.failed(READ))?;
        let Some(row) = row else { return Ok(None) };
        let token = row.token()?;
        self.audit_token(&mut tx, "token.revoke", Some(&token), None).await?;
        sqlx::query("DELETE FROM api_tokens WHERE id = ?")
            .bind(&token.id)
            .execute(&mut *tx)
            .await
            .map_err(self.failed("delete a token"))?;
        self.commit_configuration(tx).await?;
        Ok(Some(token))
    }

    /// Notes that a token was used at `at`, unless that was noted less than `every` before.
    pub async fn note_token_use(&self, id: &str, at: Timestamp, every: std::time::Duration) -> Result<()> {
        let before = at.checked_sub(every).unwrap_or(at);
        sqlx::query(
            "UPDATE api_tokens SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
        )
        .bind(time_text(at))
        .bind(id)
        .bind(time_text(before))
        .execute(&self.0.writer)
        .await
        .map(drop)
        .map_err(self.failed("note that a token was used"))
    }

    /// Tokens as the log has them, by object.
    pub(crate) async fn tokens_as_logged(
        &self,
        tx: &mut SqliteConnection,
    ) -> Result<Vec<(String, serde_json::Value)>> {
        let rows: Vec<TokenRow> = sqlx::query_as(COLUMNS).fetch_all(tx).await.map_err(self.failed(READ))?;
        let tokens = rows.into_iter().map(|row| {
            let object = object_of(&row.id);
            // One that cannot be read is not what was written.
            (object, row.token().map(|token| token.as_logged()).unwrap_or_default())
        });
        Ok(tokens.collect())
    }
}

impl ApiToken {
    /// The statement that adds its row; `insert` says what is done where its name is taken.
    fn insert(&self, insert: &'static str) -> Result<QueryBuilder<Sqlite>> {
        let mut query = QueryBuilder::new(insert);
        query.push(" INTO api_tokens (id, name, secret_digest, scope_json, created_at, expires_at) VALUES (");
        let mut values = query.separated(", ");
        values.push_bind(self.id.clone()).push_bind(self.name.clone()).push_bind(self.digest.clone());
        values.push_bind(json_text(&self.scope)?).push_bind(time_text(self.created_at));
        values.push_bind(self.expires_at.map(time_text)).push_unseparated(")");
        Ok(query)
    }

    /// The digest says nothing of a secret that nobody can guess, and a row in which it was exchanged is found.
    pub(crate) fn as_logged(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name, "digest": self.digest, "scope": self.scope,
            "created_at": time_text(self.created_at), "expires_at": self.expires_at.map(time_text),
        })
    }
}

/// Those of a database that nobody vouches for: none if it cannot be read.
pub(crate) async fn tokens_of(connection: &mut SqliteConnection) -> Vec<ApiToken> {
    let rows: Vec<TokenRow> = sqlx::query_as(COLUMNS).fetch_all(connection).await.unwrap_or_default();
    rows.into_iter().filter_map(|row| row.token().ok()).collect()
}

/// A token that is over by a restore: what it was in the copy, and what it is.
pub(crate) type Ended = (Option<ApiToken>, ApiToken);

/// Makes the tokens of a copy fit to replace a database with those of `replaced`. One is valid afterwards if both have it, as
/// it is. One that a single one of them has may have been revoked since the copy was made, or been made by whoever is the
/// reason for restoring: it is there, and over, so that doors which wanted tokens go on wanting them.
pub(crate) async fn end_unshared(
    copy: &mut SqliteConnection,
    place: &str,
    replaced: &[ApiToken],
) -> Result<Vec<Ended>> {
    let failed = |error| failure::explain(place, "end tokens", error);
    let has_tokens: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'api_tokens')")
            .fetch_one(&mut *copy)
            .await
            .map_err(failed)?;
    if !has_tokens {
        return Ok(Vec::new());
    }
    let (now, mut ended) = (Timestamp::now(), Vec::new());
    let own = tokens_of(copy).await;
    let is_in = |token: &ApiToken, others: &[ApiToken]| {
        others.iter().any(|other| other.id == token.id && other.as_logged() == token.as_logged())
    };
    for token in own.iter().filter(|token| !token.is_over(now) && !is_in(token, replaced)) {
        let over = ApiToken { expires_at: Some(now), ..token.clone() };
        sqlx::query("UPDATE api_tokens SET expires_at = ? WHERE id = ?")
            .bind(time_text(now))
            .bind(&over.id)
            .execute(&mut *copy)
            .await
            .map_err(failed)?;
        ended.push((Some(token.clone()), over));
    }
    for token in replaced.iter().filter(|token| own.iter().all(|own| own.id != token.id)) {
        let end = token.expires_at.filter(|end| *end < now).unwrap_or(now);
        let over = ApiToken { expires_at: Some(end), ..token.clone() };
        // Whose name is taken by another one need not be there.
        let inserted = over.insert("INSERT OR IGNORE")?.build().execute(&mut *copy).await.map_err(failed)?;
        if inserted.rows_affected() > 0 {
            ended.push((None, over));
        }
    }
    Ok(ended)
}

pub(crate) fn object_of(id: &str) -> String {
    format!("token/{id}")
}

/// What failed, for an error.
const READ: &str = "read tokens";

const COLUMNS: &str =
    "SELECT id, name, secret_digest, scope_json, created_at, expires_at, last_used_at FROM api_tokens";

#[derive(FromRow)]
struct TokenRow {
    id: String,
    name: String,
    secret_digest: String,
    scope_json: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
}

impl TokenRow {
    fn token(self) -> Result<ApiToken> {
        let row = Row { table: "api_tokens", key: &self.id };
        let time = |column, text: &Option<String>| {
            text.as_deref().map(|text| row.parse::<Timestamp>(column, text)).transpose()
        };
        Ok(ApiToken {
            scope: row.json("scope_json", &self.scope_json)?,
            created_at: row.parse("created_at", &self.created_at)?,
            expires_at: time("expires_at", &self.expires_at)?,
            last_used_at: time("last_used_at", &self.last_used_at)?,
            name: self.name,
            digest: self.secret_digest,
            id: self.id,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_not_looked_up() {
        let (id, secret) = ("0123456789abcdef", "ab".repeat(32));
        let (found, given) =
            parse_token(&format!("oat_{id}_{secret}")).map(|(id, s)| (id.to_owned(), s)).unwrap();
        assert_eq!((&*found, given.expose_secret()), (id, &*secret));
        for bad in [
            "",
            "oat_",
            "oat__",
            &format!("oat_{id}"),
            &format!("oat_{id}_"),
            &format!("oat_{id}_{secret}0"),
            &format!("{id}_{secret}"),
            &format!("oat_{id}_{}", secret.to_uppercase()),
            &format!("oat_{id}x_{secret}"),
            &format!("oat_{id}_{secret} "),
        ] {
            assert!(parse_token(bad).is_none(), "{bad}");
        }
    }
}
