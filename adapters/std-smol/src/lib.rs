//! kitfox on async-io sockets.
