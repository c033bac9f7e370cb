//! Version arithmetic by the planner itself and a real store, against a model of a few lines: random sequences of imports by
//! the three strategies, of prunes and of deletions.
//!
//! Invariant: after every step the store holds what the model does, version for version, with the secrets that belong to it.

use std::collections::{BTreeMap, BTreeSet};

use openact_core::secret::TakenSecret;
use openact_store::{ConnectionFilter, KeySource, MasterKey, RunWrites};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use super::*;
use crate::prune;

#[derive(Clone, Debug)]
enum Step {
    /// Connections by name with a value and a secret, actions by name with their connection and a value.
    Import(Versioning, BTreeMap<u8, (u8, u8)>, BTreeMap<u8, (u8, u8)>),
    Prune(u32),
    /// A connection, and every action version over it.
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let versioning = prop_oneof![
        Just(Versioning::ReuseIfUnchanged),
        Just(Versioning::AlwaysBump),
        Just(Versioning::ForceRollback)
    ];
    let some = || prop::collection::btree_map(0..3_u8, (0..3_u8, 0..2_u8), 0..4);
    let import = (versioning, some(), some())
        .prop_map(|(versioning, connections, actions)| Step::Import(versioning, connections, actions));
    vec(
        prop_oneof![6 => import, 2 => (0..4_u32).prop_map(Step::Prune), 1 => (0..3_u8).prop_map(Step::Delete)],
        1..14,
    )
}

/// Of an action: a value, and the connection's name and version.
type Over = (u8, (u8, u32));

/// Every version of a record that there is, and the highest that there ever was.
#[derive(Clone, Debug)]
struct History<C> {
    versions: BTreeMap<u32, C>,
    highest: u32,
}

impl<C> Default for History<C> {
    fn default() -> Self {
        Self { versions: BTreeMap::new(), highest: 0 }
    }
}

impl<C: PartialEq> History<C> {
    /// The version that `content` ends at, and what happened.
    fn import(&mut self, versioning: Versioning, content: C) -> (u32, &'static str) {
        let latest = self.versions.last_key_value();
        let stays = match (versioning, latest) {
            (_, None) | (Versioning::AlwaysBump, _) => false,
            (Versioning::ForceRollback, _) => true,
            (Versioning::ReuseIfUnchanged, Some((_, latest))) => *latest == content,
        };
        if let (true, Some((version, _))) = (stays, latest) {
            return (*version, "=");
        }
        let sign = if latest.is_none() { "+" } else { "~" };
        self.highest += 1;
        self.versions.insert(self.highest, content);
        (self.highest, sign)
    }

    fn old(&self, keep: u32) -> Vec<u32> {
        let old = self.versions.len().saturating_sub(keep.max(1) as usize);
        self.versions.keys().take(old).copied().collect()
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    connections: BTreeMap<u8, History<(u8, u8)>>,
    actions: BTreeMap<u8, History<Over>>,
}

impl Model {
    /// The lines of the plan; none if an action names a connection that is nowhere.
    fn import(
        &mut self,
        versioning: Versioning,
        connections: &BTreeMap<u8, (u8, u8)>,
        actions: &BTreeMap<u8, (u8, u8)>,
    ) -> Option<Vec<String>> {
        let (mut lines, mut ends) = (Vec::new(), BTreeMap::new());
        for (name, content) in connections {
            let (version, sign) = self.connections.entry(*name).or_default().import(versioning, *content);
            lines.push(format!("{sign} connection http/c{name}@v{version}"));
            ends.insert(*name, version);
        }
        for (name, (over, value)) in actions {
            let stored = || Some(*self.connections.get(over)?.versions.last_key_value()?.0);
            let over = (*over, ends.get(over).copied().or_else(stored)?);
            let (version, sign) = self.actions.entry(*name).or_default().import(versioning, (*value, over));
            lines.push(format!("{sign} action http/a{name}@v{version}"));
        }
        Some(lines)
    }

    fn prune(&mut self, keep: u32) {
        for history in self.actions.values_mut() {
            let old = history.old(keep);
            history.versions.retain(|version, _| !old.contains(version));
        }
        let in_use: BTreeSet<(u8, u32)> = self
            .actions
            .values()
            .flat_map(|history| history.versions.values())
            .map(|(_, over)| *over)
            .collect();
        for (name, history) in &mut self.connections {
            let old = history.old(keep);
            history
                .versions
                .retain(|version, _| !old.contains(version) || in_use.contains(&(*name, *version)));
        }
    }

    fn delete(&mut self, name: u8) {
        if let Some(history) = self.connections.get_mut(&name) {
            history.versions.clear();
        }
        for history in self.actions.values_mut() {
            history.versions.retain(|_, (_, (over, _))| *over != name);
        }
    }
}

fn name(of: &str, number: u8) -> Name {
    format!("{of}{number}").parse().unwrap()
}

fn document(connections: &BTreeMap<u8, (u8, u8)>, actions: &BTreeMap<u8, (u8, u8)>) -> Document {
    let connector: ConnectorName = "http".parse().unwrap();
    let object = |value: Value| value.as_object().unwrap().clone();
    let connections = connections.iter().map(|(number, (value, secret))| ConnectionDraft {
        connector: connector.clone(),
        name: name("c", *number),
        config: object(json!({"n": value, "authorization": {"token": {"$secret": "/authorization/token"}}})),
        secrets: vec![TakenSecret {
            pointer: "/authorization/token".into(),
            value: format!("secret {secret}").as_str().into(),
        }],
        place: None,
    });
    let actions = actions.iter().map(|(number, (over, value))| ActionDraft {
        connector: connector.clone(),
        name: name("a", *number),
        connection: name("c", *over),
        config: object(json!({ "n": value })),
        mcp_enabled: false,
        mcp_overrides: None,
        place: None,
    });
    Document { connections: connections.collect(), actions: actions.collect(), ..Document::default() }
}

async fn assert_holds(store: &Store, tenant: &Tenant, model: &Model) {
    let mut connections = Vec::new();
    for trn in store.connection_versions(tenant).await.unwrap() {
        let record = store.get_connection(&trn).await.unwrap().unwrap();
        let secret = store.open_secret(tenant, &secret_name(&trn, "/authorization/token")).await.unwrap();
        let secret = openact_core::secret::ExposeSecret::expose_secret(&secret.unwrap()).to_owned();
        connections.push((trn.short(), record.config["n"].clone(), secret));
    }
    let expected: Vec<_> = model
        .connections
        .iter()
        .flat_map(|(name, history)| {
            history.versions.iter().map(move |(version, content)| (name, version, content))
        })
        .map(|(name, version, (value, secret))| {
            (format!("http/c{name}@v{version}"), json!(value), format!("secret {secret}"))
        })
        .collect();
    connections.sort_by_key(|(name, ..)| sorted(name));
    assert_eq!(connections, expected);
    assert_eq!(
        store.list_secrets(tenant).await.unwrap().len(),
        expected.len(),
        "secrets go with their version"
    );
    let mut actions = Vec::new();
    for (trn, over) in store.action_versions(tenant).await.unwrap() {
        let record = store.get_action(&trn).await.unwrap().unwrap();
        actions.push((trn.short(), over.short(), record.config["n"].clone()));
    }
    let expected: Vec<_> = model
        .actions
        .iter()
        .flat_map(|(name, history)| {
            history.versions.iter().map(move |(version, content)| (name, version, content))
        })
        .map(|(name, version, (value, (over, of)))| {
            (format!("http/a{name}@v{version}"), format!("http/c{over}@v{of}"), json!(value))
        })
        .collect();
    actions.sort_by_key(|(name, ..)| sorted(name));
    assert_eq!(actions, expected);
    // What a reference without a version leads to.
    let filter = ConnectionFilter { latest_only: true, ..Default::default() };
    let latest: Vec<String> = store
        .find_connections(tenant, &filter)
        .await
        .unwrap()
        .iter()
        .map(|record| record.trn.short())
        .collect();
    let newest = |(name, history): (&u8, &History<(u8, u8)>)| {
        history.versions.keys().next_back().map(|version| format!("http/c{name}@v{version}"))
    };
    assert_eq!(latest, model.connections.iter().filter_map(newest).collect::<Vec<_>>());
    let filter = ActionFilter { latest_only: true, ..Default::default() };
    let latest: Vec<String> =
        store.find_actions(tenant, &filter).await.unwrap().iter().map(|record| record.trn.short()).collect();
    let newest = |(name, history): (&u8, &History<Over>)| {
        history.versions.keys().next_back().map(|version| format!("http/a{name}@v{version}"))
    };
    assert_eq!(latest, model.actions.iter().filter_map(newest).collect::<Vec<_>>());
}

/// By number and not by text.
fn sorted(short: &str) -> (String, u32) {
    let (name, version) = short.split_once("@v").unwrap();
    (name.to_owned(), version.parse().unwrap())
}

async fn play(steps: &[Step]) {
    let url = crate::settings::store_url("sqlite::memory:").unwrap();
    let key = KeySource::Keys(vec![MasterKey::ephemeral().unwrap()]);
    let store = Store::open(&url, key, RunWrites::BeforeAnswer).await.unwrap();
    let (tenant, mut model) = (Tenant::default(), Model::default());
    for step in steps {
        match step {
            Step::Import(versioning, connections, actions) => {
                let planned = plan(&store, &document(connections, actions), &tenant, *versioning).await;
                let mut after = model.clone();
                match (after.import(*versioning, connections, actions), planned) {
                    (Some(lines), Ok(planned)) => {
                        let said: Vec<String> = planned
                            .plan
                            .changes
                            .iter()
                            .map(|change| change.to_string().split(" (").next().unwrap().to_owned())
                            .collect();
                        assert_eq!(said, lines);
                        store.apply(planned.changes).await.unwrap();
                        model = after;
                    }
                    (None, Err(error)) => assert!(error.message.contains("neither in the file"), "{error:?}"),
                    (wanted, planned) => panic!("{wanted:?}: {:?}", planned.map(|planned| planned.plan)),
                }
            }
            Step::Prune(keep) => {
                let planned = prune::planned(&store, &tenant, *keep).await.unwrap();
                store.apply(planned.changes).await.unwrap();
                model.prune(*keep);
            }
            Step::Delete(number) => {
                let mut planned = Planned::default();
                let gone = name("c", *number);
                for (trn, over) in store.action_versions(&tenant).await.unwrap() {
                    if over.name == gone {
                        planned.delete_action(trn);
                    }
                }
                for trn in store.connection_versions(&tenant).await.unwrap() {
                    if trn.name == gone {
                        planned.delete_connection(trn);
                    }
                }
                store.apply(planned.changes).await.unwrap();
                model.delete(*number);
            }
        }
        assert_holds(&store, &tenant, &model).await;
    }
    store.close().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn versions_only_grow_are_never_used_again_and_stay_as_long_as_promised(steps in steps()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(play(&steps));
    }
}
