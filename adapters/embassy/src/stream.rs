//! A node over one stream of bytes: a serial line, say.

use core::cell::RefCell;
use core::fmt;
use core::future::{pending, poll_fn};
use core::task::Poll;
use core::time::Duration;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_time::with_timeout;
use embedded_io_async::{Read, Write};
use kitfox_core::PeerId;
use kitfox_core::connection::{CloseReason, Role, Timeout};
use kitfox_core::node::{ConnectionId, Input};
use kitfox_core::storage::Storage;

use crate::channel::{Protection, Secured};
use crate::drive::{Driver, Ours, Place};
use crate::entropy::Entropy;
use crate::error::BuildError;
use crate::handler::Handler;
use crate::node::{Node, Shared};
use crate::options::Options;
use crate::resources::{Resources, SocketBuffers};
use crate::runner::{begin, make, waker};
use crate::stats::Totals;
use crate::time::{duration, now};

/// Makes a node over streams that are not sockets: one after another, each carries one connection. The buffers of the
/// resources are used for what is read and written.
///
/// Port and sockets do not matter here. A peer is known by its id: messages are sent to any URL that ends in it and has a
/// port other than 0, `wss://line:1/<peer id>` say.
///
/// # Errors
/// See [`BuildError`]: the caller's fault.
#[allow(clippy::type_complexity)] // a pair; its types have names of their own
pub fn new_stream<'d, S, C, const RX: usize, const TX: usize>(
    resources: &'d mut Resources<S, 1, RX, TX, C>,
    mut options: Options<'d, C>,
) -> Result<(Node<'d, S, C>, StreamRunner<'d, S, RX, TX, C>), BuildError>
where
    S: Storage,
    C: Protection,
{
    let (own_id, seed) = begin(&mut options)?;
    let Resources { shared, buffers: [buffers] } = resources;
    let shared = make(shared, &options.config, own_id, seed);
    let runner = StreamRunner {
        shared,
        identity: options.identity,
        entropy: options.entropy,
        own_id,
        advertise: options.advertise,
        close_timeout: options.close_timeout,
        buffers,
    };
    Ok((Node { shared }, runner))
}

/// Drives a node over streams. See [`run`](Self::run).
pub struct StreamRunner<
    'd,
    S: Storage,
    const RX: usize = 1024,
    const TX: usize = 1024,
    C: Protection = Secured,
> {
    shared: &'d RefCell<Shared<S, C>>,
    identity: C::Identity,
    entropy: &'d mut dyn Entropy,
    own_id: PeerId,
    advertise: Option<&'d str>,
    close_timeout: Duration,
    buffers: &'d mut SocketBuffers<RX, TX>,
}

impl<S: Storage, C: Protection, const RX: usize, const TX: usize> fmt::Debug
    for StreamRunner<'_, S, RX, TX, C>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamRunner")
    }
}

#[cfg(feature = "defmt")]
impl<S: Storage, C: Protection, const RX: usize, const TX: usize> defmt::Format
    for StreamRunner<'_, S, RX, TX, C>
{
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "StreamRunner");
    }
}

impl<S, C, const RX: usize, const TX: usize> StreamRunner<'_, S, RX, TX, C>
where
    S: Storage,
    C: Protection,
{
    /// Carries one connection over a stream, and returns why it ended. The two ends must have different roles: a
    /// [`Role::Dialler`] begins when there is something to send, a [`Role::Acceptor`] waits to be spoken to, and what it
    /// sends before waits for the first message of the other, or is given up when its attempts are over.
    ///
    /// A connection that has ended may leave a part of a frame on the line, so a stream is not used twice: open it anew,
    /// or see that both ends have forgotten what was on its way, and run again. Dropping the future stops everything.
    pub async fn run(
        &mut self,
        role: Role,
        mut reader: impl Read,
        mut writer: impl Write,
        handler: &mut impl Handler<S>,
    ) -> CloseReason {
        let Self { shared, identity, entropy, own_id, advertise, close_timeout, buffers } = self;
        let ours = Ours {
            identity,
            entropy: RefCell::new(&mut **entropy),
            id: *own_id,
            advertise: *advertise,
            port: 0,
        };
        let driver = Driver::<_, _, _, 1>::new(waker().await, shared, handler, ours);
        driver.forget_connections();
        let minding = async {
            poll_fn(|cx| {
                driver.mind(cx);
                Poll::<()>::Pending
            })
            .await;
        };
        let carrying = async {
            let connection = match role {
                Role::Dialler => driver.wait_for_dial().await,
                _ => match driver.accept_stream() {
                    Ok(connection) => connection,
                    Err(reason) => return reason,
                },
            };
            driver.feed(connection, &mut []);
            let reading = driver.read_stream(connection, &mut reader, &mut buffers.rx);
            let writing = driver.write_stream(connection, &mut writer, &mut buffers.tx);
            let closed = driver.wait_for_close();
            let reason = match select3(reading, writing, closed).await {
                Either3::First(()) | Either3::Second(()) => driver.wait_for_close().await,
                Either3::Third(reason) => reason,
            };
            if !matches!(reason, CloseReason::Failed | CloseReason::Timeout(Timeout::Write)) {
                let farewell = driver.write_farewell(connection, &mut writer, &mut buffers.tx);
                let _ = with_timeout(duration(*close_timeout), farewell).await;
            }
            shared.borrow_mut().core.release(connection);
            reason
        };
        match driver.drive(select(carrying, minding)).await {
            Either::First(reason) => reason,
            Either::Second(()) => pending().await,
        }
    }
}

impl<S, C, H> Driver<'_, S, C, H, 1>
where
    S: Storage,
    C: Protection,
    H: Handler<S>,
{
    /// Waits until there is a peer to dial: the stream leads there.
    async fn wait_for_dial(&self) -> ConnectionId {
        loop {
            let dial = poll_fn(|_| self.take_dial(0).map_or(Poll::Pending, Poll::Ready)).await;
            if self.connected(dial) {
                self.occupy(dial);
                return dial;
            }
        }
    }

    fn accept_stream(&self) -> Result<ConnectionId, CloseReason> {
        let connection = self
            .shared
            .borrow_mut()
            .core
            .accept(now(), C::accept(self.ours.identity))
            .map_err(CloseReason::Capacity)?;
        Totals::count(&mut self.shared.borrow_mut().totals.accepted);
        self.occupy(connection);
        Ok(connection)
    }

    fn occupy(&self, connection: ConnectionId) {
        self.places.borrow_mut()[0] = Place { connection: Some(connection), counted: true, ..Place::new() };
    }

    async fn wait_for_close(&self) -> CloseReason {
        poll_fn(|_| self.places.borrow()[0].closed.map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Reads until the stream ends.
    async fn read_stream(&self, connection: ConnectionId, reader: &mut impl Read, buffer: &mut [u8]) {
        let mut filled = 0;
        loop {
            match reader.read(&mut buffer[filled..]).await {
                Ok(0) => return self.tell(Input::End(connection)),
                Ok(len) => filled += len,
                Err(_) => return self.tell(Input::Failed(connection)),
            }
            while filled > 0 {
                poll_fn(|_| if self.is_ready() { Poll::Ready(()) } else { Poll::Pending }).await;
                let taken = self.feed(connection, &mut buffer[..filled]);
                buffer.copy_within(taken..filled, 0);
                filled -= taken;
                if taken == 0 {
                    if self.places.borrow()[0].closed.is_some() {
                        return;
                    }
                    // Nothing is taken before something else has happened.
                    next_wake().await;
                }
            }
        }
    }

    /// Writes what there is to write, until the stream fails.
    async fn write_stream(&self, connection: ConnectionId, writer: &mut impl Write, buffer: &mut [u8]) {
        loop {
            poll_fn(|_| match self.shared.borrow_mut().core.has_output(connection) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            if self.write_all(connection, writer, buffer).await.is_err() {
                return self.tell(Input::Failed(connection));
            }
        }
    }

    async fn write_farewell(&self, connection: ConnectionId, writer: &mut impl Write, buffer: &mut [u8]) {
        let _ = self.write_all(connection, writer, buffer).await;
    }

    async fn write_all<W: Write>(
        &self,
        connection: ConnectionId,
        writer: &mut W,
        buffer: &mut [u8],
    ) -> Result<(), W::Error> {
        loop {
            let len = self.shared.borrow_mut().core.transmit(now(), connection, buffer);
            if len == 0 {
                return writer.flush().await;
            }
            self.shared.borrow_mut().waiting.wake_all();
            writer.write_all(&buffer[..len]).await?;
        }
    }
}

/// Ends with the next wake-up of the task, whatever it is for.
async fn next_wake() {
    let mut polled = false;
    poll_fn(|_| match core::mem::replace(&mut polled, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}
