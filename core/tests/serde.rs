//! Values of the core that are written down and read again (feature `serde`).
#![cfg(feature = "serde")]

use core::fmt::Debug;

use kitfox_core::connection::{CloseReason, Timeout};
use kitfox_core::node::{NotSentCause, PeerLimits};
use kitfox_core::{Config, Instant, PeerId, ProtocolError};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) -> String {
    let text = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), value);
    text
}

#[test]
fn what_is_written_down_is_read_as_the_same_value() {
    let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for id in [PeerId::from_key([7; 32]), PeerId::new(text).unwrap(), PeerId::new("Älice \"1\"").unwrap()] {
        comes_back(id);
    }
    assert_eq!(comes_back(PeerId::new(&text.to_uppercase()).unwrap()), format!("\"{text}\""));
    for wrong in ["\"\"", "7", &format!("\"{}\"", "x".repeat(65))] {
        assert!(serde_json::from_str::<PeerId>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(comes_back(Instant::from_micros(1_500)), "1500");
    assert!(serde_json::from_str::<Instant>(&u64::MAX.to_string()).is_ok());
    comes_back(Config::HOST);
    comes_back(PeerLimits::HOST);
    comes_back(NotSentCause::GateFailed(CloseReason::Timeout(Timeout::Frame)));
    comes_back(CloseReason::Protocol(ProtocolError::WrongPeer));
}
