//! Step 6 of a call: what its connection may reach, and as whom.
//!
//! Secrets are looked up here and nowhere else. Where all of them are in the store, the grants are made once, since a
//! change there empties the snapshot; what comes from the environment, a file or a vault is read at every call, and the
//! grants are made anew only if it changed. So it is with hosts that DNS lists (`seeds`): what the connector is given and what
//! it may reach come from one answer. Invariant: a credential that is missing or cannot be read fails here, before
//! anything is dialled; a dry run, which sends nothing, goes on without and says so.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use openact_auth::Setup;
use openact_core::{
    AuthTrn, ConnectionTrn, Error, ErrorCode, JsonObject, Result, Tenant, Timestamp,
    connection::ConnectionParts,
    credential::SecretSource,
    limits::SECRET_FILE_BYTES_MAX,
    network::NetworkSettings,
    policies::Policies,
    policy::{EgressGrants, Origin},
    secret::{self, SecretRef, SecretString},
    seeds::Listed,
};
use openact_engine::{GrantSettings, Grants, Limiter};
use serde_json::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::{Shared, settings::Folders, vault};

/// How an action version's connection is used.
pub(crate) struct Access {
    connection: ConnectionTrn,
    pub(crate) parts: ConnectionParts,
    pub(crate) policies: Policies,
    references: Vec<SecretRef>,
    /// What the connector is given of the connection, JSON, without hosts that are to be looked up.
    guest: Arc<str>,
    /// Filled at the first call, where nothing has to be read at each.
    once: OnceCell<Granted>,
    /// What the last call's secrets were, and what was made of them.
    last: Mutex<Option<(Secrets, Arc<Listed>, Granted)>>,
}

/// What a call may reach, and what its connector is told of that.
#[derive(Clone)]
pub(crate) struct Granted {
    pub(crate) grants: Arc<Grants>,
    /// JSON.
    pub(crate) connection: Arc<str>,
}

impl Access {
    pub(crate) fn new(connection: ConnectionTrn, parts: ConnectionParts, policies: Policies) -> Result<Self> {
        let mut references = openact_auth::references(&parts.authorization);
        references.extend(policies.network.references());
        references.extend(parts.secrets.iter().map(|(_, reference)| reference.clone()));
        if parts.auth_ref.is_some() && has_authorization(&parts.authorization) {
            return Err(Error::invalid_config("a connection has either authorization or auth_ref, not both"));
        }
        let (once, last) = (OnceCell::new(), Mutex::new(None));
        let guest = Value::Object(parts.guest.clone()).to_string().into();
        Ok(Self { connection, parts, policies, references, guest, once, last })
    }

    /// What a call may reach, with its credential.
    pub(crate) async fn grants(&self, openact: &Shared) -> Result<Granted> {
        let is_stored = |reference: &SecretRef| matches!(reference, SecretRef::Stored(_));
        let is_known = self.parts.auth_ref.is_none() && self.parts.seeds.is_none();
        if is_known && self.references.iter().all(is_stored) {
            return self.once.get_or_try_init(|| self.read_and_make(openact)).await.cloned();
        }
        self.read_and_make(openact).await
    }

    /// The same for a dry run, which sends nothing and so can do without a credential: without one, and why, if it is
    /// missing. No vault is asked: what is there is taken for granted; nor is DNS.
    pub(crate) async fn grants_of_dry_run(&self, openact: &Shared) -> Result<(Granted, Option<Error>)> {
        refuse_foreign(&self.connection, &self.references)?;
        let in_vault = self.references.iter().any(|reference| matches!(reference, SecretRef::Vault { .. }));
        let made = match self.read(openact, Vaults::Unasked).await {
            Ok(secrets) => self.make(openact, &secrets, &[]),
            Err(error) => Err(error),
        };
        let granted = |grants| Granted { grants: Arc::new(grants), connection: self.guest.clone() };
        let missing = match made {
            Ok(grants) => return Ok((granted(grants), None)),
            Err(_) if in_vault => {
                Error::auth_required("the credential is in a vault, which a dry run does not ask")
                    .hint("openact check tells whether it is there and valid")
            }
            Err(error) if error.code == ErrorCode::AuthRequired => error,
            Err(error) => return Err(error.context(self.connection.short())),
        };
        let network = NetworkSettings::default();
        let none = Secrets::default();
        let without = self.make_of(openact, &JsonObject::new(), &none, network, Vec::new(), &[])?;
        Ok((granted(without), Some(missing)))
    }

    /// What it may reach by itself, and which private addresses.
    pub(crate) fn egress(&self, openact: &Shared) -> Result<EgressGrants> {
        self.egress_with(openact, &[])
    }

    fn egress_with(&self, openact: &Shared, listed: &[Origin]) -> Result<EgressGrants> {
        let mut origins = [&self.parts.origins, listed].concat();
        origins.extend(self.policies.network.origins()?);
        let private = openact.private.with_connection(&self.policies.network.private_rules()?);
        Ok(EgressGrants::new(origins).with_private(Arc::new(private)))
    }

    async fn read(&self, openact: &Shared, vaults: Vaults) -> Result<Secrets> {
        let tenant = &self.connection.tenant;
        let mut secrets = Secrets::read(openact, tenant, &self.references, vaults).await?;
        if let Some(reference) = &self.parts.auth_ref {
            secrets.token = Some(stored_token(openact, tenant, reference).await?);
        }
        Ok(secrets)
    }

    async fn read_and_make(&self, openact: &Shared) -> Result<Granted> {
        refuse_foreign(&self.connection, &self.references)?;
        let secrets = self.read(openact, Vaults::Asked).await?;
        let listed = match &self.parts.seeds {
            Some(seeds) => openact.engine.listed(seeds).await.map_err(|error| self.said(error))?,
            None => Arc::default(),
        };
        let made_of = |last: &Option<(Secrets, Arc<Listed>, Granted)>| match last {
            Some((known, from, granted)) if *known == secrets && *from == listed => Some(granted.clone()),
            _ => None,
        };
        if let Some(granted) = made_of(&self.last.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(granted);
        }
        let (connection, origins) = self.filled(&listed).map_err(|error| self.said(error))?;
        let grants = self.make(openact, &secrets, &origins).map_err(|error| self.said(error))?;
        let granted = Granted { grants: Arc::new(grants), connection };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((secrets, listed, granted.clone()));
        Ok(granted)
    }

    fn said(&self, error: Error) -> Error {
        error.context(self.connection.short())
    }

    /// What the connector is given, and the hosts to grant, with what DNS has of them.
    fn filled(&self, listed: &Listed) -> Result<(Arc<str>, Vec<Origin>)> {
        let Some(seeds) = &self.parts.seeds else { return Ok((self.guest.clone(), Vec::new())) };
        let (guest, origins) = seeds.fill(&self.parts.guest, listed)?;
        Ok((Value::Object(guest).to_string().into(), origins))
    }

    /// `listed`: hosts of the connection that DNS has.
    fn make(&self, openact: &Shared, secrets: &Secrets, listed: &[Origin]) -> Result<Grants> {
        let bearer = secrets.token.as_ref().map(|_| bearer());
        let authorization = bearer.as_ref().unwrap_or(&self.parts.authorization);
        let of_fields = self.parts.secrets.iter().map(|(name, reference)| {
            let value = secrets.secret(reference)?.ok_or_else(|| {
                Error::auth_required(format!(
                    "{name} refers to {}, which does not exist",
                    reference.to_json()
                ))
                .hint("set it, or take the field out of the connection")
            })?;
            Ok((name.clone(), value))
        });
        let of_fields = of_fields.collect::<Result<_>>()?;
        let network = self.policies.network.resolve(secrets)?;
        self.make_of(openact, authorization, secrets, network, of_fields, listed)
    }

    fn make_of(
        &self,
        openact: &Shared,
        authorization: &JsonObject,
        secrets: &Secrets,
        network: NetworkSettings,
        of_fields: Vec<(String, SecretString)>,
        listed: &[Origin],
    ) -> Result<Grants> {
        let (parts, policies) = (&self.parts, &self.policies);
        let egress = self.egress_with(openact, listed)?;
        let own = Policies::of(&parts.sections)?.network;
        let login_origins = [parts.origins.clone(), listed.to_vec(), own.origins()?].concat();
        let endpoint = openact_auth::endpoint(authorization).into_iter().collect();
        let transport = openact.engine.transport(GrantSettings {
            egress: EgressGrants::new(endpoint).with_private(egress.private().clone()),
            policies: policies.clone(),
            network: network.clone(),
            own_origin: parts.credential_origin.clone(),
            ..GrantSettings::default()
        })?;
        let credential = openact_auth::credential(Setup {
            authorization,
            origin: parts.credential_origin.as_ref(),
            owner: &self.connection.to_string(),
            secrets,
            tokens: &openact.tokens,
            transport,
        })?;
        openact.engine.grants(GrantSettings {
            egress,
            credential,
            own_origin: parts.credential_origin.clone(),
            policies: policies.clone(),
            network,
            limiter: self.limiter(openact),
            connection_headers: header_map(parts.defaults.get("headers")),
            owner: Some(self.connection.clone()),
            secrets: of_fields,
            login_origins,
            login_network: own.resolve(secrets).ok(),
            logins: Some(openact.logins.clone()),
            states: Some(Arc::new(openact.store.clone())),
        })
    }

    /// The connection version's limiter: one for all its actions, as long as any call remembers it.
    fn limiter(&self, openact: &Shared) -> Option<Arc<Limiter>> {
        let limit = self.parts.rate_limit.as_ref()?;
        let made: Result<_, std::convert::Infallible> =
            openact.limiters.get_or_insert_with(&self.connection, || Ok(Arc::new(Limiter::new(limit))));
        made.ok()
    }
}

fn has_authorization(authorization: &JsonObject) -> bool {
    authorization.get("type").is_some_and(|kind| kind != "none")
}

/// What [`Secrets`] calls the token of `auth_ref`. No secret can be given this name.
const STORED_TOKEN: &str = "token of auth_ref";

/// The token of `auth_ref` as an `authorization` section. By reference: its text, whatever it looks like, is never read
/// as one.
fn bearer() -> JsonObject {
    let mut section = JsonObject::new();
    section.insert("type".into(), "bearer".into());
    section.insert("token".into(), SecretRef::Stored(STORED_TOKEN.into()).to_json());
    section
}

/// A connection version's sealed secrets are its own. Another's, by the name it has in the store, would be sent to
/// this one's host.
fn refuse_foreign(connection: &ConnectionTrn, references: &[SecretRef]) -> Result<()> {
    let own = format!("connection/{}#", connection.short());
    for reference in references {
        if let SecretRef::Stored(name) = reference
            && name.starts_with("connection/")
            && !name.starts_with(&own)
        {
            return Err(Error::invalid_config(format!(
                "{} refers to a secret of another connection",
                connection.short()
            ))
            .hint("import the connection with a secret of its own"));
        }
    }
    Ok(())
}

/// `defaults.headers` as headers; what cannot be one is left to the connector, whose request will be refused for it.
fn header_map(headers: Option<&Value>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.and_then(Value::as_object).into_iter().flatten() {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if let Ok(value) = HeaderValue::from_str(&text) {
                map.append(name.clone(), value);
            }
        }
    }
    map
}

/// What to do about a stored credential that cannot be used.
pub(crate) const AUTH_REF_HINT: &str = "a valid stored credential of that name is missing; the flows that create one come in a \
     later version: until then use authorization in place of auth_ref";

/// The access token that `auth_ref` names: `provider/user`, or its TRN.
async fn stored_token(openact: &Shared, tenant: &Tenant, reference: &str) -> Result<SecretString> {
    let bad = || {
        Error::invalid_config(format!(
            "auth_ref '{}' is not provider/user or a TRN",
            reference.escape_debug()
        ))
    };
    let trn: AuthTrn = match reference.split_once('/') {
        Some((provider, user)) if !reference.starts_with("trn:") => {
            AuthTrn::new(tenant.clone(), provider.parse().map_err(|_| bad())?, user)?
        }
        _ => reference.parse().map_err(|_| bad())?,
    };
    let missing = |what: &str| {
        Error::auth_required(format!("the stored credential {}/{} {what}", trn.provider, trn.user()))
            .hint(AUTH_REF_HINT)
    };
    if trn.tenant != *tenant {
        return Err(missing("does not exist"));
    }
    let stored = openact.store.get_auth_connection(&trn).await?.ok_or_else(|| missing("does not exist"))?;
    if stored.expires_at.is_some_and(|end| end <= Timestamp::now()) {
        return Err(missing("has expired"));
    }
    if !stored.token_type.eq_ignore_ascii_case("bearer") {
        return Err(missing("is not a bearer token"));
    }
    Ok(stored.access_token)
}

/// The secrets of one connection, looked up beforehand.
#[derive(Default)]
struct Secrets {
    known: HashMap<SecretRef, SecretString>,
    token: Option<SecretString>,
}

impl PartialEq for Secrets {
    fn eq(&self, other: &Self) -> bool {
        let is_same_token = match (&self.token, &other.token) {
            (None, None) => true,
            (Some(own), Some(other)) => secret::same(own, other),
            _ => false,
        };
        let in_other = |(reference, own): (&SecretRef, &SecretString)| {
            other.known.get(reference).is_some_and(|other| secret::same(own, other))
        };
        is_same_token && self.known.len() == other.known.len() && self.known.iter().all(in_other)
    }
}

/// Whether vaults are asked. A dry run asks nobody.
#[derive(Clone, Copy)]
enum Vaults {
    Asked,
    Unasked,
}

impl Secrets {
    async fn read(
        openact: &Shared,
        tenant: &Tenant,
        references: &[SecretRef],
        vaults: Vaults,
    ) -> Result<Self> {
        let mut secrets = Self::default();
        for reference in references {
            let value = match reference {
                SecretRef::Stored(name) => openact.store.open_secret(tenant, name).await?,
                SecretRef::Env(name) => (openact.env)(name).map(SecretString::from),
                SecretRef::File(path) => read_secret_file(path)?,
                SecretRef::Vault { .. } => match vaults {
                    Vaults::Asked => vault::read(openact, reference).await?,
                    Vaults::Unasked => Some("in the vault".into()),
                },
            };
            if let Some(value) = value {
                secrets.known.insert(reference.clone(), value);
            }
        }
        Ok(secrets)
    }
}

impl SecretSource for Secrets {
    fn secret(&self, reference: &SecretRef) -> Result<Option<SecretString>> {
        Ok(match reference {
            SecretRef::Stored(name) if name == STORED_TOKEN => self.token.clone(),
            _ => self.known.get(reference).cloned(),
        })
    }
}

/// A secret file without its last line break; none if there is no such file. A device or pipe could hold a call, and
/// every other call on its thread, for ever; and what the system says of this process holds its keys.
fn read_secret_file(path: &str) -> Result<Option<SecretString>> {
    let unreadable = |what: &dyn std::fmt::Display| {
        Error::auth_required(format!("failed to read the secret file {path}: {what}"))
            .hint("name a small text file that this user can read")
    };
    let real = match std::fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let is_system = |folder: &&str| real.starts_with(folder);
    let is_master_key =
        || Folders::of_platform().and_then(|own| own.master_key().canonicalize().ok()) == Some(real.clone());
    if ["/proc", "/sys"].iter().any(is_system) || is_master_key() {
        return Err(unreadable(&"it is not anybody's to send"));
    }
    // Opening a pipe waits for somebody to write.
    if !std::fs::metadata(&real).is_ok_and(|metadata| metadata.is_file()) {
        return Err(unreadable(&"it is not a file"));
    }
    let file = File::open(&real).map_err(|error| unreadable(&error))?;
    let mut text = Zeroizing::new(String::new());
    file.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(unreadable(&format_args!("it has more than {SECRET_FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(text.trim_end_matches(['\r', '\n']).into()))
}

/// When a value of a vault was read, and what it was.
pub(crate) type VaultValue = (Instant, SecretString);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use openact_core::ErrorCode;
    use openact_store::AuthConnection;
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::Semaphore,
    };

    use super::*;
    use crate::{Format, OpenAct};

    /// Answers requests, and hands their heads over.
    async fn upstream() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let _ = sender.send(String::from_utf8_lossy(&head[..read]).into_owned());
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            }
        });
        (url, received)
    }

    fn stored(token: &str, expires_at: Option<Timestamp>) -> AuthConnection {
        AuthConnection {
            trn: "trn:openact:default:auth/github/alice".parse().unwrap(),
            access_token: token.into(),
            refresh_token: None,
            expires_at,
            token_type: "Bearer".into(),
            scope: None,
            extra: None,
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
            version: 0,
        }
    }

    async fn with_auth_ref(url: &str, auth_ref: &str) -> OpenAct {
        let text = json!({"connectors": {"http": {
            "connections": {"c": {"base_url": url, "auth_ref": auth_ref}},
            "actions": {"get": {"connection": "c"}},
        }}});
        let builder = OpenAct::builder().without_cache().config_text(text.to_string(), Format::Json);
        builder.build().await.unwrap()
    }

    #[tokio::test]
    async fn auth_ref_sends_the_stored_token_whatever_it_looks_like() {
        let (url, mut heads) = upstream().await;
        for auth_ref in ["github/alice", "trn:openact:default:auth/github/alice"] {
            for token in ["gho_1", "vault://a/b#/c"] {
                let openact = with_auth_ref(&url, auth_ref).await;
                openact.0.store.put_auth_connection(&stored(token, None), None).await.unwrap();
                openact.run("http/get", json!({})).await.unwrap();
                let head = heads.recv().await.unwrap();
                assert!(head.contains(&format!("authorization: Bearer {token}\r\n")), "{head}");
            }
        }
    }

    #[tokio::test]
    async fn c5_a_stored_credential_that_is_missing_or_over_fails_before_any_dial() {
        let (url, mut heads) = upstream().await;
        let openact = with_auth_ref(&url, "github/alice").await;
        let missing = openact.run("http/get", json!({})).await.unwrap_err();
        assert!(missing.hint.as_deref().unwrap().contains("later version"), "{missing:?}");
        let code = async || openact.run("http/get", json!({})).await.unwrap_err().code;
        assert_eq!(code().await, ErrorCode::AuthRequired);
        let over = Timestamp::now() - jiff::SignedDuration::from_secs(1);
        openact.0.store.put_auth_connection(&stored("gho_1", Some(over)), None).await.unwrap();
        assert_eq!(code().await, ErrorCode::AuthRequired);
        let foreign = with_auth_ref(&url, "trn:openact:other:auth/github/alice").await;
        assert_eq!(foreign.run("http/get", json!({})).await.unwrap_err().code, ErrorCode::AuthRequired);
        assert!(heads.try_recv().is_err());
    }

    /// A token endpoint, each answer of which needs a permit, and what its tokens open.
    struct Guarded {
        permits: Semaphore,
        issued: AtomicUsize,
        /// How often each token was sent.
        sent: Mutex<HashMap<String, usize>>,
    }

    impl Guarded {
        async fn start() -> (String, Arc<Self>) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let (permits, issued, sent) = (Semaphore::new(0), AtomicUsize::new(0), Mutex::default());
            let guarded = Arc::new(Self { permits, issued, sent });
            let shared = guarded.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let guarded = shared.clone();
                    tokio::spawn(async move { guarded.serve(stream).await });
                }
            });
            (url, guarded)
        }

        async fn serve(&self, mut stream: TcpStream) {
            let mut read = Vec::new();
            // A request for a token has a body, which comes with its head.
            while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&read);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let body = if head.starts_with("POST /token") {
                    if body.is_empty() {
                        continue;
                    }
                    let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
                    self.permits.acquire().await.unwrap().forget();
                    json!({"access_token": format!("token{number}"), "token_type": "bearer", "expires_in": 100})
                } else {
                    let token = head.split("authorization: Bearer ").nth(1).unwrap().lines().next().unwrap();
                    *self.sent.lock().unwrap().entry(token.to_owned()).or_default() += 1;
                    json!({})
                }
                .to_string();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
                read.clear();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn o2_ten_thousand_calls_with_an_expired_token_make_one_token_request() {
        let (url, guarded) = Guarded::start().await;
        let text = json!({"connectors": {"http": {
            "connections": {"c": {"base_url": url, "authorization": {"type": "oauth2_client_credentials",
                "token_url": format!("{url}/token"), "client_id": "c", "client_secret": "s"}}},
            "actions": {"get": {"connection": "c"}},
        }}});
        let builder = OpenAct::builder().without_cache().instances_max(200);
        let mut openact = builder.config_text(text.to_string(), Format::Json).build().await.unwrap();
        let (begun, seconds) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let clock = seconds.clone();
        let tokens = openact_auth::Tokens::with_clock(move || {
            begun + std::time::Duration::from_secs(clock.load(Ordering::SeqCst))
        });
        Arc::get_mut(&mut openact.0).expect("nobody else has it yet").tokens = Arc::new(tokens);

        guarded.permits.add_permits(1);
        openact.run("http/get", json!({})).await.unwrap();
        // The token was for 100 s.
        seconds.store(101, Ordering::SeqCst);
        let asking = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..200)
            .map(|_| {
                let (openact, asking) = (openact.clone(), asking.clone());
                tokio::spawn(async move {
                    asking.fetch_add(1, Ordering::SeqCst);
                    for _ in 0..50 {
                        openact.run("http/get", json!({})).await.unwrap();
                    }
                })
            })
            .collect();
        while asking.load(Ordering::SeqCst) < 200 {
            tokio::task::yield_now().await;
        }
        // As many answers as there could be requests.
        guarded.permits.add_permits(200);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(guarded.issued.load(Ordering::SeqCst), 2, "one before it ended, and one after");
        let sent = guarded.sent.lock().unwrap().clone();
        assert_eq!(sent, HashMap::from([("token1".to_owned(), 1), ("token2".to_owned(), 10_000)]));
    }

    #[test]
    fn c1_what_the_system_says_of_this_process_is_no_secret_to_send() {
        for path in ["/proc/self/environ", "/proc/self/../self/environ"] {
            assert_eq!(read_secret_file(path).unwrap_err().code, ErrorCode::AuthRequired, "{path}");
        }
    }
}
