//! One line of `network.allow_private` or `--allow-private`.
//!
//! | rule | opens |
//! |---|---|
//! | `10.1.0.0/16`, `fd00::/8` | the network, on every port |
//! | `10.1.2.3`, `[fd00::1]` | the address, on every port |
//! | `10.1.2.3:8080`, `[fd00::1]:8080` | the address, on that port |
//! | `db.internal:8080` | whatever that name resolves to but a metadata service, on that port |
//!
//! Refused as a rule: a name without a port (it would open every port of whatever the name's owner answers), a bare
//! IPv6 address (`fd00::1:80` is an address too), a network with bits beyond its prefix, wildcards.
//!
//! Invariant: a rule prints as text that is read as the same rule.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;
use url::Host;

use crate::{Error, Result};

/// One opening, see the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrivateRule {
    /// A network, or an address as one of full length.
    Network(IpNet),
    /// An address on one port.
    Address(IpAddr, u16),
    /// A name on one port; in lower case, ASCII, without a trailing dot.
    Name(String, u16),
}

impl FromStr for PrivateRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::invalid_config(format!(
                "'{}' does not say which private address: {what}",
                text.escape_debug()
            ))
            .hint("expected such as 10.1.0.0/16, 10.1.2.3, [fd00::1], 10.1.2.3:8080 or db.internal:8080")
        };
        if text.contains('/') {
            let net: IpNet = text.parse().map_err(|_| bad("it is not a network"))?;
            if net.trunc() != net {
                return Err(bad(&format!("the network of that length is {}", net.trunc())));
            }
            return match net {
                IpNet::V6(v6) if v6.network().to_ipv4_mapped().is_some() => {
                    Err(bad("write the IPv4 network"))
                }
                net => Ok(Self::Network(net)),
            };
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']').ok_or_else(|| bad("it has no ']'"))?;
            let address: Ipv6Addr = address.parse().map_err(|_| bad("it is not an IPv6 address"))?;
            let address = address.to_canonical();
            return match rest.strip_prefix(':') {
                Some(port) => {
                    Ok(Self::Address(address, parse_port(port).ok_or_else(|| bad("its port is not one"))?))
                }
                None if rest.is_empty() => Ok(Self::Network(address.into())),
                None => Err(bad("after the address only a port may follow")),
            };
        }
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => return Err(bad("write an IPv6 address in brackets")),
            Ok(address) => return Ok(Self::Network(address.into())),
            Err(_) => {}
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(|| bad("a name needs a port"))?;
        let port = parse_port(port).ok_or_else(|| bad("its port is not one"))?;
        // The parser would decode percent signs, and take wildcards for a name.
        if name.contains(['%', '*']) {
            return Err(bad("it is not a host name"));
        }
        match Host::parse(name).map_err(|_| bad("it is not a host name"))? {
            Host::Ipv4(address) => Ok(Self::Address(address.into(), port)),
            Host::Ipv6(address) => Ok(Self::Address(address.to_canonical(), port)),
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                if name.split('.').any(str::is_empty) {
                    return Err(bad("its name has an empty label"));
                }
                Ok(Self::Name(name.to_owned(), port))
            }
        }
    }
}

impl fmt::Display for PrivateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => match net.addr() {
                IpAddr::V4(address) => write!(f, "{address}"),
                IpAddr::V6(address) => write!(f, "[{address}]"),
            },
            Self::Network(net) => write!(f, "{net}"),
            Self::Address(address, port) => write!(f, "{}", SocketAddr::new(*address, *port)),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// Digits alone; the integer parser also takes "+80".
fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules_print_as_they_are_read() {
        for text in [
            "10.1.0.0/16",
            "10.1.2.3",
            "fd00::/8",
            "[fd00::1]",
            "0.0.0.0/0",
            "db.internal:8080",
            "10.1.2.3:8080",
            "[::1]:8080",
            "my_db:5432",
            "xn--bcher-kva.example:1",
        ] {
            assert_eq!(text.parse::<PrivateRule>().unwrap().to_string(), text);
        }
        for (text, printed) in [
            ("10.1.2.3/32", "10.1.2.3"),
            ("fd00::1/128", "[fd00::1]"),
            ("[::ffff:10.1.2.3]", "10.1.2.3"),
            ("[::ffff:10.1.2.3]:80", "10.1.2.3:80"),
            ("DB.Internal.:8080", "db.internal:8080"),
            ("bücher.example:1", "xn--bcher-kva.example:1"),
            ("0x7f.1:80", "127.0.0.1:80"),
        ] {
            assert_eq!(text.parse::<PrivateRule>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn rules_that_say_too_much_or_nothing_are_refused() {
        for (text, why) in [
            ("", "a name needs a port"),
            ("db.internal", "a name needs a port"),
            ("*", "a name needs a port"),
            ("*:80", "it is not a host name"),
            ("%31.example:80", "it is not a host name"),
            ("u@db:80", "it is not a host name"),
            ("a b:80", "it is not a host name"),
            (":80", "it is not a host name"),
            ("db..:80", "its name has an empty label"),
            ("db:", "its port is not one"),
            ("db:0", "its port is not one"),
            ("db:+80", "its port is not one"),
            ("db:65536", "its port is not one"),
            ("[::1]:", "its port is not one"),
            ("[::1]80", "after the address only a port may follow"),
            ("[::1", "it has no ']'"),
            ("[fe80::1%eth0]", "it is not an IPv6 address"),
            ("[10.1.2.3]", "it is not an IPv6 address"),
            ("::1:80", "write an IPv6 address in brackets"),
            ("10.1.2.3/16", "the network of that length is 10.1.0.0/16"),
            ("10.1.0.0/33", "it is not a network"),
            ("::ffff:10.0.0.0/104", "write the IPv4 network"),
            ("http://db:80", "it is not a network"),
            ("db/8:80", "it is not a network"),
        ] {
            let error = text.parse::<PrivateRule>().unwrap_err();
            assert!(error.message.ends_with(why), "{text}: {}", error.message);
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_prints_the_same(text in r"\[?[0-9a-f:.]{0,20}\]?[:/]?[0-9]{0,5}|[a-zA-Z0-9._%-]{0,12}:[0-9]{1,5}") {
            if let Ok(rule) = text.parse::<PrivateRule>() {
                prop_assert_eq!(rule.to_string().parse::<PrivateRule>().unwrap(), rule);
            }
        }
    }
}
