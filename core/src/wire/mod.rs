//! The Kitsune2 wire: frames, preflight payloads, messages and peer URLs. No state, no allocation.
