//! `sockets`: outbound byte streams, as the contract has them. Only in a component; no fake yet.

pub use crate::bindings::openact::connector::sockets::{
    Endpoint, Opened, Socket, TextEncoding, TlsMode, open,
};
