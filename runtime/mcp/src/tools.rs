//! Which tools there are: the actions of a tenant that are for MCP clients, with their names.
//!
//! They are read from the store once for each state of the configuration, all of a tenant together, so that a tool has the
//! same name for every caller; a caller is shown those it may run. Invariant: a list is in the order of its names, and no
//! page of it holds more than [`MCP_PAGE`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openact::{
    Effect, Governance, Interface, OpenAct, Result, Tenant, limits::MCP_PAGE, limits::MCP_TENANTS_MAX,
};
use rmcp::{
    ErrorData,
    model::{MetaObject, Tool, ToolAnnotations},
};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::names::{self, Wanted};

/// The action of a tool, in the `_meta` of what is said of it.
pub(crate) const META_ACTION: &str = "openact/action";

/// The actions of one tenant that are for MCP clients, by the names of their tools.
#[derive(Debug, Default)]
pub(crate) struct Tools(BTreeMap<String, Interface>);

impl Tools {
    fn of(interfaces: Vec<Interface>) -> Self {
        let enabled: Vec<Interface> =
            interfaces.into_iter().filter(|interface| interface.mcp_enabled).collect();
        let wanted = enabled.iter().map(|interface| Wanted {
            connector: interface.action.connector.as_str(),
            action: interface.action.name.as_str(),
            tool_name: said(interface, "tool_name"),
        });
        let names = names::assign(&wanted.collect::<Vec<_>>());
        Self(names.into_iter().zip(enabled).collect())
    }

    /// The action of the tool called `name`, whoever may run it.
    pub(crate) fn get(&self, name: &str) -> Option<&Interface> {
        self.0.get(name)
    }

    /// Names and actions that a caller may see, in the order of names.
    pub(crate) fn seen<'a>(
        &'a self,
        governance: &'a Governance,
    ) -> impl Iterator<Item = (&'a str, &'a Interface)> {
        let all = self.0.iter().map(|(name, interface)| (name.as_str(), interface));
        all.filter(|(_, interface)| governance.allows(&interface.action))
    }
}

/// The tools of every tenant that was asked about.
pub(crate) struct Catalog {
    changes: watch::Receiver<u64>,
    kept: Mutex<HashMap<Tenant, (u64, Arc<Tools>)>>,
}

impl Catalog {
    pub(crate) fn new(openact: &OpenAct) -> Self {
        Self { changes: openact.config_changes(), kept: Mutex::default() }
    }

    /// Those of `tenant`, by the configuration as it is.
    pub(crate) async fn tools(&self, openact: &OpenAct, tenant: &Tenant) -> Result<Arc<Tools>> {
        // Looked at first: what is read after a change belongs to no earlier state.
        let now = *self.changes.borrow();
        if let Some((of, tools)) = self.lock().get(tenant)
            && *of == now
        {
            return Ok(tools.clone());
        }
        let tools = Arc::new(Tools::of(openact.interfaces(tenant, &Governance::default()).await?));
        let mut kept = self.lock();
        if kept.len() >= MCP_TENANTS_MAX {
            kept.clear();
        }
        kept.insert(tenant.clone(), (now, tools.clone()));
        Ok(tools)
    }

    /// Tells of every change of configuration from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Tenant, (u64, Arc<Tools>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An action as a tool.
pub(crate) fn described(name: &str, interface: &Interface) -> Tool {
    let overridden = interface.mcp_overrides.as_ref().and_then(|overrides| overrides.get("input_schema"));
    let input_schema = overridden.filter(|schema| schema.is_object()).unwrap_or(&interface.input_schema);
    let description = said(interface, "description").or(interface.description.as_deref());
    let mut tool = Tool::new_with_raw(
        name.to_owned(),
        description.map(|text| text.to_owned().into()),
        Arc::new(object_schema(input_schema)),
    );
    tool.output_schema = interface.output_schema.as_ref().and_then(output_schema).map(Arc::new);
    tool.annotations = Some(annotations(interface.effect, interface.idempotent));
    let mut meta = Map::new();
    meta.insert(META_ACTION.into(), interface.action.to_string().into());
    tool.meta = Some(MetaObject(meta));
    tool
}

/// What the connector says of the operation, in the words of MCP.
pub(crate) fn annotations(effect: Effect, idempotent: bool) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(effect == Effect::Read)
        .destructive(effect == Effect::Destructive)
        .idempotent(idempotent)
        .open_world(true)
}

/// A text among the `mcp` section of an action.
pub(crate) fn said<'a>(interface: &'a Interface, key: &str) -> Option<&'a str> {
    interface.mcp_overrides.as_ref()?.get(key)?.as_str()
}

fn object_schema(schema: &Value) -> Map<String, Value> {
    let mut fields = schema.as_object().cloned().unwrap_or_default();
    without_headers(&mut fields);
    // Clients insist, and the input of an action is an object in any case.
    if fields.get("type").and_then(Value::as_str) != Some("object") {
        fields.insert("type".into(), "object".into());
    }
    fields
}

/// Takes out what says that an argument is sent as a header, too (`x-mcp-header`, as in a schema taken from another server):
/// whoever lists that has to compare both, and here nothing is decided by the header.
fn without_headers(schema: &mut Map<String, Value>) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for property in properties.into_iter().flatten().filter_map(|(_, property)| property.as_object_mut()) {
        property.remove("x-mcp-header");
        without_headers(property);
    }
}

/// Clients of every version but the last insist on an object, and hold a result against what its tool says it would be.
fn output_schema(schema: &Value) -> Option<Map<String, Value>> {
    schema.as_object().filter(|fields| fields.get("type").and_then(Value::as_str) == Some("object")).cloned()
}

/// The page of `items`, which are in the order of their keys, that `cursor` asks for, and the cursor of the next one.
pub(crate) fn page<T>(
    items: impl Iterator<Item = (String, T)>,
    cursor: Option<&str>,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    let after = cursor.map(decoded).transpose()?;
    let mut items = items.skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after)).peekable();
    let mut page = Vec::new();
    let mut last = None;
    while page.len() < MCP_PAGE
        && let Some((key, item)) = items.next()
    {
        page.push(item);
        last = Some(key);
    }
    let next = last.filter(|_| items.peek().is_some()).map(|key| BASE64_URL_SAFE_NO_PAD.encode(key));
    Ok((page, next))
}

fn decoded(cursor: &str) -> Result<String, ErrorData> {
    let key = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    key.ok_or_else(|| {
        ErrorData::invalid_params("the cursor is none of this server's; ask for the first page", None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> impl Iterator<Item = (String, usize)> {
        (0..count).map(|number| (format!("tool-{number:05}"), number))
    }

    #[test]
    fn m3_pages_hold_every_item_once_and_in_order() {
        let (mut cursor, mut found) = (None, Vec::new());
        loop {
            let (items, next) = page(numbered(2 * MCP_PAGE + 1), cursor.as_deref()).unwrap();
            assert!(items.len() <= MCP_PAGE);
            found.extend(items);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..2 * MCP_PAGE + 1).collect::<Vec<_>>());
        assert_eq!(page(numbered(MCP_PAGE), None).unwrap().1, None);
        assert!(page(numbered(1), Some("no cursor!")).is_err());
    }

    #[test]
    fn no_argument_is_asked_for_as_a_header() {
        let schema = serde_json::json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "inner": {"properties": {"x-mcp-header": {"type": "string", "x-mcp-header": "Deep"}}},
        }});
        let listed = Value::Object(object_schema(&schema));
        let expected = serde_json::json!({"type": "object", "properties": {
            "region": {"type": "string"}, "inner": {"properties": {"x-mcp-header": {"type": "string"}}},
        }});
        assert_eq!(listed, expected);
    }

    #[test]
    fn m3_annotations_are_what_the_connector_says() {
        let of = |effect, idempotent| {
            let found = annotations(effect, idempotent);
            (found.read_only_hint, found.destructive_hint, found.idempotent_hint)
        };
        assert_eq!(of(Effect::Read, true), (Some(true), Some(false), Some(true)));
        assert_eq!(of(Effect::Write, false), (Some(false), Some(false), Some(false)));
        assert_eq!(of(Effect::Destructive, true), (Some(false), Some(true), Some(true)));
    }
}
