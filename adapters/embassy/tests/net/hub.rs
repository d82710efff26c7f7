//! An Ethernet hub that loses what it is told to lose.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};

/// Frames that a port keeps until they are read; more are lost, as on a real one.
const QUEUE: usize = 32;

#[derive(Default)]
struct Port {
    up: bool,
    received: VecDeque<Vec<u8>>,
    waker: Option<Waker>,
}

#[derive(Default)]
struct State {
    ports: Vec<Port>,
    /// Of so many frames one is lost; 0 for none.
    loses_one_of: u32,
    random: u32,
    /// Where everything that is sent is noted.
    tap: Option<Arc<Mutex<Vec<u8>>>>,
}

/// Everything that is sent on one port is received on all others.
#[derive(Clone, Default)]
pub(crate) struct Hub(Rc<RefCell<State>>);

impl Hub {
    pub(crate) fn plug(&self) -> Cable {
        let mut state = self.0.borrow_mut();
        state.ports.push(Port { up: true, ..Port::default() });
        Cable { hub: self.clone(), port: state.ports.len() - 1 }
    }

    /// Loses one of so many frames from now on, always the same ones.
    pub(crate) fn lose_one_of(&self, frames: u32) {
        let mut state = self.0.borrow_mut();
        (state.loses_one_of, state.random) = (frames, 1);
    }

    /// Pulls out or plugs in what was plugged in as the `port`th.
    pub(crate) fn set_link(&self, port: usize, up: bool) {
        let port = &mut self.0.borrow_mut().ports[port];
        port.up = up;
        port.received.clear();
        if let Some(waker) = port.waker.take() {
            waker.wake();
        }
    }

    /// All bytes that are sent from now on.
    pub(crate) fn tap(&self) -> Arc<Mutex<Vec<u8>>> {
        self.0.borrow_mut().tap.get_or_insert_default().clone()
    }

    fn send(&self, from: usize, frame: &[u8]) {
        let state = &mut *self.0.borrow_mut();
        if !state.ports[from].up {
            return;
        }
        state.random = state.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state.loses_one_of > 0 && (state.random >> 16).is_multiple_of(state.loses_one_of) {
            return;
        }
        if let Some(tap) = &state.tap {
            tap.lock().unwrap_or_else(PoisonError::into_inner).extend(frame);
        }
        for (number, port) in state.ports.iter_mut().enumerate() {
            if number != from && port.up && port.received.len() < QUEUE {
                port.received.push_back(frame.to_vec());
                if let Some(waker) = port.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

/// A network interface that is plugged into a hub.
pub(crate) struct Cable {
    hub: Hub,
    pub(crate) port: usize,
}

pub(crate) struct Received(Vec<u8>);
pub(crate) struct Sending(Hub, usize);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, f: F) -> R {
        f(&mut self.0)
    }
}

impl TxToken for Sending {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send(self.1, &frame);
        result
    }
}

impl Cable {
    fn note(&self, cx: &Context<'_>) {
        self.hub.0.borrow_mut().ports[self.port].waker = Some(cx.waker().clone());
    }
}

impl Driver for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received, Sending)> {
        self.note(cx);
        let frame = self.hub.0.borrow_mut().ports[self.port].received.pop_front()?;
        Some((Received(frame), Sending(self.hub.clone(), self.port)))
    }

    fn transmit(&mut self, cx: &mut Context<'_>) -> Option<Sending> {
        self.note(cx);
        Some(Sending(self.hub.clone(), self.port))
    }

    fn link_state(&mut self, cx: &mut Context<'_>) -> LinkState {
        self.note(cx);
        if self.hub.0.borrow().ports[self.port].up { LinkState::Up } else { LinkState::Down }
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet([2, 0, 0, 0, 0, self.port as u8 + 1])
    }
}
