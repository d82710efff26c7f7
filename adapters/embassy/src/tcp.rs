//! One socket's life: it listens or dials, carries a connection, closes, and begins again.
//!
//! It is a value that is polled by hand and no future: those of all sockets together would be moved across the stack, and
//! would keep for each of them what only one of its stages needs.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use embassy_net::tcp::{State, TcpSocket};
use embassy_net::{IpAddress, Stack};
use embassy_time::{Instant, Timer};
use kitfox_core::connection::{CloseReason, Timeout};
use kitfox_core::node::{ConnectionId, Input};
use kitfox_core::storage::Storage;
use kitfox_core::wire::PeerUrl;

use crate::addr;
use crate::channel::Protection;
use crate::drive::{Driver, Place};
use crate::handler::Handler;
use crate::names::Names;
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

impl Net<'_> {
    /// Has a socket that carried nothing yet, or does not any more, wait for the next peer.
    pub(crate) fn prepare(&self, socket: &mut TcpSocket<'_>) -> Stage {
        socket.set_timeout(Some(duration(self.accept_timeout)));
        Stage::Waiting
    }

    fn closed_by(&self) -> Instant {
        Instant::now() + duration(self.close_timeout)
    }
}

/// What a socket does.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// It listens.
    Waiting,
    /// The address of the peer is looked up.
    Resolving(ConnectionId),
    /// It connects.
    Dialling(ConnectionId),
    /// It carries a connection.
    Carrying(ConnectionId),
    /// It writes the last words of a connection.
    Parting(ConnectionId, Instant),
    /// It sees that the peer's end gets everything.
    Closing(Instant),
    /// It sees that the reset is sent.
    Resetting(Instant),
}

impl<S, C, H, const PLACES: usize> Driver<'_, S, C, H, PLACES>
where
    S: Storage,
    C: Protection,
    H: Handler<S>,
{
    /// Does for one socket what can be done now, and has the task woken for the rest.
    #[inline(never)]
    pub(crate) fn serve(
        &self,
        cx: &mut Context<'_>,
        place: usize,
        stage: &mut Stage,
        net: &Net<'_>,
        names: &Names,
        socket: &mut TcpSocket<'_>,
    ) {
        loop {
            let next = match *stage {
                Stage::Waiting => self.wait_for_peer(cx, place, net, socket),
                Stage::Resolving(connection) => self.resolve(cx, place, connection, net, names, socket),
                Stage::Dialling(connection) => self.dial(cx, place, connection, net, socket),
                Stage::Carrying(connection) => match self.carry(cx, place, connection, socket) {
                    Poll::Ready(()) => Poll::Ready(self.part(place, connection, net, socket)),
                    Poll::Pending => Poll::Pending,
                },
                Stage::Parting(connection, until) => {
                    self.poll_write(cx, connection, socket);
                    let more = self.shared.borrow_mut().core.has_output(connection) && socket.may_send();
                    if more && !is_over(cx, until) {
                        Poll::Pending
                    } else {
                        self.release(place, connection);
                        socket.close();
                        // Once the peer's end has everything, what it still says and when it closes do not matter.
                        Poll::Ready(Stage::Closing(net.closed_by()))
                    }
                }
                Stage::Closing(until) => {
                    let flushed = pin!(socket.flush()).poll(cx).is_ready();
                    if flushed || is_over(cx, until) {
                        socket.abort();
                        // The reset is to be sent before the socket is used again.
                        Poll::Ready(match flushed {
                            true => net.prepare(socket),
                            false => Stage::Resetting(net.closed_by()),
                        })
                    } else {
                        Poll::Pending
                    }
                }
                Stage::Resetting(until) => {
                    let flushed = pin!(socket.flush()).poll(cx).is_ready();
                    match flushed || is_over(cx, until) {
                        true => Poll::Ready(net.prepare(socket)),
                        false => Poll::Pending,
                    }
                }
            };
            match next {
                Poll::Ready(next) => *stage = next,
                Poll::Pending => return,
            }
        }
    }

    /// Listens until somebody connects or the core wants to dial.
    fn wait_for_peer(
        &self,
        cx: &mut Context<'_>,
        place: usize,
        net: &Net<'_>,
        socket: &mut TcpSocket<'_>,
    ) -> Poll<Stage> {
        if socket.state() == State::Closed {
            // It begins to listen with the first poll. It cannot fail: it is closed, and the port is not 0.
            let _ = pin!(socket.accept(net.port)).poll(cx);
        }
        match socket.state() {
            State::Listen => {
                if let Some(dial) = self.take_dial(place) {
                    debug!("connection {}: dialling", dial.index());
                    socket.abort();
                    return Poll::Ready(Stage::Resolving(dial));
                }
            }
            State::Closed | State::SynSent | State::SynReceived => {}
            _ => return Poll::Ready(self.accept(place, net, socket)),
        }
        // Nothing can be read yet: it wakes the task when the state changes.
        let _ = pin!(socket.wait_read_ready()).poll(cx);
        Poll::Pending
    }

    #[inline(never)]
    fn accept(&self, place: usize, net: &Net<'_>, socket: &mut TcpSocket<'_>) -> Stage {
        let accepted = {
            let shared = &mut *self.shared.borrow_mut();
            let accepted = shared.core.accept(now(), C::accept(self.ours.identity));
            Totals::count(match accepted {
                Ok(_) => &mut shared.totals.accepted,
                Err(_) => &mut shared.totals.turned_away,
            });
            accepted
        };
        let Ok(connection) = accepted else {
            warning!("a connection was turned away: there is no place for it");
            socket.abort();
            return Stage::Resetting(net.closed_by());
        };
        debug!("connection {}: accepted", connection.index());
        self.places.borrow_mut()[place] =
            Place { connection: Some(connection), counted: true, ..Place::new() };
        self.know_address(place, socket);
        self.again.set(true);
        self.begin(connection, net, socket)
    }

    /// Looks up where to dial to, and begins to.
    #[inline(never)]
    fn resolve(
        &self,
        cx: &mut Context<'_>,
        place: usize,
        connection: ConnectionId,
        net: &Net<'_>,
        names: &Names,
        socket: &mut TcpSocket<'_>,
    ) -> Poll<Stage> {
        if self.is_closed(place) {
            names.give_up(cx, connection);
            return Poll::Ready(self.begin(connection, net, socket));
        }
        let found = match self.endpoint(cx, connection, names) {
            Poll::Ready(found) => found,
            Poll::Pending => return Poll::Pending,
        };
        // The first poll begins to connect; the socket's state shows how it goes on.
        let refused = found
            .is_none_or(|endpoint| matches!(pin!(socket.connect(endpoint)).poll(cx), Poll::Ready(Err(_))));
        Poll::Ready(match refused {
            true => self.dialled(place, connection, false, net, socket),
            false => Stage::Dialling(connection),
        })
    }

    /// The address of the peer that a connection is to be dialled to.
    fn endpoint(
        &self,
        cx: &Context<'_>,
        connection: ConnectionId,
        names: &Names,
    ) -> Poll<Option<(IpAddress, u16)>> {
        let shared = self.shared.borrow();
        let peers = shared.core.peers();
        let url = peers.peer_of(connection).and_then(|peer| peers.url(peer));
        let Some(Ok(url)) = url.map(|url| PeerUrl::parse(url, &shared.url_rules)) else {
            return Poll::Ready(None);
        };
        if url.uses_tls() != C::SECURED {
            return Poll::Ready(None);
        }
        let ip = match addr::ip_literal(url.host()) {
            Some(ip) => Poll::Ready(Some(ip)),
            None => names.poll(cx, connection),
        };
        ip.map(|ip| Some((ip?, url.port())))
    }

    /// Waits until the peer is reached or not, or the core does not want it any more.
    fn dial(
        &self,
        cx: &mut Context<'_>,
        place: usize,
        connection: ConnectionId,
        net: &Net<'_>,
        socket: &mut TcpSocket<'_>,
    ) -> Poll<Stage> {
        let connected = match socket.state() {
            State::SynSent | State::SynReceived => {
                if self.is_closed(place) {
                    return Poll::Ready(self.begin(connection, net, socket));
                }
                let _ = pin!(socket.wait_write_ready()).poll(cx);
                return Poll::Pending;
            }
            State::Closed | State::TimeWait => false,
            _ => true,
        };
        Poll::Ready(self.dialled(place, connection, connected, net, socket))
    }

    /// A dial is over. Whether it succeeded or not, the core knows afterwards.
    #[inline(never)]
    fn dialled(
        &self,
        place: usize,
        connection: ConnectionId,
        connected: bool,
        net: &Net<'_>,
        socket: &mut TcpSocket<'_>,
    ) -> Stage {
        self.know_address(place, socket);
        if connected {
            self.connected(connection);
        } else {
            debug!("connection {}: the peer was not reached", connection.index());
            self.tell(Input::Failed(connection));
        }
        self.begin(connection, net, socket)
    }

    /// Notes at which address this connection's peer reaches us.
    #[inline(never)]
    fn know_address(&self, place: usize, socket: &TcpSocket<'_>) {
        if let Some(local) = socket.local_endpoint() {
            self.places.borrow_mut()[place].local = Some(local.addr);
        }
    }

    /// Begins to carry a connection.
    fn begin(&self, connection: ConnectionId, net: &Net<'_>, socket: &mut TcpSocket<'_>) -> Stage {
        socket.set_timeout(Some(duration(net.tx_timeout)));
        // A dialler has something to ask before any byte comes.
        self.feed(connection, &mut []);
        Stage::Carrying(connection)
    }

    /// Reads and writes until the core has closed the connection.
    fn carry(
        &self,
        cx: &mut Context<'_>,
        place: usize,
        connection: ConnectionId,
        socket: &mut TcpSocket<'_>,
    ) -> Poll<()> {
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

    /// A connection has ended: the socket writes what is left and closes, within a limit of time.
    fn part(
        &self,
        place: usize,
        connection: ConnectionId,
        net: &Net<'_>,
        socket: &mut TcpSocket<'_>,
    ) -> Stage {
        let is_lost = matches!(
            self.places.borrow()[place].closed,
            Some(CloseReason::Failed | CloseReason::Timeout(Timeout::Write | Timeout::Dial))
        );
        if is_lost {
            self.release(place, connection);
            socket.abort();
            return Stage::Resetting(net.closed_by());
        }
        Stage::Parting(connection, net.closed_by())
    }

    /// Gives the place of a connection free.
    fn release(&self, place: usize, connection: ConnectionId) {
        self.shared.borrow_mut().core.release(connection);
        self.places.borrow_mut()[place] = Place::new();
        // Others may wait for the place in the table.
        self.shared.borrow_mut().waiting.wake_all();
    }
}

/// Whether this moment has come; has the task woken when it does.
fn is_over(cx: &mut Context<'_>, until: Instant) -> bool {
    // A timer that is polled for the first time is never ready.
    Instant::now() >= until || pin!(Timer::at(until)).poll(cx).is_ready()
}
