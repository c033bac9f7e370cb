//! The OpenAPI 3.1 document, from the routes and the types they read and answer.
//!
//! Invariant: every operation has a name of its own, and says that it may fail, and how a failure looks.

use std::sync::OnceLock;

use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder,
    path::Operation,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use crate::routes;

/// The document, made once.
pub(crate) fn json() -> String {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| document().to_pretty_json().unwrap_or_default()).clone()
}

fn document() -> OpenApi {
    let (_, mut document) = routes::routes().split_for_parts();
    document.info = InfoBuilder::new()
        .title("OpenAct")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Run actions against other systems through sandboxed connectors. Every answer is an envelope; codes of errors are \
             stable.",
        ))
        .contact(Some(ContactBuilder::new().url(Some(env!("CARGO_PKG_REPOSITORY"))).build()))
        .build();
    let components = document.components.get_or_insert_with(|| ComponentsBuilder::new().build());
    components.add_security_scheme(
        "bearer",
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
    );
    components.add_security_scheme(
        "api_key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))),
    );
    let none: [&str; 0] = [];
    document.security = Some(vec![
        SecurityRequirement::new("bearer", none),
        SecurityRequirement::new("api_key", none),
        SecurityRequirement::default(),
    ]);
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            named(operation);
            may_fail(operation);
        }
    }
    document
}

/// With a name that no other has: generated clients call their functions so.
fn named(operation: &mut Operation) {
    let tag = operation.tags.as_ref().and_then(|tags| tags.first());
    if let Some((tag, id)) = tag.zip(operation.operation_id.as_mut()) {
        *id = format!("{tag}_{id}");
    }
}

fn may_fail(operation: &mut Operation) {
    let failure = ContentBuilder::new().schema(Some(Ref::from_schema_name("FailureEnvelope"))).build();
    let response = ResponseBuilder::new()
        .description("Why it failed; the status is that of the code")
        .content("application/json", failure)
        .build();
    operation.responses.responses.entry("default".into()).or_insert(RefOr::T(response));
}
