//! Channel binding of certificates, as OpenSSL makes them.

use aws_lc_rs::digest::digest;

use super::*;
use crate::login::tests::bytes;

/// ECDSA with SHA-256. PostgreSQL 15 took a login bound to the hash below.
const CERTIFICATE: &str = "3082019430820139a00302010202143ce0ccb0cf4b68f571f144f23010b60e6a0951ac300a06082a8648ce3d04030230143112301006035504030c096c6f63616c686f7374301e170d3236313132323230343333345a170d3236313232323230343333345a30143112301006035504030c096c6f63616c686f73743059301306072a8648ce3d020106082a8648ce3d030107034200047870e893512fe74c3291ff2b7e79f4609fb8ece4c10134e0a232ca31f62bf681bb2b6a93ae224578c30d4dd9e1500be5d87eef82fdf3e68e1b086a42d4cffd75a3693067301d0603551d0e04160414209d83ffbc70d168a5ed6c013ff6e1469cbb86b0301f0603551d23041830168014209d83ffbc70d168a5ed6c013ff6e1469cbb86b0300f0603551d130101ff040530030101ff30140603551d11040d300b82096c6f63616c686f7374300a06082a8648ce3d0403020349003046022100b25b8e191d194a30a6b923e8b2ce769738deab87bf4cc978bc7fb97581e7088c022100c481f20355de040c07aa14f005e0859de229d45d07f45231bbc96751b0abac77";

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => [&[tag, short], content].concat(),
        _ => [&[tag, 0x82, (length >> 8) as u8, length as u8], content].concat(),
    }
}

/// A certificate, as far as it is read: what is signed, the signature's algorithm, the signature.
fn certificate(algorithm: &str) -> Vec<u8> {
    let signed = element(SEQUENCE, &[0; 300]);
    element(SEQUENCE, &[signed, bytes(algorithm), element(3, &[0; 70])].concat())
}

#[test]
fn a_real_certificate_has_the_binding_that_a_server_makes() {
    let expected = bytes("8203f018157c4049c111cc9a95423a42e8776bda6a5ae699734a919c6f8bce2a");
    assert_eq!(tls_server_end_point(&bytes(CERTIFICATE)), Some(expected));
}

/// Identifiers as OpenSSL 3.0 writes them.
#[test]
fn the_hash_is_that_of_the_signature_and_never_weak() {
    for (algorithm, hash) in [
        ("300d06092a864886f70d01010b0500", Some(&SHA256)),
        ("300d06092a864886f70d01010c0500", Some(&SHA384)),
        ("300d06092a864886f70d01010d0500", Some(&SHA512)),
        ("300d06092a864886f70d01010e0500", Some(&SHA224)),
        ("300d06092a864886f70d0101050500", Some(&SHA256)),
        ("300d06092a864886f70d0101040500", Some(&SHA256)),
        ("300a06082a8648ce3d040301", Some(&SHA224)),
        ("300a06082a8648ce3d040303", Some(&SHA384)),
        ("300a06082a8648ce3d040304", Some(&SHA512)),
        ("300906072a8648ce3d0401", Some(&SHA256)),
        ("300506032b6570", None),
        ("301306092a864886f70d01010a3006a204020200ea", Some(&SHA256)),
        (
            "304206092a864886f70d01010a3035a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a204020200de",
            Some(&SHA256),
        ),
        (
            "304206092a864886f70d01010a3035a00f300d06096086480165030402020500a11c301a06092a864886f70d010108300d06096086480165030402020500a204020200ce",
            Some(&SHA384),
        ),
        (
            "304206092a864886f70d01010a3035a00f300d06096086480165030402030500a11c301a06092a864886f70d010108300d06096086480165030402030500a204020200be",
            Some(&SHA512),
        ),
    ] {
        let certificate = certificate(algorithm);
        let expected = hash.map(|hash: &'static Algorithm| digest(hash, &certificate).as_ref().to_vec());
        assert_eq!(tls_server_end_point(&certificate), expected, "{algorithm}");
    }
}

#[test]
fn s6_what_is_no_certificate_has_no_binding() {
    let certificate = bytes(CERTIFICATE);
    for length in 0..certificate.len() {
        assert_eq!(tls_server_end_point(&certificate[..length]), None, "{length}");
    }
    assert_eq!(tls_server_end_point(&[&certificate[..], b"\0"].concat()), None);
    for junk in
        ["3080", "3081", "308401000000", "30ff", "3000", "30023000", "300430003000", "3006300030020600"]
    {
        assert_eq!(tls_server_end_point(&bytes(junk)), None, "{junk}");
    }
}

proptest::proptest! {
    #[test]
    fn s6_no_bytes_are_too_odd(bytes: Vec<u8>, at: usize, flip: u8) {
        tls_server_end_point(&bytes);
        let mut certificate = crate::login::tests::bytes(CERTIFICATE);
        let at = at % certificate.len();
        certificate[at] ^= flip;
        tls_server_end_point(&certificate);
    }
}
