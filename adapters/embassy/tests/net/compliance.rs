//! The claims that hold for every adapter, over stacks on a hub and a clock of the test's own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use embassy_futures::select::select;
use embassy_net::tcp::TcpSocket;
use embassy_time::{Duration, Instant, Timer};
use kitfox_embassy::{
    Down, Handler, Inbox, Incoming, MessageId, Network, NotSentCause, Ops, Options, Peer, PeerId, PeerKey,
    Plain, Refused, Resources, Secured, fixed, new,
};
use kitfox_tests::compliance::{
    Adapter, Counters, Event, FRAME, Heard, Inside, LETTERS, Node, OUTBOX, Raw, SPACE, SendError, Tap, Terms,
    Told,
};

use crate::common::{Machine, Wire, eventually};
use crate::hub::Hub;
use crate::sim::{self, Sim};

kitfox_tests::compliance!(
    embassy,
    crate::compliance::Embassy<kitfox_embassy::Plain>,
    crate::compliance::Embassy<kitfox_embassy::Secured>
);

const SOCKETS: usize = 4;

fixed!(Device {
    connections: 5,
    peers: 4,
    frame: FRAME,
    tx: 512,
    outbox: OUTBOX,
    spaces: 3,
    modules: 2,
    block_rules: 2
});

/// What the options of each kind of connection need.
pub(crate) trait Kind: Wire + Clone {
    fn in_network(options: &mut Options<'static, Self>, network: &[u8]);
}

impl Kind for Plain {
    fn in_network(_: &mut Options<'static, Self>, _: &[u8]) {}
}

impl Kind for Secured {
    fn in_network(options: &mut Options<'static, Self>, network: &[u8]) {
        options.identity.network = Network::new(network);
    }
}

/// kitfox-embassy, over this kind of connections.
pub(crate) struct Embassy<W: Kind> {
    sim: Sim,
    hub: Hub,
    /// By the last number of their address.
    machines: Rc<RefCell<BTreeMap<u8, Rc<Machine>>>>,
    wire: core::marker::PhantomData<W>,
}

impl<W: Kind> Clone for Embassy<W> {
    fn clone(&self) -> Self {
        let Self { sim, hub, machines, wire } = self;
        Self { sim: sim.clone(), hub: hub.clone(), machines: machines.clone(), wire: *wire }
    }
}

impl<W: Kind> Embassy<W> {
    /// A machine with an address of its own.
    fn machine(&self) -> (u8, Rc<Machine>) {
        let host = self.machines.borrow().len() as u8 + 1;
        let machine = Rc::new(Machine::new(&self.sim, &self.hub, host));
        self.machines.borrow_mut().insert(host, machine.clone());
        (host, machine)
    }
}

type Letters = Inbox<LETTERS, FRAME>;

/// Asks and tells the claim's application.
struct App {
    told: Arc<Told>,
    preflight: Vec<u8>,
    letters: Option<&'static Letters>,
}

fn yes(yes: bool) -> Result<(), Refused> {
    if yes { Ok(()) } else { Err(Refused) }
}

fn url_of(node: &Ops<'_, Device>, peer: PeerKey) -> String {
    node.peer(peer).map(|peer| peer.url.to_owned()).unwrap_or_default()
}

/// The node, while its handler is called.
struct Called<'a, 'n> {
    node: &'a mut Ops<'n, Device>,
    from: PeerKey,
    space: &'a [u8],
}

impl Inside for Called<'_, '_> {
    fn reply(&mut self, data: &[u8]) -> bool {
        self.node.notify_peer(self.from, self.space, data).is_ok()
    }

    fn block(&mut self) {
        let id = *self.node.peers().id(self.from).unwrap();
        self.node.directory_mut().policy_mut().block(id, None).unwrap();
    }

    fn disconnect(&mut self, reason: &[u8]) {
        self.node.disconnect(self.from, reason);
    }
}

impl Handler<Device> for App {
    fn notify(&mut self, node: &mut Ops<'_, Device>, message: &Incoming<'_>) -> Result<(), Refused> {
        if let Some(letters) = self.letters {
            return letters.put(node, message);
        }
        let peer = node.peer(message.from).unwrap();
        let heard = Heard {
            from: peer.url.to_owned(),
            proven: peer.proven,
            space: message.space.to_vec(),
            module: message.module.to_owned(),
            data: message.data.to_vec(),
        };
        let mut called = Called { node, from: message.from, space: message.space };
        yes(self.told.hear(&mut called, heard))
    }

    fn module(&mut self, node: &mut Ops<'_, Device>, message: &Incoming<'_>) -> Result<(), Refused> {
        self.notify(node, message)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.letters.map_or(Poll::Ready(()), |letters| letters.poll_room(cx))
    }

    fn admit_handshake(&mut self, claimed: &PeerId) -> bool {
        self.told.answers().unwanted != Some(*claimed)
    }

    fn peer_connect(&mut self, _: &Peer<'_>) -> Result<(), Refused> {
        yes(self.told.answers().peer_connect)
    }

    fn has_local_agents(&mut self, _: &[u8]) -> bool {
        self.told.answers().has_local_agents
    }

    fn preflight_gather(&mut self, _: &Peer<'_>) -> Result<&[u8], Refused> {
        self.preflight = self.told.answers().preflight_gather.ok_or(Refused)?;
        Ok(&self.preflight)
    }

    fn preflight_validate(&mut self, _: &Peer<'_>, data: &[u8]) -> Result<(), Refused> {
        yes(self.told.validate(data))
    }

    fn peer_up(&mut self, node: &mut Ops<'_, Device>, peer: PeerKey) {
        self.told.tell(Event::Up(url_of(node, peer)));
    }

    fn peer_down(&mut self, node: &mut Ops<'_, Device>, peer: PeerKey, down: &Down<'_>) {
        let (url, words) = (url_of(node, peer), down.message.to_vec());
        self.told.tell(Event::Down { url, cause: down.cause, words, unknown: down.unknown });
    }

    fn not_sent(&mut self, node: &mut Ops<'_, Device>, id: MessageId, cause: NotSentCause) {
        let data = node.given_up().map(|message| message.data.to_vec()).unwrap_or_default();
        self.told.tell(Event::NotSent { id, cause, data });
    }

    fn unresponsive(&mut self, peer: &Peer<'_>) {
        self.told.tell(Event::Unresponsive(peer.url.to_owned()));
    }

    fn new_listening_address(&mut self, url: &str) {
        self.told.tell(Event::Listening(url.to_owned()));
    }

    fn lost_listening_address(&mut self, url: &str) {
        self.told.tell(Event::Lost(url.to_owned()));
    }
}

pub(crate) struct EmbassyNode<W: Kind> {
    node: kitfox_embassy::Node<'static, Device, W>,
    hub: Hub,
    machine: Rc<Machine>,
    url: String,
    letters: &'static Letters,
    /// Ends the runner, which holds the other end.
    end: async_channel::Sender<()>,
}

fn refused(error: kitfox_embassy::SendError) -> SendError {
    kitfox_tests::compliance_send_error!(error, kitfox_embassy::SendError)
}

impl<W: Kind> Node for EmbassyNode<W> {
    fn url(&self) -> String {
        self.url.clone()
    }

    async fn send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.node.send_notify(to, space, data).await.map_err(refused)
    }

    async fn try_send(&self, to: &str, space: &[u8], data: &[u8]) -> Result<MessageId, SendError> {
        self.node.try_send_notify(to, space, data).await.map_err(refused)
    }

    async fn try_send_module(
        &self,
        to: &str,
        space: &[u8],
        module: &str,
        data: &[u8],
    ) -> Result<MessageId, SendError> {
        self.node.try_send_module(to, space, module, data).await.map_err(refused)
    }

    async fn disconnect(&self, url: &str, reason: &[u8]) -> bool {
        let Some(id) = PeerId::new(url.rsplit('/').next().unwrap()) else { return false };
        self.node.disconnect(&id, reason).await.is_ok()
    }

    async fn register_space(&self, space: &[u8]) {
        self.node.register_space(space).await.unwrap();
    }

    async fn unregister_space(&self, space: &[u8]) -> bool {
        self.node.unregister_space(space).await
    }

    async fn register_module(&self, space: &[u8], module: &str) {
        self.node.register_module(space, module).await.unwrap();
    }

    async fn unregister_module(&self, space: &[u8], module: &str) -> bool {
        self.node.unregister_module(space, module).await
    }

    async fn block(&self, id: &str, space: Option<&[u8]>) {
        self.node.block(id, space).await.unwrap();
    }

    async fn unblock(&self, id: &str, space: Option<&[u8]>) -> bool {
        self.node.unblock(id, space).await
    }

    async fn blocked(&self) -> Vec<(String, Vec<u8>, u32, u32)> {
        let mut blocked = Vec::new();
        let show = |url: &str, space: &[u8], incoming, outgoing| {
            blocked.push((url.to_owned(), space.to_vec(), incoming, outgoing));
        };
        self.node.blocked(show).await;
        blocked
    }

    async fn peers(&self) -> Vec<String> {
        let mut urls = Vec::new();
        self.node.peers(|peer| urls.push(peer.url.to_owned())).await;
        urls
    }

    async fn counters(&self) -> Counters {
        kitfox_tests::compliance_counters!(self.node.stats().await)
    }

    async fn letter(&self) -> Vec<u8> {
        self.letters.recv().await.data().to_vec()
    }

    fn letters(&self) -> usize {
        self.letters.len()
    }

    async fn listen(&self, listens: bool) {
        self.hub.set_link(self.machine.port, listens);
    }

    async fn stop(self) {
        self.end.close();
        eventually(|| (self.end.receiver_count() == 0).then_some(())).await;
    }
}

pub(crate) struct EmbassyRaw(TcpSocket<'static>);

impl Raw for EmbassyRaw {
    async fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let Ok(len @ 1..) = self.0.write(bytes).await else { return };
            bytes = &bytes[len..];
        }
    }

    async fn rest(&mut self) -> Vec<u8> {
        let (mut rest, mut buffer) = (Vec::new(), [0; 256]);
        while let Ok(len @ 1..) = self.0.read(&mut buffer).await {
            rest.extend(&buffer[..len]);
        }
        self.0.close();
        let _ = self.0.flush().await;
        rest
    }

    async fn finish(&mut self) {
        self.0.close();
    }
}

impl<W: Kind> Adapter for Embassy<W> {
    const SECURED: bool = W::SECURED;
    const FAREWELL: Option<&'static [u8]> = None;
    const COUNTS_REPLIES: bool = false;
    type Node = EmbassyNode<W>;
    type Raw = EmbassyRaw;

    fn run<F: Future<Output = ()> + 'static>(claim: impl FnOnce(Self) -> F) {
        sim::test(|sim| {
            claim(Self { sim, hub: Hub::default(), machines: Rc::default(), wire: core::marker::PhantomData })
        });
    }

    async fn node(&self, terms: &Terms, told: Arc<Told>) -> EmbassyNode<W> {
        let host = terms.at.as_ref().map(|url| {
            let host = url.split(['/', ':']).nth(3).unwrap();
            host.rsplit('.').next().unwrap().parse::<u8>().unwrap()
        });
        let known = host.and_then(|host| Some((host, self.machines.borrow().get(&host)?.clone())));
        let (host, machine) = known.unwrap_or_else(|| self.machine());
        let mut options = W::options(terms.name).peers(terms.peers);
        options.config.connection = terms.config;
        W::in_network(&mut options, terms.network);
        let advertise: Option<&'static str> = terms.advertise.clone().map(|url| &*url.leak());
        options.advertise = advertise;
        let url = advertise.map_or_else(|| W::url(host, options.port, terms.name), str::to_owned);
        let resources: &'static mut Resources<Device, SOCKETS, 1024, 1024, W> =
            Box::leak(Box::new(Resources::new()));
        let (node, runner) = new(machine.stack, resources, options).unwrap();
        node.register_space(SPACE).await.unwrap();
        let letters: &'static Letters = Box::leak(Box::new(Inbox::new()));
        let mut app = App { told, preflight: Vec::new(), letters: terms.letters.then_some(letters) };
        let (end, ends) = async_channel::bounded::<()>(1);
        self.sim.spawn("node", async move {
            {
                let mut runner = runner;
                select(runner.run(&mut app), ends.recv()).await;
            }
            drop(ends);
        });
        EmbassyNode { node, hub: self.hub.clone(), machine, url, letters, end }
    }

    async fn raw(&self, url: &str) -> EmbassyRaw {
        let (_, machine) = self.machine();
        let (rx, tx) = (Box::leak(Box::new([0; 2048])), Box::leak(Box::new([0; 2048])));
        let mut socket = TcpSocket::new(machine.stack, rx, tx);
        let mut parts = url.split(['/', ':']).skip(3);
        let host: embassy_net::Ipv4Address = parts.next().unwrap().parse().unwrap();
        let to = (host, parts.next().unwrap().parse::<u16>().unwrap());
        // Where no socket listens, one soon will: those that were closed wait for a last acknowledgement.
        while socket.connect(to).await.is_err() {
            self.pause().await;
        }
        EmbassyRaw(socket)
    }

    async fn tap(&self, url: &str) -> (String, Tap) {
        (url.to_owned(), self.hub.tap())
    }

    async fn pause(&self) {
        Timer::after(Duration::from_millis(1)).await;
    }

    fn now(&self) -> core::time::Duration {
        core::time::Duration::from_micros(Instant::now().as_micros())
    }
}
