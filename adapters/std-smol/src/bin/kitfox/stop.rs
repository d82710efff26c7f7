//! Ctrl-C and SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::{StreamExt, future};
use kitfox_smol::Node;

use crate::failure::Failure;
use crate::output::{Event, Output};

/// How long the last line waits for somebody to read it.
const LAST_READ: Duration = Duration::from_secs(2);

/// Tells when somebody wants the command to end.
pub(crate) struct Stop(Signals);

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        #[cfg(unix)]
        let wanted = [Signal::Int, Signal::Term];
        #[cfg(not(unix))]
        let wanted = [Signal::Int];
        Signals::new(wanted)
            .map(Self)
            .map_err(|error| Failure::usage(format!("the system does not tell of Ctrl-C: {error}")))
    }

    /// Waits for the next signal.
    pub(crate) async fn wait(&mut self) {
        self.0.next().await;
    }

    /// Shuts a node down and tells what it did in its life; another signal cuts that short. Returns
    /// whether everything was written.
    pub(crate) async fn shutdown(&mut self, node: &Node, output: &Arc<Output>) -> Result<bool, Failure> {
        let ending = async {
            let unwritten = node.shutdown().await;
            let (stats, output) = (node.stats(), output.clone());
            // On a thread of its own: where nobody reads the output it would wait for ever.
            let telling = blocking::unblock(move || output.tell(&Event::stats(&stats)));
            let late = async {
                Timer::after(LAST_READ).await;
                Err(Failure::peer("nobody reads what is written to standard output"))
            };
            let told = async {
                telling.await;
                Ok(())
            };
            future::or(told, late).await?;
            Ok(unwritten == 0)
        };
        let cut_short = async {
            self.wait().await;
            Err(Failure::peer("stopped before everything was written"))
        };
        future::or(ending, cut_short).await
    }
}
