//! The claims that hold for every adapter, over loopback sockets.

use std::future::Future;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_io::{Async, Timer};
use bytes::Bytes;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use kitfox_smol::{
    BoxFuture, Closing, Down, Handler, Limits, MessageId, MessageStream, Network, NotSentCause, Peer, PeerId,
    Refused, Returned, WeakNode,
};
use kitfox_tests::compliance::{
    Adapter, Counters, Event, Heard, Inside, LETTERS, Node, Raw, SPACE, SendError, Tap, Terms, Told, key,
};

kitfox_tests::compliance!(smol, crate::compliance::Smol<false>, crate::compliance::Smol<true>);

/// kitfox-smol, over plain or secured connections.
#[derive(Debug, Clone)]
pub(crate) struct Smol<const SECURED: bool>(Instant);

/// Asks and tells the claim's application.
struct App(Arc<Told>);

fn yes(yes: bool) -> Result<(), Refused> {
    if yes { Ok(()) } else { Err(Refused) }
}

impl Handler for App {
    fn admit_handshake(&self, claimed: &PeerId) -> bool {
        self.0.answers().unwanted != Some(*claimed)
    }

    fn peer_connect<'a>(&'a self, _: &'a Peer) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async { yes(self.0.answers().peer_connect) })
    }

    fn has_local_agents<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, bool> {
        Box::pin(async { self.0.answers().has_local_agents })
    }

    fn preflight_gather<'a>(&'a self, _: &'a Peer) -> BoxFuture<'a, Result<Bytes, Refused>> {
        Box::pin(async { self.0.answers().preflight_gather.map(Bytes::from).ok_or(Refused) })
    }

    fn preflight_validate<'a>(&'a self, _: &'a Peer, data: &'a [u8]) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async { yes(self.0.validate(data)) })
    }

    fn peer_up(&self, peer: &Peer) {
        self.0.tell(Event::Up(peer.url().to_owned()));
    }

    fn peer_down(&self, peer: &Peer, down: &Down) {
        let (url, words) = (peer.url().to_owned(), down.message.to_vec());
        self.0.tell(Event::Down { url, cause: down.cause, words, unknown: down.unknown });
    }

    fn not_sent(&self, id: MessageId, cause: NotSentCause, message: Returned) {
        self.0.tell(Event::NotSent { id, cause, data: message.data.to_vec() });
    }

    fn unresponsive(&self, url: &str, _: SystemTime) {
        self.0.tell(Event::Unresponsive(url.to_owned()));
    }

    fn new_listening_address(&self, url: &str) {
        self.0.tell(Event::Listening(url.to_owned()));
    }

    fn lost_listening_address(&self, url: &str) {
        self.0.tell(Event::Lost(url.to_owned()));
    }

    fn rejected(&self, _: SocketAddr, _: &Closing) {}
}

/// A handler's own node, while it is called.
struct Called<'a> {
    node: Option<kitfox_smol::Node>,
    from: &'a Peer,
    space: &'a [u8],
}

impl Inside for Called<'_> {
    fn reply(&mut self, data: &[u8]) -> bool {
        let node = self.node.as_ref();
        node.is_some_and(|node| node.notify(self.from.url(), self.space, data).is_ok())
    }

    fn block(&mut self) {
        if let Some(node) = &self.node {
            node.block(&self.from.id().to_string(), None).unwrap();
        }
    }

    fn disconnect(&mut self, reason: &[u8]) {
        if let Some(node) = &self.node {
            node.disconnect(self.from.url(), reason);
        }
    }
}

/// The handler of a space, or of a module of it.
fn listens(
    node: WeakNode,
    told: Arc<Told>,
    space: &[u8],
    module: &str,
) -> impl Fn(&Peer, &[u8]) -> Result<(), Refused> + Send + Sync + 'static {
    let (space, module) = (space.to_vec(), module.to_owned());
    move |from, data| {
        let mut called = Called { node: node.upgrade(), from, space: &space };
        let heard = Heard {
            from: from.url().to_owned(),
            proven: from.is_proven(),
            space: space.clone(),
            module: module.clone(),
            data: data.to_vec(),
        };
        yes(told.hear(&mut called, heard))
    }
}

pub(crate) struct SmolNode {
    node: kitfox_smol::Node,
    told: Arc<Told>,
    url: String,
    letters: Option<MessageStream>,
}

fn refused(error: kitfox_smol::SendError) -> SendError {
    kitfox_tests::compliance_send_error!(error, kitfox_smol::SendError)
}

/// The `host:port` of a URL.
fn address(url: &str) -> &str {
    url.split('/').nth(2).unwrap()
}

impl Node for SmolNode {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        loop {
            match self.try_send(to, space, data).await {
                // If it is not connected any more, the next attempt says so, or dials.
                Err(SendError::Backpressure) => drop(self.node.ready(to, data.len()).await),
                sent => return sent,
            }
        }
    }

    async fn try_send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.node.notify(to, space, data).map_err(refused)
    }

    async fn try_send_module(
        &self,
        to: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.node.module(to, space, module, data).map_err(refused)
    }

    async fn disconnect(&self, url: &str, reason: &[u8]) -> bool {
        self.node.disconnect(url, reason)
    }

    async fn register_space(&self, space: &[u8]) {
        let handler = listens(self.node.downgrade(), self.told.clone(), space, "");
        self.node.register_space(space, handler).unwrap();
    }

    async fn unregister_space(&self, space: &[u8]) -> bool {
        self.node.unregister_space(space).await
    }

    async fn register_module(&self, space: &[u8], module: &str) {
        let handler = listens(self.node.downgrade(), self.told.clone(), space, module);
        self.node.register_module(space, module, handler).unwrap();
    }

    async fn unregister_module(&self, space: &[u8], module: &str) -> bool {
        self.node.unregister_module(space, module).await
    }

    async fn block(&self, id: &str, space: Option<&[u8]>) {
        self.node.block(id, space).unwrap();
    }

    async fn unblock(&self, id: &str, space: Option<&[u8]>) -> bool {
        self.node.unblock(id, space)
    }

    async fn blocked(&self) -> Vec<(String, Vec<u8>, u32, u32)> {
        let blocked = self.node.stats().blocked;
        blocked.into_iter().map(|count| (count.peer, count.space, count.incoming, count.outgoing)).collect()
    }

    async fn peers(&self) -> Vec<String> {
        self.node.peers().iter().map(|peer| peer.url().to_owned()).collect()
    }

    async fn counters(&self) -> Counters {
        kitfox_tests::compliance_counters!(self.node.stats())
    }

    async fn letter(&self) -> Vec<u8> {
        self.letters.as_ref().unwrap().recv().await.unwrap().data.to_vec()
    }

    fn letters(&self) -> usize {
        self.letters.as_ref().unwrap().len()
    }

    async fn listen(&self, listens: bool) {
        if listens {
            assert_eq!(self.node.listen(address(&self.url)).await.unwrap(), self.url);
        } else {
            assert!(self.node.unlisten(&self.url).await);
        }
    }

    async fn stop(self) {
        self.node.shutdown().await;
    }
}

pub(crate) struct SmolRaw(Async<TcpStream>);

impl Raw for SmolRaw {
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes).await;
    }

    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest).await {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
            _ => rest,
        }
    }

    async fn finish(&mut self) {
        let _ = self.0.get_ref().shutdown(std::net::Shutdown::Write);
    }
}

async fn dial(address: &str) -> Async<TcpStream> {
    let address = address.to_socket_addrs().unwrap().next().unwrap();
    Async::<TcpStream>::connect(address).await.unwrap()
}

/// Passes bytes on until they end, and notes them.
async fn pass_on(mut from: &Async<TcpStream>, mut to: &Async<TcpStream>, tap: &Tap) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        tap.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..len]);
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.get_ref().shutdown(std::net::Shutdown::Write);
}

impl<const SECURED: bool> Adapter for Smol<SECURED> {
    const SECURED: bool = SECURED;
    const FAREWELL: Option<&'static [u8]> = Some(b"shutdown");
    const COUNTS_REPLIES: bool = true;
    type Node = SmolNode;
    type Raw = SmolRaw;

    fn run<F: Future<Output = ()> + 'static>(claim: impl FnOnce(Self) -> F) {
        async_io::block_on(claim(Self(Instant::now())));
    }

    async fn node(&self, terms: &Terms, told: Arc<Told>) -> SmolNode {
        let limits = Limits { peers: terms.peers, ..Limits::default() };
        let mut builder =
            kitfox_smol::Node::builder().config(terms.config).limits(limits).handler(App(told.clone()));
        builder = match SECURED {
            true => builder.key(key(terms.name)).network(Network::new(terms.network)),
            false => builder.plain().peer_id(terms.name),
        };
        if let Some(url) = &terms.advertise {
            builder = builder.advertise(url);
        }
        let node = builder.build().unwrap();
        let letters = terms.letters.then(|| node.register_space_stream(SPACE, LETTERS).unwrap());
        let url = node.listen(terms.at.as_deref().map_or("127.0.0.1:0", address)).await.unwrap();
        let new = SmolNode { node, told, url, letters };
        if new.letters.is_none() {
            new.register_space(SPACE).await;
        }
        new
    }

    async fn raw(&self, url: &str) -> SmolRaw {
        SmolRaw(dial(address(url)).await)
    }

    async fn tap(&self, url: &str) -> (String, Tap) {
        let listener = Async::<std::net::TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
        let own = listener.get_ref().local_addr().unwrap().to_string();
        let tap: Tap = Arc::new(Mutex::default());
        let (there, overheard) = (address(url).to_owned(), tap.clone());
        ::smol::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = dial(&there).await;
                let both = future::zip(pass_on(&near, &far, &overheard), pass_on(&far, &near, &overheard));
                both.await;
            }
        })
        .detach();
        (url.replace(address(url), &own), tap)
    }

    async fn pause(&self) {
        Timer::after(Duration::from_millis(1)).await;
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
