//! Streams of bytes on tokio, and frames on them: a write a message.

use std::any::Any;
use std::future::Future;
use std::time::{Duration, Instant};

use kitfox_benches::peers::{ECHO_BYTES, Fault, Link, PATIENCE};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Bytes before a payload.
const HEADER: usize = 5;
/// Bytes of one read.
const READ: usize = 64 << 10;

/// One end of a stream in both directions.
pub(crate) trait Pipe: Send + 'static {
    fn put(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Fault>> + Send;
    fn flush(&mut self) -> impl Future<Output = Result<(), Fault>> + Send;
    /// Bytes that have come, at least one.
    fn take(&mut self, bytes: &mut [u8]) -> impl Future<Output = Result<usize, Fault>> + Send;
}

/// Both ends of a stream.
pub(crate) struct Streams<P> {
    runtime: Runtime,
    ends: Option<(P, P)>,
    /// What must live as long as the stream.
    _kept: Box<dyn Any>,
}

impl<P: Pipe> Streams<P> {
    /// Opens the stream on a runtime of its own.
    pub(crate) fn open<K: 'static>(
        open: impl Future<Output = Result<(P, P, K), Fault>>,
        runtime: Runtime,
    ) -> Result<Self, Fault> {
        let (here, there, kept) = runtime.block_on(async { timeout(PATIENCE, open).await })??;
        Ok(Self { runtime, ends: Some((here, there)), _kept: Box::new(kept) })
    }

    /// Runs both ends, each in a task of its own.
    fn both<A: Send + 'static, B: Send + 'static>(
        &mut self,
        at_here: impl AsyncTask<P, A>,
        at_there: impl AsyncTask<P, B>,
    ) -> Result<(A, B), Fault> {
        let (here, there) = self.ends.take().ok_or("the stream has failed before")?;
        let ((here, a), (there, b)) = self.runtime.block_on(async {
            let there = tokio::spawn(at_there.run(there));
            let here = tokio::spawn(at_here.run(here));
            let both = async { Ok::<_, Fault>((here.await??, there.await??)) };
            timeout(PATIENCE, both).await?
        })?;
        self.ends = Some((here, there));
        Ok((a, b))
    }
}

/// What is done at one end, which is given back.
trait AsyncTask<P, T> {
    fn run(self, pipe: P) -> impl Future<Output = Result<(P, T), Fault>> + Send + 'static;
}

/// Writes messages.
struct Write {
    bytes: usize,
    messages: usize,
}

impl<P: Pipe> AsyncTask<P, ()> for Write {
    async fn run(self, mut pipe: P) -> Result<(P, ()), Fault> {
        let frame = vec![7; HEADER + self.bytes];
        for _ in 0..self.messages {
            pipe.put(&frame).await?;
        }
        pipe.flush().await?;
        Ok((pipe, ()))
    }
}

/// Reads so many bytes, and tells when the last one has come.
struct Read(usize);

impl<P: Pipe> AsyncTask<P, Instant> for Read {
    async fn run(self, mut pipe: P) -> Result<(P, Instant), Fault> {
        let (mut left, mut buffer) = (self.0, vec![0; READ]);
        while left > 0 {
            left = left.checked_sub(pipe.take(&mut buffer).await?).ok_or("more came than was sent")?;
        }
        Ok((pipe, Instant::now()))
    }
}

async fn read_frame(pipe: &mut impl Pipe) -> Result<(), Fault> {
    let (mut frame, mut filled) = ([0; HEADER + ECHO_BYTES], 0);
    while filled < frame.len() {
        filled += pipe.take(&mut frame[filled..]).await?;
    }
    Ok(())
}

/// Sends back what comes.
struct Echo(usize);

impl<P: Pipe> AsyncTask<P, ()> for Echo {
    async fn run(self, mut pipe: P) -> Result<(P, ()), Fault> {
        for _ in 0..self.0 {
            read_frame(&mut pipe).await?;
            pipe.put(&[7; HEADER + ECHO_BYTES]).await?;
            pipe.flush().await?;
        }
        Ok((pipe, ()))
    }
}

/// Sends, and waits for what comes back.
struct Call(usize);

impl<P: Pipe> AsyncTask<P, Vec<Duration>> for Call {
    async fn run(self, mut pipe: P) -> Result<(P, Vec<Duration>), Fault> {
        let mut times = Vec::with_capacity(self.0);
        for _ in 0..self.0 {
            let start = Instant::now();
            pipe.put(&[7; HEADER + ECHO_BYTES]).await?;
            pipe.flush().await?;
            read_frame(&mut pipe).await?;
            times.push(start.elapsed());
        }
        Ok((pipe, times))
    }
}

impl<P: Pipe> Link for Streams<P> {
    fn send(&mut self, bytes: usize, messages: usize) -> Result<Duration, Fault> {
        let start = Instant::now();
        let ((), end) = self.both(Write { bytes, messages }, Read((HEADER + bytes) * messages))?;
        Ok(end.duration_since(start))
    }

    fn round_trips(&mut self, count: usize) -> Result<Vec<Duration>, Fault> {
        Ok(self.both(Call(count), Echo(count))?.0)
    }
}
