//! TLS of byte streams, by `network.tls`. That of HTTP is in `client`, by the same settings.
//!
//! Invariant: a certificate is verified, for its name too, unless `network.tls.verify` is false, and then a line in the log
//! says so.

use std::sync::Arc;

use openact_core::{
    Error, Result,
    network::{TlsSettings, TlsVersion},
    secret::{ExposeSecret, SecretString},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

/// The client's side of TLS.
pub(super) fn config(settings: &TlsSettings) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match settings.min_version {
        TlsVersion::V12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let unusable = |field: &str, error: &dyn std::fmt::Display| {
        Error::invalid_config(format!("network.tls.{field} cannot be used: {error}"))
            .hint("expected -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY----- blocks")
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .map_err(|error| unusable("min_version", &error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(match settings.insecure {
        true => {
            tracing::warn!("network.tls.verify is false: any server can pretend to be this one");
            Arc::new(AnyServer(provider))
        }
        false => verifier(settings, provider)?,
    });
    let Some((chain, key)) = &settings.client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(chain).map_err(|error| unusable("client_cert", &error))?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|error| unusable("client_key", &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable("client_cert or client_key", &error))
}

fn certificates(pem: &SecretString) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem.expose_secret().as_bytes()).collect()
}

fn verifier(settings: &TlsSettings, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
    let bad = |error: &dyn std::fmt::Display| {
        Error::invalid_config(format!("network.tls.ca cannot be used: {error}"))
            .hint("expected -----BEGIN CERTIFICATE----- blocks")
    };
    let own =
        settings.ca.as_ref().map(certificates).transpose().map_err(|error| bad(&error))?.unwrap_or_default();
    if settings.ca.is_some() && own.is_empty() {
        return Err(bad(&"it holds no certificate"));
    }
    if settings.ca_only {
        let mut roots = RootCertStore::empty();
        for certificate in own {
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        let made = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        return Ok(made.map_err(|error| bad(&error))?);
    }
    let made = Verifier::new_with_extra_roots(own, provider);
    Ok(Arc::new(made.map_err(|error| {
        Error::invalid_config(format!("the system's certificates cannot be used: {error}"))
            .hint("install the system's CA certificates, or set network.tls.ca and ca_only: true")
    })?))
}

/// Takes any certificate; what is signed with it is still looked at.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
