//! Streams of events, cut anywhere.

use openact_mcp_connector::sse::{BYTES_MAX, Event, Events};
use proptest::{collection::vec, prelude::*};

fn all(pieces: &[&[u8]]) -> (Vec<Event>, Events) {
    let (mut events, mut found) = (Events::default(), Vec::new());
    for piece in pieces {
        events.push(piece);
        while let Some(event) = events.take().unwrap() {
            found.push(event);
        }
    }
    (found, events)
}

fn event(kind: &str, data: &str) -> Event {
    Event { kind: kind.into(), data: data.into() }
}

#[test]
fn fields_comments_and_line_ends() {
    let stream = "\u{feff}: a comment\r\nevent: ping\r\ndata:1\r\n\r\ndata: a\ndata:  b\rdata\n\n\
                  id: 7\nretry: 1500\nretry: soon\nunknown: x\n\ndata: {\"x\": 1}\nid: 8\n\nevent: lost\n\ndata: half";
    let expected = [event("ping", "1"), event("message", "a\n b\n"), event("message", "{\"x\": 1}")];
    let (found, events) = all(&[stream.as_bytes()]);
    assert_eq!(found, expected);
    // An event without data is none, but its id counts.
    assert_eq!((events.last_id(), events.retry_ms()), (Some("8"), Some(1500)));
    for cut in 0..stream.len() {
        let (first, second) = stream.as_bytes().split_at(cut);
        assert_eq!(all(&[first, second]).0, expected, "cut at {cut}");
    }
    let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    assert_eq!(all(&single).0, expected);
}

#[test]
fn an_id_counts_when_its_event_is_whole_and_only_if_a_header_can_hold_it() {
    assert_eq!(all(&[b"id: 1\ndata: x\n\nid: 2\ndata: y\n"]).1.last_id(), Some("1"));
    assert_eq!(all(&[b"id: 1\n\nid: a\0b\n\n"]).1.last_id(), Some("1"));
    assert_eq!(all(&[b"id: 1\n\nid\n\n"]).1.last_id(), None);
    let long = format!("id: {}\n\n", "x".repeat(5000));
    assert_eq!(all(&[long.as_bytes()]).1.last_id(), None);
}

#[test]
fn an_event_that_never_ends_is_given_up() {
    let line = vec![b'x'; BYTES_MAX / 2 + 1];
    let mut events = Events::default();
    events.push(&line);
    assert!(events.take().unwrap().is_none());
    events.push(&line);
    assert!(events.take().is_err(), "a line without an end");

    let mut events = Events::default();
    let data = [b"data: ".as_slice(), &line, b"\n"].concat();
    events.push(&data);
    assert!(events.take().unwrap().is_none());
    events.push(&data);
    assert!(events.take().is_err(), "lines without an end");
}

proptest! {
    #[test]
    fn whatever_the_pieces_the_events_are_the_same(
        stream in vec(prop_oneof![
            Just("data: x"), Just("data:"), Just("id: 1"), Just("event: e"), Just(":"), Just("retry: 5"),
            Just("\n"), Just("\r"), Just("\r\n"), Just("\u{feff}"), Just("ż"), Just("\n\n"),
        ], 0..40),
        cuts in vec(1usize..7, 0..80),
    ) {
        let stream = stream.concat();
        let (whole, events) = all(&[stream.as_bytes()]);
        let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let (found, cut_events) = all(&pieces);
        prop_assert_eq!(found, whole);
        prop_assert_eq!(cut_events.last_id(), events.last_id());
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
        all(&[&bytes]);
    }
}
