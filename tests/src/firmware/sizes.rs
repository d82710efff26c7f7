//! What kitfox costs: flash, memory and stack of images.
