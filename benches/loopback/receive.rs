//! One node that several connections write to.

use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kitfox_benches::peers::kitfox::{Kind, MODULE, SPACE, listening};
use kitfox_benches::peers::{Fault, PATIENCE, gate};
use kitfox_benches::world;
use kitfox_core::wire::Message;
use kitfox_smol::Peer;

/// Steps of work in a handler where readers are to run side by side: so many that the reader is what takes the time.
const WORK: u32 = 3000;

/// The time in which one node takes so many messages from each of several connections, which are written by plain
/// threads as fast as the sockets take them.
pub(crate) fn receive(connections: usize, messages: usize) -> Result<Duration, Fault> {
    let (bob, url) = listening(Kind::Plain)?;
    let (told, hears) = mpsc::channel();
    let left = AtomicUsize::new(connections * messages);
    bob.register_space(SPACE, |_: &Peer, _: &[u8]| Ok(()))?;
    bob.register_module(SPACE, MODULE, move |_: &Peer, _: &[u8]| {
        (0..WORK).for_each(|step| {
            black_box(step);
        });
        if left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = told.send(Instant::now());
        }
        Ok(())
    })?;
    let sockets: Vec<_> =
        (0..connections).map(|number| gate::open(Kind::Plain, &url, number)).collect::<Result<_, _>>()?;
    let frame = world::frames([Message::module(SPACE, MODULE, &[7; 128])]);
    let start = Instant::now();
    let writers: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            let many = frame.repeat(400);
            thread::spawn(move || {
                for _ in 0..messages / 400 {
                    socket.write_all(&many)?;
                }
                socket.write_all(&many[..messages % 400 * many.len() / 400])?;
                std::io::Result::Ok(socket)
            })
        })
        .collect();
    let time = hears.recv_timeout(PATIENCE)?.duration_since(start);
    for writer in writers {
        drop(writer.join().map_err(|_| "a writer panicked")??);
    }
    smol::block_on(bob.shutdown());
    Ok(time)
}
