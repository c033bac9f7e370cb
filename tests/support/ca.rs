//! Certificates and keys of one test process: an authority with a server and a client, a foreign authority with its
//! own, certificates with one fault each, and keys to sign tokens with.
//!
//! Invariant: every key is made anew, lies in one folder, and goes with the process.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm, date_time_ymd,
};

/// The name that the server's certificate has beside `localhost` and `127.0.0.1`.
pub const INTERNAL_NAME: &str = "api.internal.test";
/// The one name of [`Pki::other_name`].
pub const OTHER_NAME: &str = "other.internal.test";
/// The subject of [`Pki::client`], as the verifier answers it.
pub const CLIENT_SUBJECT: &str = "commonName=openact-client";

/// A PEM text and the file that holds it.
#[derive(Clone, Debug)]
pub struct Pem {
    /// The text.
    pub text: String,
    /// The file.
    pub path: PathBuf,
}

/// A certificate and its private key (PKCS#8).
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: Pem,
    /// The private key.
    pub key: Pem,
}

/// A pair of keys to sign and verify with.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// PKCS#8.
    pub private: Pem,
    /// SubjectPublicKeyInfo.
    pub public: Pem,
}

/// Everything there is; see [`pki`].
#[derive(Debug)]
pub struct Pki {
    /// The authority's certificate.
    pub ca: Pem,
    /// For `localhost`, `127.0.0.1` and [`INTERNAL_NAME`], by the authority.
    pub server: Identity,
    /// A client, by the authority.
    pub client: Identity,
    /// As `server`, and a client too: what a server is that also calls itself, as a member of a replica set does.
    pub peer: Identity,
    /// As `server`, but it ended in 2001.
    pub expired: Identity,
    /// As `client`, but it ended in 2001.
    pub expired_client: Identity,
    /// For [`OTHER_NAME`] alone, by the authority.
    pub other_name: Identity,
    /// Another authority's certificate.
    pub foreign_ca: Pem,
    /// As `server`, by the other authority.
    pub foreign_server: Identity,
    /// As `client`, by the other authority.
    pub foreign_client: Identity,
    /// 2048 bits.
    pub rsa: SigningKey,
    /// P-256.
    pub ec: SigningKey,
    /// P-384.
    pub ec384: SigningKey,
    /// Ed25519.
    pub ed25519: SigningKey,
}

/// The certificates and keys of this process.
pub fn pki() -> &'static Pki {
    static MADE: OnceLock<(Pki, Folder)> = OnceLock::new();
    let (pki, _) = MADE.get_or_init(|| {
        let folder = Folder::new();
        (Pki::new(&folder.path), folder)
    });
    pki
}

impl Pki {
    fn new(folder: &Path) -> Self {
        let ca = Authority::new("openact-test-ca");
        let foreign = Authority::new("foreign-test-ca");
        let server = [INTERNAL_NAME, "localhost", "127.0.0.1"];
        let issue = |by: &Authority, name: &str, params: CertificateParams| by.issue(folder, name, params);
        Self {
            ca: write(folder, "ca.crt", ca.cert.clone()),
            server: issue(&ca, "server", server_params(&server)),
            client: issue(&ca, "client", client_params("openact-client")),
            peer: issue(&ca, "peer", peer_params(&server)),
            expired: issue(&ca, "expired", ended(server_params(&server))),
            expired_client: issue(&ca, "expired-client", ended(client_params("openact-client"))),
            other_name: issue(&ca, "other-name", server_params(&[OTHER_NAME])),
            foreign_ca: write(folder, "foreign-ca.crt", foreign.cert.clone()),
            foreign_server: issue(&foreign, "foreign-server", server_params(&server)),
            foreign_client: issue(&foreign, "foreign-client", client_params("openact-client")),
            rsa: signing_key(folder, "rsa", &PKCS_RSA_SHA256),
            ec: signing_key(folder, "ec", &PKCS_ECDSA_P256_SHA256),
            ec384: signing_key(folder, "ec384", &PKCS_ECDSA_P384_SHA384),
            ed25519: ed25519_key(folder),
        }
    }
}

struct Authority {
    cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = named(CertificateParams::default(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        Self { cert, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, folder: &Path, name: &str, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            cert: write(folder, &format!("{name}.crt"), cert.pem()),
            key: write(folder, &format!("{name}.key"), key.serialize_pem()),
        }
    }
}

fn named(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = named(CertificateParams::new(names).unwrap(), "openact-server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn peer_params(names: &[&str]) -> CertificateParams {
    let mut params = server_params(names);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    params
}

fn client_params(name: &str) -> CertificateParams {
    let mut params = named(CertificateParams::default(), name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

fn ended(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    params
}

fn signing_key(folder: &Path, name: &str, algorithm: &'static SignatureAlgorithm) -> SigningKey {
    let key = KeyPair::generate_for(algorithm).unwrap();
    SigningKey {
        private: write(folder, &format!("{name}.key"), key.serialize_pem()),
        public: write(folder, &format!("{name}.pub"), key.public_key_pem()),
    }
}

/// In the first version of PKCS#8, which everybody reads. What aws-lc makes has the public key appended, as RFC 5958
/// allows and OpenSSL does not.
fn ed25519_key(folder: &Path) -> SigningKey {
    const START: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let seed = &key.serialized_der()[START.len()..START.len() + 32];
    let body = BASE64_STANDARD.encode([&START, seed].concat());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    SigningKey {
        private: write(folder, "ed25519.key", text),
        public: write(folder, "ed25519.pub", key.public_key_pem()),
    }
}

fn write(folder: &Path, name: &str, text: String) -> Pem {
    let path = folder.join(name);
    fs::write(&path, &text).unwrap();
    Pem { text, path }
}

/// A folder that is removed when this process ends, in whichever way: a shell waits for the end of its input.
struct Folder {
    path: PathBuf,
    _keeper: Child,
}

impl Folder {
    fn new() -> Self {
        let path = tempfile::Builder::new().prefix("openact-pki-").tempdir().unwrap().keep();
        let keeper = Command::new("sh")
            .args(["-c", r#"trap "" INT; cat >/dev/null; rm -rf "$0""#])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { path, _keeper: keeper }
    }
}
