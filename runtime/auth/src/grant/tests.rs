//! What is asked of a token endpoint, and what is made of its answers.

use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;

use super::*;
use crate::testing::{Clock, Played, Request, answer, computed, make, ready, shown};

fn client(fields: Value) -> Value {
    let mut section = json!({"type": "oauth2_client_credentials", "token_url": "https://id.example.com/token?t=1",
        "client_id": "the client", "client_secret": "hunter2:%"});
    section.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    section
}

async fn asked(section: &Value, transport: &Arc<Played>) -> Result<String> {
    let made = make(section, "https://api.example.com", "o", &Clock::new().tokens(), transport.clone())?;
    let request = Request::new(Method::GET, "https://api.example.com/").at("2024-01-01T00:00:00Z");
    let sent = computed(made).authenticate(request.view()).await?;
    Ok(shown(&sent).join(", "))
}

fn good() -> Arc<Played> {
    Played::answers(|_| answer(200, json!({"access_token": "t0k3n", "token_type": "Bearer", "more": [1]})))
}

#[tokio::test]
async fn what_a_client_asks_for() {
    for (fields, body) in [
        (json!({}), "grant_type=client_credentials"),
        (json!({"scope": "a b"}), "grant_type=client_credentials&scope=a+b"),
        (json!({"scope": ["a", "b:c"]}), "grant_type=client_credentials&scope=a+b%3Ac"),
        (
            json!({"audience": "x&y", "resource": "https://r", "scope": "s"}),
            "grant_type=client_credentials&audience=x%26y&scope=s&resource=https%3A%2F%2Fr",
        ),
        (
            json!({"scope": "s", "token_parameters": {"scope": "t", "tenant": "5"}}),
            "grant_type=client_credentials&scope=t&tenant=5",
        ),
        (
            json!({"token_parameters": {"password": {"$env": "SET"}, "none": null}}),
            "grant_type=client_credentials&password=hunter2",
        ),
    ] {
        let transport = good();
        asked(&client(fields), &transport).await.unwrap();
        let (url, headers, sent) = transport.last();
        assert_eq!(url.as_str(), "https://id.example.com/token?t=1");
        assert_eq!(sent, body);
        assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
        assert_eq!(headers["accept"], "application/json");
        // RFC 6749 section 2.3.1: "the+client" and "hunter2%3A%25".
        assert_eq!(headers["authorization"], "Basic dGhlK2NsaWVudDpodW50ZXIyJTNBJTI1");
        assert!(headers["authorization"].is_sensitive());
    }
    let transport = good();
    asked(&client(json!({"client_auth": "post"})), &transport).await.unwrap();
    let (_, headers, sent) = transport.last();
    assert_eq!(sent, "grant_type=client_credentials&client_id=the+client&client_secret=hunter2%3A%25");
    assert!(!headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_token_goes_where_the_operator_says() {
    for (fields, sent) in [
        (json!({}), "header authorization: Bearer t0k3n"),
        (json!({"header": "X-Access-Token", "prefix": ""}), "header x-access-token: t0k3n"),
        (json!({"prefix": "Token"}), "header authorization: Token t0k3n"),
    ] {
        assert_eq!(asked(&client(fields), &good()).await.unwrap(), sent);
    }
}

#[tokio::test]
async fn an_assertion_is_traded_for_a_token() {
    let section = json!({"type": "jwt", "use": "grant", "algorithm": "HS256", "key": "k", "issuer": "me",
        "token_url": "https://id.example.com/token", "scope": ["a", "b"]});
    let transport = good();
    assert_eq!(asked(&section, &transport).await.unwrap(), "header authorization: Bearer t0k3n");
    let (_, headers, body) = transport.last();
    assert!(!headers.contains_key("authorization"));
    let fields: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    assert_eq!(fields[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(fields[1], ("scope".to_owned(), "a b".to_owned()));
    assert_eq!(fields[2].0, "assertion");
    let claims = BASE64_URL_SAFE_NO_PAD.decode(fields[2].1.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], "https://id.example.com/token");
    assert_eq!((&claims["iss"], &claims["iat"]), (&json!("me"), &json!(1_704_067_200)));
    assert_eq!(fields.len(), 3);
    // A public client only names itself; one with a secret proves it.
    let mut public = section.clone();
    public["client_id"] = "c".into();
    asked(&public, &transport).await.unwrap();
    assert!(transport.last().2.ends_with("&client_id=c"));
    public["client_secret"] = "s".into();
    asked(&public, &transport).await.unwrap();
    assert_eq!(transport.last().1["authorization"], "Basic Yzpz");
}

#[tokio::test]
async fn c5_what_an_endpoint_answers_and_what_is_told_of_it() {
    let refused = ErrorCode::AuthRequired;
    let other = ErrorCode::UpstreamError;
    for (status, body, code, says) in [
        (401, r#"{"error": "invalid_client", "error_description": "hunter2:%"}"#, refused, "invalid_client"),
        (400, r#"{"error": "invalid_scope"}"#, refused, "invalid_scope"),
        (200, r#"{"error": "incorrect_client_credentials"}"#, refused, "incorrect_client_credentials"),
        (400, r#"{"error": "hunter2:%"}"#, refused, "refused: 400"),
        (400, r#"{"error": "hunter2"}"#, refused, "refused: 400"),
        (400, r#"{"error": "A Secret\n"}"#, refused, "refused: 400"),
        (404, "<html>hunter2:%</html>", refused, "refused: 404"),
        (400, r#"{"error": {"message": "hunter2:%"}}"#, refused, "refused: 400"),
        (500, "hunter2:%", other, "answered 500"),
        (408, "", other, "answered 408"),
        (302, "", other, "in place of a token"),
        (200, "<html>hunter2:%</html>", other, "without a usable access_token"),
        (200, "[]", other, "without a usable access_token"),
        (200, r#"{"access_token": ""}"#, other, "without a usable access_token"),
        (200, r#"{"access_token": 5}"#, other, "without a usable access_token"),
        (200, r#"{"access_token": "hunter2:%\r\nX-Evil: 1"}"#, other, "without a usable access_token"),
        (200, r#"{"access_token": "hunter2:% x"}"#, other, "without a usable access_token"),
        (200, r#"{"access_token": "hunter2:%", "token_type": "DPoP"}"#, other, "other than Bearer"),
        (200, r#"{"access_token": "hunter2:%", "token_type": "mac"}"#, other, "other than Bearer"),
    ] {
        let transport = Played::answers(move |_| answer(status, body));
        let error = asked(&client(json!({})), &transport).await.unwrap_err();
        assert_eq!(error.code, code, "{status} {body}");
        assert!(error.message.contains(says), "{status} {body}: {error:?}");
        assert!(error.message.contains("id.example.com"), "{error:?}");
        assert!(!format!("{error:?} {}", error.to_json()).contains("hunter2"), "{status} {body}: {error:?}");
        assert_eq!(error.retryable(), matches!(status, 500 | 408), "{status} {body}");
    }
}

#[tokio::test]
async fn what_the_transport_says_is_passed_on() {
    for code in [ErrorCode::EgressDenied, ErrorCode::NetworkError, ErrorCode::Timeout] {
        let transport = Played::new(move |_| {
            Box::pin(async move {
                let error = Error::new(code, "the reason").hint("the hint").because("the inner cause");
                Err(error.details(json!({"denied": "x"})))
            })
        });
        let error = asked(&client(json!({})), &transport).await.unwrap_err();
        assert_eq!((error.code, error.retryable()), (code, code.retryable()));
        assert_eq!(error.message, "failed to get a token from id.example.com: the reason");
        assert_eq!(error.hint.as_deref(), Some("the hint"));
        assert_eq!(error.details, Some(json!({"denied": "x"})));
        assert!(format!("{error:?}").contains("the inner cause"));
    }
}

#[test]
fn a_token_endpoint_is_asked_in_clear_only_where_all_is() {
    let made = |url: &str, base: &str| {
        make(&client(json!({"token_url": url})), base, "o", &Arc::default(), good()).map(drop)
    };
    made("https://id.example.com/token", "https://api.example.com").unwrap();
    made("https://id.example.com/token", "http://127.0.0.1:1").unwrap();
    made("http://127.0.0.1:2/token", "http://127.0.0.1:1").unwrap();
    for wrong in [
        "http://id.example.com/token",
        "http://127.0.0.1/token",
        "https://hunter2@id.example.com/token",
        "https://id.example.com/token#f",
        "ftp://id.example.com",
        "token",
    ] {
        let error = made(wrong, "https://api.example.com").unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidConfig, "{wrong}");
        assert!(!error.to_json().to_string().contains("hunter2"), "{error:?}");
    }
}

#[test]
fn outside_a_runtime_there_is_an_error_and_no_panic() {
    let made = make(&client(json!({})), "https://api.example.com", "o", &Arc::default(), good()).unwrap();
    let request = Request::new(Method::GET, "https://api.example.com/");
    let error = ready(computed(made).authenticate(request.view())).unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
}

#[tokio::test]
async fn c5_a_token_parameter_that_leads_to_nothing_fails_before_anything_is_asked() {
    let transport = good();
    let section = client(json!({"token_parameters": {"password": {"$env": "GONE"}}}));
    let error = asked(&section, &transport).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AuthRequired);
    assert!(error.message.contains("authorization.token_parameters.password"), "{error}");
    assert_eq!(transport.count(), 0);
}

#[tokio::test]
async fn c1_an_error_code_that_echoes_a_token_parameter_is_not_told() {
    for (password, told) in [("hunter2_canary", false), ("5", true)] {
        let transport = Played::answers(move |_| {
            answer(400, json!({"error": if told { "invalid_5" } else { "no_hunter2_canary" }}))
        });
        let error = asked(&client(json!({"token_parameters": {"password": password}})), &transport).await;
        let message = error.unwrap_err().message.clone();
        assert!(!message.contains("hunter2"), "{message}");
        assert_eq!(message.contains("invalid_5"), told, "{message}");
    }
}
