//! What connections of every image are made of: the one place that chooses.

pub use kitfox_embassy::core::connection::Plain as Channel;
