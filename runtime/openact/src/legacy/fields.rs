//! The columns of connections and tasks as the fields of today.
//!
//! | columns | become | and |
//! |---|---|---|
//! | `auth_params_*`, `authorization_type`, `auth_ref` | `authorization` or `auth_ref` | an API key stays where it was sent |
//! | `default_*_json` | `defaults` | without what a policy took away |
//! | `headers_json`, `query_params_json`, `request_body_json` | `headers`, `query`, `body` | what was sent, where that differs from `defaults` |
//! | `http_policy_json` | `http_policy` | its reserved and appended headers are in `headers` already |
//! | `retry_policy_json` | `retry` | said to be none where it is absent |
//! | `timeout_config_json`, `network_config_json` | `timeout`, `network` | of a task only where its connection had none |
//!
//! Invariant: a value that had no effect is reported, not carried: today it would have one.

use openact_core::{JsonObject, limits::CallLimits};
use openact_store::{LegacyRow, LegacyRows, LegacySchema};
use serde_json::{Value, json};

use super::{
    credentials::{Credentials, opened},
    drafts::{Entry, Field},
    report::{About, Effect, Finding},
    sent::{self, APPENDED, Pairs, Policy, RESERVED, literal, without_variables},
    tasks::{Connection, Task},
};

/// Reads columns of JSON.
pub(super) struct Json<'a> {
    pub(super) row: &'a LegacyRow,
    pub(super) about: &'a About,
}

impl Json<'_> {
    /// Whatever it is; none if there is nothing.
    pub(super) fn any(&self, column: &str) -> Result<Option<Value>, Finding> {
        match self.row.text(column).filter(|text| !text.trim().is_empty()) {
            None => Ok(None),
            Some(text) => {
                serde_json::from_str(text).map(Some).map_err(|_| self.damaged(column, "it is not JSON"))
            }
        }
    }

    /// An object. A JSON null is nothing.
    pub(super) fn object(&self, column: &str) -> Result<Option<JsonObject>, Finding> {
        match self.any(column)? {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(self.damaged(column, "it is not an object")),
        }
    }

    /// A list of `{key, value}`. Of a key that is there again, the last one was sent.
    pub(super) fn key_values(&self, column: &str) -> Result<Vec<(String, String)>, Finding> {
        let bad = || self.damaged(column, "it is not a list of { key, value }, both of them text");
        let text = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(str::to_owned);
        match self.any(column)? {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                items.iter().map(|item| text(item, "key").zip(text(item, "value")).ok_or_else(bad)).collect()
            }
            Some(_) => Err(bad()),
        }
    }

    /// An object of lists of texts, each list as it was joined to be sent.
    pub(super) fn multi_values(&self, column: &str, by: &str) -> Result<Vec<(String, String)>, Finding> {
        let bad = || self.damaged(column, "it is not an object of texts or lists of them");
        let texts = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Array(items) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.map(|texts| texts.join(by))
            }
            _ => None,
        };
        let object = self.any(column)?.filter(|value| !value.is_null());
        match object {
            None => Ok(Vec::new()),
            Some(Value::Object(object)) => {
                object.iter().map(|(name, value)| Ok((name.clone(), texts(value).ok_or_else(bad)?))).collect()
            }
            Some(_) => Err(bad()),
        }
    }

    fn damaged(&self, column: &str, why: &str) -> Finding {
        self.about.finding(Some(column), Effect::RowNotCarried, why, "import it from a file, mended")
    }
}

type Fields = Vec<(&'static str, &'static str, Value)>;

/// The credential of a connection.
pub(super) fn authorization(
    connection: &Connection<'_>,
    credentials: &Credentials,
    findings: &mut Vec<Finding>,
) -> Result<Fields, Finding> {
    let (row, about) = (connection.row, &connection.about);
    let kind = row.text("authorization_type").unwrap_or_default();
    let lost = |column: &str, why: String| {
        let advice = "import the connection from a file, with its authorization";
        about.finding(Some(column), Effect::RowNotCarried, why, advice)
    };
    let column = "auth_params_encrypted";
    if kind == "oauth2_authorization_code" {
        return stored_credential(connection, credentials, findings);
    }
    if row.text("auth_ref").is_some_and(|text| !text.is_empty()) {
        let why = format!("it had no effect beside authorization '{kind}'");
        findings.push(about.finding(Some("auth_ref"), Effect::FieldNotCarried, why, "nothing to do"));
    }
    if kind == "none" {
        return Ok(Vec::new());
    }
    let group = match kind {
        "api_key" => "api_key_auth_parameters",
        "basic" => "basic_auth_parameters",
        "oauth2_client_credentials" => "oauth_parameters",
        other => {
            return Err(lost("authorization_type", format!("'{}' is not known", other.escape_debug())));
        }
    };
    if row.text("key_version") != Some("0") {
        let why = "it is not 0, so the credential is sealed with a key that is not this version's";
        return Err(lost("key_version", why.into()));
    }
    let value = row.text(column).unwrap_or_default();
    let text = opened(LegacySchema::Tasks, value, row.text("auth_params_nonce"))
        .map_err(|why| lost(column, why.into()))?;
    let parameters: Value =
        serde_json::from_str(&text).map_err(|_| lost(column, "what it holds is not JSON".into()))?;
    let parameters = parameters
        .get(group)
        .ok_or_else(|| lost(column, format!("there are no {group}, which authorization '{kind}' needs")))?;
    let text = |key: &str| parameters.get(key).and_then(Value::as_str);
    let need = |key: &str| text(key).ok_or_else(|| lost(column, format!("'{key}' is missing")));
    let section = match kind {
        "api_key" => api_key(need("api_key_name")?, need("api_key_value")?),
        "basic" => {
            json!({"type": "basic", "username": need("username")?, "password": need("password")?})
        }
        _ => {
            let mut section = json!({"type": kind, "token_url": need("token_url")?,
                "client_id": need("client_id")?, "client_secret": need("client_secret")?});
            if let (Some(scope), Some(section)) = (text("scope"), section.as_object_mut()) {
                section.insert("scope".into(), scope.into());
            }
            section
        }
    };
    Ok(vec![(column, "authorization", without_variables(&section))])
}

/// An API key where it was sent.
fn api_key(name: &str, value: &str) -> Value {
    if name.eq_ignore_ascii_case("authorization") {
        json!({"type": "bearer", "token": value})
    } else if name.starts_with("X-") || name.contains('-') {
        json!({"type": "api_key", "header": name, "value": value})
    } else {
        json!({"type": "api_key", "query": name, "value": value})
    }
}

fn stored_credential(
    connection: &Connection<'_>,
    credentials: &Credentials,
    findings: &mut Vec<Finding>,
) -> Result<Fields, Finding> {
    let about = &connection.about;
    let reference = connection.row.text("auth_ref").unwrap_or_default();
    let Some(trn) = credentials.reference(reference) else {
        let why = "it names no stored credential, without which this authorization never worked";
        let advice = "import the connection from a file, with auth_ref or another authorization";
        return Err(about.finding(Some("auth_ref"), Effect::RowNotCarried, why, advice));
    };
    if !credentials.has(&trn) {
        let why = format!("there is no stored credential {trn}, or it is not carried");
        let advice = "authorise again under that name; until then calls end with auth_required";
        findings.push(about.finding(Some("auth_ref"), Effect::Changed, why, advice));
    }
    let why = "client id, secret and token URL are only in the earlier tables: the stored token is used until it expires, and is not refreshed yet";
    let advice = "authorise again when it has expired";
    findings.push(about.finding(Some("auth_params_encrypted"), Effect::FieldNotCarried, why, advice));
    Ok(vec![("auth_ref", "auth_ref", without_variables(&json!(trn.to_string())))])
}

/// What all connections that were one have in common.
pub(super) fn of_connection(connection: &Connection<'_>, findings: &mut Vec<Finding>) -> Vec<Field> {
    let about = &connection.about;
    let mut entry = Entry { handle: String::new(), about: about.clone(), fields: Vec::new() };
    let policy = Policy::of(connection.policy.as_ref());
    let headers = without_authorization(policy.headers(&connection.headers, &Pairs::new()));
    for name in connection.headers.keys().filter(|name| !headers.contains_key(*name)) {
        if name != "authorization" {
            never_sent(about, "default_headers_json", name, "the policy took it away", findings);
        }
    }
    // As before, a redirect is followed; how often is the earlier client's own number.
    let mut defaults = json!({"follow_redirects": true});
    if let Some(defaults) = defaults.as_object_mut() {
        let body: Vec<(&String, Value)> =
            connection.body.iter().map(|(name, value)| (name, json!(value))).collect();
        for (key, value) in [("headers", texts(&headers)), ("query", texts(&connection.query))] {
            if value.as_object().is_some_and(|pairs| !pairs.is_empty()) {
                defaults.insert(key.into(), value);
            }
        }
        if !body.is_empty() {
            let body: JsonObject = body.into_iter().map(|(name, value)| (name.clone(), value)).collect();
            set_body(defaults, &Value::Object(body));
        }
    }
    entry.set("default_headers_json, default_query_params_json, default_body_json", "defaults", defaults);
    let own = connection.policy.as_ref();
    let mut policy = own.map_or_else(JsonObject::new, |policy| header_policy(policy, about, findings));
    policy.insert("max_redirects".into(), 10.into());
    entry.set("http_policy_json", "http_policy", policy);
    if let Some(timeout) = &connection.timeout {
        entry.set("timeout_config_json", "timeout", timeouts(timeout));
    }
    let retry = connection.retry.as_ref();
    entry.set(
        "retry_policy_json",
        "retry",
        retry.map_or(json!("none"), |own| retries(own, about, None, findings)),
    );
    entry.fields
}

/// What an action is: what its task sent, where that is not what its connection's defaults are.
pub(super) fn of_task(
    entry: &mut Entry,
    connection: &Connection<'_>,
    task: &Task<'_>,
    findings: &mut Vec<Finding>,
) {
    let (row, about) = (task.row, &task.about);
    let method = row.text("method").unwrap_or_default();
    entry.set("method", "method", method);
    let braces = |text: &str| text.replace('{', "%7B").replace('}', "%7D");
    let query = task.url.query().map_or(String::new(), |query| format!("?{}", braces(query)));
    entry.set("api_endpoint", "path", braces(task.url.path()) + &query);
    headers(entry, connection, task, findings);
    parameters(entry, connection, task, findings);
    body(entry, connection, task, method, findings);
    if let Some(policy) = &task.policy {
        entry.set("http_policy_json", "http_policy", header_policy(policy, about, findings));
    }
    if let Some(retry) = &task.retry {
        entry.set("retry_policy_json", "retry", retries(retry, about, Some(method), findings));
    } else if connection.retry.is_some() && !is_idempotent(method) {
        once(about, findings);
    }
    if let Some(response) = &task.response {
        entry.set("response_policy_json", "response", without_variables(&json!(response)));
    }
    match (&task.timeout, &connection.timeout) {
        (Some(own), None) => entry.set("timeout_config_json", "timeout", timeouts(own)),
        (Some(own), Some(other)) if own != other => {
            let why = "the connection's came before it, so it never held";
            let advice = "to use it: set timeout in the action, which comes before its connection now";
            findings.push(about.finding(Some("timeout_config_json"), Effect::FieldNotCarried, why, advice));
        }
        _ => {}
    }
    if let (Some(own), Some(other)) = (&task.network, &connection.network)
        && own != other
    {
        let why = "the connection's came before it, so it never held";
        let advice = "to use it: make a connection with this network, from a file";
        findings.push(about.finding(Some("network_config_json"), Effect::FieldNotCarried, why, advice));
    }
}

fn headers(entry: &mut Entry, connection: &Connection<'_>, task: &Task<'_>, findings: &mut Vec<Finding>) {
    let of_connection = Policy::of(connection.policy.as_ref()).headers(&connection.headers, &Pairs::new());
    let policy = Policy::of(task.policy.as_ref().or(connection.policy.as_ref()));
    let sent = policy.headers(&connection.headers, &task.headers);
    let only_task = policy.headers(&Pairs::new(), &task.headers);
    for (name, value) in &task.headers {
        let why = match (sent.get(name), only_task.get(name)) {
            (None, _) => "the policy took it away",
            (Some(sent), Some(own)) if sent != own && sent != value => "the connection's came before it",
            _ => continue,
        };
        never_sent(&task.about, "headers_json", name, why, findings);
    }
    let (sent, of_connection) = (without_authorization(sent), without_authorization(of_connection));
    let mut own = JsonObject::new();
    for (name, value) in &sent {
        if of_connection.get(name) != Some(value) || task.headers.contains_key(name) {
            own.insert(name.clone(), literal(&json!(value)));
        }
    }
    for name in of_connection.keys().filter(|name| !sent.contains_key(*name)) {
        own.insert(name.clone(), Value::Null);
    }
    if !own.is_empty() {
        entry.set("headers_json", "headers", own);
    }
}

fn parameters(entry: &mut Entry, connection: &Connection<'_>, task: &Task<'_>, findings: &mut Vec<Finding>) {
    let sent = sent::query(&connection.query, &task.query);
    for (name, _) in task.query.iter().filter(|(name, value)| sent.get(*name) != Some(value)) {
        never_sent(&task.about, "query_params_json", name, "the connection's came before it", findings);
    }
    let mut own = JsonObject::new();
    for (name, value) in &sent {
        // A parameter that the endpoint had, too, was sent twice; today the later one would replace it.
        let mut values: Vec<String> = task
            .url
            .query_pairs()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| value.into_owned())
            .collect();
        let is_twice = !values.is_empty();
        values.push(value.clone());
        if is_twice {
            own.insert(name.clone(), literal(&json!(values)));
        } else if connection.query.get(name) != Some(value) || task.query.contains_key(name) {
            own.insert(name.clone(), literal(&json!(value)));
        }
    }
    if !own.is_empty() {
        entry.set("query_params_json", "query", own);
    }
}

fn body(
    entry: &mut Entry,
    connection: &Connection<'_>,
    task: &Task<'_>,
    method: &str,
    findings: &mut Vec<Finding>,
) {
    let sent = sent::body(&connection.body, task.body.as_ref());
    let column = "request_body_json";
    if sent.is_some() && matches!(method, "GET" | "HEAD") {
        let why = format!("a body was sent with {method}, which has none here");
        let advice = "use another method, if the other side reads the body";
        findings.push(task.about.finding(Some(column), Effect::Changed, why, advice));
    }
    let Some(own) = &task.body else { return };
    let Some(sent) = sent else { return };
    match own {
        Value::Object(fields) => {
            for name in fields.keys().filter(|name| sent.get(*name) != fields.get(*name)) {
                never_sent(&task.about, column, name, "the connection's came before it", findings);
            }
        }
        _ if sent != *own => {
            let why = "it is no object, and the connection's fields were sent in its place";
            let advice = "to send it: set body in the action, which comes before its connection now";
            findings.push(task.about.finding(Some(column), Effect::FieldNotCarried, why, advice));
        }
        _ => {}
    }
    let mut fields = JsonObject::new();
    set_body(&mut fields, &sent);
    for (key, value) in fields {
        entry.set(column, &key, value);
    }
}

/// A body that is JSON, also where it looks like one of the kinds that have a `type`.
fn set_body(fields: &mut JsonObject, body: &Value) {
    fields.insert("body".into(), literal(body));
    if body.get("type").is_some() {
        fields.insert("body_type".into(), "json".into());
    }
}

fn never_sent(about: &About, column: &str, name: &str, because: &str, findings: &mut Vec<Finding>) {
    let why = format!("'{}' was never sent: {because}", name.escape_debug());
    let advice = "to send it: set it in the action, which comes before its connection now";
    findings.push(about.finding(Some(column), Effect::FieldNotCarried, why, advice));
}

/// The rules that still mean the same.
fn header_policy(policy: &JsonObject, about: &About, findings: &mut Vec<Finding>) -> JsonObject {
    let mut out = JsonObject::new();
    for (key, value) in policy.iter().filter(|(_, value)| !value.is_null()) {
        let usual = |names: &[&str]| *value == json!(names);
        match key.as_str() {
            "reserved_headers" | "multi_value_append_headers" => {
                let is_usual = usual(&[]) || usual(RESERVED) || usual(APPENDED);
                if !is_usual {
                    let why = format!(
                        "'{key}' means something else today; its effect is in the headers of the actions"
                    );
                    let advice = "see http_policy in config/README.md, if headers come from the input";
                    findings.push(about.finding(
                        Some("http_policy_json"),
                        Effect::FieldNotCarried,
                        why,
                        advice,
                    ));
                }
            }
            "normalize_header_names" => {}
            "allowed_content_types" => {
                let mut types = value.clone();
                // The type of a JSON body was added after the policy had looked.
                if let Some(list) = types.as_array_mut().filter(|list| !list.is_empty())
                    && !list.iter().any(|kind| kind == "application/json")
                {
                    list.push("application/json".into());
                }
                out.insert(key.clone(), without_variables(&types));
            }
            _ => drop(out.insert(key.clone(), without_variables(value))),
        }
    }
    out
}

/// The parts within the whole, as they were in effect.
fn timeouts(timeout: &JsonObject) -> Value {
    let total = timeout.get("total_ms").and_then(Value::as_u64).map(|ms| ms.min(CallLimits::MAX.wall_ms));
    let mut timeout = timeout.clone();
    for (key, value) in timeout.iter_mut() {
        if let (Some(ms), Some(total)) = (value.as_u64(), total) {
            *value = if key == "total_ms" { total.into() } else { ms.min(total).into() };
        }
    }
    Value::Object(timeout)
}

/// A retry policy, without the jitter and the bound in time that the earlier one had not.
fn retries(policy: &JsonObject, about: &About, method: Option<&str>, findings: &mut Vec<Finding>) -> Value {
    let mut retry = policy.clone();
    let count = policy.get("max_retries").and_then(Value::as_u64).unwrap_or(0);
    retry.entry("max_retries").or_insert_with(|| 0.into());
    retry.insert("jitter".into(), false.into());
    retry.insert("total_ms".into(), CallLimits::MAX.wall_ms.into());
    if count > 0 {
        let why = "the whole call has one timeout now, all its attempts together";
        let advice = "raise timeout.total_ms, if that is too short for them";
        findings.push(about.finding(Some("retry_policy_json"), Effect::Changed, why, advice));
        if method.is_some_and(|method| !is_idempotent(method)) {
            once(about, findings);
        }
    }
    Value::Object(retry)
}

fn once(about: &About, findings: &mut Vec<Finding>) {
    let why = "a request of this method is sent again only if it cannot have been received, or has a header Idempotency-Key";
    let advice = "add the header, if the other side knows it";
    findings.push(about.finding(Some("retry_policy_json"), Effect::Changed, why, advice));
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE")
}

/// A network, with what of it was in effect.
pub(super) fn network(entry: &mut Entry, network: &JsonObject, about: &About, findings: &mut Vec<Finding>) {
    let column = "network_config_json";
    let mut network = network.clone();
    if let Some(tls) = network.get_mut("tls").and_then(Value::as_object_mut) {
        tls.retain(|_, value| !value.is_null());
        let mut unused = Vec::new();
        if tls.contains_key("client_cert_pem") != tls.contains_key("client_key_pem") {
            unused.extend(["client_cert_pem", "client_key_pem"]);
        }
        unused.push("server_name");
        for key in unused {
            if tls.shift_remove(key).is_some() {
                let why = format!("'{key}' had no effect, or not without the other half");
                let advice = "to use it: set it under network.tls of the connection";
                findings.push(about.finding(Some(column), Effect::FieldNotCarried, why, advice));
            }
        }
    }
    // Lists of bytes are read as they are.
    entry.set(column, "network", without_variables(&Value::Object(network)));
}

/// What goes for every row alike, said once.
pub(super) fn notes_for_all(rows: &LegacyRows, findings: &mut Vec<Finding>) {
    for table in ["connections", "tasks"] {
        let about = About { table, trn: "*".into() };
        let mut note = |column: &str, why: &str| {
            findings.push(about.finding(Some(column), Effect::Note, why, ""));
        };
        if rows.of(table).iter().any(|row| row.text("version").is_some_and(|version| version != "1")) {
            note("version", "it counted edits; the version of today is the @v of the TRN, or 1");
        }
        if rows.of(table).iter().any(|row| row.text("timeout_config_json").is_none()) {
            note(
                "timeout_config_json",
                "where there is none, a call ends after 60 seconds now; it had no end before",
            );
        }
    }
}

fn without_authorization(mut headers: Pairs) -> Pairs {
    headers.remove("authorization");
    headers
}

fn texts(pairs: &Pairs) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), literal(&json!(value)))).collect())
}
