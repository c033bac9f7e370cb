//! Channel binding `tls-server-end-point` (RFC 5929 section 4): the hash of the server's certificate, by the hash its
//! signature uses.
//!
//! Only the signature's algorithm is read, by a walk over three levels of DER: a crate for certificates would read
//! everything else too. Invariant: bytes that are not a certificate, and algorithms without one hash (Ed25519), have no
//! binding.

use aws_lc_rs::digest::{self, Algorithm, SHA224, SHA256, SHA384, SHA512};

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const FIRST_OPTIONAL: u8 = 0xa0;

/// 1.2.840.113549.1.1: PKCS #1, of which the last number is the algorithm.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4.3: ECDSA with SHA-2.
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
/// 1.2.840.10045.4.1: ECDSA with SHA-1.
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
/// 2.16.840.1.101.3.4.2: NIST's hashes.
const NIST_HASHES: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// The channel binding data of a server with `certificate` (DER); none if it is not defined for it.
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (certificate_fields, rest) = take(SEQUENCE, certificate)?;
    if !rest.is_empty() {
        return None;
    }
    let (_, after_signed) = take(SEQUENCE, certificate_fields)?;
    let (algorithm, _) = take(SEQUENCE, after_signed)?;
    let (id, parameters) = take(OBJECT_ID, algorithm)?;
    let hash = signature_hash(id, parameters)?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// The hash of a signature's algorithm. Instead of MD5 and SHA-1 it is SHA-256, says the RFC.
fn signature_hash(id: &[u8], parameters: &[u8]) -> Option<&'static Algorithm> {
    if id == ECDSA_SHA1 {
        return Some(&SHA256);
    }
    let (last, family) = id.split_last()?;
    match (family, last) {
        (PKCS1, 4 | 5 | 11) | (ECDSA_SHA2, 2) => Some(&SHA256),
        (PKCS1, 12) | (ECDSA_SHA2, 3) => Some(&SHA384),
        (PKCS1, 13) | (ECDSA_SHA2, 4) => Some(&SHA512),
        (PKCS1, 14) | (ECDSA_SHA2, 1) => Some(&SHA224),
        (PKCS1, 10) => pss_hash(parameters),
        _ => None,
    }
}

/// RSASSA-PSS says its hash in the parameters (RFC 4055 section 3.1), and is SHA-1 if it does not.
fn pss_hash(parameters: &[u8]) -> Option<&'static Algorithm> {
    let (fields, _) = take(SEQUENCE, parameters)?;
    if fields.first() != Some(&FIRST_OPTIONAL) {
        return Some(&SHA256);
    }
    let (wrapped, _) = take(FIRST_OPTIONAL, fields)?;
    let (algorithm, _) = take(SEQUENCE, wrapped)?;
    let (id, _) = take(OBJECT_ID, algorithm)?;
    match id.split_last()? {
        (1, NIST_HASHES) => Some(&SHA256),
        (2, NIST_HASHES) => Some(&SHA384),
        (3, NIST_HASHES) => Some(&SHA512),
        (4, NIST_HASHES) => Some(&SHA224),
        _ => None,
    }
}

/// The content of the element of `tag` that `bytes` begin with, and what follows it.
fn take(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    // From 128 on, the length is in as many bytes as the low bits say. Three hold more than any certificate.
    let (length, rest) = match usize::from(length) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (digits, rest) =
                rest.split_at_checked(long & 0x7f).filter(|(d, _)| (1..=3).contains(&d.len()))?;
            (digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests;
