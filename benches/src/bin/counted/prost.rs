//! The codec alone, by crate `prost` and by hand, without frames, routing or blocks; and the copy of the payload, below
//! which nothing goes that copies it.

use std::hint::black_box;

use bytes::Bytes;
use kitfox_benches::bench::Bench;
use kitfox_benches::paths::{SIZES, payload};
use kitfox_benches::world::{encoded, module, space};
use kitfox_core::wire::{K2Proto, Message};
use prost::Message as _;

/// Messages of one round.
const MESSAGES: u64 = 16;

pub(crate) fn all(bench: &mut Bench) {
    let (id, name) = (space(0), module(0));
    for size in SIZES {
        let data = payload(size);
        let message = Message::module(&id, &name, &data);
        let bytes = encoded(&message);
        let owned = K2Proto::from(message);
        let mut out = vec![0; data.len()];
        let mut repeat = |path: &str, body: &mut dyn FnMut()| {
            bench.path(format!("{path}/{}", size.bytes), |meter| {
                meter.rounds(|meter| {
                    meter.measure(MESSAGES, || {
                        (0..MESSAGES).for_each(|_| body());
                        MESSAGES
                    });
                });
            });
        };
        repeat("receive/prost decode", &mut || {
            black_box(K2Proto::decode(black_box(&bytes[..])).expect("valid"));
        });
        repeat("send/prost encode", &mut || {
            black_box(Bytes::from(black_box(&owned).encode_to_vec()));
        });
        repeat("receive/copy of the payload", &mut || out.copy_from_slice(black_box(&data)));
    }
}
