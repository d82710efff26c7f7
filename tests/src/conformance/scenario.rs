//! Operations on a router: one router a case, stubs for handlers and backend.

use alloc::collections::{BTreeMap, BTreeSet};

use kitfox_core::router::{
    LocalAgents, ModuleKey, Policy, PolicyFailed, Received, Router, SendRefused, SpaceKey, Target,
};
use kitfox_core::storage::Heap;
use kitfox_core::wire::{Message, PeerUrl, UrlRules};
use kitfox_core::{Peer, PeerId, RouterLimits};
use serde_json::{Value, json};

use super::input::{bytes, hex, list, member, optional, optional_text, text};
use super::k2proto::encode;
use super::{Mismatch, same};

pub(super) fn run(case: &Value) -> Result<(), Mismatch> {
    let required = |name| member(case, name).and_then(|_| list(case, name));
    let (steps, expected) = (required("steps")?, required("expect")?);
    if steps.len() != expected.len() {
        return Err(Mismatch::malformed(format_args!("{} steps, {} outcomes", steps.len(), expected.len())));
    }
    let mut stage = Stage::new(case.get("setup").unwrap_or(&Value::Null))?;
    for (index, (step, expected)) in steps.iter().zip(expected).enumerate() {
        let op = text(step, "op")?;
        let mut events = Vec::new();
        let outcome = stage.step(op, step, &mut events)?;
        let part = |name: &str| format!("{name} of step {index} ({op})");
        same(part("result"), &without_text(member(expected, "result")?), &outcome.seen())?;
        let (mut recorded, free) = (list(expected, "events")?.to_vec(), is_fan_out(op));
        if free {
            sort_inside_classes(&mut recorded);
            sort_inside_classes(&mut events);
        }
        same(part("events"), &recorded.into(), &events.into())?;
        let mut counts = list(expected, "blocked_message_counts")?.to_vec();
        sort_counts(&mut counts);
        same(part("blocked_message_counts"), &counts.into(), &stage.counts().into())?;
    }
    Ok(())
}

/// Whether a step calls all handlers of a class, in an order that is free.
fn is_fan_out(op: &str) -> bool {
    matches!(op, "peer_connect" | "peer_disconnect" | "set_unresponsive" | "new_listening_address")
}

/// Sorts what is next to each other and of one class. Between classes the order stays.
fn sort_inside_classes(events: &mut [Value]) {
    let class = |event: &Value| (event.get("who").cloned(), event.get("ev").cloned());
    for run in events.chunk_by_mut(|a, b| class(a) == class(b)) {
        run.sort_by_cached_key(Value::to_string);
    }
}

fn sort_counts(counts: &mut [Value]) {
    counts.sort_by_cached_key(Value::to_string);
}

/// The result without the oracle's wording.
fn without_text(result: &Value) -> Value {
    let mut result = result.clone();
    if let Some(error) = result.get_mut("err").and_then(Value::as_object_mut) {
        error.remove("text");
    }
    result
}

/// How a step ended.
enum Outcome {
    Ok(Value),
    Other,
    NoLocalAgents,
}

impl Outcome {
    const OK: Self = Self::Ok(Value::Null);

    fn seen(self) -> Value {
        match self {
            Self::Ok(value) => json!({ "ok": value }),
            Self::Other => json!({ "err": { "kind": "other" } }),
            Self::NoLocalAgents => json!({ "err": { "kind": "no_local_agents" } }),
        }
    }
}

/// What a stub answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Ok,
    Err,
}

impl Answer {
    /// The answer that the member `name` sets; it is ok if there is none.
    fn read(stub: &Value, name: &str) -> Result<Self, Mismatch> {
        match optional_text(stub, name)? {
            None | Some("ok") => Ok(Self::Ok),
            Some("err") => Ok(Self::Err),
            Some(other) => Err(Mismatch::malformed(format_args!("{name:?} is {other:?}"))),
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Ok => Outcome::OK,
            Self::Err => Outcome::Other,
        }
    }
}

struct SpaceStub {
    id: Vec<u8>,
    recv_space_notify: Answer,
    peer_connect: Answer,
    /// The router never learns it: nobody is to heed it.
    _set_unresponsive: Answer,
}

struct ModuleStub {
    space: Vec<u8>,
    name: String,
    recv_module_msg: Answer,
    peer_connect: Answer,
}

struct HandlerStub {
    preflight_validate_incoming: Answer,
    /// `None` fails.
    preflight_gather_outgoing: Option<Vec<u8>>,
    peer_connect: Answer,
}

struct ImpStub {
    url: Value,
    send: Answer,
    connected: BTreeSet<String>,
}

/// What the stub of a space answers when the router asks.
struct SpaceAnswers {
    blocked: BTreeSet<String>,
    block_check: Answer,
    has_local_agents: Result<bool, PolicyFailed>,
}

/// The answers of all spaces by their ids.
#[derive(Default)]
struct Stubs(BTreeMap<Vec<u8>, SpaceAnswers>);

impl Policy for Stubs {
    fn is_blocked(&self, peer: &Peer<'_>, space: &[u8]) -> Result<bool, PolicyFailed> {
        let answers = self.0.get(space).ok_or(PolicyFailed)?;
        match answers.block_check {
            Answer::Ok => Ok(answers.blocked.contains(peer.url)),
            Answer::Err => Err(PolicyFailed),
        }
    }

    fn has_local_agents(&self, space: &[u8]) -> Result<bool, PolicyFailed> {
        self.0.get(space).ok_or(PolicyFailed)?.has_local_agents
    }
}

/// The router with everything around it.
struct Stage {
    router: Router<Heap, Stubs>,
    spaces: BTreeMap<SpaceKey, SpaceStub>,
    modules: BTreeMap<ModuleKey, ModuleStub>,
    handler: HandlerStub,
    imp: ImpStub,
}

impl Stage {
    fn new(setup: &Value) -> Result<Self, Mismatch> {
        let none = Value::Null;
        let handler = setup.get("handler").unwrap_or(&none);
        let imp = setup.get("imp").unwrap_or(&none);
        let gather = match optional(handler, "preflight_gather_outgoing") {
            None => Some(Vec::new()),
            Some(answer) if answer.get("err").is_some() || answer.as_str() == Some("err") => None,
            Some(answer) => Some(bytes(answer, "bytes")?),
        };
        let mut stage = Self {
            router: Router::new(&RouterLimits::HOST, 0, Stubs::default()),
            spaces: BTreeMap::new(),
            modules: BTreeMap::new(),
            handler: HandlerStub {
                preflight_validate_incoming: Answer::read(handler, "preflight_validate_incoming")?,
                preflight_gather_outgoing: gather,
                peer_connect: Answer::read(handler, "peer_connect")?,
            },
            imp: ImpStub {
                url: imp.get("url").cloned().unwrap_or_default(),
                send: Answer::read(imp, "send")?,
                connected: BTreeSet::new(),
            },
        };
        let spaces = list(setup, "spaces")?.iter().map(|space| stage.register_space(space));
        let spaces: Vec<_> = spaces.collect::<Result<_, _>>()?;
        let modules = list(setup, "modules")?.iter().map(|module| stage.register_module(module));
        let modules: Vec<_> = modules.collect::<Result<_, _>>()?;
        match spaces.into_iter().chain(modules).all(|registered| registered == Answer::Ok) {
            true => Ok(stage),
            false => Err(Mismatch::new("the setup to be registered", "a refusal")),
        }
    }

    fn step(&mut self, op: &str, step: &Value, events: &mut Vec<Value>) -> Result<Outcome, Mismatch> {
        Ok(match op {
            "recv_data" => self.receive(text(step, "peer")?, &bytes(step, "bytes")?, events),
            "send_space_notify" => {
                let (peer, space, data) =
                    (text(step, "peer")?, bytes(step, "space_id")?, bytes(step, "data")?);
                let id = peer_id(peer);
                let message = self.router.notify(Peer::new(peer, id.as_ref()), &space, &data);
                send(message, peer, &mut self.imp, events)
            }
            "send_module" => {
                let (peer, space, data) =
                    (text(step, "peer")?, bytes(step, "space_id")?, bytes(step, "data")?);
                let (id, module) = (peer_id(peer), text(step, "module")?);
                let message = self.router.module(Peer::new(peer, id.as_ref()), &space, module, &data);
                send(message, peer, &mut self.imp, events)
            }
            "disconnect" => {
                let peer = text(step, "peer")?;
                let payload = optional_text(step, "reason")?.map(|reason| {
                    let message = encode(&Message::disconnect(reason.as_bytes()));
                    json!({ "reason": reason, "bytes": hex(&message) })
                });
                events.push(json!({ "who": "imp", "ev": "disconnect", "peer": peer, "payload": payload }));
                self.imp.connected.remove(peer);
                Outcome::OK
            }
            "get_connected_peers" => Outcome::Ok(json!(self.imp.connected)),
            "register_space_handler" => match self.register_space(member(step, "space")?)? {
                Answer::Ok => Outcome::Ok(json!({ "returned_url": self.imp.url })),
                Answer::Err => Outcome::Other,
            },
            "register_module_handler" => self.register_module(member(step, "module")?)?.outcome(),
            "unregister_space" => {
                self.router.directory_mut().unregister_space(&bytes(step, "space_id")?);
                Outcome::OK
            }
            "peer_connect" => self.peer_connect(text(step, "peer")?, events),
            "peer_disconnect" => {
                let (peer, reason) = (text(step, "peer")?, optional_text(step, "reason")?);
                let arguments = [("peer", json!(peer)), ("reason", json!(reason))];
                self.tell(self.router.directory().peer_disconnect_targets(), op, &arguments, events);
                Outcome::OK
            }
            "set_unresponsive" => {
                let arguments =
                    [("peer", json!(text(step, "peer")?)), ("when", member(step, "when")?.clone())];
                self.tell(self.router.directory().set_unresponsive_targets(), op, &arguments, events);
                Outcome::OK
            }
            "new_listening_address" => {
                let arguments = [("url", json!(text(step, "url")?))];
                self.tell(self.router.directory().new_listening_address_targets(), op, &arguments, events);
                Outcome::OK
            }
            "test_block" => {
                let peer = text(step, "peer")?;
                self.answers(step, |answers| {
                    answers.blocked.insert(peer.into());
                })?
            }
            "test_unblock" => {
                let peer = text(step, "peer")?;
                self.answers(step, |answers| {
                    answers.blocked.remove(peer);
                })?
            }
            "test_set_local_agents" => {
                let value = local_agents(member(step, "value")?)?;
                self.answers(step, |answers| answers.has_local_agents = value)?
            }
            other => return Err(Mismatch::malformed(format_args!("\"op\" {other:?}"))),
        })
    }

    /// Changes what the stub of the step's space answers. There may be none.
    fn answers(&mut self, step: &Value, change: impl FnOnce(&mut SpaceAnswers)) -> Result<Outcome, Mismatch> {
        let space = bytes(step, "space_id")?;
        self.router.directory_mut().policy_mut().0.get_mut(&space).map(change);
        Ok(Outcome::OK)
    }

    fn register_space(&mut self, space: &Value) -> Result<Answer, Mismatch> {
        let id = bytes(space, "space_id")?;
        let blocked = list(space, "blocked")?.iter().map(|url| {
            url.as_str().map(Into::into).ok_or_else(|| Mismatch::malformed("\"blocked\" holds no texts"))
        });
        let answers = SpaceAnswers {
            blocked: blocked.collect::<Result<_, _>>()?,
            block_check: Answer::read(space, "block_check")?,
            has_local_agents: optional(space, "has_local_agents").map_or(Ok(Ok(true)), local_agents)?,
        };
        let stub = SpaceStub {
            id: id.clone(),
            recv_space_notify: Answer::read(space, "recv_space_notify")?,
            peer_connect: Answer::read(space, "peer_connect")?,
            _set_unresponsive: Answer::read(space, "set_unresponsive")?,
        };
        let Ok(key) = self.router.directory_mut().register_space(&id) else { return Ok(Answer::Err) };
        self.router.directory_mut().policy_mut().0.insert(id, answers);
        self.spaces.insert(key, stub);
        Ok(Answer::Ok)
    }

    fn register_module(&mut self, module: &Value) -> Result<Answer, Mismatch> {
        let stub = ModuleStub {
            space: bytes(module, "space_id")?,
            name: text(module, "module")?.into(),
            recv_module_msg: Answer::read(module, "recv_module_msg")?,
            peer_connect: Answer::read(module, "peer_connect")?,
        };
        match self.router.directory_mut().register_module(&stub.space, &stub.name) {
            Ok(key) => {
                self.modules.insert(key, stub);
                Ok(Answer::Ok)
            }
            Err(_) => Ok(Answer::Err),
        }
    }

    fn receive(&mut self, peer: &str, message: &[u8], events: &mut Vec<Value>) -> Outcome {
        let id = peer_id(peer);
        match self.router.receive(Peer::new(peer, id.as_ref()), message) {
            Ok(Received::Notify { to, space, data }) => {
                let stub = &self.spaces[&to];
                events.push(json!({
                    "who": "space", "ev": "recv_space_notify", "space_id": hex(&stub.id),
                    "arg_space_id": hex(space), "peer": peer, "data": hex(data),
                }));
                stub.recv_space_notify.outcome()
            }
            Ok(Received::Module { to, space, module, data }) => {
                let stub = &self.modules[&to];
                events.push(json!({
                    "who": "module", "ev": "recv_module_msg", "space_id": hex(&stub.space), "module": stub.name,
                    "arg_space_id": hex(space), "arg_module": module.as_str(), "peer": peer, "data": hex(data),
                }));
                stub.recv_module_msg.outcome()
            }
            Ok(Received::Preflight { data, .. }) => {
                events.push(json!({
                    "who": "handler", "ev": "preflight_validate_incoming", "peer": peer, "data": hex(data),
                }));
                self.handler.preflight_validate_incoming.outcome()
            }
            Ok(Received::Dropped(_)) => Outcome::OK,
            Ok(other) => panic!("an outcome that the format does not know: {other:?}"),
            Err(_) => Outcome::Other,
        }
    }

    /// Admits a peer and makes its preflight message, as the gate of a connection does.
    fn peer_connect(&self, peer: &str, events: &mut Vec<Value>) -> Outcome {
        let directory = self.router.directory();
        for target in directory.peer_connect_targets() {
            events.push(self.call(target, "peer_connect", &[("peer", json!(peer))]));
            let answer = match target {
                Target::Module { key, .. } => self.modules[&key].peer_connect,
                Target::Space { key, .. } => self.spaces[&key].peer_connect,
                _ => self.handler.peer_connect,
            };
            if answer == Answer::Err {
                return Outcome::Other;
            }
        }
        match directory.local_agents() {
            Ok(LocalAgents::NoSpaces | LocalAgents::Some) => {}
            Ok(_) => return Outcome::NoLocalAgents,
            Err(PolicyFailed) => return Outcome::Other,
        }
        events.push(json!({ "who": "handler", "ev": "preflight_gather_outgoing", "peer": peer }));
        match &self.handler.preflight_gather_outgoing {
            Some(data) => Outcome::Ok(json!({ "preflight_bytes": hex(&encode(&Message::preflight(data))) })),
            None => Outcome::Other,
        }
    }

    fn tell<'t>(
        &self,
        targets: impl Iterator<Item = Target<'t>>,
        method: &str,
        arguments: &[(&str, Value)],
        events: &mut Vec<Value>,
    ) {
        events.extend(targets.map(|target| self.call(target, method, arguments)));
    }

    /// The event of a call. The key must name the stub that was registered under the id that comes with it.
    fn call(&self, target: Target<'_>, method: &str, arguments: &[(&str, Value)]) -> Value {
        let mut event = match target {
            Target::Module { key, space, module } => {
                let stub = &self.modules[&key];
                assert_eq!((stub.space.as_slice(), stub.name.as_str()), (space, module), "key of a module");
                json!({ "who": "module", "space_id": hex(space), "module": module })
            }
            Target::Space { key, space } => {
                assert_eq!(self.spaces[&key].id, space, "key of a space");
                json!({ "who": "space", "space_id": hex(space) })
            }
            Target::Handler => json!({ "who": "handler" }),
            other => panic!("a target that the format does not know: {other:?}"),
        };
        event["ev"] = method.into();
        for (name, value) in arguments {
            event[name] = value.clone();
        }
        event
    }

    fn counts(&self) -> Vec<Value> {
        let counts = self.router.blocked_counts();
        assert_eq!(counts.unattributed(), 0, "all counters have a place");
        let entries = counts.iter().map(|count| {
            json!({
                "peer": count.peer(), "space_id": hex(count.space()),
                "incoming": count.incoming(), "outgoing": count.outgoing(),
            })
        });
        let mut entries: Vec<_> = entries.collect();
        sort_counts(&mut entries);
        entries
    }
}

/// What the router let through goes to the backend.
fn send(
    message: Result<Message<'_>, SendRefused>,
    peer: &str,
    imp: &mut ImpStub,
    events: &mut Vec<Value>,
) -> Outcome {
    match message {
        Ok(message) => {
            let bytes = hex(&encode(&message));
            events.push(json!({ "who": "imp", "ev": "send", "peer": peer, "bytes": bytes }));
            if imp.send == Answer::Ok {
                imp.connected.insert(peer.into());
            }
            imp.send.outcome()
        }
        // Kitsune2 drops these two in silence.
        Err(SendRefused::UnknownSpace | SendRefused::Blocked) => Outcome::OK,
        Err(SendRefused::NoLocalAgents) => Outcome::NoLocalAgents,
        Err(_) => Outcome::Other,
    }
}

fn peer_id(url: &str) -> Option<PeerId> {
    let rules = UrlRules { max_bytes: usize::MAX, ..UrlRules::default() };
    PeerUrl::parse(url, &rules).ok()?.peer_id().and_then(PeerId::new)
}

fn local_agents(value: &Value) -> Result<Result<bool, PolicyFailed>, Mismatch> {
    match value {
        Value::Bool(answer) => Ok(Ok(*answer)),
        Value::String(text) if text == "err" => Ok(Err(PolicyFailed)),
        _ => Err(Mismatch::malformed("local agents are neither true, false nor \"err\"")),
    }
}
