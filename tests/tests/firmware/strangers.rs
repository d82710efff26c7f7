//! Raw sockets: firmware without kitfox, and peers that are none.

use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::thread;

use kitfox_tests::firmware::{Host, Machine, PATIENCE, SPACE};

use crate::bench::{Bench, Setup, switch_on_echo};

type Test = Pin<Box<dyn Future<Output = ()>>>;

fn connect(machine: &Machine) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", machine.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn embassy_net_alone_sends_back_what_it_receives(setup: Setup) -> Test {
    Box::pin(async move {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let machine = switch_on_echo(setup.board, listener.local_addr().unwrap().port());
        let mut ready = [0; 5];
        listener.accept().unwrap().0.read_exact(&mut ready).unwrap();
        assert_eq!(&ready, b"ready");
        let sent: Vec<u8> = (0..100_000u32).map(|number| (number ^ (number >> 8)) as u8).collect();
        for _ in 0..3 {
            let mut stream = connect(&machine);
            let (mut writer, data) = (stream.try_clone().unwrap(), sent.clone());
            let writing = thread::spawn(move || writer.write_all(&data));
            let mut received = vec![0; sent.len()];
            stream.read_exact(&mut received).unwrap();
            writing.join().unwrap().unwrap();
            assert!(received == sent);
        }
    })
}

pub(crate) fn garbage_of_strangers_costs_nobody_else_anything(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let garbage: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: garden\r\n\r\n",
            // A preflight that announces four gigabytes, a data frame before the gate, and a type that is none.
            &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
            &[1, 0, 0, 0, 4, 1, 2, 3, 4],
            &[0xee; 3000],
        ];
        for round in 0..5 {
            for bytes in garbage {
                let mut stranger = connect(&bench.machine);
                // It may have closed by now.
                _ = stranger.write_all(bytes);
                assert_is_closed(stranger);
                bench.answers(&[round]).await;
            }
        }
        assert!(bench.host.is_at_peace());
    })
}

/// Reads what is left to be read: the words of a farewell, if anything.
fn assert_is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => assert!(rest.len() < 256, "{}", rest.escape_ascii()),
    }
}

pub(crate) fn strangers_who_say_nothing_leave_room_to_dial(setup: Setup) -> Test {
    Box::pin(async move {
        let bench = Bench::new(setup).await;
        let silent: Vec<_> = (0..8).map(|_| connect(&bench.machine)).collect();
        bench.answers(b"meanwhile").await;
        let bob = Host::new("bob", setup.wire).await;
        assert_eq!(bench.command(&format!("greet {}", bob.url)).await, "yes");
        assert_eq!(bob.notified().await, b"greetings");
        drop(silent);
        bob.node.notify(&bench.url, SPACE, b"and now").unwrap();
        assert_eq!(bob.notified().await, b"and now");
    })
}
