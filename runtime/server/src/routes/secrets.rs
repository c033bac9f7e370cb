//! Secrets: names out, values in.
//!
//! Invariant: no answer and no log has a value, not even that of a request which was refused.

use axum::extract::{FromRequest, Request};
use openact::{Error, SecretName, SecretString};

use super::json;
use crate::{
    Doors,
    access::Manage,
    envelope::{Answer, Failure, Reply},
    extract::JsonBody,
    shapes::{Envelope, NewSecret, SecretList, SecretSet, SecretShape},
};

/// Names of secrets
#[utoipa::path(get, path = "/secrets", tag = "secrets", responses((status = 200, description = "All", body = Envelope<SecretList>)))]
pub(crate) async fn list(Manage(call): Manage) -> Answer {
    let secrets = call.openact.list_secrets(&call.tenant).await?;
    let shown = secrets
        .into_iter()
        .map(|secret| SecretShape {
            name: secret.name,
            created_at: secret.created_at,
            updated_at: secret.updated_at,
        })
        .collect();
    Ok(Reply::new(json(SecretList { secrets: shown })?))
}

/// A body whose mistakes are told without its text.
pub(crate) struct SecretBody(NewSecret);

impl FromRequest<Doors> for SecretBody {
    type Rejection = Failure;

    async fn from_request(request: Request, doors: &Doors) -> Result<Self, Failure> {
        match JsonBody::<NewSecret>::from_request(request, doors).await {
            Ok(JsonBody(secret)) => Ok(Self(secret)),
            // What a parser says of a text may quote it.
            Err(failure) if failure.status.is_none() => {
                Err(Error::invalid_input("the body is not {\"name\": TEXT, \"value\": TEXT}").into())
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Seal a value under a name, in place of what was there
#[utoipa::path(post, path = "/secrets", tag = "secrets", request_body = NewSecret,
    responses((status = 200, description = "It is sealed", body = Envelope<SecretSet>)))]
pub(crate) async fn set(Manage(call): Manage, SecretBody(secret): SecretBody) -> Answer {
    let value = SecretString::from(secret.value);
    let name: SecretName = secret.name.parse()?;
    call.openact.set_secret(&call.tenant, &name, &value).await?;
    Ok(Reply::new(json(SecretSet { name: name.to_string() })?))
}
