//! How a call fails. [`Failure`] is the contract's own type; this adds the ways to make one.

use crate::{Failure, HostError, UpstreamFailure};

impl Failure {
    /// The other system answered with an error that it will give again.
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::Upstream(UpstreamFailure {
            code: None,
            message: message.into(),
            details: None,
            retryable: false,
        })
    }
}

/// So that `host.send(request)?` reports what the host said, under the code it belongs to.
impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        match error {
            HostError::InvalidRequest(text) | HostError::NotFound(text) => Self::InvalidConfig(text),
            HostError::Denied(text) => Self::Denied(text),
            HostError::AuthRequired(text) => Self::Unauthenticated(text),
            HostError::Network(text) => Self::Network(text),
            HostError::Timeout(text) => Self::Timeout(text),
            HostError::Protocol(text) => Self::Protocol(text),
            HostError::LimitExceeded(text) => Self::LimitExceeded(text),
            // Another call changed the value in between: the same call again may win.
            HostError::Conflict(text) => Self::Upstream(UpstreamFailure {
                code: Some("conflict".into()),
                message: text,
                details: None,
                retryable: true,
            }),
            HostError::Unsupported(text) => Self::Unsupported(text),
        }
    }
}
