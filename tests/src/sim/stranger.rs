//! Peers that are not nodes of ours: hostile ones, and Kitsune2-like ones that know no confirm and no ties.

use alloc::collections::VecDeque;

use kitfox_core::secure::Credentials;
use kitfox_core::wire::{FrameHeader, FrameType, Message, PeerUrl, PreflightPayload, UrlRules};

use super::link::{End, Link, Party, Segment, Time};
use super::plan::Channel;
use super::speaker::Speaker;
use super::{Event, Fault, MODULES, SPACES, Simulation, say};

fn frame(ty: FrameType, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(ty, payload.len(), usize::MAX);
    let mut bytes = header.map(|header| header.encode().to_vec()).unwrap_or_default();
    bytes.extend(payload);
    bytes
}

fn data_frame(message: &Message<'_>) -> Vec<u8> {
    let mut payload = vec![0; message.encoded_len()];
    let encoded = message.encode(&mut payload);
    debug_assert_eq!(encoded.ok(), Some(payload.len()));
    frame(FrameType::Data, &payload)
}

fn preflight_frame(url: &str) -> Vec<u8> {
    let Ok(url) = PeerUrl::parse(url, &UrlRules::default()) else { return Vec::new() };
    let mut message = [0; 16];
    let len = Message::preflight(b"hi").encode(&mut message).unwrap_or(0);
    let preflight = PreflightPayload { url, message: &message[..len] };
    let mut payload = vec![0; preflight.encoded_len()];
    let encoded = preflight.encode(&mut payload);
    debug_assert_eq!(encoded, Some(payload.len()));
    frame(FrameType::Preflight, &payload)
}

type Script = VecDeque<(Time, Segment)>;

impl Simulation {
    /// A stranger dials a node.
    pub(super) fn stranger_comes(&mut self, kind: Fault, host: usize) {
        let (id, credentials) = self.new_id();
        let own = self.new_address(Party::Stranger);
        let mut url = self.plan.url(&own, &id);
        if kind == Fault::Impostor {
            return self.impostor_listens(&own, credentials);
        }
        if kind == Fault::Legacy {
            self.legacy.push(url.clone());
            self.stranger_keys.extend(credentials.clone().map(|credentials| (own, credentials)));
        } else {
            self.addresses.remove(&own);
        }
        if kind == Fault::Liar && self.plan.channel != Channel::Trusting {
            let other = self.random.index(self.hosts.len());
            url = self.hosts[other].url.clone();
        }
        let count = if kind == Fault::Flood { self.random.between(5, 40) } else { 1 };
        let target = self.hosts[host].url.split('/').nth(2).unwrap_or_default().to_owned();
        for _ in 0..count {
            let (script, reply) = self.write_script(kind, &url, host);
            let link = self.dial(Party::Stranger, &target);
            say!(self, "link {link}: stranger {kind:?} as {url} dials node {host}");
            (self.links[link].script, self.links[link].reply) = (script, reply);
            // Some do not even know that there is a handshake.
            let silent = kind == Fault::FalseHandshake;
            if let Some(credentials) = &credentials
                && !silent
                && self.random.chance(850)
            {
                let peer = self.hosts[host].id;
                self.links[link].stranger = Some(id);
                let mut speaker = Speaker::dial(credentials, &peer).map(Box::new);
                if let Some(speaker) = &mut speaker {
                    speaker.mangles = kind == Fault::MangledRecords;
                }
                self.links[link].speaker = speaker;
            }
        }
    }

    /// Somebody waits for those who want to speak with another, whose key it does not have.
    fn impostor_listens(&mut self, own: &str, credentials: Option<Credentials>) {
        let id = if self.random.chance(500) {
            let other = self.random.index(self.hosts.len());
            self.hosts[other].id
        } else {
            self.new_id().0
        };
        say!(self, "an impostor of {id} listens at {own}");
        self.legacy.push(self.plan.url(own, &id));
        self.stranger_keys.extend(credentials.map(|credentials| (own.to_owned(), credentials)));
    }

    /// A stranger has accepted a connection.
    pub(super) fn stranger_listens(&mut self, number: usize) {
        let Some(credentials) = self.stranger_keys.get(&self.links[number].dialled) else { return };
        self.links[number].stranger = Some(credentials.key.peer_id());
        self.links[number].speaker = Some(Box::new(Speaker::accept(credentials)));
        if self.random.chance(200) {
            // It does not shake hands itself: it says what somebody else has said.
            let bytes = self.recorded(1, None);
            self.links[number].speaker = None;
            self.links[number].script.push_back((0, Segment::Bytes(bytes)));
            self.after(0, Event::Script(number));
        }
    }

    /// What a node has written first on that side of some link, with this node at the other end if there is such a
    /// link.
    fn recorded(&mut self, side: usize, to: Option<usize>) -> Vec<u8> {
        let from = self.links.len().saturating_sub(200);
        let whole = |link: &&Link| !link.openings[side].is_empty();
        let there = |link: &&Link| to.is_none_or(|to| link.parties[1 - side] == Party::Host(to));
        let mut openings: Vec<_> = self.links[from..].iter().filter(whole).filter(there).collect();
        if openings.is_empty() {
            openings = self.links[from..].iter().filter(whole).collect();
        }
        match openings.len() {
            0 => self.random.bytes(144),
            len => openings[self.random.index(len)].openings[side].clone(),
        }
    }

    /// The beginning of a handshake that is none.
    fn false_handshake(&mut self, host: usize) -> Vec<u8> {
        let mut bytes = self.recorded(0, Some(host));
        match self.random.below(5) {
            0 => {}
            1 => bytes.truncate(1 + self.random.index(bytes.len())),
            2 => {
                let place = self.random.index(bytes.len());
                bytes[place] ^= 1 << self.random.below(8);
            }
            3 => {
                let len = self.random.between(0, 300) as u16;
                bytes = b"kf\x01\x01".to_vec();
                bytes.extend(len.to_be_bytes());
                bytes.extend(self.random.bytes(len.into()));
            }
            _ => bytes = self.random.bytes(200),
        }
        bytes
    }

    /// Records of a stranger that are not always what they were. Returns whether what they hold
    /// may be used.
    fn mangle(&mut self, number: usize, wire: &mut Vec<u8>) -> bool {
        let mangles = self.links[number].speaker.as_ref().is_some_and(|speaker| speaker.mangles);
        if !mangles || wire.is_empty() || !self.random.chance(300) {
            return true;
        }
        // Nothing behind it may be used.
        self.links[number].speaker = None;
        match self.random.below(4) {
            0 => {
                let place = self.random.index(wire.len());
                wire[place] ^= 1 << self.random.below(8);
            }
            1 => wire.truncate(self.random.index(wire.len())),
            2 => *wire = self.random.bytes(100),
            // What was said is said again.
            _ => {
                *wire = wire.repeat(2);
                return true;
            }
        }
        false
    }

    fn write_script(&mut self, kind: Fault, url: &str, host: usize) -> (Script, Script) {
        let mut script = Script::new();
        let mut reply = Script::new();
        let preflight = preflight_frame(url);
        let now = |bytes: Vec<u8>| (0, Segment::Bytes(bytes));
        match kind {
            Fault::SilentStranger => {}
            Fault::FalseHandshake => script.push_back(now(self.false_handshake(host))),
            Fault::Garbage => {
                if self.random.chance(300) {
                    script.push_back(now(preflight));
                }
                let len = self.random.between(1, 300) as usize;
                script.push_back(now(self.random.bytes(len)));
            }
            Fault::SlowBytes => {
                let pause = self.random.between(1_000, 1_000_000);
                script.extend(preflight.into_iter().map(|byte| (pause, Segment::Bytes(vec![byte]))));
                reply = self.messages(1_000);
            }
            Fault::Flood => {
                if self.random.chance(500) {
                    let len = self.random.below(preflight.len() as u64) as usize;
                    script.push_back(now(preflight[..len].to_vec()));
                }
            }
            Fault::Liar | Fault::Legacy | Fault::OddMessages | Fault::MangledRecords => {
                script.push_back(now(preflight));
                reply = self.messages(500_000);
                if kind != Fault::Legacy || self.random.chance(200) {
                    let confirm = kitfox_core::wire::EMPTY_DATA_FRAME.to_vec();
                    reply.push_front(now(confirm));
                }
                if kind == Fault::OddMessages {
                    reply.extend(self.odd_messages());
                }
            }
            Fault::SecondPreflight => {
                script.push_back(now(preflight.clone()));
                if self.random.chance(500) {
                    reply = self.messages(1_000);
                }
                reply.push_back(now(preflight));
            }
            Fault::NotifyFirst => {
                let message = data_frame(&Message::notify(SPACES[0], b"early"));
                let mut wrong = message.clone();
                wrong[0] = 0;
                script.push_back(now(if self.random.chance(500) { wrong } else { message }));
                script.push_back(now(preflight));
            }
            Fault::OversizeHeader => {
                let oversize = self.random.pick(&[[0, 0, 90, 0], [255; 4], [0, 1, 0, 0]]);
                let early = self.random.chance(300);
                let ty = u8::from(!early || self.random.chance(500));
                let header = now([&[ty][..], &oversize].concat());
                if early {
                    script.push_back(header);
                } else {
                    script.push_back(now(preflight));
                    reply = self.messages(1_000);
                    reply.push_back(header);
                    reply.push_back(now(self.random.bytes(20_000)));
                }
            }
            _ => {
                // A frame that begins and does not end.
                script.push_back(now(preflight));
                reply = self.messages(1_000);
                let whole = data_frame(&Message::notify(SPACES[0], &[7; 400]));
                let len = self.random.between(1, whole.len() as u64 - 1) as usize;
                reply.push_back(now(whole[..len].to_vec()));
            }
        }
        if self.random.chance(300) {
            let end = self.random.pick(&[0, 1]);
            reply.push_back((20_000, if end == 0 { Segment::Fin } else { Segment::Reset }));
        }
        (script, reply)
    }

    /// Usual messages.
    fn messages(&mut self, pause: Time) -> Script {
        let count = self.random.below(6);
        let mut script = Script::new();
        for _ in 0..count {
            let size = self.random.size(500);
            let data = self.random.bytes(size);
            let space = self.random.pick(&SPACES);
            let message = match self.random.below(3) {
                0 => Message::module(space, self.random.pick(&MODULES), &data),
                _ => Message::notify(space, &data),
            };
            let bytes = data_frame(&message);
            script.push_back((self.random.below(pause + 1), Segment::Bytes(bytes)));
        }
        script
    }

    /// Messages that only decode.
    fn odd_messages(&mut self) -> Script {
        let odd = [
            Message { ty: 0, data: b"nothing", ..Message::default() },
            Message { ty: 77, data: b"unknown", ..Message::default() },
            Message { ty: -3, data: b"", ..Message::default() },
            Message::notify(b"", b"an empty space"),
            Message::module(SPACES[0], "a module with a name that is long", b"?"),
            Message { ty: 3, data: b"no module", space: Some(SPACES[0]), module: None },
            Message::preflight(b"again"),
            Message { ty: 2, data: b"no space", ..Message::default() },
            Message::disconnect(b"superseded"),
            Message::disconnect(&[255; 300]),
        ];
        let count = self.random.between(1, 8);
        let mut script = Script::new();
        for _ in 0..count {
            let message = self.random.pick(&odd);
            script.push_back((self.random.below(100_000), Segment::Bytes(data_frame(&message))));
        }
        script
    }

    /// A stranger at the dialling or the accepting end goes on.
    pub(super) fn script(&mut self, number: usize) {
        let link = &mut self.links[number];
        let Some(side) = link.ends.iter().position(|end| *end == End::Raw) else { return };
        let window = self.plan.window;
        if link.pipes[1 - side].used > window {
            link.pipes[1 - side].blocked = true;
            return;
        }
        if !self.stranger_is_ready(number, side) {
            return;
        }
        let link = &mut self.links[number];
        let Some((_, mut segment)) = link.script.pop_front() else { return };
        if let Segment::Bytes(bytes) = &mut segment {
            let text = match &mut link.speaker {
                Some(speaker) => Some(core::mem::replace(bytes, speaker.say(bytes))),
                None if self.plan.is_secured() => None,
                None => Some(bytes.clone()),
            };
            let kept = self.mangle(number, bytes);
            let link = &mut self.links[number];
            link.pipes[1 - side].used += bytes.len();
            if kept {
                self.hear(number, side, None, &text.unwrap_or_default());
            }
        } else if matches!(segment, Segment::Reset) {
            link.ends[side] = End::Gone;
        }
        self.send_segment(number, 1 - side, segment);
        self.go_on(number);
    }

    /// A stranger goes on with its handshake. Returns whether that is behind it.
    fn stranger_is_ready(&mut self, number: usize, side: usize) -> bool {
        let Some(speaker) = &mut self.links[number].speaker else { return true };
        let bytes = speaker.go_on(&mut self.random);
        let ready = speaker.is_ready();
        if !bytes.is_empty() {
            self.links[number].pipes[1 - side].used += bytes.len();
            self.send_segment(number, 1 - side, Segment::Bytes(bytes));
        }
        ready
    }

    fn go_on(&mut self, number: usize) {
        if let Some((wait, _)) = self.links[number].script.front() {
            let wait = *wait;
            self.after(wait, Event::Script(number));
        }
    }

    /// Something has arrived at a stranger.
    pub(super) fn stranger_heard(&mut self, number: usize, side: usize) {
        let link = &mut self.links[number];
        let was_ready = link.speaker.as_ref().is_none_or(|speaker| speaker.is_ready());
        if self.stranger_is_ready(number, side) && !was_ready {
            self.after(0, Event::Script(number));
        }
        let link = &mut self.links[number];
        link.taps[1 - side].frames.clear();
        if link.taps[1 - side].url.is_none() {
            return;
        }
        let idle = link.script.is_empty();
        if side == 0 {
            let reply = core::mem::take(&mut link.reply);
            link.script.extend(reply);
        } else if link.taps[1].preflights == 0 && idle {
            // A Kitsune2-like peer answers at once, and says what it likes.
            let dialled = link.dialled.clone();
            let url = self.legacy.iter().find(|url| url.contains(&dialled)).cloned().unwrap_or_default();
            let messages = self.messages(300_000);
            let script = &mut self.links[number].script;
            script.push_back((0, Segment::Bytes(preflight_frame(&url))));
            script.extend(messages);
        }
        if idle {
            self.go_on(number);
        }
    }

    /// What a stranger does when the faults end: most go away, some stay silent.
    pub(super) fn strangers_leave(&mut self) {
        for number in 0..self.links.len() {
            let side = (0..2).find(|&side| {
                let Link { parties, ends, .. } = &self.links[number];
                parties[side] == Party::Stranger && matches!(ends[side], End::Raw | End::Waiting)
            });
            let Some(side) = side else { continue };
            self.links[number].script.clear();
            self.links[number].reply.clear();
            let open = self.links[number].taps[1 - side].url.is_some();
            if open || self.random.chance(500) {
                self.links[number].ends[side] = End::Gone;
                self.send_segment(number, 1 - side, Segment::Reset);
            }
        }
        for url in core::mem::take(&mut self.legacy) {
            self.addresses.remove(url.split('/').nth(2).unwrap_or_default());
        }
    }
}
