//! zenoh: two sessions in mode "peer" over TCP, without scouting.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kitfox_benches::peers::{ECHO_BYTES, Fault, Link, PATIENCE};
use zenoh::bytes::ZBytes;
use zenoh::pubsub::Publisher;
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

struct Zenoh {
    counted: Publisher<'static>,
    called: Publisher<'static>,
    /// Messages that have not come yet.
    left: Arc<AtomicUsize>,
    /// When the last of them came.
    last: mpsc::Receiver<Instant>,
    /// What came back.
    back: mpsc::Receiver<()>,
    _sessions: [Session; 2],
}

fn session(settings: &[(&str, &str)]) -> Result<Session, Fault> {
    let mut config = Config::default();
    let quiet = [("scouting/multicast/enabled", "false"), ("scouting/gossip/enabled", "false")];
    for (key, value) in quiet.iter().chain(settings) {
        config.insert_json5(key, value)?;
    }
    zenoh::open(config).wait()
}

fn publisher(session: &Session, key: &'static str) -> Result<Publisher<'static>, Fault> {
    session.declare_publisher(key).congestion_control(CongestionControl::Block).wait()
}

pub(crate) fn open() -> Result<Box<dyn Link>, Fault> {
    // A session does not tell which port it was given.
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let endpoints = format!("[\"tcp/{addr}\"]");
    let bob = session(&[("listen/endpoints", &endpoints)])?;
    let alice = session(&[("listen/endpoints", "[]"), ("connect/endpoints", &endpoints)])?;
    let left = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&left);
    let (told, last) = mpsc::channel();
    bob.declare_subscriber("measured/counted")
        .callback(move |_| {
            if counter.fetch_sub(1, Ordering::AcqRel) == 1 {
                let _ = told.send(Instant::now());
            }
        })
        .background()
        .wait()?;
    let answers = publisher(&bob, "measured/back")?;
    bob.declare_subscriber("measured/called")
        .callback(move |sample| {
            // If it fails nothing comes back, which the caller notices.
            let _ = answers.put(sample.payload().clone()).wait();
        })
        .background()
        .wait()?;
    let (told, back) = mpsc::channel();
    alice
        .declare_subscriber("measured/back")
        .callback(move |_| {
            let _ = told.send(());
        })
        .background()
        .wait()?;
    let (counted, called) = (publisher(&alice, "measured/counted")?, publisher(&alice, "measured/called")?);
    let zenoh = Zenoh { counted, called, left, last, back, _sessions: [alice, bob] };
    zenoh.wait_until_all_know()?;
    Ok(Box::new(zenoh))
}

impl Zenoh {
    /// A session learns of the other's subscribers some time after it is open; until then nothing is sent.
    fn wait_until_all_know(&self) -> Result<(), Fault> {
        let start = Instant::now();
        while !self.counted.matching_status().wait()?.matching() || {
            self.called.put([7; ECHO_BYTES]).wait()?;
            self.back.recv_timeout(Duration::from_millis(50)).is_err()
        } {
            if start.elapsed() > PATIENCE {
                return Err("no subscriber was found".into());
            }
        }
        // Late answers to earlier calls.
        while self.back.recv_timeout(Duration::from_millis(100)).is_ok() {}
        Ok(())
    }
}

impl Link for Zenoh {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        let payload = ZBytes::from(vec![7; bytes]);
        self.left.store(messages, Ordering::Release);
        let start = Instant::now();
        for _ in 0..messages {
            self.counted.put(payload.clone()).wait()?;
        }
        Ok(self.last.recv_timeout(PATIENCE)?.duration_since(start))
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            self.called.put([7; ECHO_BYTES]).wait()?;
            self.back.recv_timeout(PATIENCE)?;
            times.push(start.elapsed());
        }
        Ok(times)
    }
}
