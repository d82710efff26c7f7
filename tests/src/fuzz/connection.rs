//! One connection: whatever a peer writes, and however it is cut, both tiers do the same, and what they do is in order.

use core::time::Duration;

use kitfox_core::Instant;
use kitfox_core::connection::{Input, Wants};
use kitfox_core::storage::{Heap, Storage};

use super::Choices;
use crate::pair::{Chunks, Pace, Side};
use crate::script::{Act, Fixed, config};

/// The driver of [`Side`] checks the order of actions while it runs.
fn run<S: Storage>(bytes: &[u8], chunks: Chunks, pace: Pace, end: bool) -> (Vec<Act>, Wants) {
    let now = Instant::ZERO;
    let mut bob = Side::<S>::accept(now, &config());
    (bob.shown, bob.pace) = (chunks, pace);
    bob.receive(now, bytes);
    if end && bob.wants == Wants::Bytes {
        bob.tell(now, Input::End);
    }
    // Whatever came, time ends what is not open.
    let late = now + Duration::from_secs(3600);
    if !bob.connection.is_open() && bob.connection.poll_timeout().is_some() {
        bob.tell(late, Input::Timeout);
        assert_eq!(bob.wants, Wants::Nothing, "a gate stays ajar");
    }
    (bob.acts, bob.wants)
}

/// A stream, whole and in pieces, at an acceptor of each tier.
pub fn connection(input: &[u8]) {
    let mut choices = Choices(input);
    let (seed, max, flags) = (choices.byte(), choices.byte(), choices.byte());
    let pace = if flags & 1 == 0 { Pace::All } else { Pace::One };
    let end = flags & 2 != 0;
    let bytes = choices.rest();
    let whole = run::<Heap>(bytes, Chunks::Whole, Pace::All, end);
    let cut = || Chunks::Seeded(seed.into(), 1 + usize::from(max));
    assert_eq!(run::<Heap>(bytes, cut(), pace, end), whole, "the cuts show");
    assert_eq!(run::<Fixed>(bytes, cut(), pace, end), whole, "the tier shows");
}
