//! The integration tests of OpenAct, one module per theme.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop where it is"
)]

mod access;
mod architecture;
mod audit;
mod backup;
mod bodies;
mod canaries;
mod chaos;
mod chaos_calls;
mod chaos_tls;
mod cli;
mod cli_hostile;
mod clients;
mod components;
mod config;
mod crash;
mod credentials;
mod databases;
mod docs;
mod doctor;
mod echo;
mod egress;
mod embedded;
mod explain;
mod fuzz_corpus;
mod import;
mod legacy;
mod load;
mod logged;
mod matrix;
mod mcp;
mod mcp_connector;
mod mongodb;
mod mysql;
mod observed;
mod parity;
mod passwords;
mod policy;
mod postgres;
mod private;
mod proxy;
mod readme;
mod redis;
mod reference;
mod reload;
mod rest;
mod restart;
mod retry;
mod roundtrip;
mod sandbox;
mod secrets;
mod seeds;
mod servers;
mod setup;
mod sockets;
mod streams;
mod sync;
mod templates;
mod tidy;
mod tls;
mod values;
mod vault;
mod wasi_http;
mod wit_compat;
