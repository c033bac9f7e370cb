//! What takes the place of a connector of the same name: it neither leads what is stored elsewhere nor breaks it.
//!
//! Invariant: what is refused left the earlier one where it was.

use support::guests::guest;

use super::*;

#[tokio::test]
async fn what_takes_the_place_of_a_template_is_refused_where_stored_actions_would_break() {
    let upstream = Upstream::json("{}").await;
    let (files, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (home, write) = (home.path(), |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let first = ACME.replace("operations:\n", "operations:\n  other: { description: d, path: /other }\n");
    succeeds(home, &["connector", "install", &write("acme.yaml", &first)]).await;
    let file = write(
        "c.yaml",
        &format!(
            "connections:\n  c: {{ kind: acme, base_url: \"{}\", key: k }}\n\
             actions:\n  greet: {{ connection: c, operation: greet }}\n  other: {{ connection: c, operation: other }}\n\
             \x20 raw: {{ connection: c, path: /raw }}\n",
            upstream.url()
        ),
    );
    succeeds(home, &["import", &file]).await;

    let fewer = write("fewer.yaml", &first.replace("  greet:", "  welcome:"));
    let refused = run(home, &["connector", "install", &fewer]).await;
    let parts = [
        "acme/greet@v1 would no longer work",
        "'acme' has no operation 'greet'",
        "other, welcome",
        "--force",
    ];
    assert_fails(CANARY, &refused, 3, &parts);
    assert!(!stderr(&refused).contains("acme/other@v1") && !stderr(&refused).contains("'http' has"));
    let other = write(
        "other.yaml",
        &first.replace("base_url", "url").replace("  url: \"{{url", "  base_url: \"{{url"),
    );
    let refused = run(home, &["connector", "install", &other]).await;
    assert_fails(CANARY, &refused, 3, &["acme/greet@v1", "acme/other@v1", "acme/raw@v1"]);
    // More operations harm nobody, and one that is not used may go.
    let more = first.replace("  greet:", "  more: { description: d }\n  greet:");
    succeeds(home, &["connector", "install", &write("more.yaml", &more)]).await;
    succeeds(home, &["connector", "install", &write("acme.yaml", &first)]).await;

    succeeds(home, &["connector", "install", &fewer, "--force"]).await;
    // What is broken says so by the name that its user knows; the rest works.
    let broken = run(home, &["run", "acme/greet", "--set", "name=x"]).await;
    assert_fails(
        CANARY,
        &broken,
        3,
        &["connector 'acme' has no operation 'greet'", "it has: other, welcome"],
    );
    succeeds(home, &["run", "acme/other"]).await;
    // What does not work is not broken again.
    succeeds(home, &["connector", "install", &fewer]).await;
}

#[tokio::test]
async fn s4_a_component_and_a_template_of_one_name_are_not_handed_each_others_secrets() {
    let template = ACME.replace("name: acme", "name: puppet");
    let (component, text) = (
        guest("puppet"),
        json!({"connectors": {"puppet": {
            "connections": {"c": {"base_url": "https://good.example", "key": CANARY}}, "actions": {"a": {"connection": "c"}},
        }}}),
    );
    let openact = memory(&[]).build().await.unwrap();
    let all = Replacing { new_hosts: true, broken_actions: true };
    let force = Replacing { broken_actions: true, ..Replacing::default() };
    openact.install_template("p.yaml", &template, Replacing::default()).await.unwrap();
    openact.import_text("c.json", &text.to_string(), Format::Json, &Default::default()).await.unwrap();
    // Of this connection the component makes nothing.
    let error = openact.replace_connector(component.clone(), vec![], Replacing::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    openact.replace_connector(component.clone(), vec![], all).await.unwrap();

    let openact = memory(&[]).build().await.unwrap();
    let text = config(
        "puppet",
        json!({"base_url": "https://good.example",
        "authorization": {"type": "bearer", "token": CANARY}}),
        json!({"a": {}}),
    );
    openact.install_connector(component.clone(), vec![]).await.unwrap();
    openact.import_text("c.json", &text, Format::Json, &Default::default()).await.unwrap();
    // The same again leads nowhere else.
    openact.install_connector(component.clone(), vec![]).await.unwrap();
    let error = openact.install_template("p.yaml", &template, force).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "{error:?}");
    for part in ["puppet/c@v1 leads to https://good.example (by puppet)", "https://good.example (by http)"] {
        assert!(error.message.contains(part), "{error}");
    }
    openact.install_template("p.yaml", &template, all).await.unwrap();
    let error = openact.replace_connector(component.clone(), vec![], force).await.unwrap_err();
    assert!(
        error.message.contains("(by puppet)") && error.hint.as_ref().unwrap().contains("--allow-new-hosts")
    );
    openact.replace_connector(component, vec![], all).await.unwrap();
}

#[tokio::test]
async fn a_component_is_replaced_with_regard_to_the_templates_over_it() {
    let openact = memory(&[]).build().await.unwrap();
    openact.install_connector(guest("puppet"), vec![]).await.unwrap();
    let over = "name: doll\nversion: 1.0.0\ndescription: d\nextends: puppet\nparameters: [{ name: url, required: true, format: uri }]\n\
                connection: { base_url: \"{{url}}\" }\noperations: { dance: { description: d } }\n";
    openact.install_template("doll.yaml", over, Replacing::default()).await.unwrap();
    let text = config("doll", json!({"url": "https://good.example"}), json!({"a": {"operation": "dance"}}));
    openact.import_text("c.json", &text, Format::Json, &Default::default()).await.unwrap();
    let template = ACME.replace("name: acme", "name: puppet");
    let error = openact.install_template("p.yaml", &template, Replacing::default()).await.unwrap_err();
    assert!(error.message.contains("the template 'doll' extends 'puppet'"), "{error}");
    openact.install_connector(guest("puppet"), vec![]).await.unwrap();
}

#[tokio::test]
async fn a_newer_template_does_not_take_stored_secrets_to_other_hosts() {
    let openact = memory(&[]).build().await.unwrap();
    let of = |base_url: &str| {
        let parameter = "  - { name: base_url, required: true, format: uri }\n";
        ACME.replace(parameter, "").replace("{{base_url}}", base_url)
    };
    let install =
        async |text: String, replacing| openact.install_template("acme.yaml", &text, replacing).await;
    install(of("https://good.example/v1"), Replacing::default()).await.unwrap();
    // While nothing is stored there is nothing to take away.
    install(of("https://elsewhere.example"), Replacing::default()).await.unwrap();
    install(of("https://good.example/v1"), Replacing::default()).await.unwrap();
    let text = json!({"connections": {"c": {"kind": "acme", "key": CANARY}}}).to_string();
    openact.import_text("c.json", &text, Format::Json, &Default::default()).await.unwrap();
    let error = install(of("https://evil.example/v1"), Replacing::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    for part in ["https://good.example", "https://evil.example", "acme/c"] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(error.hint.as_ref().unwrap().contains("--allow-new-hosts"), "{error:?}");
    let reaches = async || openact.connector_info(&"acme".parse().unwrap()).await.unwrap().reaches.unwrap();
    assert_eq!(reaches().await, ["https://good.example/v1"]);
    install(of("https://good.example/v2"), Replacing::default()).await.unwrap();
    install(of("https://evil.example"), Replacing { new_hosts: true, ..Replacing::default() }).await.unwrap();
    assert_eq!(reaches().await, ["https://evil.example"]);
}
