//! Against the examples of the RFCs where a signature has one value only, and against its verification elsewhere.

use aws_lc_rs::{
    encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der},
    rsa::KeySize,
    signature::{KeyPair, UnparsedPublicKey, VerificationAlgorithm},
};
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;
use crate::testing::Secrets;

fn signer(section: &Value) -> Result<Signer> {
    Signer::of(&Fields::new(section.as_object().unwrap(), &Secrets), None)
}

fn pem_text(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An assertion of `key`, checked; its header and claims.
fn checked(
    algorithm: &str,
    key: &str,
    verify: &'static dyn VerificationAlgorithm,
    public: &[u8],
) -> (Value, Value) {
    let signer = signer(&json!({"type": "jwt", "algorithm": algorithm, "key": key})).unwrap();
    let token = signer.assertion("2024-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64URL.decode(signature).unwrap();
    UnparsedPublicKey::new(verify, public).verify(signed.as_bytes(), &signature).expect(algorithm);
    let mut parts = signed
        .split('.')
        .map(|part| serde_json::from_slice::<Value>(&BASE64URL.decode(part).unwrap()).unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

fn with_header(section: &Value, header: &str) -> Signer {
    Signer { header: header.into(), ..signer(section).unwrap() }
}

#[test]
fn the_examples_of_rfc_7515_and_rfc_8037() {
    // RFC 7515 appendix A.1, also RFC 7519 section 3.1.
    let key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let hs = json!({"type": "jwt", "algorithm": "HS256", "key": key, "secret_encoding": "base64"});
    let hs = with_header(&hs, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9");
    let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
    assert_eq!(
        *hs.sign(claims).unwrap(),
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
         cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    // RFC 8037 appendix A.4, its key in PKCS#8.
    let seed = BASE64URL.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    let der = [hash::unhex("302e020100300506032b657004220420").unwrap(), seed].concat();
    let ed = json!({"type": "jwt", "algorithm": "EdDSA", "key": pem_text("PRIVATE KEY", &der)});
    let token = with_header(&ed, "eyJhbGciOiJFZERTQSJ9").sign("Example of Ed25519 signing").unwrap();
    assert_eq!(
        *token,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijc\
         NR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[test]
fn rsa_keys_in_either_form() {
    let pair = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    // PKCS#8 of an RSA key of this size is PKCS#1 behind 26 bytes.
    let pkcs1 = pem_text("RSA PRIVATE KEY", &pkcs8.as_ref()[26..]);
    let pkcs8 = pem_text("PRIVATE KEY", pkcs8.as_ref());
    let public = pair.public_key().as_ref();
    for key in [&pkcs8, &pkcs1, &pkcs8.replace('\n', "\\n")] {
        checked("RS256", key, &signature::RSA_PKCS1_2048_8192_SHA256, public);
    }
    checked("RS384", &pkcs8, &signature::RSA_PKCS1_2048_8192_SHA384, public);
    checked("RS512", &pkcs8, &signature::RSA_PKCS1_2048_8192_SHA512, public);
    checked("PS256", &pkcs8, &signature::RSA_PSS_2048_8192_SHA256, public);
    checked("PS384", &pkcs8, &signature::RSA_PSS_2048_8192_SHA384, public);
    checked("PS512", &pkcs1, &signature::RSA_PSS_2048_8192_SHA512, public);
    let wrong = signer(&json!({"type": "jwt", "algorithm": "ES256", "key": pkcs8})).unwrap_err();
    assert_eq!(wrong.to_string(), "authorization.key is not a key for ES256");
}

#[test]
fn elliptic_curves_in_either_form() {
    for (algorithm, curve, verify) in [
        ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING, &signature::ECDSA_P256_SHA256_FIXED),
        ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING, &signature::ECDSA_P384_SHA384_FIXED),
    ] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let pkcs8 = pair.to_pkcs8v1().unwrap();
        let sec1 = AsDer::<EcPrivateKeyRfc5915Der<'_>>::as_der(&pair.private_key()).unwrap();
        let public = pair.public_key().as_ref();
        checked(algorithm, &pem_text("PRIVATE KEY", pkcs8.as_ref()), verify, public);
        checked(algorithm, &pem_text("EC PRIVATE KEY", sec1.as_ref()), verify, public);
        let other = if algorithm == "ES256" { "ES384" } else { "ES256" };
        let key = pem_text("PRIVATE KEY", pkcs8.as_ref());
        assert!(signer(&json!({"type": "jwt", "algorithm": other, "key": key})).is_err(), "{other}");
    }
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = pem_text("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
    let (header, claims) = checked("EdDSA", &key, &signature::ED25519, pair.public_key().as_ref());
    assert_eq!(header, json!({"alg": "EdDSA", "typ": "JWT"}));
    assert_eq!(claims["exp"], 1_704_067_200 + 300);
}

#[test]
fn claims_are_those_of_the_fields_and_of_the_operator() {
    let claims = |section: Value| {
        let mut whole = json!({"type": "jwt", "algorithm": "HS512", "key": "k"});
        whole.as_object_mut().unwrap().extend(section.as_object().unwrap().clone());
        let fields = Fields::new(whole.as_object().unwrap(), &Secrets);
        let signer = Signer::of(&fields, Some("https://default.example"))?;
        let token = signer.assertion("2024-01-01T00:00:00Z".parse().unwrap())?;
        let parts: Vec<Value> = token
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap())
            .collect();
        Ok::<_, Error>((parts[0].clone(), parts[1].clone()))
    };
    let (header, made) = claims(json!({"key_id": "k1", "issuer": "i", "subject": "s", "lifetime_s": 60,
        "claims": {"sub": "other", "roles": ["a"], "jti": null}}))
    .unwrap();
    assert_eq!(header, json!({"alg": "HS512", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        made,
        json!({"iat": 1_704_067_200, "exp": 1_704_067_260, "iss": "i", "sub": "other",
            "aud": "https://default.example", "roles": ["a"]})
    );
    let (_, one) = claims(json!({"audience": "a"})).unwrap();
    let (_, two) = claims(json!({"audience": "a"})).unwrap();
    assert_eq!(one["aud"], "a");
    assert_eq!(one["jti"].as_str().unwrap().len(), 32);
    assert_ne!(one["jti"], two["jti"]);
    for wrong in [json!({"claims": {"exp": 1}}), json!({"lifetime_s": 0}), json!({"lifetime_s": 86_401})] {
        assert_eq!(claims(wrong).unwrap_err().code, openact_core::ErrorCode::InvalidConfig);
    }
}
