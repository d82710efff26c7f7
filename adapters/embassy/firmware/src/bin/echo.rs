//! Only embassy-net: sockets that send back what they receive. It is what kitfox's own size is measured against.
//!
//! With the argument `peer=PORT` the first socket dials the host first and says `ready`.
#![no_std]
#![no_main]

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_net::tcp::TcpSocket;
use embedded_io_async::Write;
use kitfox_firmware::net::HOST;
use kitfox_firmware::{PORT, SOCKET_BYTES, SOCKETS, board, executor, host, log, net};
use static_cell::ConstStaticCell;

#[cortex_m_rt::entry]
fn main() -> ! {
    executor::run(|spawner: Spawner| {
        let stack = net::start(spawner);
        log!("echo on {}", board::NAME);
        let _ = board::NAME;
        static BUFFERS: ConstStaticCell<[[[u8; SOCKET_BYTES]; 2]; SOCKETS]> =
            ConstStaticCell::new([[[0; SOCKET_BYTES]; 2]; SOCKETS]);
        for (number, buffers) in BUFFERS.take().iter_mut().enumerate() {
            spawner.spawn(serve(stack, number, buffers).expect("a task for each socket"));
        }
    })
}

#[embassy_executor::task(pool_size = SOCKETS)]
async fn serve(stack: Stack<'static>, number: usize, buffers: &'static mut [[u8; SOCKET_BYTES]; 2]) -> ! {
    let [rx, tx] = buffers;
    let mut socket = TcpSocket::new(stack, rx, tx);
    let peer = host::argument("peer").and_then(|port| port.parse::<u16>().ok()).filter(|_| number == 0);
    if let Some(port) = peer {
        let connected = socket.connect((HOST, port)).await.is_ok();
        log!("dialled {}: {}", port, connected);
        if connected {
            let _ = socket.write_all(b"ready").await;
            end(&mut socket).await;
        }
    }
    loop {
        if socket.accept(PORT).await.is_ok() {
            let mut buffer = [0; 512];
            while let Ok(len @ 1..) = socket.read(&mut buffer).await {
                if socket.write_all(&buffer[..len]).await.is_err() {
                    break;
                }
            }
        }
        end(&mut socket).await;
    }
}

/// Sees what was written off, and the socket closed.
async fn end(socket: &mut TcpSocket<'_>) {
    socket.close();
    let _ = socket.flush().await;
    socket.abort();
    let _ = socket.flush().await;
}
