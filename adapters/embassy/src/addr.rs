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

/// Whether a URL can carry this id as its last segment.
pub(crate) fn is_usable(id: &PeerId) -> bool {
    let mut url = OwnUrl::new();
    let written = write!(url, "ws://a:1/{id}");
    let rules = UrlRules { path: PathRule::SingleSegment, ..UrlRules::default() };
    let parsed = PeerUrl::parse(&url, &rules).ok().and_then(|url| url.peer_id().and_then(PeerId::new));
    written.is_ok() && parsed.as_ref() == Some(id)
}

/// The address that a host of a URL stands for, if it is written as one that this stack can reach.
pub(crate) fn ip_literal(host: &str) -> Option<IpAddress> {
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return v6_address(v6.parse().ok()?);
    }
    v4_address(host.parse().ok()?)
}

#[cfg(feature = "proto-ipv4")]
fn v4_address(ip: core::net::Ipv4Addr) -> Option<IpAddress> {
    Some(IpAddress::Ipv4(ip))
}

#[cfg(not(feature = "proto-ipv4"))]
fn v4_address(_: core::net::Ipv4Addr) -> Option<IpAddress> {
    None
}

#[cfg(feature = "proto-ipv6")]
fn v6_address(ip: core::net::Ipv6Addr) -> Option<IpAddress> {
    Some(IpAddress::Ipv6(ip))
}

#[cfg(not(feature = "proto-ipv6"))]
fn v6_address(_: core::net::Ipv6Addr) -> Option<IpAddress> {
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
