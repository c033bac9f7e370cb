//! `digest`: HTTP digest access authentication (RFC 7616), and what came before it (RFC 2617, 2069).
//!
//! | field | |
//! |---|---|
//! | `username` | text, may be empty |
//! | `password` | secret, may be empty |
//!
//! The first request goes out bare and is refused; what the refusal says is kept, and later requests answer it at once.
//! Of several challenges the strongest algorithm is taken: SHA-512-256, SHA-256, MD5, each also as `-sess`. `auth` is
//! preferred to `auth-int`; without either the answer is that of RFC 2069.
//!
//! A refused answer is given again, once, if the server names another nonce: it must say `stale=true` when only that
//! was wrong, but not every server does. A wrong password is therefore tried twice by a call.
//!
//! Invariant: a nonce's count goes up by one with each request, whichever task makes it, and begins at 1.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest as sha;
use http::{HeaderMap, header::AUTHORIZATION};
use md5::{Digest as _, Md5};
use openact_core::{
    Error, Result,
    credential::{Authenticator, BoxFuture, Injection, RequestView},
    secret::{ExposeSecret, SecretString},
};
use url::Position;
use zeroize::Zeroizing;

use crate::{challenge::Challenge, fields::Fields, hash, placement::once};

/// See the module.
#[derive(Debug)]
pub(crate) struct Digest {
    username: String,
    password: SecretString,
    session: Mutex<Option<Session>>,
}

/// What the server last asked for. Cloned out of the lock for each request.
#[derive(Clone, Debug)]
struct Session {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// As the server wrote it, since it is sent back.
    algorithm_text: Option<String>,
    qop: Qop,
    userhash: bool,
    utf8: bool,
    /// The same for the nonce's whole life: a `-sess` key is made of the first one.
    cnonce: String,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qop {
    Auth,
    AuthInt,
    /// RFC 2069 knows none.
    Absent,
}

/// In the order of their strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HashFn {
    Md5,
    Sha256,
    Sha512_256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Algorithm {
    hash: HashFn,
    session: bool,
}

impl Digest {
    pub(crate) fn of(fields: &Fields<'_>) -> Result<Self> {
        let username = fields.said("username")?.to_owned();
        if username.contains(char::is_control) {
            return Err(Error::invalid_config("authorization.username holds a control character"));
        }
        Ok(Self { username, password: fields.said_secret("password")?, session: Mutex::default() })
    }

    /// The session with its count gone up, for one request.
    fn next(&self) -> Option<Session> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        match session.as_mut()?.count.checked_add(1) {
            Some(count) => {
                session.as_mut()?.count = count;
                session.clone()
            }
            None => {
                *session = None;
                None
            }
        }
    }

    fn injections(&self, request: RequestView<'_>) -> Result<Arc<[Injection]>> {
        let Some(session) = self.next() else { return Ok(Arc::new([])) };
        let value = session.answer(&self.username, &self.password, request);
        Ok(Arc::new([once(&AUTHORIZATION, value)?]))
    }

    fn learn(&self, sent: &[Injection], headers: &HeaderMap) -> Result<bool> {
        let challenges = Challenge::all(headers);
        let understood = challenges.iter().filter_map(Session::of);
        // `max_by_key` takes the last of equals; a server lists what it prefers first.
        let Some(mut strongest) = understood.rev().max_by_key(|(session, _)| session.algorithm.hash) else {
            return Ok(false);
        };
        let nonce = format!("nonce=\"{}\"", quoted(&strongest.0.nonce));
        let answered = sent.iter().any(|injection| match injection {
            Injection::Once { name, value } => {
                name == AUTHORIZATION.as_str() && value.expose_secret().contains(&nonce)
            }
            _ => false,
        });
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        // Another task may have learnt of the same nonce, and counted on.
        if current.as_ref().is_none_or(|current| current.nonce != strongest.0.nonce) {
            strongest.0.cnonce = hash::random_hex()?;
            *current = Some(strongest.0);
        }
        Ok(!answered || strongest.1)
    }
}

impl Authenticator for Digest {
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>> {
        Box::pin(async move { self.injections(request) })
    }

    fn names(&self) -> Vec<String> {
        vec![AUTHORIZATION.as_str().to_owned()]
    }

    fn refused<'a>(
        &'a self,
        _: RequestView<'a>,
        sent: &'a [Injection],
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.learn(sent, headers) })
    }

    fn begins_refused(&self) -> bool {
        true
    }
}

impl Session {
    /// The session that `challenge` asks for, and whether only the nonce was wrong; none if it cannot be answered.
    fn of(challenge: &Challenge) -> Option<(Self, bool)> {
        let algorithm_text = challenge.get("algorithm");
        let qop = match challenge.get("qop") {
            None => Qop::Absent,
            Some(list) => {
                let offers = |qop: &str| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(qop));
                match (offers("auth"), offers("auth-int")) {
                    (true, _) => Qop::Auth,
                    (_, true) => Qop::AuthInt,
                    _ => return None,
                }
            }
        };
        let says = |name: &str, value: &str| {
            challenge.get(name).is_some_and(|said| said.eq_ignore_ascii_case(value))
        };
        let session = Self {
            realm: challenge.get("realm").unwrap_or_default().to_owned(),
            nonce: challenge.is("Digest").then(|| challenge.get("nonce"))??.to_owned(),
            opaque: challenge.get("opaque").map(str::to_owned),
            algorithm: Algorithm::parse(algorithm_text.unwrap_or("MD5"))?,
            algorithm_text: algorithm_text.map(str::to_owned),
            qop,
            userhash: says("userhash", "true"),
            utf8: says("charset", "UTF-8"),
            cnonce: String::new(),
            count: 0,
        };
        Some((session, says("stale", "true")))
    }

    /// The value of `Authorization` (RFC 7616 section 3.4).
    fn answer(&self, username: &str, password: &SecretString, request: RequestView<'_>) -> Zeroizing<String> {
        let Self { realm, nonce, cnonce, algorithm: Algorithm { hash, session }, .. } = self;
        let uri = &request.url[Position::BeforePath..Position::AfterQuery];
        let a1 = Zeroizing::new(format!("{username}:{realm}:{}", password.expose_secret()));
        let mut key = Zeroizing::new(hash.hex(a1.as_bytes()));
        if *session {
            key = Zeroizing::new(hash.hex(format!("{}:{nonce}:{cnonce}", *key).as_bytes()));
        }
        let a2 = match self.qop {
            Qop::AuthInt => format!("{}:{uri}:{}", request.method, hash.hex(request.body)),
            Qop::Auth | Qop::Absent => format!("{}:{uri}", request.method),
        };
        let a2 = hash.hex(a2.as_bytes());
        let count = format!("{:08x}", self.count);
        let qop = match self.qop {
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
            Qop::Absent => None,
        };
        let signed = match qop {
            Some(qop) => Zeroizing::new(format!("{}:{nonce}:{count}:{cnonce}:{qop}:{a2}", *key)),
            None => Zeroizing::new(format!("{}:{nonce}:{a2}", *key)),
        };
        let mut out = Zeroizing::new(format!("Digest {}", self.user(username)));
        let (realm, nonce) = (quoted(realm), quoted(nonce));
        let response = hash.hex(signed.as_bytes());
        // Writing to a string cannot fail.
        let _ = write!(out, r#", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}""#);
        if let Some(algorithm) = &self.algorithm_text {
            let _ = write!(out, ", algorithm={algorithm}");
        }
        if let Some(qop) = qop {
            let _ = write!(out, ", qop={qop}, nc={count}");
        }
        // RFC 2069 has no cnonce, but a session key cannot be made without.
        if qop.is_some() || *session {
            let _ = write!(out, r#", cnonce="{cnonce}""#);
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(out, r#", opaque="{}""#, quoted(opaque));
        }
        if self.userhash {
            out.push_str(", userhash=true");
        }
        out
    }

    /// The user, hashed if the server wants it so, or in the form that can hold any character if it reads that.
    fn user(&self, username: &str) -> String {
        if self.userhash {
            let hashed = self.algorithm.hash.hex(format!("{username}:{}", self.realm).as_bytes());
            return format!(r#"username="{hashed}""#);
        }
        if self.utf8 && !username.is_ascii() {
            let encoded = percent_encoding::utf8_percent_encode(username, percent_encoding::NON_ALPHANUMERIC);
            return format!("username*=UTF-8''{encoded}");
        }
        format!(r#"username="{}""#, quoted(username))
    }
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        let suffix = text.len().checked_sub("-sess".len()).and_then(|at| text.split_at_checked(at));
        let (name, session) = match suffix {
            Some((name, suffix)) if suffix.eq_ignore_ascii_case("-sess") => (name, true),
            _ => (text, false),
        };
        let hash = match name.to_ascii_uppercase().as_str() {
            "MD5" => HashFn::Md5,
            "SHA-256" => HashFn::Sha256,
            "SHA-512-256" => HashFn::Sha512_256,
            _ => return None,
        };
        Some(Self { hash, session })
    }
}

impl HashFn {
    fn hex(self, bytes: &[u8]) -> String {
        match self {
            Self::Md5 => hash::hex(&Md5::digest(bytes)),
            Self::Sha256 => hash::hex(sha::digest(&sha::SHA256, bytes).as_ref()),
            Self::Sha512_256 => hash::hex(sha::digest(&sha::SHA512_256, bytes).as_ref()),
        }
    }
}

/// The inside of a quoted string.
fn quoted(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests;
