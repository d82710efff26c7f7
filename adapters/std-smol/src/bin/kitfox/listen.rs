//! `kitfox listen`: a node that tells what it hears.

use std::sync::Arc;

use async_io::block_on;
use futures_lite::future;
use kitfox_smol::{
    ListenError, MessageId, ModuleHandler, Node, Peer, Refused, SendError, SpaceHandler, WeakNode,
};
use lexopt::prelude::{Long, Short};

use crate::args;
use crate::failure::Failure;
use crate::names::{self, Hex, Name};
use crate::node::{self, Identity};
use crate::output::{Event, Output, Teller};
use crate::record::Record;
use crate::stop::Stop;

/// What the command line says.
#[derive(Default)]
pub(crate) struct Options {
    identity: Identity,
    listen: Vec<String>,
    advertise: Vec<String>,
    spaces: Vec<Vec<u8>>,
    modules: Vec<String>,
    /// Peer ids.
    block: Vec<String>,
    echo: bool,
    max_frame_bytes: Option<usize>,
    max_connections: Option<usize>,
    record: Record,
    json: bool,
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("plain") => options.identity.plain = true,
            Long("key") => options.identity.key = Some(args.value()?.into()),
            Long("network") => options.identity.network = Some(names::parse(&args::text(args)?)?),
            Long("id") => options.identity.id = Some(args::text(args)?),
            Long("listen") => options.listen.push(args::text(args)?),
            Long("advertise") => options.advertise.push(args::text(args)?),
            Long("space") => options.spaces.push(names::parse(&args::text(args)?)?),
            Long("module") => options.modules.push(names::parse_module(&args::text(args)?)?),
            Long("block") => options.block.push(args::peer_id(&args::text(args)?)?),
            Long("echo") => options.echo = true,
            Long("max-frame-bytes") => {
                let size = args::size(args, "--max-frame-bytes", 64..=u64::from(u32::MAX))?;
                options.max_frame_bytes = Some(size);
            }
            Long("max-connections") => {
                options.max_connections = Some(args::size(args, "--max-connections", 1..=1 << 20)?);
            }
            Long("record") => options.record.take_file(args)?,
            Long("record-max-bytes") => options.record.take_max_bytes(args)?,
            Long("json") => options.json = true,
            other => return Err(other.unexpected().into()),
        }
    }
    options.check()?;
    Ok(Some(options))
}

impl Options {
    fn check(&mut self) -> Result<(), Failure> {
        self.identity.check()?;
        self.record.check(&self.identity)?;
        if self.listen.is_empty() {
            return Err(Failure::usage("say where to listen: --listen 127.0.0.1:0 takes any free port"));
        }
        if self.spaces.is_empty() {
            return Err(Failure::usage("say in which space to listen: --space NAME"));
        }
        if self.advertise.len() > 1 && self.advertise.len() != self.listen.len() {
            return Err(Failure::usage(
                "give one --advertise for all addresses, or one for each --listen, in the same order",
            ));
        }
        // The URL that peers are told has the id in it.
        if let (true, None, Some(url)) = (self.identity.plain, &self.identity.id, self.advertise.first()) {
            self.identity.id = Some(args::peer_id(url)?);
        }
        Ok(())
    }
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    // Each connection takes a descriptor. A system that has no more to give says so when it is asked.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    if !options.identity.plain && options.identity.key.is_none() {
        eprintln!(
            "kitfox listen: this node has a key, and with it an id, for this run only; \"kitfox keygen FILE\" and --key \
             FILE keep one"
        );
    }
    let output = Output::new(options.json);
    let node = make(&options, &output)?;
    listen(&node, &options, &output)?;
    block_on(async {
        future::or(stop.wait(), output.closed()).await;
        if !stop.shutdown(&node, &output).await? {
            eprintln!("kitfox listen: a peer did not take everything that was for it");
        }
        options.record.tell(&node);
        Ok(())
    })
}

/// Makes the node, with everything that it is to hear.
fn make(options: &Options, output: &Arc<Output>) -> Result<Node, Failure> {
    let teller = Teller { output: output.clone(), lost: None };
    let node = options.identity.node(|builder| {
        let builder = match &options.advertise[..] {
            [url] => builder.advertise(url),
            _ => builder,
        };
        options
            .record
            .build(builder)
            .handler(teller)
            .config(node::config(options.max_frame_bytes))
            .limits(node::limits(options.max_connections))
    })?;
    for id in &options.block {
        node.block(id, None).map_err(|error| Failure::usage(format!("--block: {error}")))?;
    }
    for space in &options.spaces {
        let ear = |module: Option<&String>| Ear {
            space: space.clone(),
            module: module.cloned(),
            echo: options.echo.then(|| node.downgrade()),
            output: output.clone(),
        };
        let named = |error| Failure::usage(format!("--space {}: {error}", Name(space)));
        node.register_space(space, ear(None)).map_err(named)?;
        for module in &options.modules {
            node.register_module(space, module, ear(Some(module)))
                .map_err(|error| Failure::usage(format!("--module {}: {error}", Name(module.as_bytes()))))?;
        }
    }
    Ok(node)
}

/// Listens everywhere. Nobody else tells anything before all addresses were told.
fn listen(node: &Node, options: &Options, output: &Output) -> Result<(), Failure> {
    let mut turn = output.turn();
    for (place, addr) in options.listen.iter().enumerate() {
        let listening = match options.advertise.get(place) {
            Some(url) if options.advertise.len() > 1 => block_on(node.listen_as(addr, url)),
            _ => block_on(node.listen(addr)),
        };
        let url = listening.map_err(|error| {
            let advice = match error {
                ListenError::Address(_) => ": an address is IP:PORT, [IPv6]:PORT or NAME:PORT",
                ListenError::Bind(_) => "; port 0 takes one that is free",
                ListenError::AdvertisedScheme => node::SCHEMES,
                _ => "",
            };
            Failure::usage(format!("--listen {addr}: {error}{advice}"))
        })?;
        options.identity.warn(addr);
        turn.tell(&Event::Listening { url: &url });
    }
    Ok(())
}

/// Tells what is heard in a space, or in a module of it, and sends it back if it is to.
struct Ear {
    space: Vec<u8>,
    module: Option<String>,
    echo: Option<WeakNode>,
    output: Arc<Output>,
}

impl Ear {
    fn echo(&self, from: &Peer, send: impl FnOnce(&Node) -> Result<MessageId, SendError>) {
        let Some(node) = self.echo.as_ref().and_then(WeakNode::upgrade) else { return };
        if let Err(error) = send(&node) {
            let (space, reason) = (Name(&self.space), format!("echo not sent: {error}"));
            self.output.tell(&Event::Dropped { peer: from.url(), space, reason });
        }
    }
}

impl SpaceHandler for Ear {
    fn notify(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        let (peer, space) = (from.url(), &self.space);
        self.output.tell(&Event::Notify { peer, space: Name(space), data: Hex(data) });
        self.echo(from, |node| node.notify(peer, space, data));
        Ok(())
    }
}

impl ModuleHandler for Ear {
    fn message(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        let (peer, space) = (from.url(), &self.space);
        let module = self.module.as_deref().unwrap_or_default();
        self.output.tell(&Event::Module { peer, space: Name(space), module, data: Hex(data) });
        self.echo(from, |node| node.module(peer, space, module, data));
        Ok(())
    }
}
