//! What the server says while it works on a request: the answer itself, progress, log lines, and what it asks for. A `ping` is
//! answered; what else it asks for (sampling, elicitation, roots) is refused by an error of the protocol, since there is nobody
//! to ask.
//!
//! Invariant: only the answer with the request's own id is taken.

use openact_connector::{Failure, HostError, Json, log::Level, write::push_string};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    client::Client,
    exchange::{Outgoing, Trouble},
    message::{self, Message, clipped, is_id},
    session::Session,
};

/// Requests of a server within one answer that are replied to.
const REPLIES_MAX: u32 = 100;

impl Client<'_> {
    /// The result, if the message is the answer to `id`; else what it asks for is done.
    pub(crate) fn take(
        &self,
        session: &Session,
        message: Message<'_>,
        id: &str,
        replies: &mut u32,
    ) -> Result<Option<Json>, Trouble> {
        match message {
            Message::Result { id: own, result } if is_id(own, id) => {
                return Ok(Some(Json::from_text(result.get().to_owned())));
            }
            Message::Error { id: own, error } if own.is_none_or(|own| is_id(own, id)) => {
                return Err(Trouble::Error { status: 200, error });
            }
            Message::Result { .. } | Message::Error { .. } => {
                self.host().log(Level::Warn, "the server answered a request that is not ours", None);
            }
            Message::Request { id, method } => {
                *replies += 1;
                if *replies > REPLIES_MAX {
                    let message = format!("the server asked for more than {REPLIES_MAX} things");
                    return Err(Failure::LimitExceeded(message).into());
                }
                self.reply(session, id, &method)?;
            }
            Message::Notification { method, params } => self.notified(&method, params, id)?,
        }
        Ok(None)
    }

    fn reply(&self, session: &Session, id: &RawValue, method: &str) -> Result<(), Trouble> {
        if method != "ping" {
            let told = format!("the server asks for {}, which is refused", clipped(method).escape_debug());
            self.host().log(Level::Warn, &told, None);
        }
        // Without sessions there is no place to send a reply to.
        if session.is_stateless() {
            return Ok(());
        }
        let outgoing = Outgoing { method, name: None, headers: &[], body: message::reply(id, method) };
        match self.exchange().post(session, &outgoing) {
            Err(Trouble::Failed(failure)) => Err(failure.into()),
            // The answer may come all the same.
            _ => Ok(()),
        }
    }

    fn notified(&self, method: &str, params: Option<&RawValue>, id: &str) -> Result<(), Trouble> {
        let params = params.map_or("{}", RawValue::get);
        match method {
            "notifications/progress" => self.progress(params, id).map_err(Trouble::from),
            "notifications/message" => {
                self.logged(params);
                Ok(())
            }
            "notifications/cancelled" => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Cancelled<'a> {
                    #[serde(borrow, default)]
                    request_id: Option<&'a RawValue>,
                    #[serde(default)]
                    reason: String,
                }
                match serde_json::from_str::<Cancelled<'_>>(params) {
                    Ok(Cancelled { request_id: Some(own), reason }) if is_id(own, id) => {
                        let message = format!("the server gave the request up: {}", clipped(&reason));
                        Err(Failure::upstream(message).into())
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Progress, for the caller if it takes a stream, else for the log.
    fn progress(&self, params: &str, id: &str) -> Result<(), Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Progress<'a> {
            #[serde(borrow)]
            progress_token: &'a RawValue,
            #[serde(borrow, default)]
            progress: Option<&'a RawValue>,
            #[serde(borrow, default)]
            total: Option<&'a RawValue>,
            #[serde(default)]
            message: Option<String>,
        }
        let Ok(report) = serde_json::from_str::<Progress<'_>>(params) else { return Ok(()) };
        if !is_id(report.progress_token, id) {
            return Ok(());
        }
        let mut item = format!("{{\"progress\":{}", report.progress.map_or("null", RawValue::get));
        if let Some(total) = report.total {
            item.push_str(&format!(",\"total\":{total}"));
        }
        if let Some(message) = &report.message {
            item.push_str(",\"message\":");
            push_string(&mut item, clipped(message));
        }
        item.push('}');
        let item = Json::from_text(item);
        if self.is_streaming() {
            match self.host().emit(&item) {
                Ok(()) => return Ok(()),
                Err(HostError::Unsupported(_)) => self.stream(false),
                Err(error) => return Err(error.into()),
            }
        }
        self.host().log(Level::Debug, "progress of the server", Some(&item));
        Ok(())
    }

    fn logged(&self, params: &str) {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(default)]
            level: String,
            #[serde(borrow, default)]
            data: Option<&'a RawValue>,
        }
        let Ok(Line { level, data }) = serde_json::from_str::<Line<'_>>(params) else { return };
        let level = match level.as_str() {
            "debug" => Level::Debug,
            "warning" => Level::Warn,
            "error" | "critical" | "alert" | "emergency" => Level::Error,
            _ => Level::Info,
        };
        let said = clipped(data.map_or("", RawValue::get));
        self.host().log(level, &format!("the server says: {said}"), None);
    }
}
