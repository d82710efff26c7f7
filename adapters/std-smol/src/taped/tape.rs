//! Where notes go, if anybody wants them.

#[cfg(feature = "record")]
use std::sync::Arc;

use super::entry::Entry;
#[cfg(feature = "record")]
use crate::record::Recording;

/// Takes notes.
#[cfg(feature = "record")]
pub(crate) trait Sink: Send + Sync {
    /// Takes a note, after all that came before. Whoever calls it holds the lock of the part that it is about.
    fn put(&self, entry: &Entry<'_>);

    /// No more notes are wanted.
    fn finish(&self) {}

    /// How far a recording has come, if this is one.
    fn so_far(&self) -> Option<Recording> {
        None
    }
}

/// Where notes go: nowhere, unless somebody records. Clones lead to the same place.
#[derive(Clone, Default)]
pub(crate) struct Tape(#[cfg(feature = "record")] Option<Arc<dyn Sink>>);

impl Tape {
    /// A tape that leads there.
    #[cfg(feature = "record")]
    pub(crate) fn to(sink: Arc<dyn Sink>) -> Self {
        Self(Some(sink))
    }

    /// Whether notes go anywhere.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        #[cfg(feature = "record")]
        return self.0.is_some();
        #[cfg(not(feature = "record"))]
        return false;
    }

    /// Notes something, if notes go anywhere.
    #[inline(always)]
    pub(crate) fn note<'a>(&self, entry: impl FnOnce() -> Entry<'a>) {
        #[cfg(feature = "record")]
        if let Some(sink) = &self.0 {
            put(&**sink, entry);
        }
        #[cfg(not(feature = "record"))]
        let _ = entry;
    }

    /// How far the recording has come, if there is one.
    #[cfg(feature = "record")]
    pub(crate) fn so_far(&self) -> Option<Recording> {
        self.0.as_ref()?.so_far()
    }

    /// Nothing of what follows is to be noted.
    pub(crate) fn finish(&self) {
        #[cfg(feature = "record")]
        if let Some(sink) = &self.0 {
            sink.finish();
        }
    }
}

/// Out of line: where nobody records, nothing of it is in the way.
#[cfg(feature = "record")]
#[cold]
#[inline(never)]
fn put<'a>(sink: &dyn Sink, entry: impl FnOnce() -> Entry<'a>) {
    sink.put(&entry());
}
