//! Parts of the paths that more than one program measures.

use core::hint::black_box;

use kitfox_core::connection::{Action, Rx};
use kitfox_core::storage::Storage;
use kitfox_core::wire::Message;

use crate::world::{NOW, Spaces, frames, module, space};

/// A size of payload.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Its name.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: usize,
    /// How many one read brings.
    pub batch: usize,
}

/// Of 16 B.
pub const TINY: Size = Size { name: "16", bytes: 16, batch: 16 };
/// Of 128 B.
pub const SMALL: Size = Size { name: "128", bytes: 128, batch: 16 };
/// Of 1 KiB.
pub const KIB: Size = Size { name: "1k", bytes: 1 << 10, batch: 16 };
/// Of 16 KiB. The batch is what a read of 64 KiB holds of them.
pub const LARGE: Size = Size { name: "16k", bytes: 16 << 10, batch: 3 };
/// Of 1 MiB.
pub const HUGE: Size = Size { name: "1m", bytes: 1 << 20, batch: 1 };
/// All of them.
pub const SIZES: [Size; 5] = [TINY, SMALL, KIB, LARGE, HUGE];

/// Bytes of a payload.
pub fn payload(size: Size) -> Vec<u8> {
    (0..size.bytes).map(|place| place as u8).collect()
}

/// One batch of MODULE messages as it comes out of the socket.
pub fn module_batch(size: Size) -> Vec<u8> {
    let (data, space, name) = (payload(size), space(0), module(0));
    frames((0..size.batch).map(|_| Message::module(&space, &name, &data)))
}

/// What handlers get to see.
#[inline]
pub fn deliver(action: Action<'_>) -> u64 {
    match action {
        Action::Module { to, data, .. } => {
            black_box((to.index(), data));
            1
        }
        Action::Notify { to, data, .. } => {
            black_box((to.index(), data));
            1
        }
        _ => 0,
    }
}

/// Takes all messages out of one read, as the reader task of an adapter does.
#[inline]
pub fn read<S: Storage>(rx: &mut Rx<S>, directory: &Spaces<S>, bytes: &mut [u8]) -> u64 {
    let mut delivered = 0;
    let mut frames = rx.read(black_box(NOW), black_box(bytes));
    while let Some(action) = frames.next(directory) {
        delivered += deliver(action);
    }
    black_box(frames.finish());
    delivered
}
