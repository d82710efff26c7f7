//! A connection to a node of kitfox that is dialled by hand: the core on a plain socket, without a node. It costs next
//! to nothing, so that the node is what is measured.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use kitfox_core::connection::{Action, Answer, Channel, Connection, Input, Question, Rx, Tx, Wants};
use kitfox_core::router::{BlockList, Directory};
use kitfox_core::secure::{Credentials, HOST_RECORD_BYTES, Network, SecretKey, Secured, Start};
use kitfox_core::storage::{Heap, HeapBuffer};
use kitfox_core::wire::PeerUrl;
use kitfox_core::{Config, Instant, PeerId, RouterLimits};

use super::Fault;
use super::kitfox::Kind;
use crate::world::parse;

/// Dials a node as the peer with this number, on a plain or a secured connection, until the gate is open.
///
/// # Errors
/// Those of sockets, and a node that refuses.
pub fn open(kind: Kind, url: &str, number: usize) -> Result<TcpStream, Fault> {
    let remote = parse(url);
    match kind {
        Kind::Plain => {
            let own_url = format!("ws://127.0.0.1:1/{number:064x}");
            let connection = Connection::<Heap>::dial(Instant::ZERO, &Config::HOST, remote)
                .map_err(|error| format!("{error:?}"))?;
            through(connection, remote, &own_url)
        }
        Kind::Secured => {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let key = SecretKey::from_seed(&seed);
            let own_url = format!("wss://127.0.0.1:1/{}", key.peer_id());
            let credentials =
                Credentials { key, network: Network::default(), max_record_bytes: HOST_RECORD_BYTES };
            let id = remote.peer_id().and_then(PeerId::new).ok_or("a URL without an id")?;
            let start = Start::dial(&credentials, &id).map_err(|error| format!("{error:?}"))?;
            let (opener, sealer) = Secured::<HeapBuffer>::halves(start);
            let rx = Rx::dial(Instant::ZERO, &Config::HOST, opener, remote)
                .map_err(|error| format!("{error:?}"))?;
            let connection =
                Connection::<Heap, Secured<HeapBuffer>>::from_halves(rx, Tx::new(&Config::HOST, sealer));
            through(connection, remote, &own_url)
        }
    }
}

/// Carries bytes between the connection and a socket.
fn through<C: Channel>(
    mut connection: Connection<Heap, C>,
    remote: PeerUrl<'_>,
    own_url: &str,
) -> Result<TcpStream, Fault> {
    let directory =
        Directory::<Heap, _>::new(&RouterLimits::HOST, BlockList::<Heap>::new(&RouterLimits::HOST));
    let mut socket = TcpStream::connect(remote.addr())?;
    socket.set_nodelay(true)?;
    let (mut bytes, mut wire) = (Vec::new(), [0; 4096]);
    loop {
        let mut answer = None;
        let mut actions = connection.handle(Instant::ZERO, Input::Bytes(&mut bytes));
        while let Some(action) = actions.next(&directory) {
            match action {
                Action::Ask { id, question: Question::GatherPreflight { .. } } => {
                    answer = Some((id, Answer::Preflight { own_url: parse(own_url), data: b"" }));
                }
                Action::Ask { id, question: Question::Randomness } => {
                    answer = Some((id, Answer::Randomness(&[7; 32])));
                }
                Action::Ask { id, .. } => answer = Some((id, Answer::Accept)),
                _ => {}
            }
        }
        let (taken, wants) = actions.finish();
        bytes.drain(..taken);
        match (wants, answer) {
            (Wants::Answer, Some((id, answer))) => {
                connection.answer(Instant::ZERO, id, answer).map_err(|error| format!("{error:?}"))?;
            }
            (Wants::Work, _) => connection.work(Instant::ZERO),
            _ => {
                let len = connection.transmit(Instant::ZERO, &mut wire);
                socket.write_all(&wire[..len])?;
                if connection.is_open() {
                    return Ok(socket);
                }
                if len == 0 {
                    let len = socket.read(&mut wire)?;
                    if len == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    bytes.extend_from_slice(&wire[..len]);
                }
            }
        }
    }
}
