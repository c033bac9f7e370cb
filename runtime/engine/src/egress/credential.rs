//! A credential on its way out, and its echo on the way in.
//!
//! Injections replace whatever has their name (C4). What they put into a request is blanked out of the answer, raw and in
//! the usual encodings (C2): each byte becomes `*`, so that lengths stay true and text stays text. Invariant: the value of
//! an injection is in no type that is printed, and a request to anything the binding does not cover gets none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use openact_core::{
    Error, Result,
    credential::{Authenticator, Binding, Credential, CredentialKind, Injection, RequestView},
    limits::{CREDENTIAL_BYTES_MAX, REDACTED_BYTES_MIN},
    secret::{ExposeSecret, SecretString},
};
use url::Url;
use zeroize::Zeroizing;

/// The credential of a connection, as requests use it.
pub(crate) struct BoundCredential {
    pub(crate) binding: Binding,
    kind: CredentialKind,
    /// What the last two requests were given, the newest first. Most kinds give the same for a long time.
    known: Mutex<Vec<Arc<Applied>>>,
}

impl BoundCredential {
    pub(crate) fn new(credential: Credential) -> Result<Self> {
        let bound = Self { binding: credential.binding, kind: credential.kind, known: Mutex::default() };
        if let CredentialKind::Fixed(injections) = &bound.kind {
            bound.applied(injections)?;
        }
        Ok(bound)
    }

    /// What computes it, if it is not the same for every request.
    pub(crate) fn authenticator(&self) -> Option<&Arc<dyn Authenticator>> {
        match &self.kind {
            CredentialKind::Fixed(_) => None,
            CredentialKind::Computed(authenticator) => Some(authenticator),
        }
    }

    /// What it adds, by name, for people.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.kind {
            CredentialKind::Computed(authenticator) => {
                authenticator.names().iter().map(|name| format!("header {name}")).collect()
            }
            CredentialKind::Fixed(injections) => injections
                .iter()
                .map(|injection| match injection {
                    Injection::Header { name, .. }
                    | Injection::Once { name, .. }
                    | Injection::Plain { name, .. } => format!("header {name}"),
                    Injection::Query { name, .. } => format!("query parameter {name}"),
                    Injection::Cookie { name, .. } => format!("cookie {name}"),
                })
                .collect(),
        }
    }

    /// What to add to `request`.
    pub(crate) async fn for_request(&self, request: RequestView<'_>) -> Result<Arc<Applied>> {
        match &self.kind {
            CredentialKind::Fixed(injections) => self.applied(injections),
            CredentialKind::Computed(authenticator) => {
                self.applied(&authenticator.authenticate(request).await?)
            }
        }
    }

    fn applied(&self, injections: &Arc<[Injection]>) -> Result<Arc<Applied>> {
        let is_of = |applied: &&Arc<Applied>| Arc::ptr_eq(&applied.injections, injections);
        if let Some(applied) = self.known().iter().find(is_of) {
            return Ok(applied.clone());
        }
        // Made outside the lock: it takes longer the longer the secret is.
        let applied = Arc::new(Applied::new(injections.clone())?);
        let mut known = self.known();
        known.insert(0, applied.clone());
        known.truncate(2);
        Ok(applied)
    }

    fn known(&self) -> MutexGuard<'_, Vec<Arc<Applied>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What must not come back in an answer to a request that had `sent`: that, and what other requests of the connection
    /// were given, since a server may keep what it was sent and show it to the next.
    pub(crate) fn masks(&self, sent: Option<Arc<Applied>>) -> Masks {
        let mut masks = self.known().clone();
        if let Some(sent) = sent
            && !masks.iter().any(|known| Arc::ptr_eq(known, &sent))
        {
            masks.push(sent);
        }
        Masks(masks)
    }
}

/// The credentials that an answer is searched for.
#[derive(Clone, Default)]
pub(crate) struct Masks(Vec<Arc<Applied>>);

impl Masks {
    /// With others.
    pub(crate) fn and(mut self, more: &[Arc<Applied>]) -> Self {
        self.0.extend_from_slice(more);
        self
    }

    /// Whether there is an appearance.
    pub(crate) fn find(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|applied| applied.echo.is_in(bytes))
    }

    /// Blanks out every appearance.
    pub(crate) fn mask(&self, bytes: &mut [u8]) {
        for applied in &self.0 {
            applied.echo.mask(bytes);
        }
    }

    /// `text` without them.
    pub(crate) fn redact(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        self.mask(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many bytes at the end of `bytes`, at most, may begin an appearance that goes on in what follows.
    pub(crate) fn beginning(&self, bytes: &[u8]) -> usize {
        self.0.iter().map(|applied| applied.echo.beginning(bytes)).max().unwrap_or(0)
    }

    /// Length of the longest text that is blanked out.
    pub(crate) fn longest(&self) -> usize {
        self.0.iter().map(|applied| applied.echo.longest).max().unwrap_or(0)
    }
}

/// Injections in the form they are written into a request.
pub(crate) struct Applied {
    pub(crate) injections: Arc<[Injection]>,
    headers: Vec<(HeaderName, HeaderValue)>,
    query: Vec<(String, SecretString)>,
    cookies: Vec<(String, SecretString)>,
    /// What must not come back.
    echo: Echo,
}

impl Applied {
    fn new(injections: Arc<[Injection]>) -> Result<Self> {
        let (mut headers, mut query, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
        let mut header = |name: &str, value: &str, is_secret: bool| -> Result<()> {
            let illegal = || Error::auth_required("the credential cannot be sent as a header");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| illegal())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| illegal())?;
            value.set_sensitive(is_secret);
            headers.push((name, value));
            Ok(())
        };
        for injection in injections.iter() {
            match injection {
                Injection::Header { name, value } | Injection::Once { name, value } => {
                    header(name, value.expose_secret(), true)?;
                }
                Injection::Plain { name, value } => header(name, value, false)?,
                Injection::Query { name, value } => query.push((name.clone(), value.clone())),
                Injection::Cookie { name, value } => cookies.push((name.clone(), value.clone())),
            }
        }
        let echo = Echo::of(&injections)?;
        Ok(Self { injections, headers, query, cookies, echo })
    }

    /// What a proxy is sent (RFC 7617), to be known again.
    pub(crate) fn of_proxy(name: &str, password: &SecretString) -> Result<Arc<Self>> {
        let pair = Zeroizing::new(format!("{name}:{}", password.expose_secret()));
        let value = format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair.as_bytes())).into();
        let header = Injection::Header { name: "proxy-authorization".into(), value };
        Ok(Arc::new(Self::new(Arc::new([header]))?))
    }

    /// What a login proves, to be known again.
    pub(crate) fn of_login(secret: &SecretString) -> Result<Arc<Self>> {
        let secret = Injection::Query { name: String::new(), value: secret.clone() };
        Ok(Arc::new(Self::new(Arc::new([secret]))?))
    }

    /// Puts the credential into a request, in place of whatever has the same name (C4).
    pub(crate) fn apply(&self, url: &mut Url, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            self.remove_look_alikes(name, headers);
            headers.insert(name.clone(), value.clone());
        }
        if !self.query.is_empty() {
            let kept: Vec<(String, String)> = url
                .query_pairs()
                .filter(|(name, _)| self.query.iter().all(|(own, _)| own != name))
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            let mut pairs = url.query_pairs_mut();
            pairs.clear().extend_pairs(kept);
            pairs.extend_pairs(self.query.iter().map(|(name, value)| (name, value.expose_secret())));
        }
        if !self.cookies.is_empty() {
            self.apply_cookies(headers);
        }
    }

    /// Servers that speak CGI take `x_api_key` and `x-api-key` for one header.
    fn remove_look_alikes(&self, name: &HeaderName, headers: &mut HeaderMap) {
        let is_alike = |other: &&HeaderName| {
            other.as_str().contains('_') && other.as_str().replace('_', "-") == name.as_str()
        };
        let alike: Vec<HeaderName> = headers.keys().filter(is_alike).cloned().collect();
        for other in alike {
            headers.remove(other);
        }
    }

    fn apply_cookies(&self, headers: &mut HeaderMap) {
        let mut cookies: Vec<String> = Vec::new();
        for value in headers.get_all(header::COOKIE) {
            for cookie in
                String::from_utf8_lossy(value.as_bytes()).split(';').map(str::trim).filter(|c| !c.is_empty())
            {
                let name = cookie.split('=').next().unwrap_or(cookie).trim_end();
                if self.cookies.iter().all(|(own, _)| own != name) {
                    cookies.push(cookie.to_owned());
                }
            }
        }
        cookies.extend(self.cookies.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())));
        if let Ok(mut value) = HeaderValue::from_str(&cookies.join("; ")) {
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
    }
}

/// The texts by which a credential would be recognised in an answer.
struct Echo {
    search: Option<AhoCorasick>,
    shortest: usize,
    longest: usize,
    /// The bytes that there are in those texts.
    alphabet: Box<[bool; 256]>,
}

impl Echo {
    fn of(injections: &[Injection]) -> Result<Self> {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        for injection in injections {
            let (value, is_header) = match injection {
                Injection::Plain { .. } => continue,
                Injection::Once { value, .. } => {
                    forms.push(value.expose_secret().as_bytes().to_vec());
                    continue;
                }
                Injection::Header { value, .. } => (value.expose_secret(), true),
                Injection::Query { value, .. } | Injection::Cookie { value, .. } => {
                    (value.expose_secret(), false)
                }
            };
            if value.len() > CREDENTIAL_BYTES_MAX {
                return Err(Error::auth_required(format!(
                    "the credential is longer than {CREDENTIAL_BYTES_MAX} bytes"
                )));
            }
            push_forms(&mut forms, value);
            // `Bearer TOKEN` is recognised without its scheme, `Basic …` also by the password inside.
            if let (true, Some((scheme, rest))) = (is_header, value.split_once(' ')) {
                push_forms(&mut forms, rest);
                let inside = (scheme.eq_ignore_ascii_case("basic"))
                    .then(|| base64::prelude::BASE64_STANDARD.decode(rest).ok())
                    .flatten()
                    .and_then(|decoded| String::from_utf8(decoded).ok());
                if let Some((user, password)) = inside.as_deref().and_then(|inside| inside.split_once(':')) {
                    // Some services take a key for the user and no password.
                    push_forms(&mut forms, if password.is_empty() { user } else { password });
                }
            }
        }
        forms.sort_unstable();
        forms.dedup();
        let longest = forms.iter().map(Vec::len).max().unwrap_or(0);
        let shortest = forms.iter().map(Vec::len).min().unwrap_or(0);
        let mut alphabet = Box::new([false; 256]);
        for byte in forms.iter().flatten() {
            if let Some(known) = alphabet.get_mut(usize::from(*byte)) {
                *known = true;
            }
        }
        // The default kind takes half a KiB for each byte of a secret.
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest).kind(Some(AhoCorasickKind::ContiguousNFA));
        let search = (!forms.is_empty()).then(|| builder.build(&forms)).transpose().map_err(|error| {
            Error::auth_required("the credential is too long to be guarded").because(error)
        })?;
        Ok(Self { search, shortest, longest, alphabet })
    }

    /// No appearance goes across a byte that is in none of the texts, such as a line break.
    fn beginning(&self, bytes: &[u8]) -> usize {
        let known = |byte: &&u8| self.alphabet.get(usize::from(**byte)).copied().unwrap_or(true);
        bytes.iter().rev().take(self.longest.saturating_sub(1)).take_while(known).count()
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        // Most headers are shorter than any secret.
        bytes.len() >= self.shortest && self.search.as_ref().is_some_and(|search| search.is_match(bytes))
    }

    fn mask(&self, bytes: &mut [u8]) {
        let Some(search) = &self.search else { return };
        let mut from = 0;
        while let Some(found) = bytes.get(from..).and_then(|rest| search.find(rest)) {
            if let Some(secret) = bytes.get_mut(from + found.start()..from + found.end()) {
                secret.fill(b'*');
            }
            from += found.end();
        }
    }
}

/// What encoders of URLs leave as it is, and how they write a space.
const PERCENT_KEEPS: [(&str, &str); 6] = [
    ("", "%20"),
    // Nothing but letters and digits.
    ("0", "%20"),
    ("-._~", "%20"),
    ("-._*", "+"),
    ("-._~!*'()", "%20"),
    ("-._~!*'();/?:@&=+$,#", "%20"),
];

/// `text` under percent-encoding; letters and digits too, where nothing else is kept.
fn percent(text: &str, kept: &str, space: &str, upper: bool) -> Vec<u8> {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        let is_kept = !kept.is_empty() && (byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte));
        match byte {
            b' ' => out.push_str(space),
            _ if is_kept => out.push(char::from(byte)),
            _ if upper => out.push_str(&format!("%{byte:02X}")),
            _ => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out.into_bytes()
}

/// `secret` as it is, and as JSON, a URL, hexadecimal digits and base64 would show it.
fn push_forms(forms: &mut Vec<Vec<u8>>, secret: &str) {
    if secret.len() < REDACTED_BYTES_MIN {
        return;
    }
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([secret.as_bytes().to_vec(), hex.to_ascii_uppercase().into_bytes(), hex.into_bytes()]);
    for (kept, space) in PERCENT_KEEPS {
        forms.extend([true, false].map(|upper| percent(secret, kept, space, upper)));
    }
    if let Ok(json) = serde_json::to_string(secret) {
        let json = json.trim_matches('"');
        forms.push(json.as_bytes().to_vec());
        forms.push(json.replace('/', "\\/").into_bytes());
        // Some writers escape slashes too, and some everything beyond ASCII.
        let ascii: String = json
            .encode_utf16()
            .map(|unit| match char::from_u32(u32::from(unit)).filter(char::is_ascii) {
                Some(c) => c.to_string(),
                None => format!("\\u{unit:04x}"),
            })
            .collect();
        forms.push(ascii.replace('/', "\\/").into_bytes());
        forms.push(ascii.into_bytes());
    }
    // Inside a longer text, base64 shows a secret in three ways, by where it begins; its first and last characters mix
    // with the neighbours and are left out.
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(secret.as_bytes());
        let (skip, whole) = ((before * 4).div_ceil(3), padded.len() / 3 * 4);
        for encoded in [BASE64_STANDARD_NO_PAD.encode(&padded), BASE64_URL_SAFE_NO_PAD.encode(&padded)] {
            forms
                .extend(encoded.get(skip..whole).filter(|e| e.len() >= REDACTED_BYTES_MIN).map(|e| e.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    fn applied(injection: Injection) -> Applied {
        Applied::new(Arc::new([injection])).unwrap()
    }

    fn sent(injection: Injection, url: &str, headers: &[(&str, &str)]) -> (String, HeaderMap) {
        let mut url = Url::parse(url).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        applied(injection).apply(&mut url, &mut map);
        (url.to_string(), map)
    }

    #[test]
    fn c4_a_credential_replaces_what_has_its_name() {
        let injection = Injection::Header { name: "x-api-key".into(), value: "real".into() };
        let (_, headers) =
            sent(injection, "https://api.example.com/", &[("X-API-Key", "a"), ("x-api-key", "b")]);
        let values: Vec<_> = headers.get_all("x-api-key").iter().collect();
        assert_eq!(values, ["real"]);
        assert!(values[0].is_sensitive());

        let injection = Injection::Query { name: "key".into(), value: "real&x".into() };
        let (url, _) = sent(injection, "https://api.example.com/?key=a&q=1&k%65y=b", &[]);
        assert_eq!(url, "https://api.example.com/?q=1&key=real%26x");

        let injection = Injection::Cookie { name: "sid".into(), value: "real".into() };
        let (_, headers) = sent(
            injection,
            "https://api.example.com/",
            &[("cookie", "sid=a; theme=dark"), ("cookie", "sid =b")],
        );
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["theme=dark; sid=real"]);
    }

    #[test]
    fn c1_a_log_line_loses_the_credential_and_its_bare_token() {
        let origin = openact_core::policy::Origin::parse_grant("https://api.example.com").unwrap();
        let kind = CredentialKind::Fixed(Arc::new([
            Injection::Header { name: "authorization".into(), value: "Bearer hunter22".into() },
            Injection::Plain { name: "x-date".into(), value: "20261122".into() },
        ]));
        let bound = BoundCredential::new(Credential { binding: Binding { origin, path_prefix: None }, kind })
            .unwrap();
        assert_eq!(
            bound.masks(None).redact("sent Bearer hunter22 on 20261122, token hunter22"),
            "sent *************** on 20261122, token ********"
        );
    }

    #[test]
    fn c2_an_echo_is_blanked_out_in_every_usual_encoding() {
        let secret = "s3cr3t/+\"töken\"";
        let basic = base64::prelude::BASE64_STANDARD.encode("user:pass word/1");
        let bearer =
            applied(Injection::Header { name: "authorization".into(), value: "Bearer hunter22".into() });
        let key = applied(Injection::Query { name: "key".into(), value: secret.into() });
        let user = applied(Injection::Header {
            name: "authorization".into(),
            value: format!("Basic {basic}").into(),
        });
        let inside = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        for (applied, text) in [
            (&bearer, "{\"authorization\": \"Bearer hunter22\"}".to_owned()),
            (&bearer, "token=hunter22".to_owned()),
            (&bearer, "68756e7465723232".to_owned()),
            (&bearer, inside("a: hunter22;")),
            (&bearer, inside("ab: hunter22;")),
            (&bearer, inside("abc: hunter22;")),
            (&key, secret.to_owned()),
            (&key, serde_json::to_string(secret).unwrap()),
            (&key, utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string()),
            (&user, format!("Basic {basic}")),
            (&user, "pass word/1".to_owned()),
            (&user, "pass+word%2F1".to_owned()),
            (&user, "pass%20word%2f1".to_owned()),
            (&key, serde_json::to_string(secret).unwrap().replace('/', "\\/")),
            (&key, "s3cr3t/+\\\"t\\u00f6ken\\\"".to_owned()),
        ] {
            let mut bytes = text.clone().into_bytes();
            applied.echo.mask(&mut bytes);
            assert_ne!(bytes, text.as_bytes());
            assert_eq!(bytes.len(), text.len());
            let left = String::from_utf8_lossy(&bytes).into_owned();
            assert!(
                !left.contains("hunter22") && !left.contains("s3cr3t") && !left.contains("pass"),
                "{left}"
            );
        }
        let begun = b"{\"a\": \"x\"}\nhun";
        assert_eq!((bearer.echo.beginning(begun), bearer.echo.beginning(b"hun\n\n")), (3, 0));
        assert_eq!(bearer.echo.beginning("e".repeat(99).as_bytes()), bearer.echo.longest - 1);
        let mut other = b"nothing of it here: Bearer hunter2".to_vec();
        bearer.echo.mask(&mut other);
        assert_eq!(other, b"nothing of it here: Bearer hunter2");
    }
}
