//! `hmac`: a header with a keyed hash of what the operator says is signed.
//!
//! | field | default | |
//! |---|---|---|
//! | `secret` | | secret |
//! | `secret_encoding` | `text` | how it is written: `text`, `base64`, `hex` |
//! | `message` | | what is signed, with the placeholders below |
//! | `algorithm` | `sha256` | `sha1`, `sha256`, `sha384`, `sha512` |
//! | `encoding` | `hex` | how the hash is written: `hex`, `base64`, `base64url` (without padding) |
//! | `header` | | where it goes |
//! | `format` | `{signature}` | the header's value |
//! | `headers` | | further headers, with the same placeholders |
//! | `key_id` | | for `{key_id}` |
//!
//! # Placeholders
//!
//! `{method}` `{url}` `{host}` `{path}` `{query}` `{target}` (path, and query if there is one) `{body}` `{body_sha256}`
//! `{body_sha256_base64}` `{timestamp}` `{timestamp_ms}` `{date}` `{nonce}` `{header:name}` `{key_id}`, and outside
//! `message` also `{signature}`. `{{` is a brace. A line break is `\n` in a YAML text with double quotes.
//!
//! As Stripe signs its webhooks:
//! ```yaml
//! authorization: { type: hmac, secret: …, message: "{timestamp}.{body}",
//!                  header: Stripe-Signature, format: "t={timestamp},v1={signature}" }
//! ```
//! As Slack does:
//! ```yaml
//! authorization: { type: hmac, secret: …, message: "v0:{timestamp}:{body}", header: X-Slack-Signature,
//!                  format: "v0={signature}", headers: { X-Slack-Request-Timestamp: "{timestamp}" } }
//! ```
//! As GitHub does:
//! ```yaml
//! authorization: { type: hmac, secret: …, message: "{body}",
//!                  header: X-Hub-Signature-256, format: "sha256={signature}" }
//! ```
//!
//! Invariant: a request's time and nonce are the same in what is signed and in what is sent.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::HeaderName;
use openact_core::{
    Error, Result,
    credential::{Authenticator, BoxFuture, Injection, RequestView},
};
use zeroize::Zeroizing;

use crate::{
    fields::Fields,
    hash,
    placement::{header_name, once, plain},
    template::{Template, Values},
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Hmac {
    key: hmac::Key,
    message: Template,
    encode: fn(&[u8]) -> String,
    /// The one of `header` and `format` first.
    headers: Vec<(HeaderName, Template)>,
    key_id: String,
}

impl Hmac {
    pub(crate) fn of(fields: &Fields<'_>) -> Result<Self> {
        let algorithm = match fields.choice("algorithm", &["sha256", "sha1", "sha384", "sha512"])? {
            "sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "sha384" => hmac::HMAC_SHA384,
            "sha512" => hmac::HMAC_SHA512,
            _ => hmac::HMAC_SHA256,
        };
        let encode: fn(&[u8]) -> String = match fields.choice("encoding", &["hex", "base64", "base64url"])? {
            "base64" => |bytes| BASE64_STANDARD.encode(bytes),
            "base64url" => |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes),
            _ => hash::hex,
        };
        let format = fields.text("format")?.unwrap_or("{signature}");
        let mut headers =
            vec![(header_name(fields.required("header")?)?, Template::parse("format", format)?)];
        for (name, value) in fields.pairs("headers")? {
            headers.push((header_name(name)?, Template::parse(&format!("headers.{name}"), value)?));
        }
        let message = Template::parse("message", fields.required("message")?)?;
        let key_id = fields.text("key_id")?;
        let mut templates = headers.iter().map(|(_, template)| template);
        if message.needs_signature() {
            return Err(Error::invalid_config("authorization.message cannot hold {signature}"));
        }
        if key_id.is_none() && (message.needs_key_id() || templates.any(Template::needs_key_id)) {
            return Err(Error::invalid_config("authorization uses {key_id} and does not set key_id"));
        }
        Ok(Self {
            key: hmac::Key::new(algorithm, &fields.key_bytes("secret")?),
            message,
            encode,
            headers,
            key_id: key_id.unwrap_or_default().to_owned(),
        })
    }

    fn injections(&self, request: RequestView<'_>) -> Result<Arc<[Injection]>> {
        let nonce = hash::random_hex()?;
        let unsigned = Values { request, nonce: &nonce, key_id: &self.key_id, signature: "" };
        let mut tag = hmac::Context::with_key(&self.key);
        self.message.fill(unsigned, |piece| tag.update(piece));
        let signature = (self.encode)(tag.sign().as_ref());
        let values = Values { signature: &signature, ..unsigned };
        let one = |(name, template): &(HeaderName, Template)| {
            let mut value = Vec::new();
            template.fill(values, |piece| value.extend_from_slice(piece));
            let value = String::from_utf8(value).map_err(|_| {
                Error::invalid_config(format!("the value of the header '{name}' is not UTF-8"))
                    .hint("put {body_sha256} in place of {body}")
            })?;
            // A timestamp beside the signature may well be in an answer of its own right.
            if value.contains(&signature) {
                once(name, Zeroizing::new(value))
            } else {
                Ok(plain(name, value))
            }
        };
        self.headers.iter().map(one).collect()
    }
}

impl Authenticator for Hmac {
    fn authenticate<'a>(&'a self, request: RequestView<'a>) -> BoxFuture<'a, Result<Arc<[Injection]>>> {
        Box::pin(async move { self.injections(request) })
    }

    fn names(&self) -> Vec<String> {
        self.headers.iter().map(|(name, _)| name.as_str().to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use openact_core::ErrorCode;
    use serde_json::{Value, json};

    use crate::testing::{Request, authenticator, made, ready, shown};

    fn sent(section: &Value, request: &Request) -> Vec<String> {
        shown(&ready(authenticator(section).authenticate(request.view())).unwrap())
    }

    fn post(body: &[u8]) -> Request {
        Request::new(Method::POST, "https://api.example.com/v1/a%20b?x=1&y=").body(body)
    }

    #[test]
    fn as_stripe_signs() {
        let section = json!({"type": "hmac", "secret": "whsec_test_secret", "message": "{timestamp}.{body}",
            "header": "Stripe-Signature", "format": "t={timestamp},v1={signature}"});
        let request = post(br#"{"id":"evt_1"}"#).at("2017-04-21T11:39:34Z");
        // Computed with Python's hmac.
        assert_eq!(
            sent(&section, &request),
            [
                "header stripe-signature: t=1492774774,v1=5d4eaa2691471d792bb24a77223e9e19d0317de30d19072a922c5d055d2405ea"
            ]
        );
    }

    #[test]
    fn as_slack_signs() {
        // https://api.slack.com/authentication/verifying-requests-from-slack
        let section = json!({"type": "hmac", "secret": "8f742231b10e8888abcd99yyyzzz85a5",
            "message": "v0:{timestamp}:{body}", "header": "X-Slack-Signature", "format": "v0={signature}",
            "headers": {"X-Slack-Request-Timestamp": "{timestamp}"}});
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            sent(&section, &post(body).at("2018-07-12T18:36:58Z")),
            [
                "header x-slack-signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
                "header x-slack-request-timestamp: 1531420618",
            ]
        );
    }

    #[test]
    fn as_github_signs() {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let section = json!({"type": "hmac", "secret": "It's a Secret to Everybody", "message": "{body}",
            "header": "X-Hub-Signature-256", "format": "sha256={signature}"});
        assert_eq!(
            sent(&section, &post(b"Hello, World!")),
            ["header x-hub-signature-256: \
                 sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"]
        );
    }

    #[test]
    fn every_placeholder() {
        let all = "{method}\n{url} {host} {path} {query} {target} {body_sha256} {body_sha256_base64} {timestamp} \
                   {timestamp_ms} {date} {key_id} {header:x-a} {header:none} {header:host} {{literal}} }";
        let section = json!({"type": "hmac", "secret": "s", "message": "m", "header": "X-S", "key_id": "k",
            "headers": {"X-All": all.replace('\n', "|"), "X-Nonce": "{nonce}", "X-Nonce-2": "{nonce}"}});
        let request = Request::new(Method::PUT, "http://api.example.com:8080/a%20b?x=1&y=#no")
            .header("x-a", "1")
            .header("x-a", "2")
            .body(b"{}")
            .at("1994-11-06T08:49:37.250Z");
        let sent = sent(&section, &request);
        assert_eq!(
            sent[1],
            "header x-all: PUT|http://api.example.com:8080/a%20b?x=1&y= api.example.com:8080 /a%20b x=1&y= \
             /a%20b?x=1&y= 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a \
             RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o= 784111777 784111777250 Sun, 06 Nov 1994 08:49:37 GMT k \
             1, 2  api.example.com:8080 {literal} }"
        );
        let (one, two) = (sent[2].rsplit_once(' ').unwrap().1, sent[3].rsplit_once(' ').unwrap().1);
        assert_eq!(one, two);
        assert_eq!(one.len(), 32);
    }

    #[test]
    fn algorithms_encodings_and_a_body_that_is_no_text() {
        let fields = [
            json!({"secret": "key", "algorithm": "sha1", "encoding": "hex"}),
            json!({"secret": "a2V5", "secret_encoding": "base64", "algorithm": "sha256", "encoding": "base64"}),
            json!({"secret": "6B6579", "secret_encoding": "hex", "algorithm": "sha384", "encoding": "base64url"}),
            json!({"secret": "key", "algorithm": "sha512", "encoding": "base64"}),
        ];
        // Computed with Python's hmac, over the bytes ff 00 fe.
        let wanted = [
            "14c1b49ee858c602fd2624fca41bb1dad4b00b85",
            "v3NXlPUep9P/ATLi0v3Kd0KFSMpbwHwb0u/YK80Kk+Q=",
            "2yHRg0WdSdNzC3opXy5fJkYmvhdVhSkdWxBD_0HVw79GCMAykoAS3v_HcUk1uyQm",
            "folrwL7JB9JeLIr6hewEodz0pYrznvWYhCC+KkIL+x4jiQuGtv6W5OxWYy852Kb6Zq8PF7dv6vGSvnEyH3SJxQ==",
        ];
        for (fields, wanted) in fields.iter().zip(wanted) {
            let mut section = json!({"type": "hmac", "message": "{body}", "header": "X-S"});
            section.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            assert_eq!(sent(&section, &post(&[0xff, 0, 0xfe])), [format!("header x-s: {wanted}")]);
        }
    }

    #[test]
    fn c5_what_cannot_be_filled_is_said_when_the_connection_is_read() {
        for (fields, says) in [
            (json!({"message": "{payload}"}), "'{payload}' is not known"),
            (json!({"message": "{header:a b}"}), "names no header"),
            (json!({"message": "{body"}), "without a '}'"),
            (json!({"message": "{signature}"}), "cannot hold {signature}"),
            (json!({"message": "{key_id}"}), "does not set key_id"),
            (json!({"format": "{key_id}"}), "does not set key_id"),
            (json!({"headers": {"X-B": "{unknown}"}}), "authorization.headers.X-B"),
            (json!({"header": "Content-Length"}), "content-length"),
            (json!({"algorithm": "md5"}), "authorization.algorithm"),
            (json!({"encoding": "octal"}), "authorization.encoding"),
        ] {
            let mut section =
                json!({"type": "hmac", "secret": "hunter2", "message": "{body}", "header": "X-S"});
            section.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let error = made(&section).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidConfig, "{fields}");
            assert!(error.message.contains(says), "{fields}: {error:?}");
            assert!(!error.to_json().to_string().contains("hunter2"), "{fields}");
        }
        let error = made(&json!({"type": "hmac", "secret": "s", "message": "{payload}", "header": "X"}));
        let hint = error.unwrap_err().hint.clone().unwrap();
        assert!(hint.contains("{body_sha256}") && hint.contains("{header:name}"), "{hint}");
    }
}
