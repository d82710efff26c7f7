//! Between peer URLs and embassy-net's addresses.

use core::fmt::Write;

use embassy_net::{IpAddress, Stack};
use kitfox_core::PeerId;
use kitfox_core::wire::{PathRule, PeerUrl, UrlRules};

/// The text of one of our own URLs: scheme, an address of at most 41 bytes with brackets, port, id.
pub(crate) type OwnUrl = heapless::String<128>;

/// The URL under which a node with this id is reached at this address and port.
pub(crate) fn url_of(secured: bool, ip: IpAddress, port: u16, id: &PeerId) -> OwnUrl {
    let mut url = OwnUrl::new();
    let scheme = if secured { "wss" } else { "ws" };
    let written = match core::net::IpAddr::from(ip) {
        core::net::IpAddr::V4(ip) => write!(url, "{scheme}://{ip}:{port}/{id}"),
        core::net::IpAddr::V6(ip) => write!(url, "{scheme}://[{ip}]:{port}/{id}"),
    };
    debug_assert!(written.is_ok(), "the longest of them fits");
    url
}

/// The URL of a node that nobody can dial.
pub(crate) fn unreachable_url(secured: bool, id: &PeerId) -> OwnUrl {
    let mut url = OwnUrl::new();
    let scheme = if secured { "wss" } else { "ws" };
    let written = write!(url, "{scheme}://unreachable.invalid:0/{id}");
    debug_assert!(written.is_ok(), "the longest of them fits");
    url
}

/// An id that a URL can carry as its last segment.
pub(crate) fn usable_id(id: &str) -> Option<PeerId> {
    let mut url = OwnUrl::new();
    write!(url, "ws://a:1/{id}").ok()?;
    let rules = UrlRules { path: PathRule::SingleSegment, ..UrlRules::default() };
    let url = PeerUrl::parse(&url, &rules).ok()?;
    if url.peer_id() == Some(id) { PeerId::new(id) } else { None }
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
    let mut parts = host.split('.').map(|part| match part.as_bytes() {
        &[a @ b'0'..=b'9'] => Some(a - b'0'),
        &[a @ b'1'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        &[a @ b'1'..=b'2', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
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
