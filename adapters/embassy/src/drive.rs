//! Drives the core: shows it what happened, carries out what it says, asks and tells the handler. No sockets here.

use core::cell::{Cell, RefCell};
use core::task::{Context, Waker};

use embassy_net::IpAddress;
use kitfox_core::connection::{Answer, CloseReason, Question, QuestionId, Wants};
use kitfox_core::node::{Action, ConnectionId, ConnectionState, Input};
use kitfox_core::router::Target;
use kitfox_core::storage::Storage;
use kitfox_core::wire::PeerUrl;
use kitfox_core::{ApiMisuse, PeerId};
use zeroize::Zeroizing;

use crate::addr::{self, OwnUrl};
use crate::channel::Protection;
use crate::entropy::Entropy;
use crate::handler::{Down, Handler, Incoming, Ops};
use crate::node::Shared;
use crate::stats::Totals;
use crate::time::now;

/// One socket, or one stream, and the connection that it carries.
pub(crate) struct Place {
    /// What it carries. `None` while it listens.
    pub(crate) connection: Option<ConnectionId>,
    /// It was counted as accepted or dialled: its end counts too. A dial that failed is neither.
    pub(crate) counted: bool,
    /// The core has closed its connection: write what is left, close the socket, release.
    pub(crate) closed: Option<CloseReason>,
    /// The core was told something that may have a consequence for this connection: show it its bytes again, or none.
    pub(crate) look: bool,
    /// The next step of its handshake is to be taken.
    pub(crate) work: bool,
    /// Our address on it.
    pub(crate) local: Option<IpAddress>,
}

impl Place {
    /// One that carries nothing.
    pub(crate) const fn new() -> Self {
        Self { connection: None, counted: false, closed: None, look: false, work: false, local: None }
    }
}

/// What we are and bring along.
pub(crate) struct Ours<'a, C: Protection> {
    pub(crate) identity: &'a C::Identity,
    pub(crate) entropy: RefCell<&'a mut dyn Entropy>,
    pub(crate) id: PeerId,
    pub(crate) advertise: Option<&'a str>,
    /// That we listen on; 0 if nobody can dial us.
    pub(crate) port: u16,
}

impl<C: Protection> Ours<'_, C> {
    /// The URL of whoever is reached at this address, or cannot be reached.
    fn url_at(&self, local: Option<IpAddress>) -> OwnUrl {
        match local {
            Some(local) => addr::url_of(C::SECURED, local, self.port, &self.id),
            None => addr::unreachable_url(C::SECURED, &self.id),
        }
    }
}

/// Everything that the futures of one runner use together. All of them are one task.
pub(crate) struct Driver<'a, S: Storage, C: Protection, H, const PLACES: usize> {
    pub(crate) shared: &'a RefCell<Shared<S, C>>,
    pub(crate) handler: RefCell<&'a mut H>,
    pub(crate) places: RefCell<[Place; PLACES]>,
    pub(crate) ours: Ours<'a, C>,
    /// The place that took the last step of a handshake.
    pub(crate) worked: Cell<usize>,
    /// Something was done that concerns parts of the runner which had their turn before: the task is to be woken.
    pub(crate) again: Cell<bool>,
    /// There may be a connection to dial that no socket has taken.
    pub(crate) dials: Cell<bool>,
    /// The task of the runner.
    pub(crate) waker: RefCell<Waker>,
}

/// The decision on a question, to be given when nothing of the question is borrowed any more.
enum Decision {
    Accept,
    Refuse,
    /// Our preflight, which the handler is asked for again.
    Gather,
    /// Random bytes.
    Draw,
}

/// Why one look at the core's actions ended.
enum Pass {
    /// There is nothing more to do.
    Done,
    /// There is more: an answer was given, or something was released.
    More,
    /// The handler takes no messages now.
    Stalled,
}

impl<S, C, H, const PLACES: usize> Driver<'_, S, C, H, PLACES>
where
    S: Storage,
    C: Protection,
    H: Handler<S>,
{
    /// Shows the core the bytes of a connection, without any of which there may be something to ask too. Returns how
    /// many were taken: fewer than all only if the handler takes no messages now, or if the connection has ended.
    pub(crate) fn feed(&self, connection: ConnectionId, bytes: &mut [u8]) -> usize {
        let mut taken = 0;
        loop {
            let unread = &mut bytes[taken..];
            let (pass, len, wants) = self.pass(Input::Bytes { connection, bytes: unread });
            taken += len;
            match pass {
                Pass::More => {}
                Pass::Done if wants == Wants::Again => {}
                Pass::Done => {
                    if wants == Wants::Work {
                        self.plan_work(connection);
                    }
                    return taken;
                }
                Pass::Stalled => {
                    self.look_later(connection);
                    // What concerns others does not wait for the handler.
                    self.tell(Input::Wake);
                    return taken;
                }
            }
        }
    }

    /// Tells the core something that comes without bytes.
    pub(crate) fn tell(&self, mut input: Input<'_>) {
        loop {
            let timeout = matches!(input, Input::Timeout);
            match self.pass(input).0 {
                Pass::More => input = if timeout { Input::Timeout } else { Input::Wake },
                Pass::Done | Pass::Stalled => return,
            }
        }
    }

    /// Shows connections their bytes again, or rather none, whose question was answered while others were looked at.
    pub(crate) fn look_again(&self) {
        for place in 0..PLACES {
            let connection = {
                let place = &mut self.places.borrow_mut()[place];
                place.connection.filter(|_| core::mem::take(&mut place.look))
            };
            if let Some(connection) = connection {
                self.feed(connection, &mut []);
            }
        }
    }

    fn look_later(&self, connection: ConnectionId) {
        let places = &mut *self.places.borrow_mut();
        if let Some(place) = places.iter_mut().find(|place| place.connection == Some(connection)) {
            place.look = true;
        }
    }

    fn plan_work(&self, connection: ConnectionId) {
        let places = &mut *self.places.borrow_mut();
        if let Some(place) = places.iter_mut().find(|place| place.connection == Some(connection)) {
            place.work = true;
            self.again.set(true);
        }
    }

    /// Takes one step of one handshake: all that is done for handshakes in one turn of the task. It is the longest that
    /// a node ever works at a stretch, and everybody else has a turn before the next one.
    pub(crate) fn work(&self) {
        let next = {
            let places = &mut *self.places.borrow_mut();
            let mut order = (1..=PLACES).map(|step| (self.worked.get() + step) % PLACES);
            order.find(|&place| core::mem::take(&mut places[place].work)).and_then(|place| {
                self.worked.set(place);
                places[place].look = true;
                places[place].connection
            })
        };
        if let Some(connection) = next {
            self.shared.borrow_mut().core.work(now(), connection);
            self.again.set(true);
        }
    }

    /// Whether the handler takes messages; if not it wakes the runner when it does.
    pub(crate) fn is_ready(&self) -> bool {
        let waker = self.waker.borrow();
        self.handler.borrow_mut().poll_ready(&mut Context::from_waker(&waker)).is_ready()
    }

    /// The first connection to dial that no socket has taken; the one who asks takes it.
    pub(crate) fn take_dial(&self, place: usize) -> Option<ConnectionId> {
        if !self.dials.get() {
            return None;
        }
        let shared = self.shared.borrow();
        let mut places = self.places.borrow_mut();
        let taken = |id| places.iter().any(|place| place.connection == Some(id));
        let mut wanted = shared.core.peers().connections().filter(|&(id, state)| {
            state == ConnectionState::Dialing && shared.core.rx(id).is_none() && !taken(id)
        });
        let first = wanted.next().map(|(id, _)| id);
        self.dials.set(wanted.next().is_some());
        drop(wanted);
        places[place] = Place { connection: first, ..Place::new() };
        first
    }

    /// A connection that was to be dialled is established: its channel begins. `false` if it does not.
    #[inline(never)]
    pub(crate) fn connected(&self, connection: ConnectionId) -> bool {
        let connected = {
            let shared = &mut *self.shared.borrow_mut();
            let peers = shared.core.peers();
            let peer = peers.peer_of(connection).and_then(|peer| peers.id(peer));
            let channel = peer.and_then(|peer| C::dial(self.ours.identity, peer).ok());
            let connected =
                channel.is_some_and(|channel| shared.core.connected(now(), connection, channel).is_ok());
            if connected {
                Totals::count(&mut shared.totals.dialled);
                let mut places = self.places.borrow_mut();
                if let Some(place) = places.iter_mut().find(|place| place.connection == Some(connection)) {
                    place.counted = true;
                }
            }
            connected
        };
        if !connected {
            self.tell(Input::Failed(connection));
        }
        connected
    }

    /// Takes actions until there are none, or until there is something to do that needs the core.
    fn pass(&self, input: Input<'_>) -> (Pass, usize, Wants) {
        let shared = &mut *self.shared.borrow_mut();
        let handler = &mut **self.handler.borrow_mut();
        let now = now();
        let delivers = match &input {
            // An open connection may have messages without any more bytes: records hold several.
            Input::Bytes { connection, bytes } => {
                !bytes.is_empty() || shared.core.rx(*connection).is_some_and(|rx| rx.is_open())
            }
            _ => false,
        };
        let waker = self.waker.borrow();
        let mut cx = Context::from_waker(&waker);
        let (mut pass, mut asked, mut unplaced) = (Pass::Done, None, None);
        let mut actions = shared.core.handle(now, input);
        loop {
            if delivers && handler.poll_ready(&mut cx).is_pending() {
                pass = Pass::Stalled;
                break;
            }
            let Some((action, mut ops)) = actions.next_with() else { break };
            self.again.set(true);
            match action {
                Action::Ask { connection, id, question } => {
                    asked = Some((connection, id, decide(handler, &ops, question)));
                    break;
                }
                Action::Dial { .. } => self.dials.set(true),
                Action::Closed { connection, reason, .. } => {
                    debug!("connection {}: closed: {}", connection.index(), reason);
                    let mut places = self.places.borrow_mut();
                    match places.iter_mut().find(|place| place.connection == Some(connection)) {
                        Some(place) => {
                            if place.counted {
                                Totals::count(&mut shared.totals.closed);
                            }
                            place.closed = Some(reason);
                        }
                        None => {
                            unplaced = Some(connection);
                            break;
                        }
                    }
                }
                action => tell(handler, &mut shared.totals, &mut ops, action),
            }
        }
        let (taken, wants) = actions.finish();
        if self.again.get() {
            shared.waiting.wake_all();
        }
        if let Some(connection) = unplaced {
            // It never had a socket.
            shared.core.release(connection);
            pass = Pass::More;
        }
        if let Some((connection, id, decision)) = asked {
            self.answer(shared, handler, connection, id, decision);
            pass = Pass::More;
        }
        (pass, taken, wants)
    }

    /// Answers a question. All answers are given here.
    fn answer(
        &self,
        shared: &mut Shared<S, C>,
        handler: &mut H,
        connection: ConnectionId,
        id: QuestionId,
        decision: Decision,
    ) {
        let now = now();
        let places = &mut *self.places.borrow_mut();
        let place = places.iter_mut().find(|place| place.connection == Some(connection));
        let answered = match decision {
            Decision::Accept => shared.core.answer(now, connection, id, Answer::Accept),
            Decision::Refuse => shared.core.answer(now, connection, id, Answer::Refuse),
            Decision::Draw => {
                let mut bytes = Zeroizing::new([0; 32]);
                let drawn = self.ours.entropy.borrow_mut().fill(&mut bytes);
                if drawn.is_err() {
                    warning!("connection {}: no random bytes for a handshake", connection.index());
                }
                let answer = if drawn.is_ok() { Answer::Randomness(&bytes) } else { Answer::Refuse };
                shared.core.answer(now, connection, id, answer)
            }
            Decision::Gather => {
                let local = place.as_ref().and_then(|place| place.local);
                let made;
                let own_url = match self.ours.advertise {
                    Some(url) => url,
                    None => {
                        made = self.ours.url_at(local);
                        made.as_str()
                    }
                };
                let url = PeerUrl::parse(own_url, &shared.url_rules);
                let peer = shared.core.rx(connection).and_then(|rx| rx.peer());
                match (url, peer.map(|peer| handler.preflight_gather(&peer))) {
                    (Ok(own_url), Some(Ok(data))) => {
                        shared.core.answer(now, connection, id, Answer::Preflight { own_url, data })
                    }
                    (Err(_), _) => Err(ApiMisuse::OwnUrlWithoutId),
                    _ => shared.core.answer(now, connection, id, Answer::Refuse),
                }
            }
        };
        if let Err(error) = answered {
            // A question that is over needs no answer; any other is not left open until its deadline.
            if error != ApiMisuse::NoSuchQuestion && error != ApiMisuse::NoSuchConnection {
                warning!("connection {}: our own preflight: {}", connection.index(), error);
            }
            let _ = shared.core.answer(now, connection, id, Answer::Refuse);
        }
        if let Some(place) = place {
            place.look = true;
        }
    }
}

/// Asks the handler while the question lasts.
fn decide<S: Storage, H: Handler<S>>(handler: &mut H, ops: &Ops<'_, S>, question: Question<'_>) -> Decision {
    let accepted = match question {
        Question::Randomness => return Decision::Draw,
        Question::AdmitHandshake { claimed } => handler.admit_handshake(&claimed),
        Question::AdmitPeer { peer } => handler.peer_connect(&peer).is_ok(),
        Question::HasLocalAgents => ops.directory().local_agents_targets().any(|target| match target {
            Target::Space { space, .. } => handler.has_local_agents(space),
            _ => false,
        }),
        Question::GatherPreflight { .. } => return Decision::Gather,
        Question::ValidatePreflight { peer, data, .. } => handler.preflight_validate(&peer, data).is_ok(),
        // No decision means no.
        _ => false,
    };
    if accepted { Decision::Accept } else { Decision::Refuse }
}

/// Tells the handler what concerns it.
fn tell<S: Storage, H: Handler<S>>(
    handler: &mut H,
    totals: &mut Totals,
    ops: &mut Ops<'_, S>,
    action: Action<'_>,
) {
    match action {
        Action::Notify { connection, space, data, wire_bytes, .. } => {
            let Some(from) = ops.peer_of(connection) else { return };
            let message = Incoming { from, connection, space, module: "", data, wire_bytes };
            received(totals, &message);
            if handler.notify(ops, &message).is_err() {
                ops.refuse(connection);
            }
        }
        Action::Module { connection, space, module, data, wire_bytes, .. } => {
            let Some(from) = ops.peer_of(connection) else { return };
            // A registered name is text, and this one is registered.
            let module = core::str::from_utf8(module.as_bytes()).unwrap_or_default();
            let message = Incoming { from, connection, space, module, data, wire_bytes };
            received(totals, &message);
            if handler.module(ops, &message).is_err() {
                ops.refuse(connection);
            }
        }
        Action::Dropped { connection, reason, .. } => {
            Totals::count(&mut totals.dropped_messages);
            debug!("connection {}: a message was dropped: {}", connection.index(), reason);
        }
        Action::PeerUp { peer, connection } => {
            Totals::count(&mut totals.opened);
            info!(
                "connection {}: peer up: {}",
                connection.index(),
                ops.peer(peer).map_or("", |peer| peer.url)
            );
            handler.peer_up(ops, peer);
        }
        Action::PeerDown { peer, cause, message, unknown, .. } => {
            if let Some(unknown) = unknown {
                let count = u32::try_from(unknown.last - unknown.first + 1).unwrap_or(u32::MAX);
                totals.unknown_messages = totals.unknown_messages.saturating_add(count);
            }
            info!("peer down: {}", ops.peer(peer).map_or("", |peer| peer.url));
            handler.peer_down(ops, peer, &Down { cause, message, unknown });
        }
        Action::NotSent { message, cause } => {
            Totals::count(&mut totals.not_sent_messages);
            debug!("message {} was not sent: {}", message.number, cause);
            handler.not_sent(ops, message, cause);
        }
        Action::Unresponsive { peer } => {
            if let Some(peer) = ops.peer(peer) {
                info!("peer does not respond: {}", peer.url);
                handler.unresponsive(&peer);
            }
        }
        _ => {}
    }
}

fn received(totals: &mut Totals, message: &Incoming<'_>) {
    trace!("connection {}: a message of {} bytes", message.connection.index(), message.data.len());
    Totals::count(&mut totals.received_messages);
    totals.received_bytes = totals.received_bytes.saturating_add(message.wire_bytes as u64);
}
