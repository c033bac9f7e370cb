//! TLS on the server's side, by the certificates of [`pki`].
//!
//! Invariant: a test that trusts the authority of [`pki`] trusts this.

use std::sync::Arc;

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::ca::pki;

/// Accepts TLS for `127.0.0.1`, and speaks one of these protocols.
pub fn acceptor(protocols: &[&[u8]]) -> TlsAcceptor {
    let own = &pki().server;
    let cert = CertificateDer::from_pem_slice(own.cert.text.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key.text.as_bytes()).unwrap();
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
