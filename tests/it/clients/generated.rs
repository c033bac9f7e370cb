//! A client in TypeScript whose types are made of the OpenAPI document, by `openapi-typescript` and `openapi-fetch`.
//!
//! Invariant: the document is the one that the server answers with, and the compiler is as strict as it can be.

use std::path::Path;

use serde_json::{Value, json};
use support::{
    command::{stderr, stdout},
    servers::{node, npm, own},
};

use super::{Serving, run};

/// A folder with the program, its types, and the packages where such a program looks for them.
fn project(url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(npm(""), folder.path().join("node_modules")).unwrap();
    std::fs::copy(own("openapi_client.ts"), folder.path().join("client.ts")).unwrap();
    std::fs::write(folder.path().join("package.json"), r#"{"type": "module"}"#).unwrap();
    let options = json!({
        "strict": true, "noEmit": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true,
        "noImplicitReturns": true, "target": "es2024", "module": "nodenext", "lib": ["es2024", "dom", "dom.iterable"],
        "types": [], "verbatimModuleSyntax": true, "erasableSyntaxOnly": true, "allowImportingTsExtensions": true,
    });
    let settings = json!({"compilerOptions": options, "files": ["client.ts"]});
    std::fs::write(folder.path().join("tsconfig.json"), settings.to_string()).unwrap();
    does(folder.path(), "openapi-typescript/bin/cli.js", &[url, "--output", "api.ts"]);
    folder
}

/// What a package's program prints; it must succeed.
fn does(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = run(node(&npm(program)).args(arguments).current_dir(folder));
    assert!(output.status.success(), "{program}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_generated_from_the_document_compiles_and_works() {
    let serving = Serving::with_token().await;
    let url = &serving.server.url;
    let folder = project(&format!("{url}/api/v1/openapi.json"));
    does(folder.path(), "typescript/bin/tsc", &["--project", "."]);
    let token = serving.token.as_deref().unwrap();
    let output = run(node(&folder.path().join("client.ts")).args([url, token]).current_dir(folder.path()));
    assert!(output.status.success(), "{}", stderr(&output));
    let done: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(done["target"], "/users/octocat", "{done}");
    assert_eq!(done["dry"], json!(["dry_run=true"]));
    let streamed: Vec<Value> =
        done["streamed"].as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(streamed.len(), 4, "three items and the last word: {streamed:?}");
    assert_eq!(
        done["failures"],
        json!({
            "http.get-user": [400, "INVALID_INPUT", 3], "http.broken": [502, "UPSTREAM_ERROR", 7],
            "http.got-user": [404, "NOT_FOUND", 4],
        })
    );
    // That of the misspelt name is a run of nothing.
    assert_eq!((&done["runs"], &done["has_more"]), (&json!(2), &json!(false)), "{done}");
    assert!(done["run"].is_string());
    assert_eq!(
        (&done["statuses"], &done["late"], &done["changed"]),
        (&json!([201, 200, 409, 200]), &json!("CONFLICT"), &json!(true)),
    );
    assert!(
        serving.upstream.received().iter().all(|request| request.method == "GET"),
        "the dry run was none"
    );
}
