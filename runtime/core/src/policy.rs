//! Where a call may go: pure decisions, made before anything is resolved or dialled.
//!
//! | grant | opens |
//! |---|---|
//! | a URL in the connection's own configuration (a field of `"format": "uri"`) | its scheme, host and port |
//! | `network.allowed_hosts: ["https://other.example"]` | that scheme and host, on the scheme's port |
//! | `network.allowed_hosts: ["https://other.example:8443"]` | that scheme, host and port |
//!
//! Refused as a grant: no scheme, a scheme other than http and https, user info, a path, a query, wildcards. Two hosts
//! are equal when their parsed forms are, so `0x7f.1`, `127.1` and `127.0.0.1` are one host. No grant: everything
//! is denied.

use std::fmt;

use url::{Host, Url};

use crate::{Error, Result};

/// Scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Scheme, host and port of a URL (RFC 6454).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host<String>,
    port: u16,
}

impl Origin {
    /// The origin of `url`; none if it is not http or https, or has no host.
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        // One trailing dot makes a name absolute; it is the same host.
        let host = match url.host()? {
            Host::Domain(name) => Host::Domain(name.strip_suffix('.').unwrap_or(name).to_owned()),
            address => address.to_owned(),
        };
        Some(Self { scheme, host, port: url.port_or_known_default()? })
    }

    /// Parses a grant: an http or https URL with nothing after the port.
    pub fn parse_grant(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!("'{text}' cannot be granted: {what}"))
                .hint("expected a scheme and a host, and a port if it is not the scheme's own: \"https://api.example.com\"")
        };
        if !text.contains("://") {
            return Err(bad("it has no scheme"));
        }
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it has user info"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has a path, query or fragment"));
        }
        if text.contains('*') {
            return Err(bad("wildcards are not supported"));
        }
        Self::of(&url).ok_or_else(|| bad("the scheme is not http or https"))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        let default = match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        if self.port == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The origins one action version may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressGrants(Vec<Origin>);

impl EgressGrants {
    /// These origins and nothing else.
    pub fn new(origins: Vec<Origin>) -> Self {
        Self(origins)
    }

    /// Every granted origin.
    pub fn origins(&self) -> &[Origin] {
        &self.0
    }

    /// The origin of `url` if it is granted; else why not, and the line that would allow it.
    pub fn check(&self, url: &Url) -> Result<Origin> {
        let Some(origin) = Origin::of(url) else {
            return Err(Error::egress_denied(format!("the scheme '{}' is not allowed", url.scheme()))
                .hint("only http and https URLs can be requested"));
        };
        if self.0.contains(&origin) {
            return Ok(origin);
        }
        Err(Error::egress_denied(format!("this connection may not reach {origin}"))
            .hint(format!("to allow it, add to the connection: network: {{ allowed_hosts: [\"{origin}\"] }}"))
            .details(serde_json::json!({ "denied": origin.to_string() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[&str]) -> EgressGrants {
        EgressGrants::new(list.iter().map(|text| Origin::parse_grant(text).unwrap()).collect())
    }

    fn allows(grants: &EgressGrants, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| grants.check(&url).is_ok())
    }

    #[test]
    fn only_the_granted_scheme_host_and_port() {
        let grants = grants(&["https://api.example.com", "http://127.0.0.1:8080"]);
        for url in [
            "https://api.example.com/x",
            "https://API.example.com:443/",
            "https://api.example.com./",
            "http://127.1:8080/",
            "http://0x7f.1:8080/a",
        ] {
            assert!(allows(&grants, url), "{url}");
        }
        for url in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://evil.example.com/",
            "https://api.example.com.evil.com/",
            "https://api.example.com@evil.com/",
            "http://127.0.0.1/",
            "http://127.0.0.2:8080/",
            "ftp://api.example.com/",
            "file:///etc/passwd",
        ] {
            assert!(!allows(&grants, url), "{url}");
        }
        assert!(!allows(&EgressGrants::default(), "https://api.example.com/"));
    }

    #[test]
    fn a_denial_names_the_line_to_add() {
        let error = EgressGrants::default()
            .check(&Url::parse("https://evil.example:8443/x?q=1").unwrap())
            .unwrap_err();
        assert_eq!(error.code, crate::ErrorCode::EgressDenied);
        assert!(
            error
                .hint
                .as_deref()
                .unwrap()
                .contains(r#"network: { allowed_hosts: ["https://evil.example:8443"] }"#)
        );
    }

    #[test]
    fn grants_that_say_too_much_are_refused() {
        for text in [
            "api.example.com",
            "https://*.example.com",
            "https://u@api.example.com",
            "https://api.example.com/path",
            "ftp://x",
            "https://a?b",
            "",
        ] {
            assert!(Origin::parse_grant(text).is_err(), "{text}");
        }
    }
}
