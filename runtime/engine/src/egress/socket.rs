//! Byte streams for wire protocols: dialled by the same rules as requests, encrypted by the host, counted.
//!
//! ```text
//! open ─► policy ─► rate limit ─┬─► a parked session of the same key (`sessions`)
//!                               └─► look up, check every address, connect ─► TLS
//! ```
//!
//! Invariants: nothing is looked up before the policy said yes (E13); a certificate is verified unless the connection
//! says otherwise; what was read or written since a stream's beginning is known as long as a login may still ask for it;
//! a stream that nobody knows the place of any more, because a write ended midway or what was read is lost, is closed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use openact_core::{
    Error, ErrorCode, Result,
    limits::{
        CONNECT_ATTEMPT_DELAY, SOCKET_GRACE_MAX, SOCKET_HEARD_BYTES_MAX, SOCKET_HOST_BYTES_MAX,
        SOCKET_READ_BYTES_MAX, SOCKET_READ_BYTES_MIN, SOCKETS_PER_CALL_MAX,
    },
    login::{Echo, Frame, Heard},
    policy::Origin,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tracing::Instrument as _;
use url::Host;

use super::{
    Grants,
    sessions::{Session, SessionKey},
    trace,
    traffic::Traffic,
};
use crate::{error::tls_hint, instance::limit_error};

/// A stream, encrypted or not.
pub(crate) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// What failed on it took it along.
    Closed,
}

impl Io {
    async fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read_buf(bytes).await,
            Self::Tls(stream) => stream.read_buf(bytes).await,
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether nothing that arrived waits to be read on this side of the system.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(stream) => stream.get_ref().1.wants_read(),
            Self::Closed => false,
        }
    }

    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Closed => None,
        }
    }
}

/// An open stream of a call.
pub(crate) struct Socket {
    /// Tells streams of a call apart, since handles are used again.
    pub(crate) id: u64,
    io: Io,
    key: SessionKey,
    target: String,
    traffic: Arc<Traffic>,
    heard: Kept,
    /// Looks out for a password that the host wrote, and whether the guest has read since.
    echo: Option<(Echo, bool)>,
    /// What was read while there was something to look out for, and the guest has not asked for yet.
    ahead: Vec<u8>,
    /// How much the next read makes room for.
    room: usize,
    born: Instant,
    /// See [`super::sessions::Session::era`].
    era: u64,
    /// The call's place under the connection's rate limit, for as long as a stream is open.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

/// What went over a stream since it, or TLS on it, began; see [`Heard`].
#[derive(Default)]
struct Kept {
    written: Vec<u8>,
    read: Vec<u8>,
    /// More went over it than is kept.
    is_cut: bool,
}

impl Kept {
    fn keep(part: &mut Vec<u8>, bytes: &[u8], is_cut: &mut bool) {
        let room = SOCKET_HEARD_BYTES_MAX.saturating_sub(part.len());
        *is_cut |= bytes.len() > room;
        if !*is_cut {
            part.extend_from_slice(bytes);
        }
    }
}

/// What a guest asks for.
pub(crate) struct Opening {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// The name of a session it would resume, if it is not empty.
    pub(crate) session: Option<String>,
}

impl Socket {
    /// Opens a stream, or resumes a parked one, whose state comes with it. `by` is the connector's digest.
    pub(crate) async fn open(
        traffic: &Arc<Traffic>,
        wanted: Opening,
        by: [u8; 32],
    ) -> Result<(Self, Option<Vec<u8>>)> {
        let origin = traffic.permit_endpoint(&wanted.host, wanted.port)?;
        if traffic.dry_run {
            return Err(Error::new(ErrorCode::Forbidden, "this is a dry run: no stream is opened"));
        }
        let id = traffic.open_socket()?;
        let target = origin.to_string();
        let (started, entry) = (Instant::now(), traffic.begin("sockets.open", target.clone()));
        let span = traffic.trace.open(&origin);
        let turn = traffic.turn().await;
        let key = SessionKey {
            grants: traffic.grants.session_key,
            connector: by,
            origin,
            tls: wanted.tls,
            name: wanted.session.unwrap_or_default(),
        };
        let found = match turn {
            Ok(place) => find(traffic, &key).instrument(span.clone()).await.map(|found| (found, place)),
            Err(error) => Err(error),
        };
        let outcome = match &found {
            Ok((Found { state: None, .. }, _)) => Ok("connected"),
            Ok((Found { state: Some(_), .. }, _)) => Ok("resumed"),
            Err(error) => Err(error),
        };
        trace::ended(&span, outcome);
        let outcome = outcome.unwrap_or_else(|error| error.code.as_str());
        traffic.finish(entry, outcome.to_owned(), started);
        let (Found { io, born, era, state }, place) = found?;
        let socket = Self {
            id,
            io,
            key,
            target,
            traffic: traffic.clone(),
            heard: Kept { is_cut: state.is_some(), ..Kept::default() },
            echo: None,
            ahead: Vec::new(),
            room: SOCKET_READ_BYTES_MIN,
            born,
            era,
            _place: place,
        };
        Ok((socket, state))
    }

    /// The next bytes, at most `max`; none at the end of the stream.
    pub(crate) async fn read(&mut self, max: usize) -> Result<Vec<u8>> {
        let max = max.max(1);
        if self.ahead.is_empty() {
            // Looked at whole, whatever the guest asks for: in small pieces a password could pass unseen.
            let room = if self.echo.is_some() { SOCKET_READ_BYTES_MIN } else { self.room.min(max) };
            self.ahead = self.receive(room).await?;
        }
        let rest = self.ahead.split_off(max.min(self.ahead.len()));
        let bytes = std::mem::replace(&mut self.ahead, rest);
        Kept::keep(&mut self.heard.read, &bytes, &mut self.heard.is_cut);
        Ok(bytes)
    }

    async fn receive(&mut self, room: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(room);
        let read = timeout_at(self.deadline(), self.io.read(&mut bytes));
        let count = read.await.map_err(|_| self.late("the answer timed out"))?;
        let counted = match count {
            Ok(count) => self.traffic.received(count, &self.target).map(|()| count),
            Err(error) => Err(self.broken(&error)),
        };
        // What was read, and is not handed over, nobody will ask for again.
        let count = counted.inspect_err(|_| self.io = Io::Closed)?;
        if count == room {
            // There is more where that came from.
            self.room = (self.room * 2).min(SOCKET_READ_BYTES_MAX);
        }
        if let Some((echo, has_read)) = &mut self.echo {
            *has_read = true;
            if echo.is_in(&bytes) {
                self.io = Io::Closed;
                let message = format!("{}: the server answered with the password it was sent", self.target);
                return Err(Error::egress_denied(message)
                    .hint("it did not take it for a login: is it the server, and the version, that this connection is for?"));
            }
        }
        Ok(bytes)
    }

    /// Writes all of the guest's `bytes`.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.echo.as_ref().is_some_and(|(echo, _)| echo.is_over()) {
            self.echo = None;
        }
        Kept::keep(&mut self.heard.written, bytes, &mut self.heard.is_cut);
        self.send(bytes).await
    }

    /// Writes a frame of a login, which the guest never sees.
    pub(crate) async fn write_frame(&mut self, frame: Frame) -> Result<()> {
        Kept::keep(&mut self.heard.written, &frame.placeholder(), &mut self.heard.is_cut);
        let sent = self.send(frame.bytes()).await;
        self.echo = frame.into_echo().map(|echo| (echo, false));
        sent
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.traffic.sending(bytes.len())?;
        let sent = match timeout_at(self.deadline(), self.io.write(bytes)).await {
            Ok(written) => written.map_err(|error| self.broken(&error)),
            Err(_) => Err(self.late("sending timed out")),
        };
        // Nobody knows how much of it is on its way.
        sent.inspect_err(|_| self.io = Io::Closed)
    }

    /// Begins TLS on a plain stream.
    pub(crate) async fn start_tls(&mut self) -> Result<()> {
        let plain = match std::mem::replace(&mut self.io, Io::Closed) {
            Io::Plain(plain) => plain,
            other => {
                self.io = other;
                return Err(Error::invalid_input(format!(
                    "{}: no plain stream to begin TLS on",
                    self.target
                )));
            }
        };
        // What is there before the handshake was not protected by it, and would be read as if it were.
        if !self.ahead.is_empty() || plain.try_read(&mut [0; 1]).is_ok_and(|count| count > 0) {
            let message = format!("{}: the server sent plain bytes ahead of the TLS handshake", self.target);
            return Err(Error::egress_denied(message));
        }
        let grants = &self.traffic.grants;
        let deadline = self.traffic.soft_deadline().min(Instant::now() + grants.policies.timeout.connect());
        let handshake = timeout_at(deadline, encrypt(grants, &self.key.origin, plain)).await;
        let late = |_| Error::timeout(format!("{}: the TLS handshake timed out", self.target));
        self.io = Io::Tls(Box::new(handshake.map_err(late)??));
        self.heard = Kept::default();
        Ok(())
    }

    /// Leaves the stream for a later call, which finds it by `name`.
    pub(crate) fn park(self, name: String, state: Vec<u8>) {
        let Self { io, mut key, born, era, traffic, ahead, echo, .. } = self;
        key.name = name;
        // What was sent and not read yet would be read as the answer to something else.
        let is_idle = ahead.is_empty() && echo.is_none_or(|(echo, has_read)| has_read && echo.is_over());
        if let (true, Ok(shared), Some(_)) = (is_idle, traffic.grants.shared(), io.tcp()) {
            let parked = Instant::now();
            shared.sessions.park(key, Session { io, state: state.into(), born, parked, era });
        }
    }

    /// What went over it.
    pub(crate) fn heard(&self) -> Heard<'_> {
        let Kept { written, read, is_cut } = &self.heard;
        Heard { written, read, is_whole: !is_cut }
    }

    /// Where it goes.
    pub(crate) fn origin(&self) -> &Origin {
        &self.key.origin
    }

    /// `tcp://host:port`
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Whether TLS protects what is sent now.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// Whether the other end is this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.io
            .tcp()
            .and_then(|tcp| tcp.peer_addr().ok())
            .is_some_and(|peer| peer.ip().to_canonical().is_loopback())
    }

    /// The certificate of the other end, DER.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match &self.io {
            Io::Plain(_) | Io::Closed => None,
            Io::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref),
        }
    }

    fn deadline(&self) -> Instant {
        let silence = self.traffic.grants.policies.timeout.read_ms;
        let silent_until = silence.map(|ms| Instant::now() + Duration::from_millis(ms));
        silent_until.unwrap_or_else(|| self.traffic.soft_deadline()).min(self.traffic.soft_deadline())
    }

    fn late(&self, what: &str) -> Error {
        Error::timeout(format!("{}: {what}", self.target))
            .hint("raise timeout_ms of the action or connection, or timeout.read_ms if that is what is short")
    }

    fn broken(&self, error: &io::Error) -> Error {
        Error::new(ErrorCode::NetworkError, format!("{}: the connection broke: {error}", self.target))
    }
}

impl Traffic {
    /// The policy's word on where a stream goes, before anything else of it is looked at (E13).
    fn permit_endpoint(&self, host: &str, port: u16) -> Result<Origin> {
        // What is no name of a host is not kept in the record either.
        let (host, decided) = match host.len() <= SOCKET_HOST_BYTES_MAX {
            true => (host, self.grants.egress.check_endpoint(host, port)),
            false => ("-", Err(Error::egress_denied("the name of the host is too long to be one"))),
        };
        decided.inspect_err(|error| {
            let target = format!("tcp://{}:{port}", host.escape_debug());
            self.record("sockets.open", target, error.code.as_str().to_owned());
        })
    }

    /// When streams stop waiting: before the call's own end, so that a connector can still ask the other system to stop,
    /// and say what happened. That, which begins later, has until the end.
    fn soft_deadline(&self) -> Instant {
        let grace = (self.limits.wall() / 10).min(SOCKET_GRACE_MAX);
        let soft = self.deadline.checked_sub(grace).filter(|soft| Instant::now() < *soft);
        soft.unwrap_or(self.deadline)
    }

    /// A turn under the connection's rate limit. All streams of a call have one place: a call that waited for itself (to
    /// cancel what goes on on another stream, to go to another node of a cluster) would wait for ever.
    async fn turn(&self) -> Result<Option<Arc<OwnedSemaphorePermit>>> {
        let Some(limiter) = &self.grants.limiter else { return Ok(None) };
        let held = self.ledger().place.upgrade();
        let place = match held {
            Some(place) => Some(place),
            None => limiter.place(self.soft_deadline()).await?.map(Arc::new),
        };
        self.ledger().place = place.as_ref().map(Arc::downgrade).unwrap_or_default();
        limiter.pace(self.soft_deadline()).await?;
        Ok(place)
    }

    fn open_socket(&self) -> Result<u64> {
        let mut ledger = self.ledger();
        ledger.sockets += 1;
        match ledger.sockets <= SOCKETS_PER_CALL_MAX {
            true => Ok(ledger.sockets),
            false => Err(limit_error(
                "sockets",
                format!("the call opened more than {SOCKETS_PER_CALL_MAX} streams"),
            )),
        }
    }
}

struct Found {
    io: Io,
    born: Instant,
    era: u64,
    /// Of a parked one.
    state: Option<Vec<u8>>,
}

/// A parked stream, or a new one.
async fn find(traffic: &Traffic, key: &SessionKey) -> Result<Found> {
    let (grants, origin) = (&traffic.grants, &key.origin);
    if grants.network.proxy.is_some() {
        return Err(Error::egress_denied(format!("{origin}: network.proxy carries HTTP alone"))
            .hint("take network.proxy out of the connection, or reach the host by a tunnel of your own"));
    }
    let sessions = &grants.shared()?.sessions;
    if !key.name.is_empty()
        && let Some(mut session) = sessions.take(key)
    {
        let state = Some(std::mem::take(&mut *session.state));
        return Ok(Found { io: session.io, born: session.born, era: session.era, state });
    }
    let era = sessions.era();
    let deadline = traffic.soft_deadline().min(Instant::now() + grants.policies.timeout.connect());
    let dialled = timeout_at(deadline, async {
        let plain = dial(grants, origin).await?;
        Ok(match key.tls {
            true => Io::Tls(Box::new(encrypt(grants, origin, plain).await?)),
            false => Io::Plain(plain),
        })
    });
    let io = dialled.await.map_err(|_| Error::timeout(format!("{origin}: connecting timed out")))??;
    Ok(Found { io, born: Instant::now(), era, state: None })
}

/// Looks the host up once, checks every address, and connects to one that answers (E2 to E7).
async fn dial(grants: &Grants, origin: &Origin) -> Result<TcpStream> {
    let (host, port) = (origin.host(), origin.port());
    let unknown = |error: io::Error| {
        Error::new(ErrorCode::NetworkError, format!("{origin}: looking up the host failed: {error}"))
    };
    let found = match host {
        Host::Domain(name) => grants.shared()?.clients.resolver().resolve(name).await.map_err(unknown)?,
        Host::Ipv4(address) => vec![IpAddr::V4(*address)],
        Host::Ipv6(address) => vec![IpAddr::V6(*address)],
    };
    let admitted = grants.egress.private().admit(&host.to_string(), port, &found)?;
    let connected = connect(admitted.into_iter().map(|address| SocketAddr::new(address, port))).await;
    let ready = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    ready.map_err(|error| refused(origin, &error))
}

/// Connects to one of `addresses`: the first, and if that takes a while the next as well (RFC 8305 section 5), so that one
/// that never answers does not take the time of those that would.
async fn connect(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts: FuturesUnordered<_> = addresses.next().into_iter().map(TcpStream::connect).collect();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    loop {
        match timeout(CONNECT_ATTEMPT_DELAY, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failed = error,
            Ok(None) => return Err(failed),
            Err(_) => {}
        }
        attempts.extend(addresses.next().map(TcpStream::connect));
    }
}

fn refused(origin: &Origin, error: &io::Error) -> Error {
    Error::new(ErrorCode::NetworkError, format!("{origin}: failed to connect: {error}"))
        .details(serde_json::json!({ "sent": false }))
}

async fn encrypt(grants: &Grants, origin: &Origin, plain: TcpStream) -> Result<TlsStream<TcpStream>> {
    let name = grants.network.server_name(origin, true).map_or_else(
        || match origin.host() {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        },
        str::to_owned,
    );
    let name = ServerName::try_from(name).map_err(|_| {
        Error::invalid_config(format!("{origin}: no certificate can be for this host"))
            .hint("set network.tls.server_name to the name in the server's certificate")
    })?;
    let connector = TlsConnector::from(grants.tls()?.clone());
    connector.connect(name, plain).await.map_err(|error| {
        let text = error.to_string();
        let failed =
            Error::new(ErrorCode::NetworkError, format!("{origin}: the TLS handshake failed: {text}"))
                .details(serde_json::json!({ "sent": false }));
        tls_hint(&text).into_iter().fold(failed, Error::hint)
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn an_address_that_never_answers_does_not_take_the_time_of_the_next() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // Its queue is full, so that nothing is answered.
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        let fill = || std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(200)).ok();
        let _waiting: Vec<_> = std::iter::from_fn(fill).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let reached = async |addresses: &[SocketAddr]| {
            let connected = connect(addresses.iter().copied());
            let stream = timeout(Duration::from_secs(20), connected).await.expect("the others are tried")?;
            stream.peer_addr()
        };
        assert_eq!(reached(&[silent, good]).await.unwrap(), good);
        assert_eq!(reached(&[gone, silent, gone, good]).await.unwrap(), good);
        assert_eq!(reached(&[gone, gone]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(reached(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
