//! What happens on links and sockets.

use super::act::Drive;
use super::host::Socket;
use super::link::{End, Heard, Link, Origin, Party, Pipe, Segment, Tap, TappedFrame};
use super::{Event, Fault, Simulation, say};
use alloc::collections::VecDeque;
use kitfox_core::node::ConnectionId;

/// Connections that wait for a driver that takes no actions.
const BACKLOG: usize = 64;

impl Simulation {
    /// A link from `from` to whoever listens there. Returns its number.
    pub(super) fn dial(&mut self, from: Party, address: &str) -> usize {
        let to = self.addresses.get(address).copied();
        let number = self.links.len();
        let (least, most) = self.plan.latency;
        let latency = self.random.between(least, most);
        self.summary.connections += 1;
        self.links.push(Link {
            parties: [from, to.unwrap_or(Party::Stranger)],
            dialled: address.to_owned(),
            ends: [End::Waiting, End::Waiting],
            pipes: [Pipe::default(), Pipe::default()],
            taps: [Tap::default(), Tap::default()],
            latency,
            dead: false,
            resets: self.random.chance(500),
            told: [false, false],
            script: VecDeque::new(),
            reply: VecDeque::new(),
            stranger: None,
            speaker: None,
            openings: [Vec::new(), Vec::new()],
        });
        let reachable = |party| match party {
            Party::Host(host) => self.hosts[host].network_up,
            Party::Stranger => true,
        };
        let hidden = matches!(to, Some(Party::Host(host)) if self.hosts[host].hidden);
        let lost = hidden || !reachable(from) || !to.is_none_or(reachable);
        let honest = matches!(from, Party::Host(_));
        if lost || (honest && self.chance(Fault::HangingDial)) {
            say!(self, "link {number}: dial to {address} goes nowhere");
            if !honest {
                self.links[number].ends = [End::Gone, End::Gone];
            }
        } else if to.is_none() || (honest && self.chance(Fault::RefusedDial)) {
            say!(self, "link {number}: dial to {address} is refused");
            self.after(2 * latency, Event::Refused(number));
        } else {
            let slow = if honest && self.chance(Fault::SlowDial) { self.random.below(1_900_000) } else { 0 };
            let lag = if self.random.chance(100) { self.random.below(4 * latency) } else { 0 };
            self.after(latency + slow + lag, Event::Accept(number));
            self.after(2 * latency + slow, Event::Established(number));
        }
        number
    }

    pub(super) fn accept(&mut self, number: usize) {
        let now = self.instant();
        if self.links[number].ends[1] != End::Waiting {
            return;
        }
        match self.links[number].parties[1] {
            Party::Stranger => {
                self.links[number].ends[1] = End::Raw;
                self.stranger_listens(number);
                self.after(0, Event::Arrive(number, 1));
            }
            Party::Host(host) if self.hosts[host].paused => {
                if self.hosts[host].backlog.len() < BACKLOG {
                    self.hosts[host].backlog.push(Event::Accept(number));
                } else {
                    self.links[number].ends[1] = End::Gone;
                    self.send_segment(number, 0, Segment::Reset);
                }
            }
            Party::Host(host) => {
                let Some(node) = &mut self.hosts[host].node else { return };
                let accepted = node.accept(now);
                say!(self, "link {number}: node {host} accepts: {accepted:?}");
                match accepted {
                    Ok(connection) => {
                        let socket = Socket { link: number, side: 1, connected: true, ..Socket::default() };
                        self.links[number].ends[1] = End::Live(connection);
                        self.hosts[host].sockets.insert(connection, socket);
                    }
                    Err(_) => {
                        self.links[number].ends[1] = End::Gone;
                        self.send_segment(number, 0, Segment::Reset);
                    }
                }
                self.drive(host, Drive::Wake);
                self.after(0, Event::Arrive(number, 1));
            }
        }
    }

    pub(super) fn established(&mut self, number: usize) {
        if self.links[number].ends[0] != End::Waiting {
            return;
        }
        let now = self.instant();
        let Party::Host(host) = self.links[number].parties[0] else {
            self.links[number].ends[0] = End::Raw;
            return self.after(0, Event::Script(number));
        };
        if self.hosts[host].paused {
            return self.hosts[host].backlog.push(Event::Established(number));
        }
        let Some(connection) = self.socket_of(host, number) else { return };
        let Some(node) = &mut self.hosts[host].node else { return };
        let connected = node.connected(now, connection);
        say!(self, "link {number}: node {host} has dialled: {connected:?}");
        if connected.is_err() {
            self.links[number].ends[0] = End::Gone;
            return self.send_segment(number, 1, Segment::Fin);
        }
        self.links[number].ends[0] = End::Live(connection);
        if let Some(socket) = self.hosts[host].sockets.get_mut(&connection) {
            socket.connected = true;
        }
        self.read(host, connection, true);
        self.after(0, Event::Arrive(number, 0));
    }

    pub(super) fn dial_refused(&mut self, number: usize) {
        if self.links[number].ends[0] != End::Waiting {
            return;
        }
        self.links[number].ends = [End::Gone, End::Gone];
        if let Party::Host(host) = self.links[number].parties[0] {
            self.fail_socket(host, number);
        }
    }

    /// The socket of a link fails.
    fn fail_socket(&mut self, host: usize, number: usize) {
        let Some(connection) = self.socket_of(host, number) else { return };
        if let Some(socket) = self.hosts[host].sockets.get_mut(&connection) {
            socket.reset = true;
        }
        self.read(host, connection, false);
    }

    /// A host's socket on a link that has not been closed.
    pub(super) fn socket_of(&self, host: usize, number: usize) -> Option<ConnectionId> {
        let of_link = |(_, socket): &(&ConnectionId, &Socket)| socket.link == number;
        self.hosts[host].sockets.iter().find(of_link).map(|(connection, _)| *connection)
    }

    /// Puts a segment on its way to that side.
    pub(super) fn send_segment(&mut self, number: usize, to: usize, segment: Segment) {
        let link = &mut self.links[number];
        if link.dead {
            return;
        }
        let at = link.pipes[to].send(self.now + link.latency, segment);
        self.at(at, Event::Arrive(number, to));
    }

    pub(super) fn arrive(&mut self, number: usize, side: usize) {
        let now = self.now;
        let mut came = false;
        loop {
            let link = &mut self.links[number];
            let end = link.ends[side];
            let pipe = &mut link.pipes[side];
            if pipe.stalled_until > now {
                let until = pipe.stalled_until;
                return self.at(until, Event::Arrive(number, side));
            }
            if pipe.segments.front().is_none_or(|(at, _)| *at > now) {
                break;
            }
            if end == End::Waiting && !matches!(pipe.segments.front(), Some((_, Segment::Reset))) {
                break;
            }
            let Some((_, segment)) = pipe.segments.pop_front() else { break };
            came = true;
            match (end, segment) {
                (End::Gone, Segment::Bytes(_)) => {
                    if link.ends[1 - side] != End::Gone {
                        self.send_segment(number, 1 - side, Segment::Reset);
                    }
                }
                (End::Gone, _) => {}
                (End::Waiting, _) if side == 0 => return self.dial_refused(number),
                (End::Waiting, _) => link.ends[side] = End::Gone,
                (End::Raw, Segment::Bytes(bytes)) => {
                    pipe.used -= bytes.len();
                    if let Some(speaker) = &mut link.speaker {
                        speaker.hear(&bytes);
                    }
                }
                (End::Raw, _) => {
                    link.ends[side] = End::Gone;
                    link.script.clear();
                    self.send_segment(number, 1 - side, Segment::Fin);
                }
                (End::Live(connection), segment) => {
                    let Party::Host(host) = link.parties[side] else { return };
                    let Some(socket) = self.hosts[host].sockets.get_mut(&connection) else { continue };
                    match segment {
                        Segment::Bytes(mut bytes) if !socket.fin => {
                            if core::mem::take(&mut pipe.flips) {
                                let place = self.random.index(bytes.len());
                                bytes[place] ^= 1 << self.random.below(8);
                                pipe.flipped_at.get_or_insert(link.taps[1 - side].total);
                            }
                            socket.kernel.extend(bytes);
                        }
                        Segment::Bytes(_) => {}
                        Segment::Fin => socket.fin = true,
                        Segment::Reset => socket.reset = true,
                    }
                }
            }
        }
        if !came {
            return;
        }
        match (self.links[number].ends[side], self.links[number].parties[side]) {
            (End::Live(connection), Party::Host(host)) => self.read(host, connection, false),
            (End::Raw, _) => {
                self.unblock(number, side);
                self.stranger_heard(number, side);
            }
            _ => {}
        }
    }

    /// The reader at this side has made room.
    fn unblock(&mut self, number: usize, side: usize) {
        let pipe = &mut self.links[number].pipes[side];
        if core::mem::take(&mut pipe.blocked) {
            let latency = self.links[number].latency;
            self.after(latency, Event::Writable(number, 1 - side));
        }
    }

    pub(super) fn writable(&mut self, number: usize, side: usize) {
        match (self.links[number].ends[side], self.links[number].parties[side]) {
            (End::Live(connection), Party::Host(host)) => {
                self.flush(host, connection);
                self.after_input(host);
            }
            (End::Raw, _) => self.script(number),
            _ => {}
        }
    }

    /// Shows a node what has arrived for it; with `force` also if nothing has.
    pub(super) fn read(&mut self, host: usize, connection: ConnectionId, mut force: bool) {
        loop {
            if self.violation.is_some() || self.hosts[host].paused {
                return;
            }
            let most = self.plan.chunk as u64;
            let chunk = self.random.between(1, most) as usize;
            let Some(socket) = self.hosts[host].sockets.get_mut(&connection) else { return };
            let (number, side) = (socket.link, socket.side);
            if socket.closing {
                let len = socket.kernel.len();
                socket.kernel.clear();
                self.links[number].pipes[side].used -= len;
                if socket.reset {
                    self.close_socket(host, connection, false);
                } else {
                    self.unblock(number, side);
                }
                return;
            }
            if socket.reset {
                if !core::mem::replace(&mut socket.over, true) {
                    self.drive(host, Drive::Failed(connection));
                }
                return;
            }
            if !socket.connected || (socket.question.is_some() && !force) {
                return;
            }
            let len = if socket.question.is_some() { 0 } else { socket.kernel.len().min(chunk) };
            if len == 0 && !force {
                // The end is told when everything that came before it was taken.
                let all_taken = socket.kernel.is_empty() && socket.unread.is_empty();
                if socket.fin && all_taken && !core::mem::replace(&mut socket.over, true) {
                    self.drive(host, Drive::End(connection));
                }
                return;
            }
            force = false;
            let bytes: Vec<u8> = socket.kernel.drain(..len).collect();
            socket.unread.extend(bytes);
            self.links[number].pipes[side].used -= len;
            self.unblock(number, side);
            self.drive(host, Drive::Read(connection));
        }
    }

    /// Writes what a connection has to write, as far as there is room.
    pub(super) fn flush(&mut self, host: usize, connection: ConnectionId) {
        let now = self.instant();
        loop {
            let Some(socket) = self.hosts[host].sockets.get(&connection) else { return };
            let (number, side, closing) = (socket.link, socket.side, socket.closing);
            if !socket.connected {
                return;
            }
            let link = &mut self.links[number];
            let pipe = &mut link.pipes[1 - side];
            let room = self.plan.window.saturating_sub(pipe.used);
            let Some(node) = &mut self.hosts[host].node else { return };
            if !node.has_output(connection) {
                if closing {
                    self.close_socket(host, connection, true);
                }
                return;
            }
            if room == 0 {
                pipe.blocked = true;
                return;
            }
            let most = self.random.between(1, self.plan.chunk as u64).min(room as u64) as usize;
            let pieces = self.random.chance(500);
            let bytes = node.transmit(now, connection, most, pieces);
            let sealed = node.sealed(connection);
            if bytes.is_empty() {
                return self.violation(format!("node {host}: {connection:?} has output and writes nothing"));
            }
            pipe.used += bytes.len();
            if link.dead && !core::mem::replace(&mut link.told[side], true) {
                let delay = if link.resets { link.latency } else { 10_000_000 };
                self.after(delay, Event::Notice(number, side));
            }
            let link = &mut self.links[number];
            if sealed.is_some() && link.openings[side].len() < 600 {
                link.openings[side].extend_from_slice(&bytes);
            }
            self.hear(number, side, Some((host, connection)), sealed.as_deref().unwrap_or(&bytes));
            self.send_segment(number, 1 - side, Segment::Bytes(bytes));
            if self.violation.is_some() {
                return;
            }
        }
    }

    /// One end of a dead link learns of it.
    pub(super) fn notice(&mut self, number: usize, side: usize) {
        if let (End::Live(_), Party::Host(host)) =
            (self.links[number].ends[side], self.links[number].parties[side])
        {
            say!(self, "link {number}: node {host} notices that it is dead");
            self.fail_socket(host, number);
        }
    }

    /// Listens to what one side writes, and holds it against the model.
    pub(super) fn hear(
        &mut self,
        number: usize,
        side: usize,
        writer: Option<(usize, ConnectionId)>,
        bytes: &[u8],
    ) {
        self.links[number].taps[side].push(bytes);
        while let Some(heard) = self.links[number].taps[side].next() {
            let tap = &mut self.links[number].taps[side];
            match (heard, writer) {
                (Heard::Begun, Some((host, connection))) => {
                    if tap.current.is_some() {
                        continue;
                    }
                    match self.hosts[host].book.begun(connection) {
                        Ok(message) => tap.current = Some((Some(message.origin), message.payload)),
                        Err(what) => return self.violation(format!("node {host}: {what}")),
                    }
                }
                (Heard::Begun, None) => {}
                (Heard::Whole { payload, frame_bytes }, writer) => {
                    let current = tap.current.take();
                    let origin: Option<Origin> = current.as_ref().and_then(|(origin, _)| *origin);
                    let right = current.is_none_or(|(_, expected)| expected == payload);
                    if !right {
                        return self
                            .violation(format!("{writer:?} writes another message than it was given"));
                    }
                    tap.total += 1;
                    if !core::mem::take(&mut tap.skipped) {
                        tap.frames.push_back(TappedFrame {
                            payload,
                            frame_bytes,
                            origin,
                            number: tap.total - 1,
                        });
                    }
                }
                (Heard::Empty, _) => tap.empty_frames += 1,
                (Heard::Preflight(url), writer) => {
                    tap.preflights += 1;
                    if tap.url.is_none() {
                        tap.url = url;
                    }
                    if writer.is_some() && tap.preflights > 1 {
                        return self.violation(format!("{writer:?} writes a second preflight"));
                    }
                }
                (Heard::Broken, Some(writer)) => {
                    return self.violation(format!("{writer:?} writes what is no frame"));
                }
                (Heard::Broken, None) => {}
            }
        }
    }

    /// A socket is closed: gracefully, or with a reset.
    pub(super) fn close_socket(&mut self, host: usize, connection: ConnectionId, graceful: bool) {
        let Some(socket) = self.hosts[host].sockets.get(&connection) else { return };
        if !socket.closing {
            return;
        }
        let (number, side) = (socket.link, socket.side);
        let counts = self.hosts[host].node.as_ref().and_then(|node| node.counts(connection));
        if let Some(counts) = counts {
            let agreed = socket.counts.agree(&counts);
            if let Err(what) = agreed {
                return self.violation(format!("node {host}: {connection:?}: {what}"));
            }
        }
        if socket.up {
            self.hosts[host].ended.insert(connection, (number, side));
        }
        self.hosts[host].sockets.remove(&connection);
        if let Some(node) = &mut self.hosts[host].node {
            node.release(connection);
        }
        if self.links[number].ends[side] != End::Gone {
            self.links[number].ends[side] = End::Gone;
            let segment = if graceful { Segment::Fin } else { Segment::Reset };
            self.send_segment(number, 1 - side, segment);
        }
    }
}
