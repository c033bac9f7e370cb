//! The body of an answer, as it arrives: counted, and without the credential.
//!
//! A credential may lie across two chunks, so the end of one that could begin it is held back until the next arrives; no
//! more than that, since whoever reads a stream of events has to answer some before there is a next.
//! A server that gives a stream of HTTP/2 up says so, and the client takes some of its words for the end of the body: what
//! was announced has to have come (RFC 9113 section 8.1.1).
//! Invariant: no byte leaves here that was not counted against the call's `response_bytes` and searched.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use openact_core::{Error, ErrorCode, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::{credential::Masks, traffic::Traffic};
use crate::error::http_client;

/// See the module.
pub(crate) struct Body {
    response: reqwest::Response,
    /// How many bytes are still to come, if that was said.
    missing: Option<u64>,
    traffic: Arc<Traffic>,
    masks: Masks,
    /// Received, not yet given out.
    held: BytesMut,
    /// How many of them may go: no appearance of the credential begins there that is not blanked out.
    ready: usize,
    ended: bool,
    /// Method, origin and path, for messages.
    target: String,
    /// The connection's place, until the answer was read.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Body {
    pub(crate) fn new(
        response: reqwest::Response,
        announced: Option<u64>,
        traffic: Arc<Traffic>,
        masks: Masks,
        target: String,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            response,
            missing: announced,
            traffic,
            masks,
            held: BytesMut::new(),
            ready: 0,
            ended: false,
            target,
            _permit: permit,
        }
    }

    /// Reads up to `max` bytes, or to the end; says whether there may be more.
    pub(crate) async fn first(&mut self, max: usize) -> Result<(Vec<u8>, bool)> {
        let announced = self.response.content_length().unwrap_or(0).min(max as u64) as usize;
        let mut first = Vec::with_capacity(announced);
        while let Some(chunk) = self.receive().await? {
            if first.len() + chunk.len() > max {
                self.hold(&first);
                self.hold(&chunk);
                return Ok((self.release(max).to_vec(), true));
            }
            first.extend_from_slice(&chunk);
        }
        self.masks.mask(&mut first);
        Ok((first, false))
    }

    /// The next bytes, at most `max`; none at the end.
    pub(crate) async fn next(&mut self, max: usize) -> Result<Option<Bytes>> {
        while self.ready == 0 {
            match self.receive().await? {
                Some(chunk) => self.hold(&chunk),
                None if self.held.is_empty() => return Ok(None),
                None => self.ready = self.held.len(),
            }
        }
        Ok(Some(self.release(max)))
    }

    /// Takes bytes in. The end of them may be the beginning of the credential, and waits for the next.
    fn hold(&mut self, chunk: &[u8]) {
        self.held.extend_from_slice(chunk);
        self.masks.mask(self.held.get_mut(self.ready..).unwrap_or_default());
        let fresh = self.held.get(self.ready..).unwrap_or_default();
        self.ready = self.held.len() - self.masks.beginning(fresh);
    }

    fn release(&mut self, max: usize) -> Bytes {
        let length = self.ready.min(max.max(1));
        self.ready -= length;
        self.held.split_to(length).freeze()
    }

    async fn receive(&mut self) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        match self.response.chunk().await.map_err(|error| http_client(error, &self.target, &self.masks))? {
            None => {
                self.ended = true;
                match self.missing {
                    None | Some(0) => Ok(None),
                    Some(missing) => Err(Error::new(
                        ErrorCode::NetworkError,
                        format!("{}: the response broke off: {missing} bytes are missing", self.target),
                    )),
                }
            }
            Some(chunk) => {
                self.missing = self.missing.map(|missing| missing.saturating_sub(chunk.len() as u64));
                self.traffic.received(chunk.len(), &self.target)?;
                Ok(Some(chunk))
            }
        }
    }
}
