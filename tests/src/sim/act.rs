//! Drives nodes: inputs in, actions out, each action held against the model.

use kitfox_core::connection::{Answer, CloseReason, Question as Asked, Wants};
use kitfox_core::node::{Action, ConnectionId, DownCause, Input, NotSentCause, PeerKey};
use kitfox_core::router::DropReason;
use kitfox_core::secure::HandshakeError;
use kitfox_core::wire::{HEADER_BYTES, Kind, Message, PeerUrl, UrlRules};
use kitfox_core::{Oversize, PeerId, ProtocolError};

use super::book::Expected;
use super::host::Socket;
use super::link::{End, Party, TappedFrame};
use super::node::AnyOps;
use super::{Asked as Wanted, Event, Fault, Question, Simulation, say};

/// What a node is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Drive {
    Read(ConnectionId),
    End(ConnectionId),
    Failed(ConnectionId),
    Timeout,
    Wake,
}

/// What follows outside of the node.
enum Effect {
    Dial(ConnectionId, String),
    Ask(ConnectionId, Question),
    Closed(ConnectionId),
    /// What was not taken is to be shown again.
    Show(ConnectionId),
}

/// What a delivery says.
struct Delivery<'a> {
    expected: Expected,
    space: &'a [u8],
    module: Option<&'a str>,
    data: &'a [u8],
    wire_bytes: u64,
}

impl Simulation {
    /// Gives a node an input and carries out what follows from it.
    pub(super) fn drive(&mut self, host: usize, drive: Drive) {
        if self.violation.is_some() || self.hosts[host].paused {
            return;
        }
        let now = self.instant();
        let Some(mut node) = self.hosts[host].node.take() else { return };
        let mut unread = Vec::new();
        let input = match drive {
            Drive::Read(connection) => {
                if let Some(socket) = self.hosts[host].sockets.get_mut(&connection) {
                    unread = core::mem::take(&mut socket.unread);
                }
                Input::Bytes { connection, bytes: &mut unread }
            }
            Drive::End(connection) => Input::End(connection),
            Drive::Failed(connection) => Input::Failed(connection),
            Drive::Timeout => Input::Timeout,
            Drive::Wake => Input::Wake,
        };
        say!(self, "node {host}: {input:?}", input = Shown(&input));
        let slow = self.chance(Fault::SlowHandler);
        let most = if slow { self.random.below(4) as usize } else { 100_000 };
        let mut effects = Vec::new();
        let handled = node.handle(now, input, most, &mut |action, ops| {
            if self.violation.is_none() {
                self.action(host, action, ops, &mut effects);
            }
        });
        // What is written next may make another deadline due at once.
        let late = node.poll_timeout().is_some_and(|at| at <= now);
        self.hosts[host].node = Some(node);
        if matches!(drive, Drive::Timeout) && handled.drained && late {
            return self.violation(format!("node {host}: a deadline of the past stays after it was handled"));
        }
        if !handled.drained && !slow {
            return self.violation(format!("node {host}: more than {most} actions of one input"));
        }
        if let Drive::Read(connection) = drive
            && let Some(socket) = self.hosts[host].sockets.get_mut(&connection)
        {
            socket.unread = unread.split_off(handled.taken);
            let stuck = handled.drained && handled.wants == Wants::Bytes && !socket.unread.is_empty();
            if stuck && !socket.closing {
                self.violation(format!("node {host}: {connection:?} is stuck: {handled:?}"));
            }
            if handled.drained && handled.wants == Wants::Work {
                if let Some(node) = &mut self.hosts[host].node {
                    node.work(now, connection);
                }
                effects.push(Effect::Show(connection));
            }
        }

        for effect in effects {
            self.carry_out(host, effect);
        }
        self.hosts[host].knows_network_down = handled.drained && !self.hosts[host].network_up;
        if slow {
            self.hosts[host].paused = true;
            let pause = self.random.between(1_000, 3_000_000);
            say!(self, "node {host} pauses for {pause} us");
            self.after(pause, Event::Resume(host));
        }
        let connections: Vec<_> = self.hosts[host].sockets.keys().copied().collect();
        for connection in connections {
            self.flush(host, connection);
        }
        self.after_input(host);
    }

    /// Arms the timer of a node, and checks the node.
    pub(super) fn after_input(&mut self, host: usize) {
        let Some(node) = &self.hosts[host].node else { return };
        let at = node.poll_timeout().map(kitfox_core::Instant::as_micros);
        if self.hosts[host].tick_at != at {
            self.hosts[host].tick_at = at;
            if let Some(at) = at {
                let late = if self.chance(Fault::LateTimer) { self.random.below(2_000_000) } else { 0 };
                self.at(at.saturating_add(late), Event::Tick(host));
            }
        }
        if !self.hosts[host].paused {
            self.check_host(host);
        }
    }

    pub(super) fn tick(&mut self, host: usize) {
        if self.hosts[host].tick_at.is_some_and(|at| at <= self.now) && !self.hosts[host].paused {
            self.hosts[host].tick_at = None;
            self.drive(host, Drive::Timeout);
        }
    }

    pub(super) fn resume(&mut self, host: usize) {
        if !core::mem::take(&mut self.hosts[host].paused) {
            return;
        }
        self.hosts[host].tick_at = None;
        for event in core::mem::take(&mut self.hosts[host].backlog) {
            self.after(0, event);
        }
        self.drive(host, Drive::Wake);
        let connections: Vec<_> = self.hosts[host].sockets.keys().copied().collect();
        for connection in connections {
            self.read(host, connection, true);
        }
    }

    pub(super) fn answer(&mut self, host: usize, incarnation: u32, question: Question) {
        let Question { connection, id, kind, refuse } = question;
        if self.hosts[host].incarnation != incarnation {
            return;
        }
        let now = self.instant();
        let url = self.hosts[host].url.clone();
        let Ok(own_url) = PeerUrl::parse(&url, &UrlRules::default()) else { return };
        let mut secret = [0; 32];
        let answer = match kind {
            _ if refuse => Answer::Refuse,
            Wanted::Gather => Answer::Preflight { own_url, data: b"hello" },
            Wanted::Randomness => {
                secret.copy_from_slice(&self.random.bytes(32));
                Answer::Randomness(&secret)
            }
            Wanted::Other => Answer::Accept,
        };
        let Some(node) = &mut self.hosts[host].node else { return };
        let answered = node.answer(now, connection, id, answer);
        say!(self, "node {host}: {connection:?} is answered {answer:?}: {answered:?}");
        let socket = self.hosts[host].sockets.get_mut(&connection);
        let Some(socket) = socket.filter(|socket| socket.question == Some(id)) else {
            if answered.is_ok() {
                self.violation(format!("node {host}: an answer was taken that nobody waits for"));
            }
            return;
        };
        socket.question = None;
        // A late answer is misuse only if the connection has ended meanwhile.
        self.read(host, connection, true);
        self.after_input(host);
    }

    fn carry_out(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Dial(connection, url) => {
                let address = url.split('/').nth(2).unwrap_or_default().to_owned();
                let link = self.dial(Party::Host(host), &address);
                let socket = Socket { link, side: 0, ..Socket::default() };
                self.hosts[host].sockets.insert(connection, socket);
            }
            Effect::Ask(connection, question) => {
                if let Some(socket) = self.hosts[host].sockets.get_mut(&connection) {
                    socket.question = Some(question.id);
                }
                if self.chance(Fault::NoAnswer) {
                    return;
                }
                let late = if self.chance(Fault::LateAnswer) { self.random.below(12_000_000) } else { 0 };
                let refuse = self.chance(Fault::RefusedAnswer);
                let incarnation = self.hosts[host].incarnation;
                self.after(late, Event::Answer(host, incarnation, Question { refuse, ..question }));
            }
            Effect::Show(connection) => {
                self.after(0, Event::Show(host, self.hosts[host].incarnation, connection));
            }
            Effect::Closed(connection) => {
                let hard = self.chance(Fault::HardClose);
                let incarnation = self.hosts[host].incarnation;
                let Some(socket) = self.hosts[host].sockets.get_mut(&connection) else { return };
                socket.closing = true;
                socket.unread.clear();
                let connected = socket.connected;
                if !connected || hard || socket.reset {
                    let (link, side) = (socket.link, socket.side);
                    self.close_socket(host, connection, !hard);
                    if !connected {
                        self.links[link].ends[side] = End::Gone;
                    }
                } else {
                    self.after(3_000_000, Event::Linger(host, incarnation, connection));
                }
            }
        }
    }

    /// One action of a node.
    fn action(&mut self, host: usize, action: Action<'_>, ops: &mut dyn AnyOps, effects: &mut Vec<Effect>) {
        say!(self, "node {host}:   {:?}", Shown(&action));
        match action {
            Action::Dial { connection, peer } => match ops.url(peer) {
                Some(url) => effects.push(Effect::Dial(connection, url)),
                None => self.violation(format!("node {host}: dials {peer:?}, which is not there")),
            },
            Action::Ask { connection, id, question } => {
                if let Asked::ValidatePreflight { data, .. } = question {
                    self.validate(host, connection, data);
                }
                let kind = match question {
                    Asked::GatherPreflight { .. } => Wanted::Gather,
                    Asked::Randomness => Wanted::Randomness,
                    _ => Wanted::Other,
                };
                effects.push(Effect::Ask(connection, Question { connection, id, kind, refuse: false }));
            }
            Action::PeerUp { peer, connection } => {
                self.peer_up(host, peer, connection, ops);
                effects.push(Effect::Show(connection));
            }
            Action::PeerDown { peer, connection, unknown, cause, .. } => {
                let super::host::Host { sockets, ended, .. } = &mut self.hosts[host];
                let place = match sockets.get_mut(&connection) {
                    Some(socket) => {
                        socket.up = false;
                        Some((socket.link, socket.side))
                    }
                    // A slow driver may have closed it before it heard of this.
                    None => ended.remove(&connection),
                };
                let Some((link, side)) = place else {
                    return self.violation(format!("node {host}: {connection:?} is down and was not there"));
                };
                let tap = &mut self.links[link].taps[side];
                let unclear = tap.current.is_none() && tap.is_unclear();
                match self.hosts[host].book.down(peer, connection, unknown, unclear) {
                    Ok(Some(message)) => tap.current = Some((Some(message.origin), message.payload)),
                    Ok(None) => {}
                    Err(what) => return self.violation(format!("node {host}: {what}")),
                }
                self.summary.unknown += unknown.map_or(0, |numbers| numbers.last - numbers.first + 1);
                self.must_be_faulty(host, "a peer is down");
                let _: DownCause = cause;
            }
            Action::Unresponsive { .. } => {
                self.must_be_faulty(host, "a peer is unresponsive");
                if self.hosts[host].knows_network_down && !self.hosts[host].network_up {
                    self.violation(format!("node {host}: unresponsive while its own network is down"));
                }
            }
            Action::NotSent { message, cause } => {
                let payload = ops.given_up();
                self.summary.not_sent += 1;
                let too_large = cause == NotSentCause::TooLargeForPeer;
                if too_large {
                    let frame = HEADER_BYTES + payload.as_ref().map_or(0, Vec::len);
                    let id = ops.peer_id(message.peer);
                    if id.is_none_or(|id| frame <= self.takes(&id)) {
                        self.violation(format!("node {host}: {message:?} is not too large for {id:?}"));
                    }
                } else {
                    self.must_be_faulty(host, "a message is not sent");
                }
                let result = self.hosts[host].book.not_sent(message, payload.as_deref(), too_large);
                self.demand(host, result.map(drop));
                self.maybe_send(host, ops, 50);
            }
            Action::Notify { connection, space, data, wire_bytes, .. } => {
                let wire_bytes = wire_bytes as u64;
                let delivery = Delivery { expected: Expected::Notify, space, module: None, data, wire_bytes };
                self.delivered(host, connection, &delivery, ops);
            }
            Action::Module { connection, space, module, data, wire_bytes, .. } => {
                let (module, wire_bytes) = (Some(module.as_str()), wire_bytes as u64);
                let delivery = Delivery { expected: Expected::Module, space, module, data, wire_bytes };
                self.delivered(host, connection, &delivery, ops);
            }
            Action::Dropped { connection, reason, space, wire_bytes } => {
                let delivery = Delivery {
                    expected: Expected::Dropped(reason),
                    space,
                    module: None,
                    data: &[],
                    wire_bytes,
                };
                self.delivered(host, connection, &delivery, ops);
            }
            Action::Closed { connection, reason, .. } => {
                let socket = self.hosts[host].sockets.get(&connection);
                let known = socket.is_some_and(|socket| !socket.closing)
                    || effects
                        .iter()
                        .any(|effect| matches!(effect, Effect::Dial(id, _) if *id == connection));
                let twice =
                    effects.iter().any(|effect| matches!(effect, Effect::Closed(id) if *id == connection));
                if !known || twice {
                    return self.violation(format!("node {host}: {connection:?} is closed and was not open"));
                }
                // Who ends a handshake cannot say so: there are no keys yet.
                let cut = matches!(
                    reason,
                    CloseReason::Protocol(
                        ProtocolError::EndWithoutClose | ProtocolError::Handshake(HandshakeError::Ended)
                    )
                );
                let wordless = socket.is_some_and(|socket| {
                    let link = &self.links[socket.link];
                    self.plan.is_secured() && link.taps[1 - socket.side].url.is_none()
                });
                let misread = matches!(reason, CloseReason::Protocol(_)) && self.strict && !(cut && wordless);
                if misread {
                    self.violation(format!("node {host}: {reason} and nobody broke the protocol"));
                }
                effects.push(Effect::Closed(connection));
            }
            _ => {}
        }
    }

    /// Where nothing goes wrong nothing may be lost.
    fn must_be_faulty(&mut self, host: usize, what: &str) {
        if self.strict {
            self.violation(format!("node {host}: {what}, and nothing went wrong"));
        }
    }

    fn peer_up(&mut self, host: usize, peer: PeerKey, connection: ConnectionId, ops: &mut dyn AnyOps) {
        self.summary.ups += 1;
        let Some(id) = ops.peer_id(peer) else {
            return self.violation(format!("node {host}: {peer:?} is up and not in the table"));
        };
        let Some(socket) = self.hosts[host].sockets.get_mut(&connection) else {
            return self.violation(format!("node {host}: {connection:?} is up and was not there"));
        };
        let (number, side) = (socket.link, socket.side);
        let link = &self.links[number];
        let (ours, theirs) = (&link.taps[socket.side], &link.taps[1 - socket.side]);
        socket.up = true;
        let early = socket.closing || ours.url.is_none() || id_of(theirs.url.as_deref()) != Some(id);
        if early {
            return self.violation(format!("node {host}: {connection:?} is up before the gate, as {id}"));
        }
        let proven = self.key_at(number, 1 - side);
        if self.plan.is_secured() && proven != Some(id) {
            return self
                .violation(format!("node {host}: {connection:?} is up as {id}, and it is {proven:?}"));
        }
        let result = self.hosts[host].book.up(peer, id, connection);
        self.demand(host, result);
        self.maybe_send(host, ops, 100);
    }

    /// Whose key one side of a link has.
    fn key_at(&self, number: usize, side: usize) -> Option<PeerId> {
        match self.links[number].parties[side] {
            Party::Host(host) => Some(self.hosts[host].id),
            Party::Stranger => self.links[number].stranger,
        }
    }

    /// The longest frame that somebody takes, as it says in its handshakes.
    pub(super) fn takes(&self, id: &PeerId) -> usize {
        let host = self.hosts.iter().find(|host| host.id == *id).filter(|_| self.plan.is_secured());
        host.map_or(usize::MAX, |host| host.limits.frame)
    }

    /// A preflight is to be validated: the first one, or one on the open connection.
    fn validate(&mut self, host: usize, connection: ConnectionId, data: &[u8]) {
        let Some(socket) = self.hosts[host].sockets.get(&connection) else { return };
        if !socket.up {
            return;
        }
        let tap = &mut self.links[socket.link].taps[1 - socket.side];
        let right = tap.frames.pop_front().is_some_and(|frame| {
            Message::decode(&frame.payload)
                .is_ok_and(|message| message.kind() == Kind::Preflight && message.data == data)
        });
        if !right {
            self.violation(format!("node {host}: {connection:?} validates what was not written"));
        }
    }

    /// A frame is delivered, or dropped by rule.
    fn delivered(
        &mut self,
        host: usize,
        connection: ConnectionId,
        delivery: &Delivery<'_>,
        ops: &mut dyn AnyOps,
    ) {
        let max_frame = self.hosts[host].config.connection.max_frame_bytes as u64;
        let oversize_rule = self.hosts[host].config.connection.oversize;
        let super::host::Host { sockets, book, .. } = &mut self.hosts[host];
        let Some(socket) = sockets.get_mut(&connection) else {
            return self.violation(format!("node {host}: {connection:?} delivers and is not there"));
        };
        let (number, side) = (socket.link, socket.side);
        let tap = &mut self.links[number].taps[1 - side];
        let Some(id) = id_of(tap.url.as_deref()).filter(|_| socket.up && !socket.closing && !socket.refused)
        else {
            return self.violation(format!("node {host}: {connection:?} delivers and is not up"));
        };
        let oversize = delivery.expected == Expected::Dropped(DropReason::Oversize);
        let frame = match tap.frames.pop_front() {
            Some(frame) => frame,
            None if oversize && tap.announced() == Some(delivery.wire_bytes) => {
                // The frame is not whole yet, and may never be.
                tap.skipped = true;
                TappedFrame {
                    payload: Vec::new(),
                    frame_bytes: delivery.wire_bytes,
                    origin: None,
                    number: tap.total,
                }
            }
            None => return self.violation(format!("node {host}: delivers what was not written")),
        };
        if self.links[number].pipes[side].flipped_at.is_some_and(|at| frame.number >= at) {
            return self.violation(format!("node {host}: delivers what came behind a changed bit"));
        }
        if oversize {
            socket.counts.dropped[DropReason::Oversize as usize] += 1;
            let skips = oversize_rule == Oversize::Skip;
            if self.plan.is_secured() && frame.origin.is_some() {
                return self.violation(format!("node {host}: a peer that knows its limit goes beyond it"));
            }
            if !skips || frame.frame_bytes <= max_frame || frame.frame_bytes != delivery.wire_bytes {
                self.violation(format!("node {host}: {connection:?} drops a frame that is not too long"));
            }
            return;
        }
        let expected = book.expected(&id, &frame.payload);
        let message = Message::decode(&frame.payload).unwrap_or_default();
        let same = expected == delivery.expected
            && frame.frame_bytes == delivery.wire_bytes
            && message.space.unwrap_or_default() == delivery.space
            && (matches!(expected, Expected::Dropped(_))
                || (message.data == delivery.data
                    && message
                        .module
                        .map(|module| module.as_str())
                        .filter(|_| expected == Expected::Module)
                        == delivery.module));
        if !same {
            return self.violation(format!(
                "node {host}: {connection:?} gives {:?} of {} bytes, expected {expected:?} of {} bytes",
                delivery.expected, delivery.wire_bytes, frame.frame_bytes
            ));
        }
        match delivery.expected {
            Expected::Dropped(reason) => {
                socket.counts.dropped[reason as usize] += 1;
                self.summary.dropped += 1;
                if reason == DropReason::Blocked {
                    book.count_blocked(id, delivery.space, 0);
                }
            }
            _ => {
                socket.counts.messages += 1;
                socket.counts.bytes += delivery.wire_bytes;
                self.summary.delivered += 1;
            }
        }
        let taken = !matches!(delivery.expected, Expected::Dropped(_));
        if let Some(origin) = frame.origin {
            let result = book.received(origin);
            self.demand(host, result);
            if taken {
                for probe in &mut self.probes {
                    let from = self.hosts[probe.from].incarnation;
                    let it =
                        (origin.host, origin.incarnation, origin.serial) == (probe.from, from, probe.serial);
                    probe.delivered |= it && probe.to == host;
                }
            }
        }
        if taken {
            if self.chance(Fault::HandlerRefuses) {
                say!(self, "node {host}: the handler refuses");
                ops.refuse(connection);
                if let Some(socket) = self.hosts[host].sockets.get_mut(&connection) {
                    socket.refused = true;
                }
            }
            self.maybe_send(host, ops, 100);
        }
    }
}

/// The id in a URL.
pub(super) fn id_of(url: Option<&str>) -> Option<PeerId> {
    PeerId::new(url?.rsplit('/').next()?)
}

/// An input or an action without its payload.
struct Shown<'a, T>(&'a T);

impl core::fmt::Debug for Shown<'_, Input<'_>> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Input::Bytes { connection, bytes } => write!(f, "{} bytes on {connection:?}", bytes.len()),
            other => write!(f, "{other:?}"),
        }
    }
}

impl core::fmt::Debug for Shown<'_, Action<'_>> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Action::Notify { connection, data, wire_bytes, .. } => {
                write!(f, "Notify on {connection:?}, {} of {wire_bytes} bytes", data.len())
            }
            Action::Module { connection, data, wire_bytes, .. } => {
                write!(f, "Module on {connection:?}, {} of {wire_bytes} bytes", data.len())
            }
            Action::Ask { connection, question, .. } => write!(f, "Ask on {connection:?}: {question:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}
