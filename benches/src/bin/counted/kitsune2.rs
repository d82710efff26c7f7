//! The same messages through crate `kitsune2_api`: its `TxImpHnd` takes them, its `DefaultTransport` sends them. The
//! frames of a transport of Kitsune2 come on top of both.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_lite::future::block_on;
use kitfox_benches::bench::Bench;
use kitfox_benches::paths::{SIZES, payload};
use kitfox_benches::peers::Fault;
use kitfox_benches::world::{ALICE, encoded, module, space};
use kitfox_core::wire::Message;
use kitsune2_api::{
    BoxFut, DefaultTransport, DynTransport, K2Result, SpaceId, TransportStats, TxBaseHandler, TxHandler,
    TxImp, TxImpHnd, TxModuleHandler, TxSpaceHandler, Url,
};

/// Messages of one round.
const MESSAGES: u64 = 16;

/// Accepts everybody, and counts what is delivered.
#[derive(Debug, Default)]
struct Handler(AtomicU64);

impl TxBaseHandler for Handler {}
impl TxHandler for Handler {}

impl TxSpaceHandler for Handler {
    fn is_any_agent_at_url_blocked(&self, _: &Url) -> K2Result<bool> {
        Ok(false)
    }
}

impl TxModuleHandler for Handler {
    fn recv_module_msg(&self, _: Url, _: SpaceId, _: String, data: Bytes) -> K2Result<()> {
        black_box(data);
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Takes whatever is sent.
#[derive(Debug, Default)]
struct Sink(AtomicU64);

impl TxImp for Sink {
    fn url(&self) -> Option<Url> {
        None
    }

    fn disconnect(&self, _: Url, _: Option<(String, Bytes)>) -> BoxFut<'_, ()> {
        Box::pin(async {})
    }

    fn send(&self, _: Url, data: Bytes) -> BoxFut<'_, K2Result<()>> {
        black_box(data);
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn get_connected_peers(&self) -> BoxFut<'_, K2Result<Vec<Url>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn dump_network_stats(&self) -> BoxFut<'_, K2Result<TransportStats>> {
        let backend = "sink".into();
        let stats = TransportStats { backend, peer_urls: Vec::new(), connections: Vec::new() };
        Box::pin(async { Ok(stats) })
    }
}

/// What takes messages, what sends them, and what counts both.
struct World {
    hub: Arc<TxImpHnd>,
    transport: DynTransport,
    handler: Arc<Handler>,
    sink: Arc<Sink>,
    url: Url,
    space: SpaceId,
}

fn world() -> Result<World, Fault> {
    let (handler, sink) = (Arc::new(Handler::default()), Arc::new(Sink::default()));
    let hub = TxImpHnd::new(Arc::<Handler>::clone(&handler));
    let transport = DefaultTransport::create(&hub, Arc::<Sink>::clone(&sink));
    let id = SpaceId::from(Bytes::copy_from_slice(&space(0)));
    transport.register_space_handler(id.clone(), Arc::<Handler>::clone(&handler));
    transport.register_module_handler(id.clone(), module(0), Arc::<Handler>::clone(&handler));
    Ok(World { hub, transport, handler, sink, url: Url::from_str(ALICE)?, space: id })
}

pub(crate) fn all(bench: &mut Bench) -> Result<(), Fault> {
    let World { hub, transport, handler, sink, url, space: id } = world()?;
    for size in SIZES {
        let data = payload(size);
        let bytes = Bytes::from(encoded(&Message::module(&space(0), &module(0), &data)));
        bench.path(format!("receive/kitsune2_api/{}", size.bytes), |meter| {
            meter.rounds(|meter| {
                meter.measure(MESSAGES, || {
                    let before = handler.0.load(Ordering::Relaxed);
                    for _ in 0..MESSAGES {
                        // A message that was refused was not counted, and then the numbers differ.
                        let _ = block_on(hub.recv_data(url.clone(), black_box(&bytes).clone()));
                    }
                    handler.0.load(Ordering::Relaxed) - before
                });
            });
        });
        let data = Bytes::from(data);
        bench.path(format!("send/kitsune2_api/{}", size.bytes), |meter| {
            let name = module(0);
            meter.rounds(|meter| {
                meter.measure(MESSAGES, || {
                    let before = sink.0.load(Ordering::Relaxed);
                    for _ in 0..MESSAGES {
                        let data = black_box(&data).clone();
                        let _ = block_on(transport.send_module(url.clone(), id.clone(), name.clone(), data));
                    }
                    sink.0.load(Ordering::Relaxed) - before
                });
            });
        });
    }
    Ok(())
}
