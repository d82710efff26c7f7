//! From peer URLs to socket addresses, and back.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use kitfox_core::wire::PeerUrl;

/// The addresses that a peer URL leads to. Names are resolved on a thread where that may block.
pub(crate) async fn resolve(url: PeerUrl<'_>) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (url.host(), url.port());
    if let Some(ip) = ip_literal(host) {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    resolve_text(format!("{host}:{port}")).await
}

/// The addresses of `host:port`.
pub(crate) async fn resolve_text(addr: String) -> io::Result<Vec<SocketAddr>> {
    if let Ok(addr) = addr.parse() {
        return Ok(vec![addr]);
    }
    let addrs: Vec<_> = blocking::unblock(move || addr.to_socket_addrs().map(Iterator::collect)).await?;
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addrs)
}

fn ip_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// The URL of a peer at an address, in canonical form. `wss` stands for a secured connection.
pub(crate) fn url(scheme: &str, addr: SocketAddr, id: &str) -> String {
    match addr.ip() {
        IpAddr::V4(ip) => format!("{scheme}://{ip}:{}/{id}", addr.port()),
        IpAddr::V6(ip) => {
            // URLs write every group in hex, `Ipv6Addr` prints mapped addresses with a dotted tail.
            match ip.to_ipv4_mapped() {
                Some(_) => {
                    let [.., a, b] = ip.segments();
                    format!("{scheme}://[::ffff:{a:x}:{b:x}]:{}/{id}", addr.port())
                }
                None => format!("{scheme}://[{ip}]:{}/{id}", addr.port()),
            }
        }
    }
}

/// An IPv4 address that came in through an IPv6 socket, as what it is.
pub(crate) fn unmapped(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// Which of the addresses that the node listens on a peer should be told of, on a connection with this local address.
pub(crate) fn own_place(listening: &[SocketAddr], local: SocketAddr) -> Option<usize> {
    let local = unmapped(local);
    let reachable = |bound: &&SocketAddr| bound.ip() == local.ip() || bound.ip().is_unspecified();
    let place = |fits: &dyn Fn(&&SocketAddr) -> bool| listening.iter().position(|bound| fits(&bound));
    place(&|bound| reachable(bound) && bound.port() == local.port())
        .or_else(|| place(&reachable))
        .or_else(|| place(&|bound| bound.is_ipv4() == local.is_ipv4()))
}

/// The address that a peer should be told for it.
pub(crate) fn own_addr(bound: Option<&SocketAddr>, local: SocketAddr) -> SocketAddr {
    let local = unmapped(local);
    match bound {
        Some(bound) if bound.ip().is_unspecified() => SocketAddr::new(local.ip(), bound.port()),
        Some(bound) => *bound,
        // Port 0 stands for "cannot be dialled".
        None => SocketAddr::new(local.ip(), 0),
    }
}

#[cfg(test)]
mod tests {
    use kitfox_core::wire::UrlRules;

    use super::*;

    #[test]
    fn own_urls_are_canonical() {
        for addr in
            ["127.0.0.1:1", "[::1]:80", "[::]:0", "[fe80::1:0:0:1]:65535", "[::ffff:1.2.3.4]:5", "[::2:3]:9"]
        {
            let url = url("wss", addr.parse().unwrap(), "alice");
            let parsed = PeerUrl::parse(&url, &UrlRules::default());
            assert!(parsed.is_ok(), "{url}: {parsed:?}");
            assert_eq!(
                futures_lite::future::block_on(resolve(parsed.unwrap())).unwrap(),
                [addr.parse().unwrap()]
            );
        }
    }

    #[test]
    fn the_bound_address_of_the_connection_s_own_network_is_advertised() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own_addr = |listening: &[SocketAddr], local| {
            own_addr(own_place(listening, local).map(|place| &listening[place]), local)
        };
        let listening = [parse("10.0.0.1:5"), parse("127.0.0.1:6"), parse("[::]:7")];
        assert_eq!(own_addr(&listening, parse("127.0.0.1:40000")), parse("127.0.0.1:6"));
        assert_eq!(own_addr(&listening, parse("10.0.0.1:40000")), parse("10.0.0.1:5"));
        assert_eq!(own_addr(&listening, parse("[fd00::1]:40000")), parse("[fd00::1]:7"));
        assert_eq!(own_addr(&listening[2..], parse("[::ffff:10.0.0.9]:7")), parse("10.0.0.9:7"));
        assert_eq!(own_addr(&[], parse("127.0.0.1:40000")), parse("127.0.0.1:0"));
    }
}
