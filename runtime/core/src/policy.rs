//! Where a call may go: pure decisions, made before anything is resolved or dialled.
//!
//! | grant | opens |
//! |---|---|
//! | a URL in the connection's own configuration (a field of `"format": "uri"`) | its scheme, host and port |
//! | `network.allowed_hosts: ["https://other.example"]` | that scheme and host, on the scheme's port |
//! | `network.allowed_hosts: ["https://other.example:8443"]` | that scheme, host and port |
//! | a host in the connection's own configuration (a field with `"x-endpoint"`) | byte streams to it, on its port |
//! | `network.allowed_hosts: ["tcp://other.example:5432"]` | byte streams to that host and port |
//!
//! Refused as a grant: no scheme, a scheme other than these three, user info, a path, a query, wildcards, white space.
//! Two hosts are equal when their parsed forms are, so `0x7f.1`, `127.1` and `127.0.0.1` are one host, and a name with
//! one trailing dot is the name without it. No grant: everything is denied.
//!
//! A granted host is then resolved, and what it resolved to is asked of [`PrivateAccess`], which decides what is dialled.
//! Invariant: an address that [`crate::address`] does not call public is dialled only by [`PrivateAccess::admit`]'s leave.

use std::{fmt, sync::Arc};

use url::{Host, Url};

pub use crate::private::{PrivateAccess, PrivateRule};
use crate::{Error, Result};

/// Scheme of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
    /// `tcp`: a byte stream, whether TLS goes over it or not.
    Tcp,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
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
    /// The origin of `url`; none if it is not http or https, or has no host that can be resolved.
    pub fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        // One trailing dot makes a name absolute; it is the same host.
        let host = match url.host()? {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                // Resolvers disagree on what an empty label means.
                if name.split('.').any(str::is_empty) {
                    return None;
                }
                Host::Domain(name.to_owned())
            }
            address => address.to_owned(),
        };
        Some(Self { scheme, host, port: url.port_or_known_default()? })
    }

    /// The origin of byte streams to `host`, a name or an address, on `port`.
    pub fn endpoint(host: &str, port: u16) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!("'{}' is not a host: {what}", host.escape_debug()))
                .hint("expected a host name or an address, such as db.example.com")
        };
        let odd = |c: char| c.is_control() || c.is_whitespace() || "/\\@%*?#".contains(c);
        if host.contains(odd) {
            return Err(bad("it holds a character that no host name has"));
        }
        if port == 0 {
            return Err(bad("its port is 0"));
        }
        let parsed = match host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Ok(Host::Ipv6(address)),
            Err(_) => Host::parse(host.strip_suffix('.').unwrap_or(host)),
        };
        match parsed.map_err(|error| bad(&error.to_string()))? {
            Host::Domain(name) if name.split('.').any(str::is_empty) => Err(bad("it has an empty label")),
            host => Ok(Self { scheme: Scheme::Tcp, host, port }),
        }
    }

    /// The same of `host:port`, `[v6]:port`, or `host` alone where there is a `default` port.
    pub fn parse_endpoint(text: &str, default: Option<u16>) -> Result<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // The colons of an address without a port.
            Some((before, _)) if before.contains(':') && !before.ends_with(']') => (text, None),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let port = match port {
            Some(port) => port.parse().ok(),
            None => default,
        };
        let port = port.ok_or_else(|| {
            Error::invalid_config(format!("'{}' has no port", text.escape_debug()))
                .hint("expected host:port, such as db.example.com:5432")
        })?;
        Self::endpoint(host, port)
    }

    /// Parses a grant: an http or https URL with nothing after the port, or `tcp://host:port`.
    pub fn parse_grant(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!("'{}' cannot be granted: {what}", text.escape_debug()))
                .hint("expected a scheme and a host, and a port if it is not the scheme's own: \"https://api.example.com\"")
        };
        if !text.contains("://") {
            return Err(bad("it has no scheme"));
        }
        // The parser drops some of these silently, and they are how one text comes to look like two hosts.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("it holds white space or a control character"));
        }
        if let Some(endpoint) = text.strip_prefix("tcp://") {
            return Self::parse_endpoint(endpoint, None);
        }
        let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it has user info"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it has a path, query or fragment"));
        }
        // After parsing, which also brings out a percent-encoded or full-width one.
        if url.host_str().is_some_and(|host| host.contains('*')) {
            return Err(bad("wildcards are not supported"));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("the scheme is not http, https or tcp"));
        }
        Self::of(&url).ok_or_else(|| bad("its host has an empty label"))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, parsed; a name without its trailing dot.
    pub fn host(&self) -> &Host<String> {
        &self.host
    }

    /// The port, the scheme's own included.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host, and port if it is not the scheme's: the value of `Host` (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        let whole = self.to_string();
        whole.split_once("://").map_or(whole.as_str(), |(_, authority)| authority).to_owned()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        let default = match self.scheme {
            Scheme::Http => Some(80),
            Scheme::Https => Some(443),
            Scheme::Tcp => None,
        };
        if Some(self.port) == default { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The origins one action version may reach, and which of the addresses behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressGrants {
    origins: Vec<Origin>,
    private: Arc<PrivateAccess>,
}

impl EgressGrants {
    /// These origins and nothing else; as for private addresses, [`PrivateAccess::default`].
    pub fn new(origins: Vec<Origin>) -> Self {
        Self { origins, private: Arc::default() }
    }

    /// With these rules for private addresses.
    #[must_use]
    pub fn with_private(mut self, private: Arc<PrivateAccess>) -> Self {
        self.private = private;
        self
    }

    /// Every granted origin.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Which addresses may be dialled for a granted origin, once it is resolved.
    pub fn private(&self) -> &Arc<PrivateAccess> {
        &self.private
    }

    /// The origin of `url` if it is granted; else why not, and the line that would allow it. Where the host is an
    /// address, or a name that stands for a metadata service, it says at once what [`PrivateAccess::admit`] would. Does
    /// not look at path and query; refuses user info, which is not for the guest to send.
    pub fn check(&self, url: &Url) -> Result<Origin> {
        let Some(origin) = Origin::of(url) else {
            return Err(if matches!(url.scheme(), "http" | "https") {
                Error::egress_denied("the URL's host has an empty label")
                    .hint("write the host with no more than one dot between and after its labels")
            } else {
                Error::egress_denied(format!("the scheme '{}' is not allowed", url.scheme()))
                    .hint("only http and https URLs can be requested")
            });
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::egress_denied("the URL holds a user name or password")
                .hint("credentials belong in the connection's authorization"));
        }
        self.granted(origin)
    }

    /// The origin of byte streams to `host` on `port` if it is granted; else why not, as [`EgressGrants::check`].
    pub fn check_endpoint(&self, host: &str, port: u16) -> Result<Origin> {
        self.granted(
            Origin::endpoint(host, port).map_err(|error| Error::egress_denied(error.message.clone()))?,
        )
    }

    fn granted(&self, origin: Origin) -> Result<Origin> {
        if !self.origins.contains(&origin) {
            return Err(Error::egress_denied(format!("this connection may not reach {origin}"))
                .hint(format!(
                    "to allow it, add to the connection: network: {{ allowed_hosts: [\"{origin}\"] }}"
                ))
                .details(serde_json::json!({ "denied": origin.to_string() })));
        }
        self.private.admit_host(&origin.host, origin.port)?;
        Ok(origin)
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
    fn a_byte_stream_goes_to_a_granted_host_and_port_only() {
        let grants =
            grants(&["tcp://db.example.com:5432", "tcp://[2001:4860::1]:1", "https://db.example.com"]);
        for (host, port) in
            [("db.example.com", 5432), ("DB.example.com.", 5432), ("2001:4860::1", 1), ("[2001:4860::1]", 1)]
        {
            assert!(grants.check_endpoint(host, port).is_ok(), "{host}:{port}");
        }
        for (host, port) in [
            ("db.example.com", 443),
            ("db.example.com", 0),
            ("evil.example.com", 5432),
            ("db.example.com/x", 5432),
            ("u@db.example.com", 5432),
            ("db..example.com", 5432),
            ("/var/run/socket", 5432),
            ("", 5432),
        ] {
            let error = grants.check_endpoint(host, port).unwrap_err();
            assert_eq!(error.code, crate::ErrorCode::EgressDenied, "{host}:{port}");
        }
        for text in [
            "tcp://db.example.com",
            "tcp://db:99999",
            "tcp://*.example.com:1",
            "tcp://u@db:1",
            "tcp://db:1/x",
        ] {
            assert!(Origin::parse_grant(text).is_err(), "{text}");
        }
        assert!(!allows(&grants, "http://db.example.com:5432/"));
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

    #[test]
    fn e4_odd_spellings_are_the_same_host_or_refused() {
        // Spelling, and the host it must be; none where it must be refused.
        let cases: &[(&str, Option<&str>)] = &[
            ("0x7f.1", Some("127.0.0.1")),
            ("0X7F.0x1", Some("127.0.0.1")),
            ("2130706433", Some("127.0.0.1")),
            ("0177.0.0.1", Some("127.0.0.1")),
            ("127.1", Some("127.0.0.1")),
            ("127.0.0.1.", Some("127.0.0.1")),
            ("%31%32%37.0.0.1", Some("127.0.0.1")),
            ("①②⑦。0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]", Some("[::1]")),
            ("[::ffff:7f00:1]", Some("[::ffff:7f00:1]")),
            ("[::FFFF:127.0.0.1]", Some("[::ffff:7f00:1]")),
            ("api.example.com.", Some("api.example.com")),
            ("API.Example.COM", Some("api.example.com")),
            ("%61pi.example.com", Some("api.example.com")),
            ("ａｐｉ．ｅｘａｍｐｌｅ．ｃｏｍ", Some("api.example.com")),
            ("api\u{3002}example\u{3002}com\u{3002}", Some("api.example.com")),
            ("a\u{ad}pi.example.com", Some("api.example.com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("BÜCHER.example", Some("xn--bcher-kva.example")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            // A Cyrillic letter makes another name, not the Latin one.
            ("\u{430}pi.example.com", Some("xn--pi-6kc.example.com")),
            ("127.0.0.1..", None),
            ("api.example.com..", None),
            ("api..example.com", None),
            (".api.example.com", None),
            (".", None),
            ("127.0.0.256", None),
            ("1.2.3.4.5", None),
            ("0xffffffff1", None),
            ("4294967296", None),
            ("[fe80::1%25eth0]", None),
            ("[fe80::1%eth0]", None),
            ("[::1", None),
            ("::1", None),
            ("api.example.com%00.evil.com", None),
            ("api.example.com\0.evil.com", None),
            ("api.example.com%2f.evil.com", None),
            ("api.example.com%20", None),
            ("api%25.example.com", None),
            ("", None),
        ];
        for (spelling, host) in cases {
            let text = format!("http://{spelling}:8080");
            let of = Url::parse(&text).ok().as_ref().and_then(Origin::of);
            assert_eq!(of.as_ref().map(|origin| origin.host().to_string()).as_deref(), *host, "{spelling:?}");
            // A grant means what a request means.
            assert_eq!(Origin::parse_grant(&text).ok(), of, "{spelling:?}");
            for other in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://api.example.com:8080"] {
                let same = host.is_some_and(|host| other == format!("http://{host}:8080"));
                assert_eq!(allows(&grants(&[other]), &text), same, "{spelling:?} under {other}");
            }
        }
    }

    #[test]
    fn e4_what_looks_like_another_host_is_refused() {
        for text in [
            "http://api.example.com@evil.com",
            "http://api.example.com:80@evil.com",
            "http://api.example.com\\@evil.com",
            "http://u@api.example.com",
            "http://evil.com#@api.example.com",
            "http://evil.com?@api.example.com",
            "http://api.exam\tple.com",
            "http://api.example.com\n",
            " http://api.example.com",
            "http://%2a.example.com",
            "http://＊.example.com",
            "http:api.example.com",
            "//api.example.com",
            "http://api.example.com:65536",
            "http://api.example.com:8a",
        ] {
            assert!(Origin::parse_grant(text).is_err(), "{text:?}");
        }
        let grants = grants(&["http://api.example.com"]);
        for url in [
            "http://api.example.com@evil.com/",
            "http://u@api.example.com/",
            "http://:p@api.example.com/",
            "http://evil.com#@api.example.com/",
            "http://evil.com\\@api.example.com/",
            "http://evil.com/http://api.example.com/",
        ] {
            assert!(!allows(&grants, url), "{url}");
        }
        assert!(allows(&grants, "http://api.example.com/@evil.com"));
    }

    fn only(rules: &[&str]) -> Arc<PrivateAccess> {
        Arc::new(PrivateAccess::only(rules.iter().map(|rule| rule.parse().unwrap()).collect()))
    }

    #[test]
    fn e2_a_private_literal_is_refused_though_its_origin_is_granted() {
        let hosts = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[fc00::1]",
            "[fe80::1]",
            "[ff02::1]",
            "[2001:db8::1]",
        ];
        for host in hosts {
            let url = format!("http://{host}:81");
            let named = grants(&[&url]);
            assert!(allows(&named, &url), "{host}");
            let denied = named.with_private(only(&[])).check(&Url::parse(&url).unwrap()).unwrap_err();
            assert_eq!(denied.code, crate::ErrorCode::EgressDenied, "{host}");
            assert!(denied.message.contains("a private address ("), "{}", denied.message);
        }
        assert!(allows(&grants(&["http://8.8.8.8"]).with_private(only(&[])), "http://8.8.8.8/"));
    }

    #[test]
    fn e3_a_private_address_inside_another_is_refused_though_its_origin_is_granted() {
        for host in [
            "[::ffff:10.0.0.1]",
            "[::10.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[64:ff9b:1::1]",
            "[2002:a00:1::]",
            "[2001:0:a00:1::f7f7:f7f7]",
        ] {
            let url = format!("http://{host}");
            assert!(!allows(&grants(&[&url]).with_private(only(&[])), &url), "{host}");
        }
    }

    #[test]
    fn e5_metadata_is_refused_though_its_origin_is_granted() {
        for host in [
            "169.254.169.254",
            "2852039166",
            "[::ffff:169.254.169.254]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "192.0.0.192",
            "metadata.google.internal",
            "METADATA.google.internal.",
            "metadata",
        ] {
            let url = format!("http://{host}/latest");
            let granted = grants(&[url.trim_end_matches("/latest")]);
            assert!(!allows(&granted, &url), "{host}");
            let wide = only(&["0.0.0.0/0", "::/0", "169.254.0.0/16", "metadata.google.internal:81"]);
            assert!(!allows(&granted.with_private(wide), &url), "{host}");
        }
        let granted = grants(&["http://metadata.google.internal", "http://169.254.169.254"]);
        let opened = granted.with_private(only(&["metadata.google.internal:80", "169.254.169.254"]));
        assert!(allows(&opened, "http://metadata.google.internal./x"));
        assert!(allows(&opened, "http://169.254.169.254/x"));
    }

    #[test]
    fn e13_the_grant_is_asked_before_the_address() {
        // An ungranted private address is denied for want of a grant, rule or not.
        let access = only(&["10.0.0.0/8", "169.254.169.254"]);
        for url in ["http://10.1.2.3/", "http://169.254.169.254/"] {
            let url = Url::parse(url).unwrap();
            let error = EgressGrants::default().with_private(access.clone()).check(&url).unwrap_err();
            assert!(error.message.contains("may not reach"), "{}", error.message);
        }
    }
}
