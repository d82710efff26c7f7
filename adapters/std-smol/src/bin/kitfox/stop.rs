//! Ctrl-C and SIGTERM.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use kitfox_smol::Node;

use crate::failure::Failure;

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

    /// Shuts a node down; another signal cuts that short. Returns how many connections left something unwritten.
    pub(crate) async fn shutdown(&mut self, node: &Node) -> usize {
        let cut_short = async {
            self.wait().await;
            usize::MAX
        };
        futures_lite::future::or(node.shutdown(), cut_short).await
    }
}
