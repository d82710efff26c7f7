//! One socket's life: it listens or dials, carries a connection, closes, and begins again.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use embassy_net::tcp::{State, TcpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::with_timeout;
use kitfox_core::connection::{CloseReason, Timeout};
use kitfox_core::node::{ConnectionId, Input};
use kitfox_core::storage::Storage;
use kitfox_core::wire::PeerUrl;

use crate::addr;
use crate::channel::Protection;
use crate::drive::{Driver, Place};
use crate::handler::Handler;
use crate::stats::Totals;
use crate::time::{duration, now};

/// Reads of one connection before others have their turn: what lies around the end of a ring buffer takes two.
const READS_A_TURN: usize = 2;

/// What the sockets of a node have in common.
#[derive(Clone, Copy)]
pub(crate) struct Net<'d> {
    pub(crate) stack: Stack<'d>,
    pub(crate) port: u16,
    pub(crate) close_timeout: Duration,
    /// How long a stranger may take to establish a connection.
    pub(crate) accept_timeout: Duration,
    /// How long the peer's end may take to acknowledge bytes: what the core has written into a socket is out of its
    /// sight.
    pub(crate) tx_timeout: Duration,
}

impl<S, C, H, const PLACES: usize> Driver<'_, S, C, H, PLACES>
where
    S: Storage,
    C: Protection,
    H: Handler<S>,
{
    /// Serves one socket for ever.
    pub(crate) async fn serve(&self, place: usize, net: Net<'_>, socket: &mut TcpSocket<'_>) {
        loop {
            socket.set_timeout(Some(duration(net.accept_timeout)));
            let connection = match self.wait_for_peer(place, net.port, socket).await {
                Some(dial) => {
                    self.dial(place, dial, net, socket).await;
                    Some(dial)
                }
                None => self.accept(place, net.port, socket),
            };
            if let Some(connection) = connection {
                socket.set_timeout(Some(duration(net.tx_timeout)));
                self.carry(place, connection, socket).await;
                self.close(place, connection, net, socket).await;
            } else {
                socket.abort();
                let _ = with_timeout(duration(net.close_timeout), socket.flush()).await;
            }
        }
    }

    /// Listens until somebody connects (`None`) or the core wants to dial.
    async fn wait_for_peer(
        &self,
        place: usize,
        port: u16,
        socket: &mut TcpSocket<'_>,
    ) -> Option<ConnectionId> {
        poll_fn(|cx| {
            if socket.state() == State::Closed {
                // It begins to listen with the first poll. It cannot fail: it is closed, and the port is not 0.
                let _ = pin!(socket.accept(port)).poll(cx);
            }
            match socket.state() {
                State::Listen => {
                    if let Some(dial) = self.take_dial(place) {
                        socket.abort();
                        return Poll::Ready(Some(dial));
                    }
                }
                State::Closed | State::SynSent | State::SynReceived => {}
                _ => return Poll::Ready(None),
            }
            // Nothing can be read yet: it wakes the task when the state changes.
            let _ = pin!(socket.wait_read_ready()).poll(cx);
            Poll::Pending
        })
        .await
    }

    fn accept(&self, place: usize, port: u16, socket: &TcpSocket<'_>) -> Option<ConnectionId> {
        let shared = &mut *self.shared.borrow_mut();
        let Ok(connection) = shared.core.accept(now(), C::halves()) else {
            Totals::count(&mut shared.totals.turned_away);
            warning!("a connection was turned away: there is no place for it");
            return None;
        };
        Totals::count(&mut shared.totals.accepted);
        debug!("connection {}: accepted", connection.index());
        self.places.borrow_mut()[place] = Place { connection: Some(connection), ..Place::new() };
        self.know_address(place, port, socket);
        self.again.set(true);
        Some(connection)
    }

    /// Dials the peer of a connection. Whether that succeeds or not, the core knows afterwards.
    async fn dial(&self, place: usize, connection: ConnectionId, net: Net<'_>, socket: &mut TcpSocket<'_>) {
        debug!("connection {}: dialling", connection.index());
        let connecting = async {
            let endpoint = self.resolve(connection, net.stack).await?;
            socket.connect(endpoint).await.ok()
        };
        let given_up = poll_fn(|_| match self.places.borrow()[place].closed {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        });
        let connected = match select(connecting, given_up).await {
            Either::First(connected) => connected.is_some(),
            Either::Second(()) => return,
        };
        self.know_address(place, net.port, socket);
        if connected {
            let shared = &mut *self.shared.borrow_mut();
            if shared.core.connected(now(), connection, C::halves()).is_ok() {
                Totals::count(&mut shared.totals.dialled);
            }
        } else {
            debug!("connection {}: the peer was not reached", connection.index());
            self.tell(Input::Failed(connection));
        }
    }

    /// The address of the peer that a connection is to be dialled to.
    async fn resolve(&self, connection: ConnectionId, stack: Stack<'_>) -> Option<(IpAddress, u16)> {
        let found = {
            let shared = self.shared.borrow();
            let peers = shared.core.peers();
            let url = PeerUrl::parse(peers.url(peers.peer_of(connection)?)?, &shared.url_rules).ok()?;
            match addr::ip_literal(url.host()) {
                Some(ip) => Ok((ip, url.port())),
                None => Err((heapless::String::<255>::try_from(url.host()).ok()?, url.port())),
            }
        };
        match found {
            Ok(endpoint) => Some(endpoint),
            Err((host, port)) => Some((addr::resolve_name(stack, &host).await?, port)),
        }
    }

    /// Notes under which URL this connection's peer reaches us.
    fn know_address(&self, place: usize, port: u16, socket: &TcpSocket<'_>) {
        let place = &mut self.places.borrow_mut()[place];
        if let Some(local) = socket.local_endpoint() {
            place.local = Some(local.addr);
            place.own_url = addr::url_of(C::SECURED, local.addr, port, &self.own_id);
        }
    }

    /// Reads and writes until the core has closed the connection.
    async fn carry(&self, place: usize, connection: ConnectionId, socket: &mut TcpSocket<'_>) {
        // A dialler has something to ask before any byte comes.
        self.feed(connection, &mut []);
        poll_fn(|cx| {
            let mut reads = READS_A_TURN;
            while reads > 0 && !self.is_closed(place) && self.poll_read(cx, connection, socket) {
                reads -= 1;
            }
            if !self.is_closed(place) {
                self.poll_write(cx, connection, socket);
            }
            if self.is_closed(place) {
                return Poll::Ready(());
            }
            if reads == 0 {
                // There may be more, after the others.
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }

    fn is_closed(&self, place: usize) -> bool {
        self.places.borrow()[place].closed.is_some()
    }

    /// Lends the core what has arrived, in the socket's own buffer. Returns whether there may be more.
    fn poll_read(&self, cx: &mut Context<'_>, connection: ConnectionId, socket: &mut TcpSocket<'_>) -> bool {
        if !self.is_ready() {
            return false;
        }
        let read = pin!(socket.read_with(|bytes| {
            let taken = self.feed(connection, bytes);
            (taken, taken)
        }))
        .poll(cx);
        match read {
            Poll::Ready(Ok(taken)) => taken > 0,
            Poll::Ready(Err(_)) => {
                // Everything that arrived was read. A peer that closed in order leaves us able to write.
                let ended = matches!(socket.state(), State::CloseWait);
                self.tell(if ended { Input::End(connection) } else { Input::Failed(connection) });
                false
            }
            Poll::Pending => false,
        }
    }

    /// Has the core write into the socket's own buffer, as much as there is room for.
    fn poll_write(&self, cx: &mut Context<'_>, connection: ConnectionId, socket: &mut TcpSocket<'_>) {
        while self.shared.borrow_mut().core.has_output(connection) {
            let write = pin!(socket.write_with(|room| {
                let len = self.shared.borrow_mut().core.transmit(now(), connection, room);
                (len, len)
            }))
            .poll(cx);
            match write {
                Poll::Ready(Ok(0)) => return,
                Poll::Ready(Ok(_)) => self.shared.borrow_mut().waiting.wake_all(),
                Poll::Ready(Err(_)) => return self.tell(Input::Failed(connection)),
                Poll::Pending => {
                    // From now on its bytes are known to wait.
                    self.shared.borrow_mut().core.transmit(now(), connection, &mut []);
                    return;
                }
            }
        }
    }

    /// Writes what is left, closes the socket and gives the place free; all within a limit of time.
    async fn close(&self, place: usize, connection: ConnectionId, net: Net<'_>, socket: &mut TcpSocket<'_>) {
        let reason = self.places.borrow()[place].closed;
        let limit = duration(net.close_timeout);
        let is_lost = matches!(
            reason,
            Some(CloseReason::Failed | CloseReason::Timeout(Timeout::Write | Timeout::Dial))
        );
        if !is_lost {
            let said = poll_fn(|cx| {
                self.poll_write(cx, connection, socket);
                match self.shared.borrow_mut().core.has_output(connection) && socket.may_send() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            });
            let _ = with_timeout(limit, said).await;
        }
        self.shared.borrow_mut().core.release(connection);
        self.places.borrow_mut()[place] = Place::new();
        // Others may wait for the place in the table.
        self.shared.borrow_mut().waiting.wake_all();
        let mut is_over = false;
        if !is_lost {
            socket.close();
            // Once the peer's end has everything, what it still says and when it closes do not matter.
            is_over = with_timeout(limit, socket.flush()).await.is_ok();
        }
        socket.abort();
        if !is_over {
            // The reset is to be sent before the socket is used again.
            let _ = with_timeout(limit, socket.flush()).await;
        }
    }
}
