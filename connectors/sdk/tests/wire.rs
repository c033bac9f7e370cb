//! Streams and the pool, against scripted servers and a real socket.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use openact_connector::{
    Endpoint, Failure, Host, HostError, Stream, TlsMode,
    pool::{Pool, Session, Work},
    sockets::open_by,
    testing::{FakeHost, LoginSteps, Script, TcpHost},
};
use serde_json::json;

fn opened(host: &dyn Host) -> Stream {
    Stream::new(open_by(host, &Endpoint::new("db", 1), TlsMode::Plain, None).unwrap().0)
}

fn broken() -> HostError {
    HostError::Network("reset by peer".into())
}

#[test]
fn messages_are_whole_wherever_they_are_split() {
    let script = Script::new().expect("hello").answer("ab\r\ncd").answer("\r\n\r\n12345x").end();
    script.at_every_split(|host| {
        let mut stream = opened(&host);
        stream.write_buf().extend_from_slice(b"hello");
        // Reading sends what is to be sent.
        assert_eq!(stream.line(9).unwrap(), b"ab");
        assert_eq!(stream.line(2).unwrap(), b"cd");
        assert_eq!(stream.line(0).unwrap(), b"");
        assert_eq!(stream.need(3).unwrap().get(..3).unwrap(), b"123");
        stream.consume(1);
        assert_eq!(stream.take(4).unwrap(), b"2345");
        assert!(matches!(stream.need(2), Err(Failure::Network(text)) if text.contains("middle")));
        assert_eq!(stream.take(1).unwrap(), b"x");
        assert!(matches!(stream.line(9), Err(Failure::Network(text)) if !text.contains("middle")));
        assert_eq!((host.written(), host.left()), (vec![b"hello".to_vec()], String::new()));
    });
}

#[test]
fn a_long_burst_is_one_read() {
    let host = FakeHost::new().socket(Script::new().answer(vec![7; 64 * 1024]).answer("end"));
    let mut stream = opened(&host);
    assert_eq!(stream.need(1).unwrap().len(), 64 * 1024);
    stream.consume(usize::MAX);
    assert_eq!(stream.need(3).unwrap(), b"end");
}

#[test]
fn what_is_announced_is_neither_waited_for_nor_kept_beyond_the_limit() {
    let host = FakeHost::new().socket(Script::new().answer("12345").answer("678").answer("9"));
    let mut stream = opened(&host).limited_to(8);
    assert!(matches!(stream.need(9), Err(Failure::LimitExceeded(text)) if text.contains("at most 8")));
    assert_eq!(stream.need(8).unwrap(), b"12345678");
    assert!(matches!(stream.fill(), Err(Failure::LimitExceeded(_))));
    stream.consume(1);
    assert!(stream.fill().unwrap());
    assert_eq!(stream.buffered(), b"23456789");
    // After a failure nothing is parked, though nothing is unread.
    stream.consume(8);
    stream.park("s", b"");
    assert!(host.parked().is_empty());
}

#[test]
fn a_line_without_end_is_given_up() {
    for script in
        [Script::new().answer("123456"), Script::new().answer("12345\r\n"), Script::new().answer("12345\r")]
    {
        script.at_every_split(|host| {
            assert!(matches!(opened(&host).line(4), Err(Failure::Protocol(_))));
        });
    }
}

#[test]
fn tls_begins_with_nothing_unread() {
    let host = FakeHost::new().socket(Script::new().expect("S?").answer("S").start_tls().expect("hi"));
    let mut stream = opened(&host);
    stream.write_buf().extend_from_slice(b"S?");
    assert_eq!(stream.take(1).unwrap(), b"S");
    stream.start_tls().unwrap();
    stream.write_buf().extend_from_slice(b"hi");
    stream.flush().unwrap();
    assert_eq!(host.left(), "");

    let host = FakeHost::new().socket(Script::new().answer("Sinjected").start_tls());
    let mut stream = opened(&host);
    assert_eq!(stream.take(1).unwrap(), b"S");
    assert!(matches!(stream.start_tls(), Err(Failure::Protocol(_))));
}

#[test]
fn a_login_follows_what_was_written() {
    let script = Script::new().expect("startup").login("SCRAM", &[(b"", b"first"), (b"nonce", b"proof")]);
    let host = FakeHost::new().socket(script.fail_login(HostError::NotFound("no password".into())));
    let mut stream = opened(&host);
    stream.write_buf().extend_from_slice(b"startup");
    let mut login = stream.login("SCRAM", &json!({})).unwrap();
    assert_eq!(login.step(b"").unwrap(), b"first");
    assert_eq!(login.step(b"nonce").unwrap(), b"proof");
    assert!(login.step(b"more").is_err());
    assert!(matches!(stream.login("SCRAM", &json!({})), Err(HostError::NotFound(_))));
}

#[test]
fn only_a_silent_stream_is_parked() {
    let host = || FakeHost::new().socket(Script::new().answer("ok!"));
    let silent = host();
    let mut stream = opened(&silent);
    stream.take(3).unwrap();
    stream.park("s", b"state");
    assert_eq!(silent.parked(), [("s".to_owned(), b"state".to_vec())]);

    let unread = host();
    let mut stream = opened(&unread);
    stream.take(2).unwrap();
    stream.park("s", b"");
    let unsent = host();
    let mut stream = opened(&unsent);
    stream.write_buf().push(1);
    stream.park("s", b"");
    let long = host();
    opened(&long).park("s", &vec![0; 64 * 1024 + 1]);
    for host in [unread, unsent, long] {
        assert!(host.parked().is_empty());
    }
}

/// A protocol of one byte each way: `L` logs in, `R` resets, `q` asks and `.` answers.
struct Tiny {
    stream: Stream,
    clean: bool,
}

impl Session for Tiny {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn into_parked(self) -> Option<(Stream, Vec<u8>)> {
        self.clean.then_some((self.stream, b"new".to_vec()))
    }
}

fn connect(mut stream: Stream, state: Option<Vec<u8>>) -> Result<Tiny, Failure> {
    match state {
        Some(state) => {
            assert_eq!(state, b"old");
            stream.write_buf().push(b'R');
        }
        None => {
            stream.write_buf().push(b'L');
            stream.flush_harmless()?;
            assert_eq!(stream.take(1)?, b".");
        }
    }
    Ok(Tiny { stream, clean: true })
}

fn ask(session: &mut Tiny) -> Result<u8, Failure> {
    session.stream.write_buf().push(b'q');
    match session.stream.take(1)? {
        b"!" => Err(Failure::upstream("no")),
        answer => Ok(*answer.first().unwrap()),
    }
}

fn run(host: &FakeHost, kind: Work) -> Result<u8, Failure> {
    let pool = Pool { endpoint: Endpoint::new("db", 1), tls: TlsMode::Plain, session: "s".into() };
    pool.run(host, kind, connect, ask)
}

fn fresh() -> Script {
    Script::new().expect("L").answer(".").expect("q").answer("2")
}

#[test]
fn a_session_is_logged_in_once_and_resumed_after() {
    let resumed = Script::new().resumed("old").expect("Rq").answer("1");
    let host = FakeHost::new().socket(fresh()).socket(resumed);
    assert_eq!((run(&host, Work::Writes).unwrap(), run(&host, Work::Writes).unwrap()), (b'2', b'1'));
    assert_eq!(host.left(), "");
    let parked = ("s".to_owned(), b"new".to_vec());
    assert_eq!(host.parked(), [parked.clone(), parked]);
    assert!(host.opened().iter().all(|(.., session)| session.as_deref() == Some("s")));
}

#[test]
fn a_refusal_of_the_server_leaves_the_session_in_order() {
    let host = FakeHost::new().socket(Script::new().resumed("old").expect("Rq").answer("!"));
    assert!(matches!(run(&host, Work::Writes), Err(Failure::Upstream(_))));
    assert_eq!(host.parked().len(), 1);
}

#[test]
fn a_read_on_a_resumed_session_that_is_dead_is_done_once_more_on_a_new_one() {
    let dead = || Script::new().resumed("old").expect("Rq");
    for dead in [dead().end(), dead().fail_read(broken()), Script::new().resumed("old").fail_write(broken())]
    {
        let host = FakeHost::new().socket(dead).socket(fresh());
        assert_eq!(run(&host, Work::Reads).unwrap(), b'2');
        // The second is not another parked one, which would be as old as the first.
        let sessions: Vec<_> = host.opened().into_iter().map(|(.., session)| session).collect();
        assert_eq!(sessions, [Some("s".to_owned()), None]);
        assert_eq!(host.parked().len(), 1);
    }
}

#[test]
fn a_write_is_never_sent_twice() {
    for dead in
        [Script::new().resumed("old").expect("Rq").end(), Script::new().resumed("old").fail_write(broken())]
    {
        let host = FakeHost::new().socket(dead).socket(fresh());
        assert!(matches!(run(&host, Work::Writes), Err(Failure::Network(_))));
        assert_eq!((host.opened().len(), host.parked().len()), (1, 0));
    }
}

#[test]
fn a_write_whose_session_was_dead_before_it_was_sent_is_done_on_a_new_one() {
    let host = FakeHost::new()
        .socket(Script::new().resumed("old").expect("Rp").end())
        .socket(Script::new().expect("L").answer(".").expect("p").answer("p").expect("q").answer("2"));
    let pool = Pool { endpoint: Endpoint::new("db", 1), tls: TlsMode::Plain, session: "s".into() };
    let result = pool.run(&host, Work::Writes, connect, |session| {
        // Preparing changes nothing.
        session.stream.write_buf().push(b'p');
        session.stream.flush_harmless()?;
        session.stream.take(1)?;
        ask(session)
    });
    assert_eq!((result.unwrap(), host.left()), (b'2', String::new()));
}

#[test]
fn a_session_that_cannot_be_resumed_is_replaced() {
    let host = FakeHost::new().socket(Script::new().resumed("old").expect("R").end()).socket(fresh());
    let pool = Pool { endpoint: Endpoint::new("db", 1), tls: TlsMode::Plain, session: "s".into() };
    let reset = |stream: Stream, state: Option<Vec<u8>>| {
        let resumed = state.is_some();
        let mut session = connect(stream, state)?;
        if resumed {
            session.stream.flush_harmless()?;
            session.stream.take(1)?;
        }
        Ok(session)
    };
    assert_eq!((pool.run(&host, Work::Writes, reset, ask).unwrap(), host.left()), (b'2', String::new()));
}

#[test]
fn nothing_is_repeated_once_it_was_answered_or_on_a_new_session() {
    let answered = Script::new().resumed("old").expect("Rq").answer("1").expect("q").end();
    let new = Script::new().expect("L").answer(".").expect("q").end();
    for (script, rounds) in [(answered, 2), (new, 1)] {
        let host = FakeHost::new().socket(script).socket(fresh());
        let pool = Pool { endpoint: Endpoint::new("db", 1), tls: TlsMode::Plain, session: "s".into() };
        let result = pool.run(&host, Work::Reads, connect, |session| {
            (0..rounds).map(|_| ask(session)).collect::<Result<Vec<_>, _>>()
        });
        assert!(matches!(result, Err(Failure::Network(_))));
        assert_eq!(host.opened().len(), 1);
    }
    // Nor where a new one breaks before it was logged in.
    let host = FakeHost::new().socket(Script::new().expect("L").end()).socket(fresh());
    assert!(matches!(run(&host, Work::Reads), Err(Failure::Network(_))));
    assert_eq!(host.opened().len(), 1);
    // And not a third time.
    let dead = Script::new().resumed("old").expect("Rq").end();
    let host = FakeHost::new().socket(dead).socket(Script::new().expect("L").end()).socket(fresh());
    assert!(matches!(run(&host, Work::Reads), Err(Failure::Network(_))));
    assert_eq!(host.opened().len(), 2);
}

#[test]
fn a_session_that_is_not_where_the_next_call_begins_is_closed() {
    let host = FakeHost::new().socket(fresh());
    let pool = Pool { endpoint: Endpoint::new("db", 1), tls: TlsMode::Plain, session: "s".into() };
    pool.run(&host, Work::Reads, connect, |session| {
        session.clean = false;
        ask(session)
    })
    .unwrap();
    assert!(host.parked().is_empty());
    let host = FakeHost::new().socket(fresh());
    let timeout = |_: &mut Tiny| Err::<(), _>(Failure::Timeout("late".into()));
    pool.run(&host, Work::Reads, connect, timeout).unwrap_err();
    assert!(host.parked().is_empty());
}

#[test]
fn a_host_over_real_streams_logs_in_parks_and_resumes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 8];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(b"ok").unwrap();
        stream.read_exact(&mut heard[..1]).unwrap();
        heard
    });
    let host = TcpHost::new().login(|mechanism, parameters, mut stream| {
        assert_eq!((mechanism, parameters), ("framed", &json!({"user": "u"})));
        Ok(Box::new(LoginSteps(move |_: &[u8]| {
            stream.write_all(b"pw").map(|()| Vec::new()).map_err(|e| HostError::Network(e.to_string()))
        })))
    });
    let open = || open_by(&host, &Endpoint::new("127.0.0.1", port), TlsMode::Plain, Some("s")).unwrap();
    let (socket, state) = open();
    assert_eq!(state, None);
    let mut stream = Stream::new(socket);
    stream.write_buf().extend_from_slice(b"hello ");
    assert_eq!(stream.login("framed", &json!({"user": "u"})).unwrap().step(b"").unwrap(), b"");
    assert_eq!(stream.take(2).unwrap(), b"ok");
    stream.park("s", b"state");
    assert_eq!(host.parked(), 1);
    let (socket, state) = open();
    assert_eq!(state.as_deref(), Some(&b"state"[..]));
    let mut stream = Stream::new(socket);
    stream.write_buf().push(b'!');
    stream.flush().unwrap();
    assert_eq!(&server.join().unwrap(), b"!ello pw");
    assert!(matches!(stream.need(1), Err(Failure::Network(_))));
}
