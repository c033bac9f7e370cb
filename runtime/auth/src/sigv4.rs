//! `aws_sigv4`: AWS Signature Version 4 in headers, for AWS and what speaks its protocols.
//!
//! | field | |
//! |---|---|
//! | `access_key_id` | text |
//! | `secret_access_key` | secret |
//! | `session_token` | secret, if the keys are temporary |
//! | `region`, `service` | text, such as `eu-central-1` and `execute-api` |
//!
//! Signed are `host`, `content-type`, every `x-amz-*` header, and the body by its SHA-256. Sent are `authorization`,
//! `x-amz-date`, `x-amz-content-sha256` and `x-amz-security-token`, whatever the request had by those names.
//!
//! The path is escaped once more than it is sent, and slashes in a row count as one; service `s3` does neither. A `+`
//! in the query means a space.
//!
//! Invariant: what is signed is what a server reads of the request as sent, and not what a guest meant.

use std::{fmt::Write as _, sync::Arc};

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, header};
use openact_core::{
    Result, Timestamp,
    credential::{Authenticator, BoxFuture, Injection, RequestView},
    secret::{ExposeSecret, SecretString},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use url::Url;
use zeroize::Zeroizing;

use crate::{fields::Fields, hash, placement};

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const AMZ_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const AMZ_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// All but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_IN_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// See the module.
#[derive(Debug)]
pub(crate) struct SigV4 {
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: Option<SecretString>,
    region: String,
    service: String,
}

impl SigV4 {
    pub(crate) fn of(fields: &Fields<'_>) -> Result<Self> {
        Ok(Self {
            access_key_id: fields.required("access_key_id")?.to_owned(),
            secret_access_key: fields.secret("secret_access_key")?,
            session_token: fields.optional_secret("session_token")?,
            region: fields.required("region")?.to_owned(),
            service: fields.required("service")?.to_owned(),
        })
    }

    fn injections(&self, request: RequestView<'_>) -> Result<Arc<[Injection]>> {
        let (date, body_hash) = (long_date(request.now), hash::sha256_hex(request.body));
        let mut signed = headers_to_sign(&request, self.session_token.is_some());
        signed.push((AMZ_DATE.to_string(), date.clone().into_bytes()));
        signed.push((AMZ_HASH.to_string(), body_hash.clone().into_bytes()));
        if let Some(token) = &self.session_token {
            signed.push((AMZ_TOKEN.to_string(), token.expose_secret().as_bytes().to_vec()));
        }
        let authorization = self.authorization(&request, &date, signed, &body_hash)?;
        let mut injections = vec![
            placement::once(&header::AUTHORIZATION, Zeroizing::new(authorization))?,
            placement::plain(&AMZ_DATE, date),
            placement::plain(&AMZ_HASH, body_hash),
        ];
        if let Some(token) = &self.session_token {
            injections.push(placement::header(&AMZ_TOKEN, Zeroizing::new(token.expose_secret().to_owned()))?);
        }
        Ok(injections.into())
    }

    /// The value of `Authorization` over the headers in `signed`.
    fn authorization(
        &self,
        request: &RequestView<'_>,
        date: &str,
        mut signed: Vec<(String, Vec<u8>)>,
        body_hash: &str,
    ) -> Result<String> {
        signed.sort_by(|(a, _), (b, _)| a.cmp(b));
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let (path, query) = (self.canonical_path(request.url.path()), canonical_query(request.url));
        let mut canonical = Zeroizing::new(format!("{}\n{path}\n{query}\n", request.method).into_bytes());
        for (name, value) in &signed {
            canonical.extend_from_slice(name.as_bytes());
            canonical.push(b':');
            canonical.extend_from_slice(value);
            canonical.push(b'\n');
        }
        canonical.extend_from_slice(format!("\n{names}\n{body_hash}").as_bytes());
        let day = date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash::sha256_hex(&canonical));
        let signature = hash::hex(sign(self.key(day).as_slice(), to_sign.as_bytes()).as_ref());
        let mut out = format!("AWS4-HMAC-SHA256 Credential={}/{scope}, ", self.access_key_id);
        // Writing to a string cannot fail.
        let _ = write!(out, "SignedHeaders={names}, Signature={signature}");
        Ok(out)
    }

    fn key(&self, day: &str) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(format!("AWS4{}", self.secret_access_key.expose_secret()));
        let start = Zeroizing::new(secret.as_bytes().to_vec());
        [day, &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(start, |key, part| Zeroizing::new(sign(&key, part.as_bytes()).as_ref().to_vec()))
    }

    fn canonical_path(&self, path: &str) -> String {
        if self.service == "s3" {
            // A key is any text, so slashes stay, and it is compared unescaped.
            let plain: Vec<u8> = percent_decode_str(path).collect();
            return percent_encode(&plain, ESCAPED_IN_PATH).to_string();
        }
        let mut single = String::with_capacity(path.len());
        for c in path.chars() {
            if c != '/' || !single.ends_with('/') {
                single.push(c);
            }
        }
        percent_encode(single.as_bytes(), ESCAPED_IN_PATH).to_string()
    }
}

impl Authenticator for SigV4 {
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>> {
        Box::pin(async move { self.injections(request) })
    }

    fn names(&self) -> Vec<String> {
        let token = self.session_token.as_ref().map(|_| AMZ_TOKEN);
        let names = [header::AUTHORIZATION, AMZ_DATE, AMZ_HASH].into_iter().chain(token);
        names.map(|name| name.as_str().to_owned()).collect()
    }
}

fn sign(key: &[u8], data: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data)
}

fn long_date(now: Timestamp) -> String {
    now.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// `host`, and of the request's own headers those that AWS wants to be signed, each with its values joined.
/// Those that are about to be replaced are not among them.
fn headers_to_sign(request: &RequestView<'_>, own_token: bool) -> Vec<(String, Vec<u8>)> {
    let own = |name: &HeaderName| [AMZ_DATE, AMZ_HASH].contains(name) || (own_token && *name == AMZ_TOKEN);
    let wanted = |name: &HeaderName| *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let mut signed = vec![("host".to_owned(), host(request.url).into_bytes())];
    for name in request.headers.keys().filter(|name| wanted(name) && !own(name)) {
        signed.push((name.to_string(), joined(request.headers, name)));
    }
    signed
}

/// The header `Host` as it follows from the URL.
pub(crate) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A header's values, trimmed, with spaces in a row as one, and commas between them.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let one = |value: &[u8]| {
        let words: Vec<&[u8]> =
            value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        words.join(&b' ')
    };
    let values: Vec<_> = headers.get_all(name).iter().map(|value| one(value.as_bytes())).collect();
    values.join(&b',')
}

fn canonical_query(url: &Url) -> String {
    let escape = |text: &str| percent_encode(text.as_bytes(), ESCAPED).to_string();
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (escape(&name), escape(&value))).collect();
    pairs.sort();
    let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::testing::{Request, authenticator, ready, shown};

    const NOW: &str = "2015-08-30T12:36:00Z";

    fn signer(service: &str, token: Option<&str>) -> SigV4 {
        SigV4 {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: token.map(Into::into),
            region: "us-east-1".into(),
            service: service.into(),
        }
    }

    /// AWS's vectors sign no `x-amz-content-sha256`.
    fn signature_without_hash(request: &Request) -> String {
        let view = request.view();
        let mut signed = headers_to_sign(&view, false);
        signed.push(("x-amz-date".into(), b"20150830T123600Z".to_vec()));
        let hash = hash::sha256_hex(view.body);
        let line = signer("service", None).authorization(&view, "20150830T123600Z", signed, &hash).unwrap();
        line.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_published_vectors() {
        let get =
            |rest: &str| Request::new(Method::GET, &format!("https://example.amazonaws.com{rest}")).at(NOW);
        let post = Request::new(Method::POST, "https://example.amazonaws.com/").at(NOW);
        let form = Request::new(Method::POST, "https://example.amazonaws.com/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(b"Param1=value1")
            .at(NOW);
        for (name, request, signature) in [
            ("get-vanilla", get("/"), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "get-vanilla-query-order-key-case",
                get("/?Param2=value2&Param1=value1"),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "get-vanilla-empty-query-key",
                get("/?Param1=value1"),
                "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
            ),
            (
                "get-slashes",
                get("//example//"),
                "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
            ),
            ("post-vanilla", post, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "post-x-www-form-urlencoded",
                form,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            // The path as sent, escaped once more: of botocore 1.43.
            ("utf8", get("/%E1%88%B4"), "697b34846207a3f72246f99d74ae1ee4fe54f44bb06730c58a0d339eb079596d"),
        ] {
            assert_eq!(signature_without_hash(&request), signature, "{name}");
        }
    }

    #[test]
    fn whole_requests_as_botocore_signs_them() {
        let ours = Request::new(Method::POST, "http://localhost:9000/a%20b//c:d?x=a%20b&x=A&y")
            .header("content-type", "application/json")
            .header("x-amz-target", "A.B")
            .header("x-amz-date", "19700101T000000Z")
            .header("accept", "not/signed")
            .body(b"{}")
            .at(NOW);
        let sent = shown(&signer("service", None).injections(ours.view()).unwrap());
        assert_eq!(
            sent[0],
            "header authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, \
             Signature=20b8247d9f21868457eaf49576b6fd5771db47b06c6b34b340edf75edea62cdd"
        );
        assert_eq!(sent[1], "header x-amz-date: 20150830T123600Z");
        assert_eq!(
            sent[2],
            "header x-amz-content-sha256: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(sent.len(), 3);

        let s3 = Request::new(Method::PUT, "https://bucket.s3.amazonaws.com/a%20b//c%3Ad%2Be?x=1")
            .body(b"hello")
            .at(NOW);
        let sent = shown(&signer("s3", None).injections(s3.view()).unwrap());
        let signature = "9c9c4e3461543e326918414a590e8dcaadd217351f6e9040865c9d6fc2210949";
        assert!(sent[0].ends_with(signature), "{sent:?}");
        // What need not be escaped in a URL is escaped in what is signed.
        let plain = Request::new(Method::PUT, "https://bucket.s3.amazonaws.com/a b//c:d+e?x=1")
            .body(b"hello")
            .at(NOW);
        let sent = shown(&signer("s3", None).injections(plain.view()).unwrap());
        assert!(sent[0].ends_with(signature), "{sent:?}");
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let request = Request::new(Method::GET, "https://example.amazonaws.com/")
            .header("x-amz-security-token", "another's")
            .at(NOW);
        let sent = shown(&signer("service", Some("TOKEN")).injections(request.view()).unwrap());
        assert!(sent[0].contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
        assert_eq!(sent[3], "header x-amz-security-token: TOKEN");
        let mut signed = headers_to_sign(&request.view(), true);
        signed.push(("x-amz-date".into(), b"20150830T123600Z".to_vec()));
        signed.push(("x-amz-security-token".into(), b"TOKEN".to_vec()));
        let line = signer("service", None).authorization(
            &request.view(),
            "20150830T123600Z",
            signed,
            &hash::sha256_hex(b""),
        );
        // Of botocore 1.43.
        assert!(line.unwrap().ends_with("564660f640e535dfb2d7d90e91b97b91515c30bfedf0a5ff2564c9e5352e9f12"));
    }

    #[test]
    fn header_values_are_joined_and_their_spaces_folded() {
        let request = Request::new(Method::GET, "https://example.amazonaws.com/")
            .header("x-amz-meta-a", "  two   words ")
            .header("x-amz-meta-a", "more");
        let signed = headers_to_sign(&request.view(), false);
        assert_eq!(signed[1], ("x-amz-meta-a".to_owned(), b"two words,more".to_vec()));
    }

    #[test]
    fn a_refused_signature_is_not_made_again() {
        let section = json!({"type": "aws_sigv4", "access_key_id": "a", "secret_access_key": "s",
            "region": "r", "service": "s"});
        let (sigv4, request) =
            (authenticator(&section), Request::new(Method::GET, "https://api.example.com/"));
        let sent = ready(sigv4.authenticate(request.view())).unwrap();
        assert!(!ready(sigv4.refused(request.view(), &sent, &HeaderMap::new())).unwrap());
    }
}
