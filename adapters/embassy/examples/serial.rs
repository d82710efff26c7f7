//! Two nodes on the two ends of a line: a pipe here, a UART on a board.
//!
//! A split UART of a HAL that implements `embedded_io_async` takes the place of the pipes, and each end runs in a task of
//! its own. Nothing here depends on a network stack.

use embassy_futures::block_on;
use embassy_futures::select::{Either3, select3};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::pipe::Pipe;
use kitfox_embassy::{Entropy, Inbox, NoHandler, Options, PeerId, Plain, Resources, Role, fixed, new_stream};

fixed!(Board { connections: 1, peers: 1, frame: 512, tx: 256, outbox: 512 });

/// One direction of the line.
type Wire = Pipe<NoopRawMutex, 32>;

fn id(text: &str) -> PeerId {
    PeerId::new(text).expect("1 to 64 bytes")
}

/// What stands here for random bytes.
fn numbers(number: u8) -> impl Entropy {
    move |bytes: &mut [u8; 32]| {
        bytes.fill(number);
        Ok(())
    }
}

fn main() {
    let (to_sensor, to_logger) = (Wire::new(), Wire::new());
    let (mut sensor_memory, mut logger_memory) =
        (Resources::<Board, 1, 64, 64, Plain>::new(), Resources::<Board, 1, 64, 64, Plain>::new());

    // From the chip's random number generator. This line is plain, and seeds are all that they are for.
    let (mut sensor_entropy, mut logger_entropy) = (numbers(1), numbers(2));
    let (sensor, mut sensor_runner) =
        new_stream(&mut sensor_memory, Options::plain(id("sensor"), &mut sensor_entropy))
            .expect("the options are sound");
    let (logger, mut logger_runner) =
        new_stream(&mut logger_memory, Options::plain(id("logger"), &mut logger_entropy))
            .expect("the options are sound");

    let inbox = Inbox::<2, 64>::new();
    let talk = async {
        sensor.register_space(b"garden").await.expect("there is room for a space");
        logger.register_space(b"garden").await.expect("there is room for a space");
        for reading in ["21.5 C", "21.7 C", "22.0 C"] {
            // The line leads to one peer: only the id in the URL matters.
            let sent = sensor.send_notify("ws://line:1/logger", b"garden", reading.as_bytes()).await;
            sent.expect("the peer's outbox has room, or gets it");
            let letter = inbox.recv().await;
            println!("{}: {}", letter.from_id.expect("peers have ids"), letter.data().escape_ascii());
        }
    };

    let (mut no_handler, mut letters) = (NoHandler, &inbox);
    // One end dials, the other one accepts.
    let run = select3(
        talk,
        sensor_runner.run(Role::Dialler, &to_sensor, &to_logger, &mut no_handler),
        logger_runner.run(Role::Acceptor, &to_logger, &to_sensor, &mut letters),
    );
    match block_on(run) {
        Either3::First(()) => {}
        Either3::Second(reason) | Either3::Third(reason) => println!("the connection ended: {reason}"),
    }
}
