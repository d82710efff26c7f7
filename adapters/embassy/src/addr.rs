//! Between peer URLs and embassy-net's addresses.

use embassy_net::{IpAddress, Stack};
use kitfox_core::PeerId;
use kitfox_core::wire::{PathRule, PeerUrl, UrlRules};

/// The text of one of our own URLs: scheme, an address of at most 41 bytes with brackets, port, id.
pub(crate) type OwnUrl = heapless::String<128>;

/// The URL under which a node with this id is reached at this address and port.
#[inline(never)]
pub(crate) fn url_of(secured: bool, ip: IpAddress, port: u16, id: &PeerId) -> OwnUrl {
    let mut url = OwnUrl::new();
    put(&mut url, if secured { "wss://" } else { "ws://" });
    match ip {
        #[cfg(feature = "proto-ipv4")]
        IpAddress::Ipv4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                put(&mut url, if place > 0 { "." } else { "" });
                put_number(&mut url, octet.into());
            }
        }
        #[cfg(feature = "proto-ipv6")]
        IpAddress::Ipv6(ip) => {
            let written = core::fmt::Write::write_fmt(&mut url, format_args!("[{ip}]"));
            debug_assert!(written.is_ok(), "the longest of them fits");
        }
        // Features of embassy-net that another crate has switched on.
        #[allow(unreachable_patterns)]
        _ => {}
    }
    put(&mut url, ":");
    put_number(&mut url, port);
    put_id(&mut url, id);
    url
}

/// The URL of a node that nobody can dial.
pub(crate) fn unreachable_url(secured: bool, id: &PeerId) -> OwnUrl {
    let mut url = OwnUrl::new();
    put(&mut url, if secured { "wss" } else { "ws" });
    put(&mut url, "://unreachable.invalid:0");
    put_id(&mut url, id);
    url
}

// The standard library's formatting would be 3 KB of flash, for this alone.

fn put(url: &mut OwnUrl, text: &str) {
    let written = url.push_str(text);
    debug_assert!(written.is_ok(), "the longest of them fits");
}

fn put_number(url: &mut OwnUrl, number: u16) {
    if number > 9 {
        put_number(url, number / 10);
    }
    let written = url.push(char::from(b'0' + (number % 10) as u8));
    debug_assert!(written.is_ok(), "the longest of them fits");
}

/// The last segment: a key in hexadecimal digits, a text as it is.
fn put_id(url: &mut OwnUrl, id: &PeerId) {
    put(url, "/");
    match id.key() {
        Some(key) => {
            for digit in key.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
                let written = url.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
                debug_assert!(written.is_ok(), "the longest of them fits");
            }
        }
        None => put(url, core::str::from_utf8(id.as_bytes()).unwrap_or_default()),
    }
}

/// Whether a URL can carry this id as its last segment.
pub(crate) fn is_usable(id: &PeerId) -> bool {
    let mut url = OwnUrl::new();
    put(&mut url, "ws://a:1");
    put_id(&mut url, id);
    let rules = UrlRules { path: PathRule::SingleSegment, ..UrlRules::default() };
    let parsed = PeerUrl::parse(&url, &rules).ok().and_then(|url| url.peer_id().and_then(PeerId::new));
    parsed.as_ref() == Some(id)
}

/// The address that a host of a URL stands for, if it is written as one that this stack can reach.
pub(crate) fn ip_literal(host: &str) -> Option<IpAddress> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6_address(v6),
        None => v4_address(host),
    }
}

#[cfg(feature = "proto-ipv4")]
fn v4_address(host: &str) -> Option<IpAddress> {
    // The standard library's parser is five times as large. It takes the same texts.
    let mut parts = host.split('.').map(|part| match *part.as_bytes() {
        [a @ b'0'..=b'9'] => Some(a - b'0'),
        [a @ b'1'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        [a @ b'1'..=b'2', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            ((a - b'0') * 100).checked_add((b - b'0') * 10 + (c - b'0'))
        }
        _ => None,
    });
    let mut part = || parts.next().flatten();
    let ip = [part()?, part()?, part()?, part()?];
    parts.next().is_none().then(|| IpAddress::Ipv4(ip.into()))
}

#[cfg(not(feature = "proto-ipv4"))]
fn v4_address(_: &str) -> Option<IpAddress> {
    None
}

#[cfg(feature = "proto-ipv6")]
fn v6_address(host: &str) -> Option<IpAddress> {
    host.parse().ok().map(IpAddress::Ipv6)
}

#[cfg(not(feature = "proto-ipv6"))]
fn v6_address(_: &str) -> Option<IpAddress> {
    None
}

/// The stack's own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OwnAddresses {
    v4: Option<IpAddress>,
    v6: Option<IpAddress>,
}

impl OwnAddresses {
    /// Those that it has now; none while its link is down.
    pub(crate) fn of(stack: Stack<'_>) -> Self {
        let mut own = Self::default();
        if stack.is_link_up() {
            #[cfg(feature = "proto-ipv4")]
            {
                own.v4 = stack.config_v4().map(|config| IpAddress::Ipv4(config.address.address()));
            }
            #[cfg(feature = "proto-ipv6")]
            {
                own.v6 = stack.config_v6().map(|config| IpAddress::Ipv6(config.address.address()));
            }
        }
        own
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = IpAddress> {
        [self.v4, self.v6].into_iter().flatten()
    }

    pub(crate) fn contains(self, ip: IpAddress) -> bool {
        self.iter().any(|own| own == ip)
    }
}

/// Asks the network's DNS servers for the address of a name.
#[cfg(feature = "dns")]
pub(crate) async fn resolve_name(stack: Stack<'_>, name: &str) -> Option<IpAddress> {
    use embassy_net::dns::DnsQueryType;
    #[cfg(feature = "proto-ipv4")]
    if let Some(&ip) =
        stack.dns_query(name, DnsQueryType::A).await.ok().as_ref().and_then(|found| found.first())
    {
        return Some(ip);
    }
    #[cfg(feature = "proto-ipv6")]
    if let Some(&ip) =
        stack.dns_query(name, DnsQueryType::Aaaa).await.ok().as_ref().and_then(|found| found.first())
    {
        return Some(ip);
    }
    None
}

#[cfg(all(test, feature = "proto-ipv4"))]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    #[test]
    fn addresses_are_read_as_the_standard_library_reads_them() {
        let numbers = ["0", "7", "10", "99", "100", "255", "256", "300", "00", "01", "", "1a", "0001", "-1"];
        for number in numbers {
            for host in
                [format!("{number}.2.3.4"), format!("1.2.3.{number}"), format!("1.{number}.3"), number.into()]
            {
                let known = host.parse().ok().map(IpAddress::Ipv4);
                assert_eq!(ip_literal(&host), known, "{host}");
            }
        }
        assert_eq!(ip_literal("1.2.3.4.5"), None);
    }

    #[test]
    fn urls_are_written_as_the_standard_library_writes_them() {
        let ids = [PeerId::new("alice").unwrap(), PeerId::from_key([0x5f; 32])];
        for (id, port) in ids.iter().zip([0, 65_535]) {
            let ip = core::net::Ipv4Addr::new(10, 0, 209, 255);
            assert_eq!(url_of(true, IpAddress::Ipv4(ip), port, id), *format!("wss://{ip}:{port}/{id}"));
            assert_eq!(unreachable_url(false, id), *format!("ws://unreachable.invalid:0/{id}"));
        }
    }
}
