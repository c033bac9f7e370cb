//! Hosts that are listed in DNS: a connection that names no server but where to look its servers up.
//!
//! A connector says which field that is by `x-srv` in its schema:
//!
//! | key of `x-srv` | value |
//! |---|---|
//! | `service` | what stands before the name in DNS: `_mongodb._tcp` |
//! | `hosts` | the field that what is found goes to, each as `host:port` |
//! | `text` | options of the name's TXT record, and the fields they stand for |
//! | `defaults` | what such a connection has where it does not say otherwise |
//!
//! The rules are those of MongoDB's "Initial DNS Seedlist Discovery". Invariant: whoever answers for DNS leads to no host
//! outside the domain of the name that the connection has, and sets no field but those of `text` that it leaves open.

use serde_json::{Map, Value, json};
use url::Host;

use crate::{
    Error, ErrorCode, JsonObject, Result,
    limits::{SEED_TEXT_BYTES_MAX, SEEDS_MAX},
    policy::Origin,
    schema::SchemaView,
};

/// What DNS has of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Host and port of each SRV record, as the server is told to be preferred.
    pub hosts: Vec<(String, u16)>,
    /// The TXT records of the name itself.
    pub texts: Vec<String>,
}

/// What a connection says of where its hosts are listed.
#[derive(Clone, Debug, PartialEq)]
pub struct SeedList {
    name: String,
    service: String,
    hosts: String,
    text: JsonObject,
    defaults: JsonObject,
}

impl SeedList {
    /// The one that `guest`, a connection's own fields, names; none if it names none. `names_hosts`: it names servers, too.
    pub fn of(guest: &JsonObject, schema: &Value, names_hosts: bool) -> Result<Option<Self>> {
        let view = SchemaView::new(schema);
        let named = guest.iter().find_map(|(key, value)| {
            let field = view.property(key)?;
            Some((key, value.as_str()?, field.annotation("x-srv")?.as_object()?.clone()))
        });
        let Some((field, name, rule)) = named else { return Ok(None) };
        let object = |key: &str| rule.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let word = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let seeds = Self {
            name: name_of(name, field)?,
            service: word("service"),
            hosts: word("hosts"),
            text: object("text"),
            defaults: object("defaults"),
        };
        match names_hosts {
            true => Err(Error::invalid_config(format!("the connection has {field} and other hosts too"))
                .hint("keep the one or the other")),
            false => Ok(Some(seeds)),
        }
    }

    /// The name, which has the TXT record.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name that has the SRV records.
    pub fn service(&self) -> String {
        format!("{}.{}", self.service, self.name)
    }

    /// The connection's fields with what was found, and the hosts to grant.
    pub fn fill(&self, guest: &JsonObject, listed: &Listed) -> Result<(JsonObject, Vec<Origin>)> {
        let mut origins: Vec<Origin> = Vec::new();
        for (host, port) in &listed.hosts {
            let origin = self.admit(host, *port)?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        if origins.is_empty() {
            let message = format!("DNS has no SRV record of {}", self.service());
            return Err(Error::new(ErrorCode::NetworkError, message)
                .hint("see that the name is right: it is the one of a mongodb+srv:// URL"));
        }
        if origins.len() > SEEDS_MAX {
            return Err(self.wrong(&format!("lists more than {SEEDS_MAX} hosts")));
        }
        let mut filled = guest.clone();
        for (field, value) in self.options(listed)?.into_iter().chain(self.defaults.clone()) {
            // What the connection says itself is more particular, and nobody's to change.
            if filled.get(&field).is_none_or(Value::is_null) {
                filled.insert(field, value);
            }
        }
        filled.insert(self.hosts.clone(), origins.iter().map(|origin| json!(origin.authority())).collect());
        Ok((filled, origins))
    }

    fn admit(&self, host: &str, port: u16) -> Result<Origin> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let labels = self.name.split('.').count();
        // A name of one or two labels is a domain itself.
        let domain = match self.name.split_once('.') {
            Some((_, parent)) if labels > 2 => parent,
            _ => &self.name,
        };
        if !host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')) {
            let message =
                format!("{} leads to '{}', which is not in {domain}", self.service(), host.escape_debug());
            return Err(Error::egress_denied(message)
                .hint("a seed list names hosts of its own domain; if these are right, list them in hosts"));
        }
        Origin::endpoint(&host, port).map_err(|error| error.context(self.service()))
    }

    /// The fields that the TXT record sets.
    fn options(&self, listed: &Listed) -> Result<JsonObject> {
        let text = match listed.texts.as_slice() {
            [] => return Ok(Map::new()),
            [text] if text.len() <= SEED_TEXT_BYTES_MAX => text,
            [_] => return Err(self.wrong(&format!("has a text of more than {SEED_TEXT_BYTES_MAX} bytes"))),
            _ => return Err(self.wrong("has more than one TXT record")),
        };
        let mut options = Map::new();
        for pair in text.split('&') {
            let known = pair
                .split_once('=')
                .and_then(|(name, value)| Some((self.text.get(name)?.as_str()?, value)))
                .filter(|(_, value)| !value.is_empty());
            let Some((field, value)) = known else {
                let known: Vec<&str> = self.text.keys().map(String::as_str).collect();
                return Err(self.wrong(&format!("has a text other than {}", known.join("=…&"))));
            };
            let value = match value {
                "true" | "false" => json!(value == "true"),
                text => text.into(),
            };
            if options.insert(field.to_owned(), value).is_some() {
                return Err(self.wrong("says one thing twice"));
            }
        }
        Ok(options)
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorCode::UpstreamError, format!("what DNS has of {} {what}", self.name))
            .hint("it is not used in part; list the hosts and options in the connection instead")
    }
}

/// A name of DNS and nothing else: no address, no port, no list.
fn name_of(text: &str, field: &str) -> Result<String> {
    let bad = || {
        Error::invalid_config(format!(
            "{field} '{}' is not one name to look hosts up by",
            text.escape_debug()
        ))
        .hint("expected one name without a port, such as cluster.example.com")
    };
    let Ok(Host::Domain(name)) = Host::parse(text.strip_suffix('.').unwrap_or(text)) else {
        return Err(bad());
    };
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match name.split('.').all(is_label) && name.len() <= 200 && name.chars().all(is_of_name) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"properties": {"hosts": {}, "host": {}, "tls": {}, "auth_source": {}, "replica_set": {},
            "srv_host": {"x-srv": {"service": "_mongodb._tcp", "hosts": "hosts", "defaults": {"tls": "require"},
                "text": {"authSource": "auth_source", "replicaSet": "replica_set"}}}}})
    }

    fn object(value: Value) -> JsonObject {
        value.as_object().unwrap().clone()
    }

    fn seeds(name: &str) -> SeedList {
        SeedList::of(&object(json!({ "srv_host": name })), &schema(), false).unwrap().unwrap()
    }

    fn filled(name: &str, more: Value, hosts: &[&str], texts: &[&str]) -> Result<Value> {
        let mut guest = object(json!({ "srv_host": name }));
        guest.extend(object(more));
        let listed = Listed {
            hosts: hosts.iter().map(|host| ((*host).to_owned(), 27017)).collect(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        let (guest, origins) = seeds(name).fill(&guest, &listed)?;
        assert_eq!(guest["hosts"].as_array().unwrap().len(), origins.len());
        Ok(guest.into())
    }

    #[test]
    fn what_is_found_becomes_fields_unless_the_connection_has_them() {
        let hosts = ["A.x.example.com.", "b.x.example.com", "a.x.example.com"];
        let found = filled("c.x.example.com", json!({}), &hosts, &["authSource=app&replicaSet=rs0"]).unwrap();
        let expected = json!({"srv_host": "c.x.example.com", "tls": "require", "auth_source": "app",
            "replica_set": "rs0", "hosts": ["a.x.example.com:27017", "b.x.example.com:27017"]});
        assert_eq!(found, expected);
        let own = json!({"tls": "disable", "auth_source": "own"});
        let found = filled("c.x.example.com", own, &hosts, &["authSource=app"]).unwrap();
        assert_eq!((&found["tls"], &found["auth_source"]), (&json!("disable"), &json!("own")));
        assert_eq!(seeds("C.x.example.com.").service(), "_mongodb._tcp.c.x.example.com");
        assert!(SeedList::of(&object(json!({"hosts": ["a"]})), &schema(), true).unwrap().is_none());
    }

    #[test]
    fn e12_a_seed_list_leads_to_no_other_domain() {
        for (name, host, fits) in [
            ("c.x.example.com", "a.x.example.com", true),
            ("c.x.example.com", "a.b.x.example.com", true),
            ("c.x.example.com", "x.example.com", false),
            ("c.x.example.com", "ax.example.com", false),
            ("c.x.example.com", ".x.example.com", false),
            ("c.x.example.com", "a.y.example.com", false),
            ("c.x.example.com", "x.example.com.evil.test", false),
            ("c.x.example.com", "127.0.0.1", false),
            ("c.x.example.com", "metadata.google.internal", false),
            ("c.x.example.com", "", false),
            ("example.com", "a.example.com", true),
            ("example.com", "example.com", false),
            ("example.com", "a.com", false),
            ("cluster", "a.cluster", true),
            ("cluster", "a.other", false),
        ] {
            let found = filled(name, json!({}), &[host], &[]);
            assert_eq!(found.is_ok(), fits, "{name} {host}: {found:?}");
        }
        let mixed = filled("c.x.example.com", json!({}), &["a.x.example.com", "evil.test"], &[]).unwrap_err();
        assert_eq!(mixed.code, ErrorCode::EgressDenied, "one of them spoils the list");
    }

    #[test]
    fn e12_a_text_sets_what_it_may_and_nothing_else() {
        let host = ["a.x.example.com"];
        for texts in [
            &["tls=false"][..],
            &["authSource=a&tls=false"],
            &["authSource=a&authSource=b"],
            &["authSource"],
            &["authSource="],
            &[""],
            &["authSource=a", "replicaSet=b"],
        ] {
            let error = filled("c.x.example.com", json!({}), &host, texts).unwrap_err();
            assert_eq!(error.code, ErrorCode::UpstreamError, "{texts:?}");
        }
        let long = "x".repeat(SEED_TEXT_BYTES_MAX);
        assert!(filled("c.x.example.com", json!({}), &host, &[&format!("authSource={long}")]).is_err());
        let many: Vec<String> = (0..=SEEDS_MAX).map(|n| format!("h{n}.x.example.com")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(filled("c.x.example.com", json!({}), &many, &[]).is_err());
        assert!(filled("c.x.example.com", json!({}), &many[1..], &[]).is_ok());
        let none = filled("c.x.example.com", json!({}), &[], &[]).unwrap_err();
        assert_eq!(none.code, ErrorCode::NetworkError);
    }

    #[test]
    fn only_one_name_is_looked_up() {
        for name in ["", "a:27017", "a,b", "127.0.0.1", "[::1]", "a..b", "a b", "a/b", "u@a", ".a", "1"] {
            let named = SeedList::of(&object(json!({ "srv_host": name })), &schema(), false);
            assert!(named.is_err(), "{name}: {named:?}");
        }
        let guest = object(json!({"srv_host": "c.x.example.com", "hosts": ["b"]}));
        assert!(SeedList::of(&guest, &schema(), true).is_err());
    }
}
