//! What an IP address is: one anyone on the Internet may have, one of this side's own, or a cloud's metadata service.
//! [`crate::policy`] decides by it what may be dialled.
//!
//! | form of an IPv6 address | what it is |
//! |---|---|
//! | v4-mapped `::ffff:0:0/96` | what the IPv4 address in it is: the system dials that one |
//! | NAT64 `64:ff9b::/96`, 6to4 `2002::/16` | the same: a gateway delivers to it. Not refused as such: on a network without IPv4, NAT64 is the way to every IPv4 host |
//! | Teredo `2001::/32` | the same, of both its server's and its client's address |
//! | v4-compatible `::/96` | the same, but private where that is public: nothing lawful has had such an address since RFC 4291 |
//! | NAT64 `64:ff9b:1::/48` | private: for local use, and where the IPv4 address is in it is the operator's choice |
//! | outside `2000::/3`, otherwise | private: nobody was assigned any of it |
//!
//! Where several rules apply, metadata outweighs private, and private outweighs public. Invariant: an address is public
//! only if it and every address in it are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Anyone's.
    Public,
    /// Not reachable, or not the same host, from everywhere; with the network it is in.
    Private(&'static str),
    /// A cloud's metadata service, which hands out the machine's own credentials.
    Metadata,
}

/// What `address` is.
pub fn kind(address: IpAddr) -> AddressKind {
    match address.to_canonical() {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

/// Whether `name`, with or without its trailing dot, is a metadata service's.
pub fn is_metadata_host(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    METADATA_HOSTS.iter().any(|host| name.eq_ignore_ascii_case(host))
}

/// Networks that are not public (IANA's special-purpose registries), the narrower first.
const PRIVATE_V4: &[(&str, Ipv4Addr, u32)] = &[
    ("0.0.0.0/8", Ipv4Addr::new(0, 0, 0, 0), 8),
    ("10.0.0.0/8", Ipv4Addr::new(10, 0, 0, 0), 8),
    ("100.64.0.0/10", Ipv4Addr::new(100, 64, 0, 0), 10),
    ("127.0.0.0/8", Ipv4Addr::new(127, 0, 0, 0), 8),
    ("169.254.0.0/16", Ipv4Addr::new(169, 254, 0, 0), 16),
    ("172.16.0.0/12", Ipv4Addr::new(172, 16, 0, 0), 12),
    ("192.0.0.0/24", Ipv4Addr::new(192, 0, 0, 0), 24),
    ("192.0.2.0/24", Ipv4Addr::new(192, 0, 2, 0), 24),
    // 6to4 relays, given up by RFC 7526: whoever announces it today gets the packets.
    ("192.88.99.0/24", Ipv4Addr::new(192, 88, 99, 0), 24),
    ("192.168.0.0/16", Ipv4Addr::new(192, 168, 0, 0), 16),
    ("198.18.0.0/15", Ipv4Addr::new(198, 18, 0, 0), 15),
    ("198.51.100.0/24", Ipv4Addr::new(198, 51, 100, 0), 24),
    ("203.0.113.0/24", Ipv4Addr::new(203, 0, 113, 0), 24),
    ("224.0.0.0/4", Ipv4Addr::new(224, 0, 0, 0), 4),
    ("255.255.255.255/32", Ipv4Addr::BROADCAST, 32),
    ("240.0.0.0/4", Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The same for IPv6. Some are outside of [`PUBLIC_V6`] anyway and here for their name.
const PRIVATE_V6: &[(&str, Ipv6Addr, u32)] = &[
    ("::/128", Ipv6Addr::UNSPECIFIED, 128),
    ("::1/128", Ipv6Addr::LOCALHOST, 128),
    ("::/96", Ipv6Addr::UNSPECIFIED, 96),
    ("64:ff9b:1::/48", Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48),
    // Benchmarks (RFC 5180), ORCHID and its second version: identifiers, not places.
    ("2001:2::/48", Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48),
    ("2001:10::/28", Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28),
    ("2001:20::/28", Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28),
    ("2001:db8::/32", Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // Documentation too (RFC 9637).
    ("3fff::/20", Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ("fc00::/7", Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    ("fe80::/10", Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    // Site-local, given up by RFC 3879 but still routed inside some.
    ("fec0::/10", Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10),
    ("ff00::/8", Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// All that IANA ever assigned to hosts, and NAT64's gateway. What is outside is private.
const PUBLIC_V6: &[(Ipv6Addr, u32)] =
    &[(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3), (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)];

/// Metadata services, and what stands beside them and hands out credentials as well.
const METADATA_V4: &[Ipv4Addr] = &[
    // AWS, Azure, Google, DigitalOcean, OpenStack and most others.
    Ipv4Addr::new(169, 254, 169, 254),
    // AWS: credentials of an ECS task and of an EKS pod.
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Tencent, Scaleway.
    Ipv4Addr::new(169, 254, 0, 23),
    Ipv4Addr::new(169, 254, 42, 42),
    // Alibaba.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle.
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure's host agent: a public number that only an Azure machine reaches.
    Ipv4Addr::new(168, 63, 129, 16),
];

/// The same for IPv6.
const METADATA_V6: &[Ipv6Addr] = &[
    // AWS, and its EKS pods.
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    // Google, Scaleway, OpenStack.
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Names that mean a metadata service wherever they resolve to anything.
const METADATA_HOSTS: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "metadata.azure.internal",
    "metadata.tencentyun.com",
    "instance-data",
    "instance-data.ec2.internal",
];

fn kind_v4(address: Ipv4Addr) -> AddressKind {
    if METADATA_V4.contains(&address) {
        return AddressKind::Metadata;
    }
    let found = PRIVATE_V4
        .iter()
        .find(|(_, network, prefix)| (address.to_bits() ^ network.to_bits()).leading_zeros() >= *prefix);
    found.map_or(AddressKind::Public, |(name, ..)| AddressKind::Private(name))
}

fn kind_v6(address: Ipv6Addr) -> AddressKind {
    let embedded = embedded(address).map(|v4| v4.map_or(AddressKind::Public, kind_v4));
    if METADATA_V6.contains(&address) || embedded.contains(&AddressKind::Metadata) {
        return AddressKind::Metadata;
    }
    if let Some(private) = embedded.into_iter().find(|kind| *kind != AddressKind::Public) {
        return private;
    }
    let inside =
        |network: Ipv6Addr, prefix: u32| (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix;
    if let Some((name, ..)) = PRIVATE_V6.iter().find(|(_, network, prefix)| inside(*network, *prefix)) {
        return AddressKind::Private(name);
    }
    if PUBLIC_V6.iter().any(|(network, prefix)| inside(*network, *prefix)) {
        AddressKind::Public
    } else {
        AddressKind::Private("outside 2000::/3")
    }
}

/// The IPv4 addresses that packets to `address` end at: one, Teredo two. The v4-mapped form was taken apart before.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // The unspecified address and loopback only look v4-compatible.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => [None, None],
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => [v4(high, low), None],
        [0x2002, high, low, ..] => [v4(high, low), None],
        // The client's address is there with every bit turned (RFC 4380 section 4).
        [0x2001, 0, high, low, .., client_high, client_low] => [v4(high, low), v4(!client_high, !client_low)],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use ipnet::{IpNet, Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> AddressKind {
        kind(text.parse().unwrap())
    }

    fn v4_nets() -> impl Iterator<Item = (&'static str, Ipv4Net)> {
        PRIVATE_V4.iter().map(|(name, network, prefix)| {
            let net: Ipv4Net = name.parse().unwrap();
            assert_eq!((net.network(), u32::from(net.prefix_len())), (*network, *prefix), "{name}");
            (*name, net)
        })
    }

    fn v6_nets() -> impl Iterator<Item = (&'static str, Ipv6Net)> {
        PRIVATE_V6.iter().map(|(name, network, prefix)| {
            let net: Ipv6Net = name.parse().unwrap();
            assert_eq!((net.network(), u32::from(net.prefix_len())), (*network, *prefix), "{name}");
            (*name, net)
        })
    }

    /// Every form of E3 in which `v4` can be written, with the prefix that makes it so.
    fn embeddings(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [high, low] = [(v4.to_bits() >> 16) as u16, v4.to_bits() as u16];
        vec![
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
            // As Teredo's server, then as its client.
            Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x0808, !0x0808),
            Ipv6Addr::new(0x2001, 0, 0x0808, 0x0808, 0, 0, !high, !low),
        ]
    }

    #[test]
    fn e2_every_listed_network_is_private_at_both_ends() {
        let promised = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
            192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 \
            255.255.255.255/32 ::/128 ::1/128 fc00::/7 fe80::/10 ff00::/8 2001:db8::/32 64:ff9b:1::/48 fec0::/10 \
            192.88.99.0/24";
        for text in promised.split_whitespace() {
            let net: IpNet = text.parse().unwrap();
            for address in [net.network(), net.broadcast()] {
                assert!(matches!(kind(address), AddressKind::Private(_)), "{address} of {text}");
            }
            assert_eq!(kind(net.network()), AddressKind::Private(text));
        }
    }

    #[test]
    fn e2_neighbours_of_the_networks_are_not_in_them() {
        let all: Vec<_> = v4_nets().collect();
        for (name, net) in &all {
            let before = net.network().to_bits().checked_sub(1);
            let after = net.broadcast().to_bits().checked_add(1);
            for neighbour in [before, after].into_iter().flatten().map(Ipv4Addr::from_bits) {
                let other = all.iter().any(|(_, net)| net.contains(&neighbour));
                let found = kind(neighbour.into());
                assert_eq!(found == AddressKind::Public, !other, "{neighbour} beside {name}");
                assert_ne!(found, AddressKind::Private(name));
            }
        }
        for (name, net) in v6_nets() {
            let before = net.network().to_bits().checked_sub(1);
            let after = net.broadcast().to_bits().checked_add(1);
            for neighbour in [before, after].into_iter().flatten().map(Ipv6Addr::from_bits) {
                assert_ne!(kind(neighbour.into()), AddressKind::Private(name), "{neighbour}");
            }
        }
    }

    #[test]
    fn e2_ordinary_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "223.255.255.255",
            "2000::",
            "2001:1ff::",
            "2001:4860:4860::8888",
            "2001:db7::1",
            "2606:4700::1111",
            "3ffe::1",
            "3fff:1000::",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            assert_eq!(of(text), AddressKind::Public, "{text}");
        }
        for text in [
            "::2:0:0:0",
            "100::1",
            "1fff::",
            "4000::",
            "5f00::1",
            "fbff::",
            "64:ff9b:2::1",
            "::ffff:0:808:808",
        ] {
            assert_eq!(of(text), AddressKind::Private("outside 2000::/3"), "{text}");
        }
    }

    #[test]
    fn e3_embedded_forms_are_what_the_address_in_them_is() {
        for (_, net) in v4_nets() {
            for v4 in [net.network(), net.broadcast()] {
                let inner = kind(v4.into());
                assert!(matches!(inner, AddressKind::Private(_)), "{v4}");
                // `::` and `::1` are named for themselves.
                for v6 in embeddings(v4).into_iter().filter(|v6| v6.to_bits() > 1) {
                    assert_eq!(kind(v6.into()), inner, "{v6} holds {v4}");
                }
            }
        }
        for v4 in METADATA_V4 {
            for v6 in embeddings(*v4) {
                assert_eq!(kind(v6.into()), AddressKind::Metadata, "{v6} holds {v4}");
            }
        }
        assert_eq!(of("::8.8.8.8"), AddressKind::Private("::/96"));
        assert_eq!(of("64:ff9b:1:808:8:800::"), AddressKind::Private("64:ff9b:1::/48"));
        // One private address of the two is enough, and metadata outweighs it.
        assert_eq!(of("2001:0:a00:1::f7f7:f7f7"), AddressKind::Private("10.0.0.0/8"));
        assert_eq!(of("2001:0:a00:1::5601:5601"), AddressKind::Metadata);
    }

    #[test]
    fn e5_metadata_services_are_known_by_address_and_name() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "fd00:ec2::254",
            "100.100.100.200",
            "192.0.0.192",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:aa02::",
            "::ffff:c000:c0",
            "168.63.129.16",
        ] {
            assert_eq!(of(text), AddressKind::Metadata, "{text}");
        }
        for text in ["169.254.169.253", "169.254.169.255", "fd00:ec2::255", "100.100.100.201", "192.0.0.193"]
        {
            assert!(matches!(of(text), AddressKind::Private(_)), "{text}");
        }
        for name in [
            "metadata.google.internal",
            "Metadata.Google.INTERNAL.",
            "metadata",
            "instance-data",
            "METADATA.",
        ] {
            assert!(is_metadata_host(name), "{name}");
        }
        for name in
            ["metadata.example.com", "xmetadata", "google.internal", "metadata.google.internal.evil.com", ""]
        {
            assert!(!is_metadata_host(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn e2_every_address_of_a_network_is_private(row in 0..PRIVATE_V4.len(), host: u32) {
            let (name, net) = v4_nets().nth(row).unwrap();
            let address = Ipv4Addr::from_bits(net.network().to_bits() | host & net.hostmask().to_bits());
            prop_assert!(kind(address.into()) != AddressKind::Public, "{} of {}", address, name);
        }

        #[test]
        fn e2_every_address_of_an_ipv6_network_is_private(row in 0..PRIVATE_V6.len(), host: u128) {
            let (name, net) = v6_nets().nth(row).unwrap();
            let address = Ipv6Addr::from_bits(net.network().to_bits() | host & net.hostmask().to_bits());
            prop_assert!(kind(address.into()) != AddressKind::Public, "{} of {}", address, name);
        }

        #[test]
        fn e2_what_the_standard_library_calls_private_is_not_public(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            prop_assert!(!special || kind(v4.into()) != AddressKind::Public);
        }

        #[test]
        fn e3_no_embedded_form_is_more_public_than_its_address(bits: u32) {
            let v4 = Ipv4Addr::from_bits(bits);
            for v6 in embeddings(v4) {
                let (inner, outer) = (kind(v4.into()), kind(v6.into()));
                prop_assert!(outer == inner || inner == AddressKind::Public && v6.to_bits() >> 32 == 0 || v6.to_bits() < 2);
            }
        }
    }
}
