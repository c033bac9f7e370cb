//! Against the examples of the RFCs, and against what servers are known to do.

use http::{Method, header::WWW_AUTHENTICATE};
use serde_json::json;

use super::*;
use crate::testing::{Request, authenticator, ready, shown};

const RFC7616: &str = r#"realm="http-auth@example.org", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;

fn refusal(challenges: &[&str]) -> HeaderMap {
    challenges.iter().map(|text| (WWW_AUTHENTICATE, text.parse().unwrap())).collect()
}

/// The answer to `challenge` with a client nonce that a test can know.
fn answer(user: [&str; 2], challenge: &str, cnonce: &str, request: &Request) -> String {
    let mut session = Session::of(&Challenge::all(&refusal(&[challenge]))[0]).unwrap().0;
    session.cnonce = cnonce.into();
    session.count = 1;
    session.answer(user[0], &user[1].into(), request.view()).to_string()
}

fn parameter<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let rest = &answer[answer.find(&format!(" {name}="))? + name.len() + 2..];
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(',').next(),
    }
}

#[test]
fn the_examples_of_the_rfcs() {
    let mufasa = ["Mufasa", "Circle of Life"];
    let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let get = Request::new(Method::GET, "http://www.example.org/dir/index.html");
    let post = Request::new(Method::POST, "http://www.example.org/dir/index.html?x=1#no").body(b"hello");
    // RFC 7616 section 3.9.1; the rest with the same inputs, computed with Python's hashlib.
    for (what, request, response) in [
        ("qop=\"auth, auth-int\", algorithm=MD5", &get, "8ca523f5e9506fed4657c9700eebdbec"),
        ("qop=\"auth\"", &get, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "qop=\"auth, auth-int\", algorithm=SHA-256",
            &get,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        ("qop=auth, algorithm=\"MD5-sess\"", &get, "e783283f46242139c486a698fec7211d"),
        (
            "qop=auth, algorithm=sha-256-sess",
            &get,
            "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7",
        ),
        ("qop=\"auth-int\", algorithm=MD5", &post, "0f2af6ceb8107a29a7ed2538f0a80d5b"),
    ] {
        let answer = answer(mufasa, &format!("Digest {RFC7616}, {what}"), cnonce, request);
        assert_eq!(parameter(&answer, "response"), Some(response), "{what}");
    }
    let whole =
        answer(mufasa, &format!("Digest {RFC7616}, qop=\"auth, auth-int\", algorithm=MD5"), cnonce, &get);
    assert_eq!(
        whole,
        format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", uri=\"/dir/index.html\", \
             response=\"8ca523f5e9506fed4657c9700eebdbec\", algorithm=MD5, qop=auth, nc=00000001, \
             cnonce=\"{cnonce}\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        )
    );
}

#[test]
fn rfc2069_and_rfc2617() {
    let get = Request::new(Method::GET, "http://www.nowhere.org/dir/index.html");
    let challenge = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093""#;
    // RFC 2069 section 2.4, with its erratum 749.
    let old = answer(["Mufasa", "CircleOfLife"], challenge, "unused", &get);
    assert_eq!(parameter(&old, "response"), Some("1949323746fe6a43ef61f9606e7febea"));
    assert!(["qop", "nc", "cnonce", "algorithm"].iter().all(|name| parameter(&old, name).is_none()), "{old}");
    // RFC 2617 section 3.5.
    let newer = format!("{challenge}, qop=\"auth,auth-int\"");
    let newer = answer(["Mufasa", "Circle Of Life"], &newer, "0a4f113b", &get);
    assert_eq!(parameter(&newer, "response"), Some("6629fae49393a05397450978507c4ef1"));
}

#[test]
fn sha_512_256_and_a_user_beyond_ascii() {
    // RFC 7616 section 3.9.2, with its erratum 4897.
    let user = ["J\u{e4}s\u{f8}n Doe", "Secret, or not?"];
    let challenge = r#"Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", charset=UTF-8"#;
    let get = Request::new(Method::GET, "http://api.example.org/doe.json");
    let cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v";
    let response = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5";

    let hashed = answer(user, &format!("{challenge}, userhash=true"), cnonce, &get);
    assert_eq!(
        parameter(&hashed, "username"),
        Some("793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b")
    );
    assert_eq!(parameter(&hashed, "response"), Some(response));
    assert!(hashed.ends_with(", userhash=true"), "{hashed}");

    let plain = answer(user, challenge, cnonce, &get);
    assert_eq!(parameter(&plain, "username*"), Some("UTF-8''J%C3%A4s%C3%B8n%20Doe"));
    assert_eq!(parameter(&plain, "response"), Some(response));
}

#[test]
fn the_strongest_of_several_challenges_and_the_first_of_equals() {
    let digest = Digest { username: "u".into(), password: "p".into(), session: Mutex::default() };
    let headers = refusal(&[
        r#"Basic realm="r", Digest realm="r", nonce="md5", qop="auth""#,
        r#"Digest realm="r", nonce="first", algorithm=SHA-256, qop="auth""#,
        r#"Digest realm="r", nonce="second", algorithm=SHA-256, qop="auth""#,
        r#"Digest realm="r", nonce="unknown", algorithm=SHA3, qop="auth""#,
        r#"Digest realm="r", nonce="qop", algorithm=SHA-512-256, qop="other""#,
    ]);
    assert!(digest.learn(&[], &headers).unwrap());
    assert_eq!(digest.session.lock().unwrap().as_ref().unwrap().nonce, "first");
    // Nothing that can be answered.
    for other in [r#"Basic realm="r""#, "Digest realm=\"r\"", "Digest nonce=n, algorithm=X"] {
        assert!(!digest.learn(&[], &refusal(&[other])).unwrap(), "{other}");
    }
}

#[test]
fn a_nonce_is_counted_up_and_a_refused_answer_is_given_again_only_for_another_nonce() {
    let digest = authenticator(&json!({"type": "digest", "username": "a\"b", "password": "p"}));
    assert!(digest.begins_refused());
    let request = Request::new(Method::GET, "https://api.example.com/x");
    let send = || ready(digest.authenticate(request.view())).unwrap();
    let refused = |sent: &[Injection], challenge: &str| {
        ready(digest.refused(request.view(), sent, &refusal(&[challenge]))).unwrap()
    };
    let (one, two) =
        (r#"Digest realm="r", nonce="1", qop="auth""#, r#"Digest realm="r", nonce="2", qop="auth""#);
    let bare = send();
    assert!(bare.is_empty());
    assert!(refused(&bare, one));
    let first = send();
    let line = shown(&first)[0].clone();
    assert!(line.starts_with(r#"header authorization: Digest username="a\"b","#), "{line}");
    assert!(line.contains("nc=00000001"), "{line}");
    let again = shown(&send())[0].clone();
    assert!(again.contains("nc=00000002"), "{again}");
    assert_eq!(parameter(&line, "cnonce"), parameter(&again, "cnonce"));

    // The password is wrong.
    assert!(!refused(&first, one));
    // Only the nonce was; a server that says so names another one, and some do not say so.
    assert!(refused(&first, &format!("{one}, stale=TRUE")));
    assert!(refused(&first, two));
    let line = shown(&send())[0].clone();
    assert!(line.contains(r#"nonce="2""#) && line.contains("nc=00000001"), "{line}");
    // Another task's refusal, of the nonce before, does not set the count back.
    assert!(refused(&first, two));
    assert!(shown(&send())[0].contains("nc=00000002"));
}

#[test]
fn a_used_up_count_begins_anew_with_a_bare_request() {
    let digest = Digest { username: "u".into(), password: "p".into(), session: Mutex::default() };
    digest.learn(&[], &refusal(&[r#"Digest realm="r", nonce="n", qop="auth""#])).unwrap();
    digest.session.lock().unwrap().as_mut().unwrap().count = u32::MAX - 1;
    let request = Request::new(Method::GET, "https://api.example.com/x");
    assert!(shown(&digest.injections(request.view()).unwrap())[0].contains("nc=ffffffff"));
    assert!(digest.injections(request.view()).unwrap().is_empty());
}

#[test]
fn e10_a_realm_cannot_break_out_of_its_quotes() {
    let get = Request::new(Method::GET, "https://api.example.com/");
    let line = answer(["u", "p"], r#"Digest realm="a\", uri=\"/evil", nonce=n"#, "c", &get);
    assert!(line.contains(r#"realm="a\", uri=\"/evil", nonce="n""#), "{line}");
}
