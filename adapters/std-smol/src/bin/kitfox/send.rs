//! `kitfox send`: sends to one peer, and perhaps hears what it replies.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_channel::Receiver;
use async_io::{Timer, block_on};
use event_listener::Event;
use futures_lite::future;
use indicatif::{ProgressBar, ProgressStyle};
use kitfox_smol::{Bytes, ConnectError, ModuleHandler, Node, Peer, Refused, SendError, SpaceHandler};
use lexopt::prelude::{Long, Short, Value};

use crate::args;
use crate::failure::Failure;
use crate::names::{self, Hex, Name};
use crate::node::Identity;
use crate::output::{self, Output, Teller};
use crate::record::Record;
use crate::stop::Stop;
use crate::text;

/// Progress is shown where there is more than this to send.
const LARGE: u64 = 1 << 20;
const REDRAW: Duration = Duration::from_millis(100);

/// How long a refusal may take to come back when everything is written: as long as the connection took to open, within
/// these bounds.
const LAST_WORD: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// What the command line says.
#[derive(Default)]
pub(crate) struct Options {
    identity: Identity,
    peer: String,
    space: Vec<u8>,
    module: Option<String>,
    source: Source,
    count: u64,
    wait_replies: u64,
    record: Record,
    json: bool,
}

/// Where the message comes from.
#[derive(Default)]
enum Source {
    #[default]
    Input,
    Text(String),
    File(PathBuf),
}

/// `None` if the command is to be explained.
pub(crate) fn parse(args: &mut lexopt::Parser) -> Result<Option<Options>, Failure> {
    let mut options = Options { count: 1, ..Options::default() };
    let (mut peer, mut space, mut sources) = (None, None, Vec::new());
    while let Some(arg) = args.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("plain") => options.identity.plain = true,
            Long("key") => options.identity.key = Some(args.value()?.into()),
            Long("network") => options.identity.network = Some(names::parse(&args::text(args)?)?),
            Long("space") => space = Some(names::parse(&args::text(args)?)?),
            Long("module") => options.module = Some(names::parse_module(&args::text(args)?)?),
            Long("data") => sources.push(Source::Text(args::text(args)?)),
            Long("file") => sources.push(Source::File(args.value()?.into())),
            Long("count") => options.count = args::number(args, "--count", 1..=u64::MAX)?,
            Long("wait-replies") => {
                options.wait_replies = args::number(args, "--wait-replies", 0..=u64::MAX)?;
            }
            Long("record") => options.record.take_file(args)?,
            Long("record-max-bytes") => options.record.take_max_bytes(args)?,
            Long("json") => options.json = true,
            Value(url) if peer.is_none() => peer = Some(url.to_string_lossy().into_owned()),
            other => return Err(other.unexpected().into()),
        }
    }
    options.identity.check()?;
    options.record.check(&options.identity)?;
    options.peer = peer.ok_or_else(|| Failure::usage("say to whom to send: kitfox send PEER_URL"))?;
    args::peer_id(&options.peer)?;
    options.identity.check_peer(&options.peer)?;
    options.space = space.ok_or_else(|| Failure::usage("say from which space to send: --space NAME"))?;
    if sources.len() > 1 {
        return Err(Failure::usage(
            "give one --data or one --file, or neither to send what comes on standard input",
        ));
    }
    options.source = sources.pop().unwrap_or_default();
    Ok(Some(options))
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let data = Bytes::from(options.source.read()?);
    let output = Output::new(options.json);
    let (tells_lost, lost) = async_channel::bounded(1);
    let replies = Arc::new(Replies::default());
    let teller = Teller { output: output.clone(), lost: Some(tells_lost) };
    let node = options.identity.node(|builder| options.record.build(builder).handler(teller))?;
    let ear = |module: Option<&String>| Ear {
        space: options.space.clone(),
        module: module.cloned(),
        replies: replies.clone(),
        output: output.clone(),
    };
    let named = |error| Failure::usage(format!("--space and --module: {error}"));
    node.register_space(&options.space, ear(None)).map_err(named)?;
    if let Some(module) = &options.module {
        node.register_module(&options.space, module, ear(Some(module))).map_err(named)?;
    }
    options.identity.warn(&options.peer);

    let sending = Sending { node: &node, options: &options, data };
    block_on(async {
        let stopped = async {
            future::or(stop.wait(), output.closed()).await;
            Err(Failure::peer("stopped before everything was done"))
        };
        let outcome = future::or(stopped, sending.all(&lost, &replies)).await;
        let ended = stop.shutdown(&node, &output).await;
        options.record.tell(&node);
        outcome?;
        match ended? {
            true => Ok(()),
            false => Err(Failure::peer("the connection ended before everything was written")),
        }
    })
}

impl Source {
    /// Reads the whole message.
    fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::File(path) => {
                fs::read(path).map_err(|error| Failure::usage(format!("--file {}: {error}", path.display())))
            }
            Self::Input => {
                let mut data = Vec::new();
                let mut input = io::stdin().lock();
                if input.is_terminal() {
                    eprintln!("kitfox send: type the message, and Ctrl-D at its end");
                }
                match input.read_to_end(&mut data) {
                    Ok(_) => Ok(data),
                    Err(error) => Err(Failure::usage(format!("standard input: {error}"))),
                }
            }
        }
    }
}

/// Everything that is to be sent.
struct Sending<'a> {
    node: &'a Node,
    options: &'a Options,
    data: Bytes,
}

impl Sending<'_> {
    /// Sends everything and waits for the replies, unless the peer is lost before that.
    async fn all(&self, lost: &Receiver<String>, replies: &Replies) -> Result<(), Failure> {
        let begun = Instant::now();
        self.connect().await?;
        let [shortest, longest] = LAST_WORD;
        let last_word = begun.elapsed().clamp(shortest, longest);
        let peer_lost = async {
            let reason = lost.recv().await.unwrap_or_default();
            Err(Failure::peer(format!("the peer was lost: {reason}")))
        };
        let done = async {
            // In this order: what is written before anybody waits for it is shown as well.
            future::or(self.show_progress(), self.write()).await?;
            replies.reach(self.options.wait_replies).await;
            if self.options.wait_replies == 0 {
                Timer::after(last_word).await;
            }
            Ok(())
        };
        future::or(done, peer_lost).await
    }

    async fn connect(&self) -> Result<(), Failure> {
        let failed = |error: ConnectError| match error {
            ConnectError::InvalidUrl(_) | ConnectError::NotDialable(_) => {
                Failure::usage(format!("{} cannot be dialled: {error}", self.options.peer))
            }
            ConnectError::Closed(closing) => Failure::peer(format!("the peer refused: {closing}")),
            error => Failure::peer(format!("{}: {error}", self.options.peer)),
        };
        self.node.connect(&self.options.peer).await.map(drop).map_err(failed)
    }

    /// Accepts everything for sending, and waits until it is written.
    async fn write(&self) -> Result<(), Failure> {
        let Options { peer, space, module, count, .. } = self.options;
        for _ in 0..*count {
            let mut data = self.data.clone();
            loop {
                let sent = match module {
                    Some(module) => self.node.module_shared(peer, space, module, data),
                    None => self.node.notify_shared(peer, space, data),
                };
                let Err(unsent) = sent else { break };
                match unsent.error {
                    SendError::Backpressure => data = unsent.data,
                    SendError::TooLarge => {
                        let size = text::bytes(self.data.len() as u64);
                        return Err(Failure::usage(format!(
                            "a message of {size} is larger than a frame may be; cut it into several"
                        )));
                    }
                    error => return Err(Failure::peer(error.to_string())),
                }
                // Who is gone by now is told as lost.
                let _ = self.node.ready(peer, self.data.len()).await;
            }
        }
        // More than there ever can be room for: until nothing waits.
        self.node
            .ready(peer, usize::MAX)
            .await
            .map_err(|_| Failure::peer("the peer was lost before everything was written"))
    }

    /// Shows on a terminal how far it is, for as long as it is asked.
    async fn show_progress<T>(&self) -> T {
        let total = self.options.count.saturating_mul(self.data.len() as u64);
        if total < LARGE {
            return future::pending().await;
        }
        // Draws on standard error, and only on a terminal.
        let bar = ProgressBar::new(total);
        let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let _cleared = Cleared(&bar);
        loop {
            bar.set_position(self.node.stats().totals.sent_bytes.min(total));
            Timer::after(REDRAW).await;
        }
    }
}

/// Takes a bar from the terminal when there is no more to show.
struct Cleared<'a>(&'a ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Tells what the peer replies.
struct Ear {
    space: Vec<u8>,
    module: Option<String>,
    replies: Arc<Replies>,
    output: Arc<Output>,
}

/// How many replies have come.
#[derive(Default)]
struct Replies {
    count: AtomicU64,
    more: Event,
}

impl Replies {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.more.notify(usize::MAX);
    }

    /// Waits until so many have come.
    async fn reach(&self, wanted: u64) {
        loop {
            let more = self.more.listen();
            if self.count.load(Ordering::Acquire) >= wanted {
                return;
            }
            more.await;
        }
    }
}

impl SpaceHandler for Ear {
    fn notify(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        let (peer, space) = (from.url(), Name(&self.space));
        self.output.tell(&output::Event::Notify { peer, space, data: Hex(data) });
        self.replies.add();
        Ok(())
    }
}

impl ModuleHandler for Ear {
    fn message(&self, from: &Peer, data: &[u8]) -> Result<(), Refused> {
        let (peer, space) = (from.url(), Name(&self.space));
        let module = self.module.as_deref().unwrap_or_default();
        self.output.tell(&output::Event::Module { peer, space, module, data: Hex(data) });
        self.replies.add();
        Ok(())
    }
}
