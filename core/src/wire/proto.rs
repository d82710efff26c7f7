//! The owned `K2Proto`, for code that works with prost. [`Message`] is what the core itself uses.

use alloc::string::String;

use bytes::Bytes;

use super::message::{Kind, Message, ModuleName};

/// The message of Kitsune2's `wire.proto`
///
/// The fields have the names of the schema. Decoding and encoding are prost's, and agree with those of [`Message`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct K2Proto {
    /// The kind as on the wire.
    #[prost(enumeration = "K2WireType", tag = "1")]
    pub ty: i32,
    /// The payload.
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// The id of the space.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub space_id: Option<Bytes>,
    /// The id of the module.
    #[prost(string, optional, tag = "4")]
    pub module_id: Option<String>,
}

/// The kinds of message of `wire.proto`; [`Kind`] for prost
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum K2WireType {
    /// No kind.
    Unspecified = 0,
    /// The first message of a connection.
    Preflight = 1,
    /// A message to a space.
    Notify = 2,
    /// A message to a module of a space.
    Module = 3,
    /// The last message of a connection.
    Disconnect = 15,
}

impl K2Proto {
    /// This message with its fields lent. Nothing is copied.
    pub fn as_message(&self) -> Message<'_> {
        Message {
            ty: self.ty,
            data: &self.data,
            space: self.space_id.as_deref(),
            module: self.module_id.as_deref().map(ModuleName::new),
        }
    }
}

impl From<Message<'_>> for K2Proto {
    /// Copies every field.
    fn from(message: Message<'_>) -> Self {
        Self {
            ty: message.ty,
            data: Bytes::copy_from_slice(message.data),
            space_id: message.space.map(Bytes::copy_from_slice),
            module_id: message.module.map(|name| name.as_str().into()),
        }
    }
}

impl From<Kind> for K2WireType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Unspecified => Self::Unspecified,
            Kind::Preflight => Self::Preflight,
            Kind::Notify => Self::Notify,
            Kind::Module => Self::Module,
            Kind::Disconnect => Self::Disconnect,
        }
    }
}
