//! What a connector, component or template, may do to what is stored when it takes the place of another of its name.
//!
//! What a connection holds was given to the hosts it led to then, and an action was checked against the operations there
//! were. Invariant: unless it is allowed, after an installation no stored connection leads elsewhere, and every stored action
//! that could be called can be.

use std::{collections::HashMap, sync::Arc};

use openact_config::template::Template;
use openact_core::{
    ConnectionTrn, ConnectorName, Error, JsonObject, Result,
    connection::{ConnectionRecord, connection_schema},
    schema::{Schema, SchemaView},
    secret::visit_secrets,
};
use serde_json::json;

use crate::{Shared, inputs::Inputs, plan::some_of, prepared::Prepared, template::Kind};

/// What is allowed of a connector that takes the place of another. By default nothing of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replacing {
    /// That stored connections, with their secrets, lead to other hosts or by another connector.
    pub new_hosts: bool,
    /// That stored actions work no longer.
    pub broken_actions: bool,
}

/// Refuses what is not allowed of `new`.
pub(crate) async fn refuse_harm(openact: &Shared, new: &Arc<Kind>, allowed: Replacing) -> Result<()> {
    let name = &new.manifest().name;
    let old = openact.catalog.connector(openact, name).await.ok();
    let mut replaced = vec![(old, new.clone())];
    for (text, template) in openact.catalog.templates_over(openact, name).await? {
        if new.is_template() {
            return Err(Error::conflict(format!("the template '{}' extends '{name}'", template.name))
                .hint("only a connector can be extended; give this template another name"));
        }
        let old = openact.catalog.connector(openact, &template.name).await.ok();
        replaced.push((old, Arc::new(Kind::template(&text, template, new.component.clone())?)));
    }
    for (old, new) in replaced {
        let connections = openact.store.connections_of(&new.manifest().name).await?;
        if !allowed.new_hosts {
            refuse_new_hosts(old.as_deref(), &new, &connections)?;
        }
        if !allowed.broken_actions && !connections.is_empty() {
            refuse_broken_actions(openact, old.as_ref(), &new, connections).await?;
        }
    }
    Ok(())
}

fn refuse_new_hosts(old: Option<&Kind>, new: &Kind, connections: &[ConnectionRecord]) -> Result<()> {
    for record in connections {
        let Some(after) = new.leads_to(record) else { continue };
        let before = old.and_then(|old| old.leads_to(record));
        if before.as_ref() == Some(&after) {
            continue;
        }
        let before = before.map_or_else(|| "nowhere".to_owned(), |before| listed(&before));
        let (after, name) = (listed(&after), &new.manifest().name);
        return Err(Error::conflict(format!(
            "{} leads to {before}; with this in place of the earlier '{name}' it and its secrets would go to {after}",
            record.trn.short()
        ))
        .hint("give it another name, or allow it with --allow-new-hosts")
        .details(json!({ "connection": record.trn.to_string(), "old": before, "new": after })));
    }
    Ok(())
}

async fn refuse_broken_actions(
    openact: &Shared,
    old: Option<&Arc<Kind>>,
    new: &Arc<Kind>,
    connections: Vec<ConnectionRecord>,
) -> Result<()> {
    let name = &new.manifest().name;
    let actions = openact.store.actions_of(name).await?;
    let connections: HashMap<ConnectionTrn, ConnectionRecord> =
        connections.into_iter().map(|record| (record.trn.clone(), record)).collect();
    let schema = connection_schema(new.manifest());
    let check = Schema::compile(&schema, &format!("the connection schema of connector '{name}'"))?;
    let mut broken = Vec::new();
    for action in actions {
        let Some(connection) = connections.get(&action.connection) else { continue };
        let none = Inputs::default();
        let works = |kind: &Arc<Kind>| {
            Prepared::new(action.clone(), connection.clone(), kind.clone(), &none).map(drop)
        };
        let fits = || fits(&connection.config, &SchemaView::new(&schema), &check, &connection.trn);
        // What did not work before is not broken by this.
        if let Err(error) = fits().and_then(|()| works(new))
            && old.is_none_or(|old| works(old).is_ok())
        {
            broken.push((action.trn, error));
        }
    }
    let Some((_, first)) = broken.first() else { return Ok(()) };
    let names: Vec<String> = broken.iter().map(|(trn, _)| trn.short()).collect();
    let list: Vec<_> = broken
        .iter()
        .map(|(trn, error)| json!({"action": trn.to_string(), "error": error.message, "hint": error.hint}))
        .collect();
    let hint = first.hint.as_ref().map_or_else(String::new, |hint| format!("{hint}; "));
    Err(Error::conflict(format!(
        "with this in place of the earlier '{name}' {} would no longer work: {}",
        some_of(&names),
        first.message
    ))
    .hint(format!("{hint}change them first, or install it all the same with --force"))
    .details(json!({ "broken": list })))
}

fn fits(config: &JsonObject, schema: &SchemaView<'_>, check: &Schema, trn: &ConnectionTrn) -> Result<()> {
    let mut plain = config.clone();
    visit_secrets(&mut plain, schema, &mut |_, value| *value = "secret".into());
    check.check(&plain.into(), openact_core::ErrorCode::InvalidConfig, &trn.short())
}

fn listed((base, origins): &(ConnectorName, Vec<String>)) -> String {
    format!("{} (by {base})", if origins.is_empty() { "no URL".to_owned() } else { origins.join(", ") })
}

/// The text of a template, if it extends `name`.
pub(crate) fn extending(bytes: &[u8], name: &ConnectorName) -> Option<(String, Template)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let template = Template::read_again(text).ok().filter(|template| template.extends == *name)?;
    Some((text.to_owned(), template))
}
