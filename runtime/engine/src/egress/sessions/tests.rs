//! Parked sessions over real streams of loopback.
//!
//! Invariant: what is closed the other end sees closed.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{advance, pause},
};

use super::*;

/// Both ends of a stream.
async fn stream(listener: &TcpListener) -> (Io, TcpStream) {
    let dialled = TcpStream::connect(listener.local_addr().unwrap());
    let (dialled, accepted) = tokio::join!(dialled, listener.accept());
    (Io::Plain(dialled.unwrap()), accepted.unwrap().0)
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn key(name: &str) -> SessionKey {
    let origin = Origin::endpoint("db.example.com", 5432).unwrap();
    SessionKey { grants: [1; 32], connector: [1; 32], origin, tls: false, name: name.into() }
}

fn session(io: Io, era: u64) -> Session {
    let now = Instant::now();
    Session { io, state: Zeroizing::new(b"state".to_vec()), born: now, parked: now, era }
}

#[tokio::test]
async fn c6_c7_a_session_is_found_by_all_of_its_key_and_nothing_less() {
    let (sessions, listener) = (Sessions::default(), listener().await);
    let (io, _peer) = stream(&listener).await;
    sessions.park(key("s"), session(io, 0));
    let endpoint = |host, port| Origin::endpoint(host, port).unwrap();
    for other in [
        SessionKey { grants: [2; 32], ..key("s") },
        SessionKey { connector: [2; 32], ..key("s") },
        SessionKey { origin: endpoint("db.example.com", 5433), ..key("s") },
        SessionKey { origin: endpoint("db2.example.com", 5432), ..key("s") },
        SessionKey { tls: true, ..key("s") },
        key("S"),
    ] {
        assert!(sessions.take(&other).is_none());
    }
    assert_eq!(sessions.take(&key("s")).unwrap().state.as_slice(), b"state");
    assert!(sessions.take(&key("s")).is_none(), "it has one owner");
    assert_eq!((sessions.count(), lock(&sessions.0).by_key.len()), (0, 0));
}

#[tokio::test]
async fn c7_sessions_of_a_connection_are_bounded_whatever_they_are_called() {
    let (sessions, listener, mut peers) = (Sessions::default(), listener().await, Vec::new());
    let mut park = async |key: SessionKey| {
        let (io, peer) = stream(&listener).await;
        peers.push(peer);
        let before = sessions.count();
        sessions.park(key, session(io, 0));
        sessions.count() > before
    };
    for number in 0..SESSIONS_PER_CONNECTION_MAX {
        assert!(park(key(&number.to_string())).await);
    }
    assert!(!park(key("one more")).await);
    assert!(park(SessionKey { grants: [2; 32], ..key("0") }).await, "another connection has its own room");
    for _ in 1..SESSIONS_PER_KEY_MAX {
        assert!(park(SessionKey { grants: [2; 32], ..key("0") }).await);
    }
    assert!(!park(SessionKey { grants: [2; 32], ..key("0") }).await);
    assert!(!park(SessionKey { grants: [3; 32], ..key(&"x".repeat(SESSION_NAME_BYTES_MAX + 1)) }).await);
}

#[tokio::test]
async fn c7_a_configuration_that_changes_closes_what_is_parked_and_what_is_in_use_then() {
    let (sessions, listener) = (Sessions::default(), listener().await);
    let ((parked, mut one), (used, mut other)) = (stream(&listener).await, stream(&listener).await);
    let era = sessions.era();
    sessions.park(key("s"), session(parked, era));
    sessions.clear();
    assert_eq!(one.read(&mut [0]).await.unwrap(), 0);
    sessions.park(key("s"), session(used, era));
    assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
    assert!(sessions.take(&key("s")).is_none());
    let (io, _peer) = stream(&listener).await;
    sessions.park(key("s"), session(io, sessions.era()));
    assert!(sessions.take(&key("s")).is_some(), "opened after the change");
}

#[tokio::test]
async fn c7_what_nobody_comes_for_is_closed_and_the_sweeper_ends() {
    let (sessions, listener) = (Sessions::default(), listener().await);
    for _ in 0..2 {
        let (io, mut peer) = stream(&listener).await;
        sessions.park(key("s"), session(io, 0));
        pause();
        // By itself: the clock goes on when there is nothing to do but wait.
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
        tokio::task::yield_now().await;
        assert_eq!((sessions.count(), lock(&sessions.0).is_swept), (0, false));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn c7_an_old_session_is_not_resumed_though_it_was_used_just_now() {
    let (sessions, listener) = (Sessions::default(), listener().await);
    let (io, _peer) = stream(&listener).await;
    pause();
    let born = Instant::now();
    advance(SESSION_AGE_MAX - Duration::from_secs(1)).await;
    let parked = Session { born, ..session(io, 0) };
    sessions.park(key("s"), parked);
    assert_eq!(sessions.count(), 1);
    advance(Duration::from_secs(1)).await;
    assert!(sessions.take(&key("s")).is_none());
}

#[test]
fn c7_the_sweeper_of_a_runtime_that_ended_is_replaced() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sessions = Sessions::default();
    let park = || {
        let runtime = runtime();
        let peer = runtime.block_on(async {
            let (io, peer) = stream(&listener().await).await;
            sessions.park(key("s"), session(io, 0));
            // The sweeper begins to wait.
            tokio::task::yield_now().await;
            peer
        });
        (runtime, peer)
    };
    drop(park());
    let (runtime, mut peer) = park();
    runtime.block_on(async {
        pause();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    });
}
