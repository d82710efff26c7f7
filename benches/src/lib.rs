//! Exact figures of kitfox: instructions and allocations a message.
