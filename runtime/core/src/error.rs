//! One error for every door: a stable [`ErrorCode`], a message that may be shown to the caller, and what to do.
//!
//! Each code has one row in one table: text, HTTP status, process exit code and whether a retry may help.
//! Invariant: nothing here knows of HTTP, MCP or a terminal beyond those numbers, and `message`, `hint` and
//! `details` never hold a secret. The `source` chain is for logs only.

use std::fmt;

use serde_json::Value;

/// Declares the codes and their table in one place, so that a code without a row cannot compile.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $http:literal, $exit:literal, $retry:ident;)*) => {
        /// The stable code of a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The text used in JSON, in logs and in run records.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$name => $text,)* } }

            /// The HTTP status of the REST door.
            pub fn http_status(self) -> u16 { match self { $(Self::$name => $http,)* } }

            /// The exit code of the command line.
            pub fn exit_code(self) -> u8 { match self { $(Self::$name => $exit,)* } }

            /// Whether the same call may succeed later, unless the error itself says otherwise.
            pub fn retryable(self) -> bool { match self { $(Self::$name => $retry,)* } }
        }
    };
}

error_codes! {
    /// The caller's input is malformed or does not fit the action's schema.
    InvalidInput = "invalid_input", 400, 3, false;
    /// A configuration file, connection, action or connector is wrong.
    InvalidConfig = "invalid_config", 422, 3, false;
    /// The caller did not say who they are.
    Unauthenticated = "unauthenticated", 401, 6, false;
    /// The caller may not do this.
    Forbidden = "forbidden", 403, 5, false;
    /// There is no such record.
    NotFound = "not_found", 404, 4, false;
    /// The change contradicts what is stored, or a name is ambiguous.
    Conflict = "conflict", 409, 3, false;
    /// An idempotency key was reused for another request.
    IdempotencyMismatch = "idempotency_mismatch", 422, 3, false;
    /// The other system asks to slow down.
    RateLimited = "rate_limited", 429, 7, true;
    /// A credential is missing, expired or refused.
    AuthRequired = "auth_required", 424, 6, false;
    /// The egress policy refused a connection.
    EgressDenied = "egress_denied", 403, 5, false;
    /// The other system answered with an error.
    UpstreamError = "upstream_error", 502, 7, false;
    /// The other system could not be reached, or the connection broke.
    NetworkError = "network_error", 502, 7, true;
    /// The deadline passed.
    Timeout = "timeout", 504, 8, true;
    /// The connector trapped or broke the contract.
    ConnectorCrashed = "connector_crashed", 500, 9, false;
    /// The connector went over a limit of the sandbox.
    LimitExceeded = "limit_exceeded", 507, 9, false;
    /// No capacity is left.
    Overloaded = "overloaded", 503, 9, true;
    /// The store cannot be opened, read or written.
    StoreUnavailable = "store_unavailable", 503, 10, true;
    /// A bug of OpenAct.
    Internal = "internal", 500, 1, false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ErrorCode {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text).ok_or(())
    }
}

impl serde::Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A position in a file the user wrote. Line and column count from 1; the column counts characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A failure, as every crate of OpenAct returns it.
#[derive(thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Inner>);

impl std::ops::Deref for Error {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The parts of an [`Error`].
pub struct Inner {
    /// The stable code.
    pub code: ErrorCode,
    /// One sentence fragment in lower case, safe to show.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Machine-readable particulars, such as `{"limit": "memory_bytes"}`.
    pub details: Option<Value>,
    /// Where in the user's file.
    pub place: Option<Place>,
    /// Overrides [`ErrorCode::retryable`] where the failing side knows better.
    retryable: Option<bool>,
    /// Internal cause, for logs only.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `code` with a message that may be shown to the caller.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            hint: None,
            details: None,
            place: None,
            retryable: None,
            source: None,
        }))
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds machine-readable particulars.
    #[must_use]
    pub fn details(mut self, details: Value) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Says where in the user's file.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.0.place = place.or(self.0.place);
        self
    }

    /// Says whether a retry may help, where that is known better than by the code.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// Attaches the internal cause. It is logged, never shown to a caller.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `context: ` before the message, once, where the caller knows more than the callee.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        self.0.retryable.unwrap_or_else(|| self.0.code.retryable())
    }

    /// The error as every door writes it: `code`, `message`, `retryable`, and `hint`, `details`, `place` if known.
    pub fn to_json(&self) -> Value {
        let mut out = serde_json::Map::new();
        out.insert("code".into(), self.code.as_str().into());
        out.insert("message".into(), self.message.clone().into());
        out.insert("retryable".into(), self.retryable().into());
        if let Some(hint) = &self.hint {
            out.insert("hint".into(), hint.clone().into());
        }
        if let Some(details) = &self.details {
            out.insert("details".into(), details.clone());
        }
        if let Some(place) = &self.place {
            out.insert("place".into(), place.to_string().into());
        }
        Value::Object(out)
    }
}

/// One constructor per code that code outside this module commonly raises.
macro_rules! constructors {
    ($($fn:ident => $code:ident;)*) => { impl Error { $(
        #[doc = concat!("An error of [`ErrorCode::", stringify!($code), "`].")]
        pub fn $fn(message: impl Into<String>) -> Self { Self::new(ErrorCode::$code, message) }
    )* } };
}

constructors! {
    invalid_input => InvalidInput;
    invalid_config => InvalidConfig;
    not_found => NotFound;
    conflict => Conflict;
    auth_required => AuthRequired;
    egress_denied => EgressDenied;
    timeout => Timeout;
    limit_exceeded => LimitExceeded;
    overloaded => Overloaded;
    store_unavailable => StoreUnavailable;
    internal => Internal;
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(place) = &self.place {
            write!(f, " ({place})")?;
        }
        let mut cause = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// `Result` with OpenAct's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_a_sane_row() {
        for &code in ErrorCode::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert!((400..600).contains(&code.http_status()), "{code}");
            assert!((1..=10).contains(&code.exit_code()), "{code}");
        }
        assert_eq!(ErrorCode::ALL.len(), 18);
    }

    #[test]
    fn the_cause_is_for_logs_and_not_for_callers() {
        let error = Error::internal("failed to run").because("the inner cause");
        assert!(format!("{error:?}").contains("the inner cause"));
        assert!(!error.to_json().to_string().contains("the inner cause"));
        assert!(!error.to_string().contains("the inner cause"));
    }
}
