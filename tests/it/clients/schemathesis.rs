//! Schemathesis, over the whole API as its document describes it.
//!
//! Invariant: it makes up the same requests each time. `SCHEMATHESIS_EXAMPLES=200` makes it make up more.

use support::{
    command::{stderr, stdout},
    servers,
};

use super::{Serving, run};

const CHECKS: &str = "no_unexplained_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,negative_data_rejection,\
                      unsupported_method,ignored_auth,use_after_free,missing_required_header";

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_api_is_as_its_document_says() {
    let serving = Serving::with_token().await;
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "5".to_owned());
    let url = format!("{}/api/v1/openapi.json", serving.server.url);
    let header = format!("Authorization: Bearer {}", serving.token.as_deref().unwrap());
    let mut command = servers::schemathesis();
    command.args(["run", &url, "--header", &header, "--checks", CHECKS, "--max-examples", &examples]);
    command.args(["--phases", "examples,coverage,fuzzing", "--mode", "all", "--no-color"]);
    command.args(["--generation-deterministic", "--continue-on-failure"]);
    let output = run(command.env("HOME", serving.home.path()).current_dir(serving.home.path()));
    let text = stdout(&output);
    assert!(output.status.success(), "{text}\n{}", stderr(&output));
    assert!(!serving.upstream.received().is_empty(), "it reached no action: {text}");
}
