//! The names of hosts to dial, which the network's DNS servers know: one is looked up at a time.

use core::task::{Context, Poll};

use embassy_net::IpAddress;
use kitfox_core::node::ConnectionId;

/// What is to be looked up, and what was found.
#[cfg(feature = "dns")]
pub(crate) struct Names {
    /// The connection for whose peer a name is looked up.
    asked: core::cell::Cell<Option<ConnectionId>>,
    /// How that ended.
    found: core::cell::Cell<Option<Option<IpAddress>>>,
}

#[cfg(feature = "dns")]
impl Names {
    pub(crate) const fn new() -> Self {
        Self { asked: core::cell::Cell::new(None), found: core::cell::Cell::new(None) }
    }

    /// The address of the host of a connection's peer. Whoever asks goes on asking or [gives up](Self::give_up).
    pub(crate) fn poll(&self, cx: &Context<'_>, connection: ConnectionId) -> Poll<Option<IpAddress>> {
        match self.asked.get() {
            None => {
                self.asked.set(Some(connection));
                self.found.set(None);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(asked) if asked == connection => match self.found.take() {
                Some(found) => {
                    self.give_up(cx, connection);
                    Poll::Ready(found)
                }
                None => Poll::Pending,
            },
            Some(_) => Poll::Pending,
        }
    }

    /// An answer is not wanted any more: others have their turn.
    pub(crate) fn give_up(&self, cx: &Context<'_>, connection: ConnectionId) {
        if self.asked.get() == Some(connection) {
            self.asked.set(None);
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(feature = "dns")]
impl<S, C, H, const PLACES: usize> crate::drive::Driver<'_, S, C, H, PLACES>
where
    S: kitfox_core::storage::Storage,
    C: crate::channel::Protection,
    H: crate::handler::Handler<S>,
{
    /// Looks up one name after another, for ever.
    pub(crate) async fn look_up(&self, names: &Names, stack: embassy_net::Stack<'_>) {
        use core::future::poll_fn;
        use embassy_futures::select::{Either, select};

        loop {
            let connection = poll_fn(|_| match names.asked.get() {
                Some(connection) if names.found.get().is_none() => Poll::Ready(connection),
                _ => Poll::Pending,
            })
            .await;
            let given_up = poll_fn(|_| match names.asked.get() == Some(connection) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            });
            let host = self.host_of(connection);
            let looking = async {
                match &host {
                    Some(host) => crate::addr::resolve_name(stack, host).await,
                    None => None,
                }
            };
            if let Either::Second(found) = select(given_up, looking).await {
                names.found.set(Some(found));
                self.waker.borrow().wake_by_ref();
            }
        }
    }

    fn host_of(&self, connection: ConnectionId) -> Option<heapless::String<255>> {
        let shared = self.shared.borrow();
        let peers = shared.core.peers();
        let url = peers.url(peers.peer_of(connection)?)?;
        let url = kitfox_core::wire::PeerUrl::parse(url, &shared.url_rules).ok()?;
        heapless::String::try_from(url.host()).ok()
    }
}

/// Without the feature `dns` names have no addresses.
#[cfg(not(feature = "dns"))]
pub(crate) struct Names;

#[cfg(not(feature = "dns"))]
impl Names {
    pub(crate) const fn new() -> Self {
        Self
    }

    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) fn poll(&self, _: &Context<'_>, _: ConnectionId) -> Poll<Option<IpAddress>> {
        Poll::Ready(None)
    }

    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) fn give_up(&self, _: &Context<'_>, _: ConnectionId) {}
}
