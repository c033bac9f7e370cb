//! Identities: tenants, connectors, names, versions, and the TRNs made of them.
//!
//! ```text
//! trn:openact:{tenant}:{kind}/{connector}/{name}@v{version}     kind = connection | action
//! trn:openact:{tenant}:auth/{provider}/{user}                    stored credentials, unversioned
//! ```
//!
//! | part | form |
//! |---|---|
//! | tenant, connector, provider | `[a-z0-9][a-z0-9-]{0,62}` |
//! | name | `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` |
//! | version | 1 and up, no sign, no leading zero |
//! | user | printable text, percent-encoded where it would be ambiguous |
//!
//! Invariant: an identity is parsed once, at the edge; printing what was parsed gives the same text.

use std::{fmt, marker::PhantomData, num::NonZeroU32, str::FromStr, sync::Arc};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};

/// Declares a checked text type: private field, `FromStr`, serde through it. Each run record has some of them: a copy is cheap.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $form:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str { &self.0 }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                if $check(text) { Ok(Self(text.into())) } else {
                    let message = format!(concat!("'{}' is not ", $what, ": expected {}"), shorten(text), $form);
                    Err(Error::invalid_input(message))
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        serde_as_text!($name);
    };
}

/// Serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ty $(, $generic:ident : $bound:ident)?) => {
        impl$(<$generic: $bound>)? serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de $(, $generic: $bound)?> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 63
        && bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// At most 80 characters of what the user sent, for a message.
fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

text_type!(
    /// Who owns a record. Nothing of one tenant is visible to another.
    Tenant, "the name of a tenant", is_label, "lower-case letters, digits and '-', at most 63: [a-z0-9][a-z0-9-]{0,62}"
);
text_type!(
    /// The name of a connection or action.
    Name, "the name of a connection or action", is_name, "letters, digits, '.', '_' and '-', at most 128: [A-Za-z0-9][A-Za-z0-9._-]{0,127}"
);
text_type!(
    /// The name of a connector, in canonical form: `postgresql` and `pg` parse as `postgres`.
    ConnectorName, "the name of a connector", is_label, "lower-case letters, digits and '-', at most 63: [a-z0-9][a-z0-9-]{0,62}"
);
text_type!(
    /// The name of a secret set by hand. One that came with a connection has a name with `/` and `#` in it, which this
    /// type cannot hold.
    SecretName, "a secret's name", is_name, "letters, digits, '.', '_' and '-', at most 128: [A-Za-z0-9][A-Za-z0-9._-]{0,127}"
);

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

impl ConnectorName {
    /// Parses a connector as people write it: any case, and the names of earlier OpenAct.
    pub fn canonical(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "postgresql" | "pg" => "postgres",
            "mongo" => "mongodb",
            other => other,
        }
        .parse()
    }
}

/// A version of a record, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(NonZeroU32);

impl Version {
    /// Version 1.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version numbered `number`; none for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The version after this one; it stays at the highest there is.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl FromStr for Version {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        match text.parse() {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(Error::invalid_input(format!("'{}' is not a version", shorten(text)))
                .hint("expected a number from 1, without sign or leading zero, such as @v2")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Which kind of record a [`RecordTrn`] names.
pub trait RecordKind: Copy + Eq + Ord + std::hash::Hash + Send + Sync + 'static {
    /// The word in the TRN.
    const WORD: &'static str;
}

/// Marks a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Connection {}
/// Marks an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {}

impl RecordKind for Connection {
    const WORD: &'static str = "connection";
}
impl RecordKind for Action {
    const WORD: &'static str = "action";
}

/// The identity of one version of a connection or action.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordTrn<K: RecordKind> {
    /// Who owns it.
    pub tenant: Tenant,
    /// The connector it is for.
    pub connector: ConnectorName,
    /// Its name, unique within tenant, connector and kind.
    pub name: Name,
    /// Its version.
    pub version: Version,
    kind: PhantomData<K>,
}

/// `trn:openact:{tenant}:connection/{connector}/{name}@v{version}`
pub type ConnectionTrn = RecordTrn<Connection>;
/// `trn:openact:{tenant}:action/{connector}/{name}@v{version}`
pub type ActionTrn = RecordTrn<Action>;

impl<K: RecordKind> RecordTrn<K> {
    /// Puts the parts together.
    pub fn new(tenant: Tenant, connector: ConnectorName, name: Name, version: Version) -> Self {
        Self { tenant, connector, name, version, kind: PhantomData }
    }

    /// The same record at another version.
    #[must_use]
    pub fn at(&self, version: Version) -> Self {
        Self { version, ..self.clone() }
    }

    /// `connector/name@vN`, for people.
    pub fn short(&self) -> String {
        format!("{}/{}@v{}", self.connector, self.name, self.version)
    }
}

impl<K: RecordKind> fmt::Display for RecordTrn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trn:openact:{}:{}/{}/{}@v{}",
            self.tenant,
            K::WORD,
            self.connector,
            self.name,
            self.version
        )
    }
}

impl<K: RecordKind> fmt::Debug for RecordTrn<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: RecordKind> FromStr for RecordTrn<K> {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_input(format!(
                "'{}' is not the TRN of a version of {}: {what}",
                shorten(text),
                a(K::WORD)
            ))
            .hint(format!("expected trn:openact:TENANT:{}/CONNECTOR/NAME@vN", K::WORD))
        };
        let rest =
            text.strip_prefix("trn:openact:").ok_or_else(|| bad("it does not start with trn:openact:"))?;
        let (tenant, rest) = rest.split_once(':').ok_or_else(|| bad("the tenant is missing"))?;
        let mut parts = rest.splitn(3, '/');
        let (kind, connector, last) = (parts.next(), parts.next(), parts.next());
        if kind != Some(K::WORD) {
            return Err(bad("it is of another kind"));
        }
        let connector = connector.ok_or_else(|| bad("the connector is missing"))?;
        let (name, version) = last
            .and_then(|last| last.rsplit_once("@v"))
            .ok_or_else(|| bad("the name or the version (@vN) is missing"))?;
        Ok(Self::new(tenant.parse()?, connector.parse()?, name.parse()?, version.parse()?))
    }
}
serde_as_text!(RecordTrn<K>, K: RecordKind);

fn a(word: &str) -> String {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { format!("an {word}") } else { format!("a {word}") }
}

/// What is percent-encoded in the user part of an [`AuthTrn`]: what would end or split it, and `%` itself.
const USER: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b':').add(b'/').add(b'?').add(b'#').add(b'@');

/// `trn:openact:{tenant}:auth/{provider}/{user}`: a stored credential of somebody at some provider.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthTrn {
    /// Who owns it.
    pub tenant: Tenant,
    /// The provider, such as `github`.
    pub provider: ConnectorName,
    user: Box<str>,
}

impl AuthTrn {
    /// The credential of `user` (any printable text, at most 256 bytes) at `provider`.
    pub fn new(tenant: Tenant, provider: ConnectorName, user: &str) -> Result<Self> {
        if user.is_empty() || user.len() > 256 || user.chars().any(char::is_control) {
            return Err(Error::invalid_input(format!("'{}' is not a user", shorten(user)))
                .hint("expected printable text of 1 to 256 bytes"));
        }
        Ok(Self { tenant, provider, user: user.into() })
    }

    /// The user, decoded.
    pub fn user(&self) -> &str {
        &self.user
    }
}

impl fmt::Display for AuthTrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = utf8_percent_encode(&self.user, USER);
        write!(f, "trn:openact:{}:auth/{}/{user}", self.tenant, self.provider)
    }
}

impl fmt::Debug for AuthTrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuthTrn {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid_input(format!("'{}' is not the TRN of a stored credential", shorten(text)))
                .hint("expected trn:openact:TENANT:auth/PROVIDER/USER")
        };
        let rest = text.strip_prefix("trn:openact:").ok_or_else(bad)?;
        let (tenant, rest) = rest.split_once(':').ok_or_else(bad)?;
        let (provider, user) =
            rest.strip_prefix("auth/").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        let decoded = percent_decode_str(user).decode_utf8().map_err(|_| bad())?;
        let trn = Self::new(tenant.parse()?, provider.parse()?, &decoded)?;
        // Only the canonical spelling is an identity, so that two texts never name one credential.
        if trn.to_string() == text { Ok(trn) } else { Err(bad()) }
    }
}
serde_as_text!(AuthTrn);

/// Which version a [`Reference`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionWanted {
    /// The highest there is when the call starts.
    Latest,
    /// This one.
    Exactly(Version),
}

/// A record as people name it: a TRN, `connector/name@vN`, `connector/name@latest`, `connector/name`,
/// `connector.name`, or `name` alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference<K: RecordKind> {
    /// A full TRN.
    Trn(RecordTrn<K>),
    /// A short form, within the caller's tenant. `dotted` is the other reading of a text such as
    /// `http.get-user`, which may be the name `http.get-user` or the connector `http` with `get-user`.
    Short {
        /// The connector, where the text says one.
        connector: Option<ConnectorName>,
        /// The name.
        name: Name,
        /// The version.
        version: VersionWanted,
        /// `connector.name`, the older form, where the text can be read that way.
        dotted: Option<(ConnectorName, Name)>,
    },
}

impl<K: RecordKind> FromStr for Reference<K> {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text.starts_with("trn:") {
            return text.parse().map(Self::Trn);
        }
        let hint = |error: Error| {
            error.context(format!("'{}' does not name {}", shorten(text), a(K::WORD))).hint(format!(
                "expected NAME, CONNECTOR/NAME, CONNECTOR/NAME@v2 or trn:openact:TENANT:{}/CONNECTOR/NAME@v2",
                K::WORD
            ))
        };
        let (path, version) = match text.split_once('@') {
            None | Some((_, "latest")) => (text.split('@').next().unwrap_or(text), VersionWanted::Latest),
            Some((path, version)) => {
                let number = version.strip_prefix('v').unwrap_or(version).parse().map_err(hint)?;
                (path, VersionWanted::Exactly(number))
            }
        };
        let (connector, name) = match path.split_once('/') {
            Some((connector, name)) => (Some(ConnectorName::canonical(connector).map_err(hint)?), name),
            None => (None, path),
        };
        let dotted = match connector {
            None => path.split_once('.').and_then(|(connector, name)| {
                Some((ConnectorName::canonical(connector).ok()?, name.parse().ok()?))
            }),
            Some(_) => None,
        };
        Ok(Self::Short { connector, name: name.parse().map_err(hint)?, version, dotted })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_trn_prints_as_it_was_read(
            tenant in "[a-z0-9][a-z0-9-]{0,62}", connector in "[a-z0-9][a-z0-9-]{0,62}",
            name in "[A-Za-z0-9][A-Za-z0-9._-]{0,127}", version in 1u32..,
        ) {
            let text = format!("trn:openact:{tenant}:action/{connector}/{name}@v{version}");
            let trn: ActionTrn = text.parse().unwrap();
            prop_assert_eq!(trn.to_string(), &text[..]);
            prop_assert_eq!((trn.tenant.as_str(), trn.name.as_str(), trn.version.get()), (&tenant[..], &name[..], version));
            prop_assert!(text.parse::<ConnectionTrn>().is_err());
        }

        #[test]
        fn an_auth_trn_carries_any_printable_user(user in "\\PC{1,40}") {
            let trn = AuthTrn::new(Tenant::default(), "github".parse().unwrap(), &user).unwrap();
            let read: AuthTrn = trn.to_string().parse().unwrap();
            prop_assert_eq!(read.user(), &user[..]);
            prop_assert_eq!(read, trn);
        }

        #[test]
        fn whatever_parses_prints_the_same(text in "(trn:openact:)?[a-z%:/@.v0-9A-Z-]{0,60}") {
            if let Ok(trn) = text.parse::<ConnectionTrn>() { prop_assert_eq!(trn.to_string(), &text[..]); }
            if let Ok(trn) = text.parse::<AuthTrn>() { prop_assert_eq!(trn.to_string(), &text[..]); }
            let _ = text.parse::<Reference<Action>>();
        }
    }

    #[test]
    fn forms_the_earlier_parser_let_through_are_refused() {
        for text in [
            "trn:openact:t:action/http/x@v0",
            "trn:openact:t:action/http/x@v-1",
            "trn:openact:t:action/http/x@v+1",
            "trn:openact:t:action/http/x@v01",
            "trn:openact:t:action/http/x",
            "trn:openact::action/http/x@v1",
            "trn:openact:t:action/a/b/c@v1",
            "trn:openact:t:action/http/x@v1:more",
            "trn:openact:T:action/http/x@v1",
            "trn:openact:t:action/http/@v1",
            "trn:openact:t:action//x@v1",
            "trn:openact:t:action/http/x@v4294967296",
            "trn:other:t:action/http/x@v1",
            "trn:openact:t:connection/http/x@v1",
        ] {
            assert!(text.parse::<ActionTrn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_message_says_what_the_text_was_to_be() {
        let message = |error: Error| error.message.split(':').next().unwrap_or_default().to_owned();
        assert_eq!(
            message("bad name".parse::<SecretName>().unwrap_err()),
            "'bad name' is not a secret's name"
        );
        assert_eq!(message("A".parse::<Tenant>().unwrap_err()), "'A' is not the name of a tenant");
    }

    #[test]
    fn short_references() {
        let short = |text: &str| text.parse::<Reference<Action>>().unwrap();
        let form = |connector: Option<&str>, name: &str, version| Reference::<Action>::Short {
            connector: connector.map(|c| c.parse().unwrap()),
            name: name.parse().unwrap(),
            version,
            dotted: None,
        };
        assert_eq!(short("http/get-user"), form(Some("http"), "get-user", VersionWanted::Latest));
        assert_eq!(short("http/get-user@latest"), form(Some("http"), "get-user", VersionWanted::Latest));
        let second = VersionWanted::Exactly(Version::new(2).unwrap());
        assert_eq!(short("PostgreSQL/q@v2"), form(Some("postgres"), "q", second));
        assert_eq!(short("get-user"), form(None, "get-user", VersionWanted::Latest));
        let Reference::Short { dotted, name, .. } = short("http.get-user") else { panic!() };
        assert_eq!(dotted.unwrap().1.as_str(), "get-user");
        assert_eq!(name.as_str(), "http.get-user");
        for bad in ["", "@", "http/", "/x", "x@", "x@v0", "a/b/c", "x y", "x@latest@v1"] {
            assert!(bad.parse::<Reference<Action>>().is_err(), "{bad}");
        }
    }
}
