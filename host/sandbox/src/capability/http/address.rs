//! Which addresses may be connected to, whatever name led there.
//!
//! Pure but for the [`Resolver`], which tests replace. Knows nothing of grants or requests.
//!
//! Invariant: an address is judged as what it leads to (an IPv4 address wrapped in IPv6 is judged as that IPv4 address),
//! and metadata services of clouds are never allowed, whatever networks a connection names.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use futures_util::future::BoxFuture;

/// A network in CIDR notation, such as `10.20.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// One address, or an address and the number of bits that count. Bits beyond those must be zero, so that
    /// `10.0.0.1/8` is not taken for one host.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a network such as `10.20.0.0/16` or `fd00::/8`");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits: &u8| *bits <= most).ok_or_else(wrong)?,
        };
        let host_bits_clear = match address {
            IpAddr::V4(address) => u32::from(address).checked_shl(u32::from(bits)).unwrap_or(0) == 0,
            IpAddr::V6(address) => u128::from(address).checked_shl(u32::from(bits)).unwrap_or(0) == 0,
        };
        if !host_bits_clear {
            return Err(format!("`{text}` has bits beyond its /{bits}"));
        }
        Ok(Self { address, bits })
    }
}

/// What stands in the way of connecting to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AddressRefusal {
    /// Allowed where a connection's `addresses` name its network.
    NotPublic {
        /// What it leads to.
        address: IpAddr,
        /// `a private`, `a loopback`, …
        what: &'static str,
    },
    /// Never allowed.
    Never {
        /// What it leads to.
        address: IpAddr,
        /// `a metadata service`, …
        what: &'static str,
    },
}

impl std::fmt::Display for AddressRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPublic { address, what } => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                write!(
                    f,
                    "`{address}` is {what} address, which only a connection to this origin with \
                     `addresses = [\"{address}/{bits}\"]` opens"
                )
            }
            Self::Never { address, what } => write!(f, "`{address}` is {what} and is never connected to"),
        }
    }
}

/// The address to connect to, if it may be.
pub(crate) fn admit(address: IpAddr, networks: &[Network]) -> Result<IpAddr, AddressRefusal> {
    let meant = meant(address);
    if let Some(what) = forbidden(meant).or_else(|| forbidden(address)) {
        return Err(AddressRefusal::Never { address: meant, what });
    }
    if let Some(what) = not_public(meant)
        && !networks.iter().any(|network| network.contains(meant) || network.contains(address))
    {
        return Err(AddressRefusal::NotPublic { address: meant, what });
    }
    // A mapped address reaches IPv4 from an IPv6 socket; connecting to what was judged leaves nothing to chance.
    Ok(address.to_canonical())
}

/// What an address leads to: IPv4 in IPv6 taken out of its wrapping.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        // ::ffff:a.b.c.d, ::ffff:0:a.b.c.d and the old ::a.b.c.d; :: and ::1 are themselves.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        // 64:ff9b::/96, NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 2002::/16, 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// Metadata services of clouds hand out credentials to whoever asks from the machine.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254), // AWS, GCP, Azure and others
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS
    Ipv4Addr::new(168, 63, 129, 16),   // Azure
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
];
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // GCP
];

fn forbidden(address: IpAddr) -> Option<&'static str> {
    let metadata = match address {
        IpAddr::V4(v4) => METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => METADATA_V6.contains(&v6),
    };
    if metadata {
        return Some("a metadata service");
    }
    match address {
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => Some("no address of a host"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("a broadcast address"),
        IpAddr::V6(v6) if v6.is_unspecified() => Some("no address of a host"),
        address if address.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            if v4.is_loopback() {
                Some("a loopback")
            } else if v4.is_private() {
                Some("a private")
            } else if v4.is_link_local() {
                Some("a link-local")
            } else if a == 100 && (64..128).contains(&b) {
                Some("a carrier-grade NAT")
            } else if v4.is_documentation()
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240
            {
                Some("a reserved")
            } else {
                None
            }
        }
        IpAddr::V6(v6) => {
            let [first, second, third, ..] = v6.segments();
            if v6.is_loopback() {
                Some("a loopback")
            } else if v6.is_unique_local() || first & 0xffc0 == 0xfec0 {
                Some("a private")
            } else if v6.is_unicast_link_local() {
                Some("a link-local")
            } else if first == 0x64 && second == 0xff9b && third == 1 {
                Some("a local NAT64")
            } else if first & 0xe000 != 0x2000 || (first == 0x2001 && (second < 0x200 || second == 0xdb8)) {
                // Only 2000::/3 is given out; 2001::/23 and 2001:db8::/32 in it are tunnels and examples.
                Some("a reserved")
            } else {
                None
            }
        }
    }
}

/// Finds the addresses of a name.
pub(crate) trait Resolver: Send + Sync {
    /// All addresses, in the order to try them. The name is ASCII and no address.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Asks as the machine is set up to.
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn said(address: &str, networks: &[&str]) -> String {
        let networks: Vec<Network> = networks.iter().map(|network| network.parse().unwrap()).collect();
        match admit(ip(address), &networks) {
            Ok(address) => address.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn public_addresses_need_nothing() {
        for public in
            ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "100.128.0.1", "172.32.0.1", "198.20.0.1"]
        {
            assert_eq!(said(public, &[]), public);
        }
    }

    #[test]
    fn other_addresses_need_a_network_of_the_connection() {
        for (address, network) in [
            ("127.0.0.1", "127.0.0.0/8"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("172.16.0.1", "172.16.0.1"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("169.254.1.1", "169.254.0.0/16"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("192.0.2.1", "0.0.0.0/0"),
            ("240.0.0.1", "240.0.0.0/4"),
            ("::1", "::1/128"),
            ("fd12::1", "fc00::/7"),
            ("fe80::1", "fe80::/10"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2001::1", "::/0"),
            ("64:ff9b:1::a00:1", "64:ff9b:1::/48"),
            ("1::1", "1::1"),
        ] {
            assert!(said(address, &[]).contains("addresses = ["), "{address}");
            assert!(said(address, &["11.0.0.0/8", "fd00:1::/32"]).contains("addresses = ["), "{address}");
            assert_eq!(said(address, &[network]), address);
        }
    }

    #[test]
    fn wrapped_addresses_are_judged_unwrapped() {
        for wrapped in
            ["::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "::ffff:0:127.0.0.1"]
        {
            assert!(said(wrapped, &[]).starts_with("`127.0.0.1` is a loopback"), "{wrapped}");
            assert!(!said(wrapped, &["127.0.0.0/8"]).contains("never"), "{wrapped}");
        }
        assert_eq!(said("::ffff:127.0.0.1", &["127.0.0.0/8"]), "127.0.0.1");
        assert_eq!(said("64:ff9b::5db8:d822", &[]), "64:ff9b::5db8:d822");
    }

    #[test]
    fn metadata_services_are_never_allowed() {
        let all = ["0.0.0.0/0", "::/0"];
        for metadata in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
        ] {
            assert!(
                said(metadata, &all).ends_with("is a metadata service and is never connected to"),
                "{metadata}"
            );
        }
        for nothing in
            ["0.0.0.0", "0.1.2.3", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0"]
        {
            assert!(said(nothing, &all).ends_with("never connected to"), "{nothing}");
        }
    }

    #[test]
    fn networks_are_written_exactly() {
        for wrong in
            ["", "10", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "fd00::1/8", "10.0.0.0/8/8", "example.com"]
        {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_wrapping_opens_what_is_closed(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            if admit(IpAddr::V4(v4), &[]).is_err() {
                let [a, b, c, d] = v4.octets();
                let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                for wrapped in [
                    v4.to_ipv6_mapped(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                ] {
                    prop_assert!(admit(IpAddr::V6(wrapped), &[]).is_err(), "{}", wrapped);
                }
            }
        }
    }
}
