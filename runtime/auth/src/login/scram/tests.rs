//! SCRAM, against what the RFCs show and what servers said (see `login/tests.rs`).

use openact_core::ErrorCode;
use serde_json::json;

use super::*;
use crate::login::tests::{NOTHING, PASSWORD, TLS, bytes, heard, proof, try_start};

/// An exchange whose end the server's final message is.
struct Exchange {
    mechanism: &'static str,
    user: &'static str,
    md5_password: bool,
    end_point: Option<Vec<u8>>,
    nonce: &'static str,
    client_first: &'static str,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

fn exchanges() -> impl Iterator<Item = Exchange> {
    of_rfcs().into_iter().chain(of_servers())
}

fn of_rfcs() -> [Exchange; 2] {
    [
        // RFC 5802 section 5.
        Exchange {
            mechanism: "SCRAM-SHA-1",
            user: "user",
            md5_password: false,
            end_point: None,
            nonce: NONCE,
            client_first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            server_final: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        // RFC 7677 section 3.
        Exchange {
            mechanism: "SCRAM-SHA-256",
            user: "user",
            md5_password: false,
            end_point: None,
            nonce: "rOprNGfwEbeRWgbNEkqO",
            client_first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ]
}

fn of_servers() -> [Exchange; 4] {
    [
        // PostgreSQL, plain text.
        Exchange {
            mechanism: "SCRAM-SHA-256",
            user: "",
            md5_password: false,
            end_point: None,
            nonce: NONCE,
            client_first: "n,,n=,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawLHFrz4LTOaYZveH5KKCqu6PDQ,s=pDCiemb0k8NONzt9sVds9A==,i=4096",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawLHFrz4LTOaYZveH5KKCqu6PDQ,p=OxKAEfcon3uSvTIWuOyNyz1DsPRvqNoVEh4xMhuC2f8=",
            server_final: "v=SeKElDbVdiskKr9fwXw9oI7tnvaadC1yGH4pw23Xbg8=",
        },
        // PostgreSQL, TLS; the hash is of the certificate in `certificate/tests.rs`.
        Exchange {
            mechanism: "SCRAM-SHA-256-PLUS",
            user: "",
            md5_password: false,
            end_point: Some(bytes("8203f018157c4049c111cc9a95423a42e8776bda6a5ae699734a919c6f8bce2a")),
            nonce: NONCE,
            client_first: "p=tls-server-end-point,,n=,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawLbs2+fmT/OXo/Sfn3aCXq/x3D,s=pDCiemb0k8NONzt9sVds9A==,i=4096",
            client_final: "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsggPwGBV8QEnBEcyalUI6Quh3a9pqWuaZc0qRnG+Lzio=,r=fyko+d2lbbFgONRv9qkxdawLbs2+fmT/OXo/Sfn3aCXq/x3D,p=GbFXfcOX5s0/aSNriqGB6hvNnyZjOLIb4IeN2gLNaeo=",
            server_final: "v=Q4JRVTeDsykGEfzMiDTfeqxHy97U4lnA18R0jEPj4Mc=",
        },
        // MongoDB.
        Exchange {
            mechanism: "SCRAM-SHA-1",
            user: "openact",
            md5_password: true,
            end_point: None,
            nonce: NONCE,
            client_first: "n,,n=openact,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawL11jo26u31MM/rz1lviMgHWvH0RgcZNqH,s=E4iE3JFRapksm07K1kpS2g==,i=10000",
            client_final: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL11jo26u31MM/rz1lviMgHWvH0RgcZNqH,p=4bOtkIqV477qb96AycmZF5T6PO8=",
            server_final: "v=NWjR+XtI/7GPTssir27XHtvqU3M=",
        },
        // MongoDB, which has no channel binding: ours to say that we would have.
        Exchange {
            mechanism: "SCRAM-SHA-256",
            user: "openact",
            md5_password: false,
            end_point: Some(vec![7; 32]),
            nonce: NONCE,
            client_first: "y,,n=openact,r=fyko+d2lbbFgONRv9qkxdawL",
            server_first: "r=fyko+d2lbbFgONRv9qkxdawLOP71DVcRZeSW6WUE9DKaa2usFRZz3ILG,s=jTW561G2WVfcSazrko9tkiUghKvNgTCfD2DbjQ==,i=15000",
            client_final: "c=eSws,r=fyko+d2lbbFgONRv9qkxdawLOP71DVcRZeSW6WUE9DKaa2usFRZz3ILG,p=0lfqOLRQWa7LVOGqd5PzDzi8OeGLY+91MlyPr0e/Ufo=",
            server_final: "v=0Iz3TMlznduXSuW4T0QQFLq9afpyl3PfSHrnG9gZDX8=",
        },
    ]
}

fn scram(mechanism: &str, parameters: serde_json::Value, password: &str, channel: Channel<'_>) -> Scram {
    let parameters = Parameters { object: parameters.as_object().unwrap(), mechanism };
    Scram::of(&parameters, password.into(), channel, Arc::new(Keys::new().unwrap())).unwrap().unwrap()
}

/// The login of `exchange`, begun.
fn begun(exchange: &Exchange) -> Scram {
    let mut parameters = json!({"user": exchange.user});
    if exchange.md5_password {
        parameters["md5_password"] = true.into();
    }
    let end_point = exchange.end_point.as_deref();
    let channel = Channel { is_encrypted: end_point.is_some(), tls_server_end_point: end_point };
    let mut login = scram(exchange.mechanism, parameters, PASSWORD, channel);
    assert_eq!(login.begin(exchange.nonce.to_owned()), exchange.client_first);
    login
}

async fn failed(login: &mut Scram, challenge: &[u8]) -> Error {
    let error = login.step(challenge, NOTHING).await.unwrap_err();
    let again = login.step(challenge, NOTHING).await.unwrap_err();
    assert!(again.message.contains("is over"), "{error}, then {again}");
    error
}

#[tokio::test]
async fn c7_both_sides_prove_themselves_as_others_do() {
    for exchange in exchanges() {
        let mut login = begun(&exchange);
        let answer = login.step(exchange.server_first.as_bytes(), NOTHING).await;
        assert_eq!(String::from_utf8(proof(answer)).unwrap(), exchange.client_final);
        let done = login.step(exchange.server_final.as_bytes(), NOTHING).await;
        assert!(matches!(done, Ok(Answer::Done)), "{done:?}");
        assert!(login.step(exchange.server_final.as_bytes(), NOTHING).await.is_err());
    }
}

#[tokio::test]
async fn c7_a_server_that_does_not_know_the_password_is_found_out() {
    let exchange = &exchanges().nth(2).unwrap();
    let proof = exchange.server_final;
    let cut = &proof[..proof.len() - 4];
    let zeros = format!("v={}", STANDARD.encode([0; 32]));
    for (message, code) in [
        (zeros.as_str(), ErrorCode::UpstreamError),
        (cut, ErrorCode::UpstreamError),
        ("v=", ErrorCode::UpstreamError),
        ("v=SeKElDbVdiskKr9fwXw9oI7tnvaadC1yGH4pw23Xbg9=", ErrorCode::UpstreamError),
        ("", ErrorCode::UpstreamError),
        ("v", ErrorCode::UpstreamError),
        (&proof[2..], ErrorCode::UpstreamError),
        (&format!("{proof},m=x"), ErrorCode::UpstreamError),
        (&format!("m=x,{proof}"), ErrorCode::UpstreamError),
        (&format!("x=y,{proof}"), ErrorCode::UpstreamError),
        ("e=invalid-proof", ErrorCode::AuthRequired),
        (&format!("e=other-error,{proof}"), ErrorCode::AuthRequired),
    ] {
        let mut login = begun(exchange);
        login.step(exchange.server_first.as_bytes(), NOTHING).await.unwrap();
        assert_eq!(failed(&mut login, message.as_bytes()).await.code, code, "{message}");
    }
    let mut login = begun(exchange);
    login.step(exchange.server_first.as_bytes(), NOTHING).await.unwrap();
    let extended = format!("{proof},x=y");
    assert!(matches!(login.step(extended.as_bytes(), NOTHING).await, Ok(Answer::Done)));
}

#[tokio::test]
async fn c7_no_proof_is_made_for_a_first_message_that_breaks_the_rules() {
    let (nonce, salt) = (format!("{NONCE}x"), "c2FsdA==");
    let (at_most, too_many) = (SCRAM_ROUNDS.end(), SCRAM_ROUNDS.end() + 1);
    for (message, code) in [
        // The nonce is not ours, or nothing is added to it, or not what may be.
        (format!("r={NONCE},s={salt},i=4096"), ErrorCode::UpstreamError),
        (format!("r={},s={salt},i=4096", &NONCE[1..]), ErrorCode::UpstreamError),
        (format!("r=x{NONCE}x,s={salt},i=4096"), ErrorCode::UpstreamError),
        (format!("r=,s={salt},i=4096"), ErrorCode::UpstreamError),
        (format!("r={NONCE} x,s={salt},i=4096"), ErrorCode::UpstreamError),
        (format!("r={NONCE}ä,s={salt},i=4096"), ErrorCode::UpstreamError),
        // Salt.
        (format!("r={nonce},s=,i=4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s=c2FsdA,i=4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s=*,i=4096"), ErrorCode::UpstreamError),
        // Rounds.
        (format!("r={nonce},s={salt},i=4095"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=1"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=0"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=-4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=+4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i="), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i={too_many}"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=99999999999999999999"), ErrorCode::UpstreamError),
        // Form.
        (format!("m=x,r={nonce},s={salt},i=4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt},i=4096,m=x"), ErrorCode::UpstreamError),
        (format!("s={salt},r={nonce},i=4096"), ErrorCode::UpstreamError),
        (format!("r={nonce},s={salt}"), ErrorCode::UpstreamError),
        (String::new(), ErrorCode::UpstreamError),
        ("e=unknown-user".to_owned(), ErrorCode::AuthRequired),
    ] {
        let mut login = begun(&exchanges().next().unwrap());
        assert_eq!(failed(&mut login, message.as_bytes()).await.code, code, "{message}");
    }
    let mut login = begun(&exchanges().next().unwrap());
    assert_eq!(failed(&mut login, b"r=\xff").await.code, ErrorCode::UpstreamError);
    for message in [format!("r={nonce},s={salt},i={at_most}"), format!("r={nonce},s={salt},i=4096,x=y")] {
        let mut login = begun(&exchanges().next().unwrap());
        assert!(login.step(message.as_bytes(), NOTHING).await.is_ok(), "{message}");
    }
}

#[tokio::test]
async fn steps_have_an_order() {
    let exchange = &exchanges().next().unwrap();
    let parameters = || json!({"user": exchange.user});
    let mut login = scram("SCRAM-SHA-1", parameters(), PASSWORD, Channel::default());
    let error = failed(&mut login, exchange.server_first.as_bytes()).await;
    assert_eq!(error.code, ErrorCode::InvalidInput);
    let mut login = begun(exchange);
    assert_eq!(failed(&mut login, exchange.server_final.as_bytes()).await.code, ErrorCode::UpstreamError);
}

#[tokio::test]
async fn c7_every_login_has_a_nonce_of_its_own() {
    let mut nonces = std::collections::HashSet::new();
    for _ in 0..20 {
        let mut login = scram("SCRAM-SHA-256", json!({"user": "u"}), PASSWORD, TLS);
        let message = String::from_utf8(proof(login.step(b"", NOTHING).await)).unwrap();
        let nonce = message.strip_prefix("n,,n=u,r=").unwrap();
        assert!(nonce.len() == 32 && !nonce.contains(','), "{nonce}");
        assert!(nonces.insert(nonce.to_owned()));
    }
}

#[test]
fn c7_plus_is_for_tls_with_a_certificate_to_bind_to() {
    let start = |channel| try_start("SCRAM-SHA-256-PLUS", json!({"user": ""}), PASSWORD, channel);
    let stray = Channel { is_encrypted: false, tls_server_end_point: Some(&[7; 32]) };
    for plain in [Channel::default(), stray] {
        assert_eq!(start(plain).err().unwrap().code, ErrorCode::EgressDenied);
    }
    assert!(start(TLS).unwrap().is_none());
}

#[test]
fn what_a_name_holds_is_escaped() {
    let mut login = scram("SCRAM-SHA-256", json!({"user": "a=b,c=2C"}), PASSWORD, TLS);
    assert_eq!(login.begin("x".into()), "n,,n=a=3Db=2Cc=3D2C,r=x");
}

/// RFC 4013 section 3, and what it has no form for.
#[test]
fn passwords_are_prepared_or_left_as_they_are() {
    for (password, expected) in [
        ("I\u{ad}X", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u{aa}", "a"),
        ("\u{2168}", "IX"),
        ("a\u{a0}b", "a b"),
        ("bell\u{7}", "bell\u{7}"),
        ("\u{627}1", "\u{627}1"),
    ] {
        assert_eq!(prepared(&password.into()).as_slice(), expected.as_bytes(), "{password:?}");
    }
}

#[tokio::test]
async fn what_was_heard_does_not_matter() {
    let mut login = scram("SCRAM-SHA-256", json!({"user": "u"}), PASSWORD, TLS);
    let heard = Heard { is_whole: false, ..heard(b"x", b"y") };
    assert!(login.step(b"", heard).await.is_ok());
}
