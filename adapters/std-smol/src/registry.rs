//! Which spaces and modules are registered, with their handlers, as snapshots that readers use without a lock.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak};

use event_listener::Event;
use kitfox_core::router::{ModuleKey, RegisterError, SpaceKey, Target};
use kitfox_core::{Peer, RouterLimits, router::SendRefused};

use crate::handler::{ModuleHandler, SpaceHandler};
use crate::space::Incoming;
use crate::taped::{Rules, Tape};

/// Where the messages of a stream go in.
pub(crate) type StreamSender = async_channel::Sender<Incoming>;

/// Who takes the messages of a space.
#[derive(Clone)]
pub(crate) enum SpaceTarget {
    Handler(Arc<dyn SpaceHandler>),
    Stream(StreamSender),
}

/// Who takes the messages of a module.
#[derive(Clone)]
pub(crate) enum ModuleTarget {
    Handler(Arc<dyn ModuleHandler>),
    Stream(StreamSender),
}

/// The rules and the handlers at one time. A reader holds one for a turn and never while it waits, so whoever waits
/// for old snapshots to go waits for handlers that are running and for nothing else.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) rules: Rules,
    pub(crate) epoch: u64,
    /// By the index of their keys.
    spaces: Vec<Option<SpaceTarget>>,
    modules: Vec<Option<ModuleTarget>>,
    /// The last field, so that it is dropped after the handlers.
    _released: Released,
}

/// Tells that a snapshot is gone.
#[derive(Clone)]
struct Released(Arc<Event>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.notify(usize::MAX);
    }
}

/// A receiver of a fan-out, with its handler.
pub(crate) enum Listener {
    Module(Arc<dyn ModuleHandler>),
    Space(Arc<dyn SpaceHandler>),
    Handler,
}

impl Snapshot {
    pub(crate) fn space(&self, key: SpaceKey) -> Option<&SpaceTarget> {
        self.spaces.get(key.index())?.as_ref()
    }

    pub(crate) fn module(&self, key: ModuleKey) -> Option<&ModuleTarget> {
        self.modules.get(key.index())?.as_ref()
    }

    /// The spaces to ask for local agents, in their order.
    pub(crate) fn space_ids(&self) -> Vec<Box<[u8]>> {
        let id = |target| match target {
            Target::Space { space, .. } => Some(space.into()),
            _ => None,
        };
        self.rules.local_agents_targets().filter_map(id).collect()
    }

    /// The handlers of a fan-out, in its order.
    pub(crate) fn listeners<'a>(&self, targets: impl Iterator<Item = Target<'a>>) -> Vec<Listener> {
        let listener = |target| match target {
            Target::Module { key, .. } => match self.module(key)? {
                ModuleTarget::Handler(handler) => Some(Listener::Module(handler.clone())),
                ModuleTarget::Stream(_) => None,
            },
            Target::Space { key, .. } => match self.space(key)? {
                SpaceTarget::Handler(handler) => Some(Listener::Space(handler.clone())),
                SpaceTarget::Stream(_) => None,
            },
            _ => Some(Listener::Handler),
        };
        targets.filter_map(listener).collect()
    }
}

pub(crate) struct Registry {
    state: RwLock<State>,
    /// The epoch of the current snapshot, to be looked at without the lock.
    epoch: AtomicU64,
    released: Arc<Event>,
}

struct State {
    current: Arc<Snapshot>,
    /// Earlier snapshots that somebody may still hold.
    retired: Vec<Weak<Snapshot>>,
}

impl Registry {
    pub(crate) fn new(limits: &RouterLimits, seed: u64, tape: &Tape) -> Self {
        let released = Arc::new(Event::new());
        let current = Snapshot {
            rules: Rules::new(limits, seed, tape),
            epoch: 0,
            spaces: Vec::new(),
            modules: Vec::new(),
            _released: Released(released.clone()),
        };
        let state = State { current: Arc::new(current), retired: Vec::new() };
        Self { state: RwLock::new(state), epoch: AtomicU64::new(0), released }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot_for(|_| {})
    }

    /// The current snapshot, of whose epoch somebody is told before it can change.
    pub(crate) fn snapshot_for(&self, tell: impl FnOnce(u64)) -> Arc<Snapshot> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        tell(state.current.epoch);
        state.current.clone()
    }

    /// Whether `snapshot` is still the current one.
    #[inline]
    pub(crate) fn is_current(&self, snapshot: &Snapshot) -> bool {
        self.epoch.load(Ordering::Acquire) == snapshot.epoch
    }

    pub(crate) fn permit_send(&self, peer: &Peer<'_>, space: &[u8]) -> Result<(), SendRefused> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.current.rules.permit_send(peer, space)
    }

    pub(crate) fn register_space(&self, id: &[u8], handler: SpaceTarget) -> Result<(), RegisterError> {
        self.change(|snapshot| {
            let key = snapshot.rules.register_space(id)?;
            put(&mut snapshot.spaces, key.index(), handler);
            Ok(())
        })
    }

    pub(crate) fn register_module(
        &self,
        space: &[u8],
        name: &str,
        handler: ModuleTarget,
    ) -> Result<(), RegisterError> {
        self.change(|snapshot| {
            let key = snapshot.rules.register_module(space, name)?;
            put(&mut snapshot.modules, key.index(), handler);
            Ok(())
        })
    }

    /// Removes a space and its modules at once. The future ends when no reader can deliver to them any more.
    pub(crate) fn unregister_space(self: &Arc<Self>, id: &[u8]) -> impl Future<Output = bool> + Send + use<> {
        let (was, handlers) = self.change(|snapshot| {
            let was = snapshot.rules.unregister_space(id);
            (was, snapshot.take_unregistered())
        });
        dismiss(handlers);
        self.clone().settled(was)
    }

    /// Removes a module, as [`unregister_space`](Self::unregister_space) does.
    pub(crate) fn unregister_module(
        self: &Arc<Self>,
        space: &[u8],
        name: &str,
    ) -> impl Future<Output = bool> + Send + use<> {
        let (was, handlers) = self.change(|snapshot| {
            let was = snapshot.rules.unregister_module(space, name);
            (was, snapshot.take_unregistered())
        });
        dismiss(handlers);
        self.clone().settled(was)
    }

    /// Removes a space or module whose stream is gone.
    pub(crate) fn unregister_closed(self: &Arc<Self>, space: &[u8], module: Option<&str>) {
        let handlers = self.change(|snapshot| {
            let Some(key) = snapshot.rules.space(space) else { return Default::default() };
            let closed = match module {
                None => matches!(snapshot.space(key), Some(SpaceTarget::Stream(stream)) if stream.is_closed()),
                Some(name) => snapshot.rules.module(key, name).is_some_and(|key| {
                    matches!(snapshot.module(key), Some(ModuleTarget::Stream(stream)) if stream.is_closed())
                }),
            };
            match (closed, module) {
                (true, None) => _ = snapshot.rules.unregister_space(space),
                (true, Some(name)) => _ = snapshot.rules.unregister_module(space, name),
                (false, _) => {}
            }
            snapshot.take_unregistered()
        });
        dismiss(handlers);
    }

    pub(crate) fn change_rules<T>(&self, change: impl FnOnce(&mut Rules) -> T) -> T {
        self.change(|snapshot| change(&mut snapshot.rules))
    }

    /// Changes the current snapshot in place if no reader holds it, else a copy of it.
    fn change<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        let mut state: RwLockWriteGuard<'_, State> =
            self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State { current, retired } = &mut *state;
        retired.retain(|snapshot| snapshot.strong_count() > 0);
        let before = Arc::downgrade(current);
        let snapshot = Arc::make_mut(current);
        let result = change(snapshot);
        snapshot.epoch += 1;
        self.epoch.store(snapshot.epoch, Ordering::Release);
        retired.push(before);
        result
    }

    /// Waits until nobody holds a snapshot that was made before now.
    async fn settled<T>(self: Arc<Self>, result: T) -> T {
        let earlier = self.state.read().unwrap_or_else(PoisonError::into_inner).retired.clone();
        loop {
            let released = self.released.listen();
            if earlier.iter().all(|snapshot| snapshot.strong_count() == 0) {
                return result;
            }
            released.await;
        }
    }
}

impl Snapshot {
    /// Takes out the handlers of what is not registered any more.
    fn take_unregistered(&mut self) -> (Vec<SpaceTarget>, Vec<ModuleTarget>) {
        let mut spaces = vec![false; self.spaces.len()];
        let mut modules = vec![false; self.modules.len()];
        for target in self.rules.peer_connect_targets() {
            match target {
                Target::Space { key, .. } => spaces[key.index()] = true,
                Target::Module { key, .. } => modules[key.index()] = true,
                _ => {}
            }
        }
        let spaces: Vec<_> = take_unless(&mut self.spaces, spaces).collect();
        let modules: Vec<_> = take_unless(&mut self.modules, modules).collect();
        (spaces, modules)
    }
}

/// Lets go of what is not registered any more. Without the lock: dropping a handler may run anything.
fn dismiss((spaces, modules): (Vec<SpaceTarget>, Vec<ModuleTarget>)) {
    // Who waits to put something into a stream, or to take something out of it, is told.
    for space in spaces {
        if let SpaceTarget::Stream(stream) = space {
            stream.close();
        }
    }
    for module in modules {
        if let ModuleTarget::Stream(stream) = module {
            stream.close();
        }
    }
}

fn put<T>(handlers: &mut Vec<Option<T>>, index: usize, handler: T) {
    if handlers.len() <= index {
        handlers.resize_with(index + 1, || None);
    }
    handlers[index] = Some(handler);
}

fn take_unless<T>(handlers: &mut [Option<T>], registered: Vec<bool>) -> impl Iterator<Item = T> {
    handlers
        .iter_mut()
        .zip(registered)
        .filter(|(_, registered)| !registered)
        .filter_map(|(handler, _)| handler.take())
}
