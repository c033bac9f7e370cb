//! Which of the addresses behind a granted host may be dialled.
//!
//! | address | is dialled |
//! |---|---|
//! | public | always |
//! | private, beside public ones of the same name | by a rule |
//! | private otherwise | by a rule, or where hosts that a connection names may be private |
//! | of a metadata service, or under its name | by a rule that is that very address or name; no network, no other name opens it |
//!
//! A rule for an IPv4 address is not one for NAT64, 6to4 or Teredo addresses that hold it: those are ruled on as what they
//! are written. The v4-mapped form is the IPv4 address. Invariant: what a rule does not say stays as it was without it.

mod rule;

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;
use url::Host;

use crate::{
    Error, ErrorCode, Result,
    address::{AddressKind, is_metadata_host, kind},
};

pub use rule::PrivateRule;

/// Who may open private addresses, and which are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateAccess {
    named_hosts: bool,
    rules: Vec<PrivateRule>,
}

/// For the command line and the embedded API, where operator and user are one: a host that a connection names may be
/// private, and its own rules count.
impl Default for PrivateAccess {
    fn default() -> Self {
        Self { named_hosts: true, rules: Vec::new() }
    }
}

impl PrivateAccess {
    /// For a server: what the operator lists and nothing else, whatever a connection says.
    pub fn only(rules: Vec<PrivateRule>) -> Self {
        Self { named_hosts: false, rules }
    }

    /// With a connection's own `network.allow_private`. An operator's list stays as it is: a connection must not open
    /// what the operator did not.
    #[must_use]
    pub fn with_connection(&self, rules: &[PrivateRule]) -> Self {
        let mut access = self.clone();
        if access.named_hosts {
            access.rules.extend_from_slice(rules);
        }
        access
    }

    /// Whether a host that a connection names may be private.
    pub fn opens_named_hosts(&self) -> bool {
        self.named_hosts
    }

    /// What is open.
    pub fn rules(&self) -> &[PrivateRule] {
        &self.rules
    }

    /// The addresses of `found`, in their order, that may be dialled for `host` on `port`; fails if none may. Called
    /// once for each resolution, with every address of the answer, for a host that is granted: the caller dials one of
    /// the result and nothing else. `host` is a name or an address as URLs write it.
    pub fn admit(&self, host: &str, port: u16, found: &[IpAddr]) -> Result<Vec<IpAddr>> {
        self.admit_name(host, port)?;
        let opened = |address: &IpAddr| {
            let kind = kind(*address);
            kind == AddressKind::Public || self.covers(host, port, *address, kind)
        };
        let mut admitted: Vec<IpAddr> = found.iter().copied().filter(opened).collect();
        if admitted.is_empty() && self.named_hosts {
            let private = |address: &IpAddr| matches!(kind(*address), AddressKind::Private(_));
            admitted.extend(found.iter().copied().filter(private));
        }
        match (admitted.is_empty(), found.first()) {
            (false, _) => Ok(admitted),
            (true, Some(address)) => Err(self.refuse(host, port, *address)),
            (true, None) => {
                Err(Error::new(ErrorCode::NetworkError, format!("the name '{host}' has no address")))
            }
        }
    }

    /// What [`PrivateAccess::admit`] says of `host` as far as that is known before it is resolved.
    pub(crate) fn admit_host(&self, host: &Host<String>, port: u16) -> Result<()> {
        let address = match host {
            Host::Domain(name) => return self.admit_name(name, port),
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
        };
        let open = match kind(address) {
            AddressKind::Public => true,
            AddressKind::Private(_) if self.named_hosts => true,
            // No name's rule can mean an address.
            other => self.covers("", port, address, other),
        };
        if open { Ok(()) } else { Err(self.refuse(&host.to_string(), port, address)) }
    }

    /// A metadata service's name is refused whatever it resolves to.
    fn admit_name(&self, name: &str, port: u16) -> Result<()> {
        if !is_metadata_host(name) || self.names(name, port) {
            return Ok(());
        }
        let name = undotted(name);
        Err(Error::egress_denied(format!("'{name}' is the name of a cloud's metadata service"))
            .hint(self.opening(&format!("{name}:{port}")))
            .details(json!({ "denied": format!("{name}:{port}") })))
    }

    /// Whether a rule is `name` on `port`.
    fn names(&self, name: &str, port: u16) -> bool {
        let is = |rule: &PrivateRule| match rule {
            PrivateRule::Name(rule, on) => *on == port && rule.eq_ignore_ascii_case(undotted(name)),
            _ => false,
        };
        self.rules.iter().any(is)
    }

    /// Whether a rule opens `address`, which is of `kind`, for `host` on `port`.
    fn covers(&self, host: &str, port: u16, address: IpAddr, kind: AddressKind) -> bool {
        let metadata = kind == AddressKind::Metadata;
        let address = address.to_canonical();
        let opens = |rule: &PrivateRule| match rule {
            PrivateRule::Network(net) => {
                net.contains(&address) && (!metadata || net.prefix_len() == net.max_prefix_len())
            }
            PrivateRule::Address(rule, on) => *on == port && *rule == address,
            PrivateRule::Name(..) => false,
        };
        self.rules.iter().any(opens) || (!metadata || is_metadata_host(host)) && self.names(host, port)
    }

    fn refuse(&self, host: &str, port: u16, address: IpAddr) -> Error {
        let what = match kind(address) {
            AddressKind::Metadata => "the address of a cloud's metadata service".to_owned(),
            AddressKind::Private(network) => format!("a private address ({network})"),
            AddressKind::Public => "a public address".to_owned(),
        };
        let literal = host.trim_matches(['[', ']']).parse() == Ok(address);
        let subject =
            if literal { address.to_string() } else { format!("{host} resolves to {address}, which") };
        let canonical = IpNet::from(address.to_canonical());
        // A connection writes the address, an operator the network: both are rules.
        let rule = if self.named_hosts {
            PrivateRule::Network(canonical).to_string()
        } else {
            canonical.to_string()
        };
        Error::egress_denied(format!("{subject} is {what}"))
            .hint(self.opening(&rule))
            .details(json!({ "denied": format!("{host}:{port}"), "address": address.to_string() }))
    }

    /// Where the rule would have to be written that opens it.
    fn opening(&self, rule: &str) -> String {
        if self.named_hosts {
            format!("to allow it, add to the connection: network: {{ allow_private: [\"{rule}\"] }}")
        } else {
            format!("to allow it, start the server with --allow-private {rule}")
        }
    }
}

fn undotted(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(list: &[&str]) -> Vec<PrivateRule> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn only(list: &[&str]) -> PrivateAccess {
        PrivateAccess::only(rules(list))
    }

    /// What may be dialled, as text; "-" if nothing.
    fn admits(access: &PrivateAccess, host: &str, port: u16, found: &str) -> String {
        let found: Vec<IpAddr> = found.split(' ').map(|text| text.parse().unwrap()).collect();
        match access.admit(host, port, &found) {
            Ok(admitted) => admitted.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::EgressDenied);
                "-".into()
            }
        }
    }

    #[test]
    fn e2_private_answers_are_dialled_only_for_named_hosts_or_by_a_rule() {
        let named = PrivateAccess::default();
        for found in ["10.1.2.3", "127.0.0.1", "0.0.0.0", "::1", "fd00::1", "fe80::1", "192.168.0.1 fd00::1"]
        {
            assert_eq!(admits(&named, "db.internal", 80, found), found);
            assert_eq!(admits(&only(&[]), "db.internal", 80, found), "-");
        }
        for access in [named, only(&[])] {
            assert_eq!(
                admits(&access, "api.example.com", 80, "8.8.8.8 2606:4700::1"),
                "8.8.8.8 2606:4700::1"
            );
            assert_eq!(access.admit("api.example.com", 80, &[]).unwrap_err().code, ErrorCode::NetworkError);
        }
    }

    #[test]
    fn e3_embedded_forms_of_an_answer_are_seen_through() {
        let access = only(&["10.0.0.0/8"]);
        assert_eq!(admits(&access, "h", 80, "::ffff:10.1.2.3"), "::ffff:10.1.2.3");
        for found in ["::ffff:127.0.0.1", "::10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::", "64:ff9b:1::1"]
        {
            assert_eq!(admits(&access, "h", 80, found), "-", "{found}");
        }
        assert_eq!(admits(&only(&["64:ff9b::/96"]), "h", 80, "64:ff9b::a01:203"), "64:ff9b::a01:203");
        assert_eq!(admits(&only(&[]), "h", 80, "64:ff9b::808:808"), "64:ff9b::808:808");
    }

    #[test]
    fn e5_only_the_very_address_or_name_opens_metadata() {
        let services =
            ["169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "::ffff:a9fe:a9fe"];
        let wide = [
            "0.0.0.0/0",
            "::/0",
            "169.254.169.254/31",
            "fd00::/8",
            "h:80",
            "metadata:81",
            "169.254.169.254:81",
        ];
        for found in services {
            assert_eq!(admits(&PrivateAccess::default(), "h", 80, found), "-");
            assert_eq!(admits(&PrivateAccess::default().with_connection(&rules(&wide)), "h", 80, found), "-");
            assert_eq!(admits(&only(&wide), "h", 80, found), "-");
            // The line that the refusal proposes is one that opens it, in both ways of running.
            for access in [PrivateAccess::default(), only(&wide)] {
                let address: IpAddr = found.parse().unwrap();
                let error = access.admit("h", 80, &[address]).unwrap_err();
                assert!(error.message.contains("metadata"), "{}", error.message);
                let hint = error.hint.clone().unwrap();
                let rule = hint.trim_end_matches(" }").rsplit(' ').next().unwrap();
                let rule = rules(&[rule.strip_prefix("[\"").unwrap_or(rule).trim_end_matches("\"]")]);
                let opened = match access.named_hosts {
                    true => access.with_connection(&rule),
                    false => PrivateAccess::only(rule),
                };
                assert_eq!(admits(&opened, "h", 80, found), address.to_string());
            }
        }
        // A name of theirs is refused whatever it resolves to, and opened by itself on its port.
        for found in ["169.254.169.254", "10.1.2.3", "8.8.8.8"] {
            for access in [PrivateAccess::default(), only(&["0.0.0.0/0"]), only(&["169.254.169.254"])] {
                assert_eq!(admits(&access, "metadata.google.internal", 80, found), "-");
            }
            let opened = only(&["metadata.google.internal:80"]);
            assert_eq!(admits(&opened, "Metadata.google.internal.", 80, found), found);
            assert_eq!(admits(&opened, "metadata.google.internal", 81, found), "-");
        }
        // Beside another address it is left out.
        assert_eq!(admits(&PrivateAccess::default(), "h", 80, "169.254.169.254 10.1.2.3"), "10.1.2.3");
    }

    #[test]
    fn e7_of_a_mixed_answer_the_public_ones_are_dialled() {
        for access in [PrivateAccess::default(), only(&[]), only(&["10.9.0.0/16"])] {
            assert_eq!(
                admits(&access, "h", 80, "10.1.2.3 8.8.8.8 ::1 169.254.169.254 1.1.1.1"),
                "8.8.8.8 1.1.1.1"
            );
        }
        // Unless a rule says so, which then holds for what it covers.
        assert_eq!(admits(&only(&["10.1.2.3"]), "h", 80, "10.1.2.3 8.8.8.8 10.1.2.4"), "10.1.2.3 8.8.8.8");
        assert_eq!(admits(&only(&["h:80"]), "h", 80, "10.1.2.3 8.8.8.8"), "10.1.2.3 8.8.8.8");
        let own = PrivateAccess::default().with_connection(&rules(&["10.1.2.3"]));
        assert_eq!(admits(&own, "h", 80, "10.1.2.3 10.1.2.4"), "10.1.2.3");
    }

    #[test]
    fn e11_a_rule_opens_that_and_nothing_else() {
        // Rule, then what it opens and what it does not: host, port, address.
        type Case = (&'static str, &'static [(&'static str, u16, &'static str)]);
        let opens: &[Case] = &[
            ("10.1.0.0/16", &[("h", 1, "10.1.0.0"), ("10.1.255.255", 65535, "10.1.255.255")]),
            ("10.1.2.3", &[("h", 1, "10.1.2.3")]),
            ("fd00::/16", &[("h", 1, "fd00:ffff::1")]),
            ("10.1.2.3:8080", &[("h", 8080, "10.1.2.3"), ("10.1.2.3", 8080, "::ffff:10.1.2.3")]),
            ("[::1]:8080", &[("[::1]", 8080, "::1"), ("localhost", 8080, "::1")]),
            ("db.internal:8080", &[("db.internal", 8080, "10.9.9.9"), ("DB.internal.", 8080, "::1")]),
        ];
        let not: &[Case] = &[
            ("10.1.0.0/16", &[("h", 1, "10.0.255.255"), ("h", 1, "10.2.0.0"), ("10.1.2.3", 1, "10.2.0.0")]),
            ("10.1.2.3", &[("h", 1, "10.1.2.2"), ("h", 1, "10.1.2.4"), ("10.1.2.3", 1, "127.0.0.1")]),
            ("fd00::/16", &[("h", 1, "fd01::1"), ("h", 1, "10.1.2.3")]),
            ("10.1.2.3:8080", &[("10.1.2.3", 8081, "10.1.2.3"), ("h", 8080, "10.1.2.4")]),
            ("[::1]:8080", &[("[::1]", 80, "::1"), ("localhost", 8080, "127.0.0.1")]),
            (
                "db.internal:8080",
                &[
                    ("db.internal", 8081, "10.9.9.9"),
                    ("x.db.internal", 8080, "10.9.9.9"),
                    ("db", 8080, "10.9.9.9"),
                    ("10.9.9.9", 8080, "10.9.9.9"),
                    ("db.internal..", 8080, "10.9.9.9"),
                ],
            ),
        ];
        for (opened, cases) in [(true, opens), (false, not)] {
            for (rule, cases) in cases {
                for (host, port, found) in *cases {
                    assert_eq!(
                        admits(&only(&[rule]), host, *port, found) != "-",
                        opened,
                        "{rule}: {host}:{port} {found}"
                    );
                    assert_eq!(admits(&only(&[]), host, *port, found), "-");
                }
            }
        }
    }

    #[test]
    fn e11_a_connection_opens_nothing_on_a_server() {
        let own = rules(&["10.1.2.3", "h:80", "169.254.169.254"]);
        let server = only(&["10.9.0.0/16"]);
        assert_eq!(server.with_connection(&own), server);
        let named = PrivateAccess::default().with_connection(&own);
        assert_eq!(named.rules(), own);
        assert_eq!(admits(&named, "h", 81, "169.254.169.254"), "169.254.169.254");
    }

    #[test]
    fn a_refusal_names_the_address_the_network_and_the_line_to_add() {
        let error = only(&[]).admit("db.internal", 5432, &["10.1.2.3".parse().unwrap()]).unwrap_err();
        assert_eq!(
            error.message,
            "db.internal resolves to 10.1.2.3, which is a private address (10.0.0.0/8)"
        );
        assert_eq!(
            error.hint.as_deref(),
            Some("to allow it, start the server with --allow-private 10.1.2.3/32")
        );
        assert_eq!(error.details, Some(json!({"denied": "db.internal:5432", "address": "10.1.2.3"})));
        let error = only(&[]).admit("[fd00::1]", 80, &["fd00::1".parse().unwrap()]).unwrap_err();
        assert_eq!(error.message, "fd00::1 is a private address (fc00::/7)");
        assert_eq!(
            error.hint.as_deref(),
            Some("to allow it, start the server with --allow-private fd00::1/128")
        );
        let error = PrivateAccess::default().admit("metadata.", 80, &[]).unwrap_err();
        assert_eq!(error.message, "'metadata' is the name of a cloud's metadata service");
        assert!(error.hint.as_deref().unwrap().ends_with(r#"network: { allow_private: ["metadata:80"] }"#));
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
            any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
            (0u8..4).prop_map(|low| IpAddr::from([10, 0, 0, low])),
            Just(IpAddr::from([169, 254, 169, 254])),
        ]
    }

    proptest! {
        #[test]
        fn e11_what_no_rule_covers_is_as_without_it(net in 0u8..33, bits: u32, found in prop::collection::vec(addresses(), 1..6)) {
            let net = ipnet::Ipv4Net::new(std::net::Ipv4Addr::from_bits(bits), net).unwrap().trunc();
            let open = PrivateAccess::only(vec![PrivateRule::Network(IpNet::V4(net))]);
            let admitted = open.admit("h", 80, &found).unwrap_or_default();
            for address in &found {
                let expected = match kind(*address) {
                    AddressKind::Public => true,
                    AddressKind::Private(_) => IpNet::V4(net).contains(&address.to_canonical()),
                    AddressKind::Metadata => IpNet::V4(net) == IpNet::from(address.to_canonical()),
                };
                prop_assert_eq!(admitted.contains(address), expected);
            }
        }
    }
}
