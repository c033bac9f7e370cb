//! The logins of MySQL and MariaDB, against recorded ones (see `login/tests.rs`), and every way to get the password elsewhere.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::{
    login::tests::{TLS, bytes, frame, heard, proof, start, try_start},
    testing::ready,
};

/// MySQL 9.7.4 over TLS, recorded: the login, and "send the password". It took what the tests below expect.
const TLS_WRITTEN: &str = "5f000002018a2800000000012d00000000000000000000000000000000000000000000006f70656e6163740020e39739258dfa5d5359b105df336e56fb33bf4967e529e961df5349c481e7fbee63616368696e675f736861325f70617373776f726400";
const TLS_READ: &str = "020000030104";
/// The same over plain text: greeting, login, "not in the cache", request for the public key. The key is the test's.
const PLAIN_GREETING: &str = "4b0000000a392e372e342d32000c000000751b3e271a25202200ffffff0200ffdf1500000000000000000000137c2b3e0b7560585216034a0063616368696e675f736861325f70617373776f726400";
const PLAIN_LOGIN: &str = "5f00000101822800000000012d00000000000000000000000000000000000000000000006f70656e6163740020b0639e474361757370f4b3ee818d40f582ea558f57011b416b3ac8dc5521915863616368696e675f736861325f70617373776f726400";
const PLAIN_NONCE: &str = "751b3e271a252022137c2b3e0b7560585216034a";
const ASK_FOR_KEY: [u8; 5] = [1, 0, 0, 3, 2];
const NOT_CACHED: [u8; 6] = [2, 0, 0, 2, 1, 4];

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, ..] = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&[a, b, c, number], payload].concat()
}

fn pem(der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    let lines: Vec<&[u8]> = text.as_bytes().chunks(64).collect();
    let begin = b"-----BEGIN PUBLIC KEY-----\n".as_slice();
    [begin, &lines.join(&b'\n'), b"\n-----END PUBLIC KEY-----\n"].concat()
}

fn read_with(key: &[u8]) -> Vec<u8> {
    [bytes(PLAIN_GREETING), NOT_CACHED.to_vec(), packet(4, &[&[1], key].concat())].concat()
}

fn written() -> Vec<u8> {
    [bytes(PLAIN_LOGIN), ASK_FOR_KEY.to_vec()].concat()
}

fn cleartext(sequence: u8, heard: Heard<'_>, channel: Channel<'_>) -> Result<Answer> {
    ready(start("mysql-cleartext", json!({"sequence": sequence}), channel).step(b"", heard))
}

fn is_refused(sequence: u8, written: &[u8], read: &[u8], channel: Channel<'_>) -> bool {
    cleartext(sequence, heard(written, read), channel).is_err_and(|e| e.code == ErrorCode::EgressDenied)
}

/// Recorded; the servers took them.
#[test]
fn scrambles_are_as_the_servers_want_them() {
    for (mechanism, nonce, expected) in [
        (
            "mysql_native_password",
            "2f246550433e4b3f3a4323242943566476443167",
            "d623e6053e4d6a2aff59082ef0529b55c06c0fb0",
        ),
        (
            "caching_sha2_password",
            "18202177671234194b4a383a744a3d6a5b577236",
            "e39739258dfa5d5359b105df336e56fb33bf4967e529e961df5349c481e7fbee",
        ),
        (
            "caching_sha2_password",
            PLAIN_NONCE,
            "b0639e474361757370f4b3ee818d40f582ea558f57011b416b3ac8dc55219158",
        ),
    ] {
        let step =
            |challenge: &[u8]| ready(start(mechanism, json!({}), TLS).step(challenge, heard(b"", b"")));
        assert_eq!(proof(step(&bytes(nonce))), bytes(expected), "{mechanism}");
        for wrong in [0, 8, 19, 21] {
            assert_eq!(step(&vec![b'x'; wrong]).unwrap_err().code, ErrorCode::InvalidInput, "{mechanism}");
        }
        let mut empty = try_start(mechanism, json!({}), "", TLS).unwrap().unwrap();
        assert_eq!(proof(ready(empty.step(&bytes(nonce), heard(b"", b"")))), b"");
    }
}

/// The login up to the server's key, and what it is answered with.
fn with_key(heard: Heard<'_>, key: &[u8]) -> Result<Vec<u8>> {
    let mut login = start("caching_sha2_password", json!({}), Channel::default());
    proof(ready(login.step(&bytes(PLAIN_NONCE), heard)));
    ready(login.step(key, heard)).map(|answer| proof(Ok(answer)))
}

#[test]
fn the_password_is_encrypted_for_the_key_that_the_server_sent() {
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let key = pem(private.public_key().as_der().unwrap().as_ref());
    let (written, read) = (written(), read_with(&key));
    for given in [key.as_slice(), key.trim_ascii()] {
        let encrypted = with_key(heard(&written, &read), given).unwrap();
        let private = OaepPrivateDecryptingKey::new(private.clone()).unwrap();
        let mut out = vec![0; private.min_output_size()];
        let masked = private.decrypt(&OAEP_SHA1_MGF1SHA1, &encrypted, &mut out, None).unwrap();
        let nonce = bytes(PLAIN_NONCE);
        let password: Vec<u8> = masked.iter().zip(nonce.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(password, b"pencil\0");
    }
}

#[test]
fn c1_no_other_key_gets_the_password() {
    let der = |key: &PrivateDecryptingKey| key.public_key().as_der().unwrap().as_ref().to_vec();
    let (servers, guests) =
        [(); 2].map(|()| pem(&der(&PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap()))).into();
    let (written, read) = (written(), read_with(&servers));
    assert!(with_key(heard(&written, &read), &servers).is_ok());
    let is_refused = |heard: Heard<'_>, key: &[u8]| {
        with_key(heard, key).is_err_and(|error| error.code == ErrorCode::EgressDenied)
    };
    assert!(is_refused(heard(&written, &read), &guests));
    assert!(is_refused(heard(&written, &read), b""));
    assert!(is_refused(Heard { is_whole: false, ..heard(&written, &read) }, &servers));
    // The guest's key among other things that the server said: in an error, beside its own, later, unasked for.
    let login = bytes(PLAIN_LOGIN);
    let greeting = [bytes(PLAIN_GREETING), NOT_CACHED.to_vec()].concat();
    let error = [b"\xff\x15\x04#28000Access denied for user '".as_slice(), &guests].concat();
    let unasked = [login.clone(), packet(3, b"\x02\x02")].concat();
    for (written, read) in [
        (&login, [bytes(PLAIN_GREETING), packet(2, &[&[1], guests.as_slice()].concat())].concat()),
        (&login, [bytes(PLAIN_GREETING), packet(2, &error)].concat()),
        (&written, [greeting.clone(), packet(4, &error)].concat()),
        (&written, [greeting.clone(), packet(4, &guests)].concat()),
        (&written, read_with(&[servers.as_slice(), &guests].concat())),
        (
            &written,
            [read.clone(), packet(5, b"\0\0\0\x02\0\0\0"), packet(1, &[&[1], guests.as_slice()].concat())]
                .concat(),
        ),
        (&unasked, read_with(&guests)),
        (&written, read_with(&guests[1..])),
    ] {
        assert!(is_refused(heard(written, &read), &guests), "{}", String::from_utf8_lossy(&read));
    }
    // A command, or the beginning of one.
    for more in [b"\x03".as_slice(), &packet(0, b"\x03select 1"), &packet(5, b"x")] {
        assert!(is_refused(heard(&[written.as_slice(), more].concat(), &read), &servers), "{more:?}");
    }
}

#[test]
fn a_key_that_is_none_is_the_servers_fault() {
    for key in [
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".as_slice(),
        b"-----BEGIN PUBLIC KEY-----",
    ] {
        let error = with_key(heard(&written(), &read_with(key)), key).unwrap_err();
        assert_eq!(error.code, ErrorCode::UpstreamError);
    }
}

#[test]
fn the_password_answers_the_question_for_it() {
    let (tls_written, tls_read) = (bytes(TLS_WRITTEN), bytes(TLS_READ));
    let expected = [b"\x07\0\0\x04".as_slice(), b"pencil\0"].concat();
    assert_eq!(frame(cleartext(4, heard(&tls_written, &tls_read), TLS)), expected);
    // Asked for by the name of the plugin, in plain text too, if the caller lets it come to that.
    for name in [
        b"\xfemysql_clear_password\0".as_slice(),
        b"\xfemysql_clear_password",
        b"\xfemysql_clear_password\0x\0",
    ] {
        assert!(cleartext(4, heard(&tls_written, &packet(3, name)), TLS).is_ok());
        let read = [bytes(PLAIN_GREETING), packet(2, name)].concat();
        assert!(cleartext(3, heard(&bytes(PLAIN_LOGIN), &read), Channel::default()).is_ok());
    }
    // After another plugin was tried, and after the server's wish for one.
    let switched = [packet(3, b"\xfecaching_sha2_password\0nonce"), packet(5, &[1, 4])].concat();
    let written = [tls_written, packet(4, b"scramble")].concat();
    assert_eq!(frame(cleartext(6, heard(&written, &switched), TLS))[3], 6);
}

/// Every way to have written or read more, less or something else.
#[test]
fn c7_the_password_goes_nowhere_else() {
    let (written, read) = (bytes(TLS_WRITTEN), bytes(TLS_READ));
    assert!(!is_refused(4, &written, &read, TLS));
    for sequence in (0..=255).filter(|sequence| *sequence != 4) {
        assert!(is_refused(sequence, &written, &read, TLS), "sequence {sequence}");
    }
    let part = Heard { is_whole: false, ..heard(&written, &read) };
    assert_eq!(cleartext(4, part, TLS).unwrap_err().code, ErrorCode::EgressDenied);
    for length in 0..written.len() {
        assert!(is_refused(4, &written[..length], &read, TLS), "{length} bytes written");
    }
    for length in 0..read.len() {
        assert!(is_refused(4, &written, &read[..length], TLS), "{length} bytes read");
    }
    for flip in 1..=255 {
        for at in 0..read.len() {
            let mut other = read.clone();
            other[at] ^= flip;
            assert!(is_refused(4, &written, &other, TLS), "{other:?} read");
        }
        for at in 0..4 {
            let mut other = written.clone();
            other[at] ^= flip;
            assert!(is_refused(4, &other, &read, TLS), "byte {at} of the login ^ {flip}");
        }
    }
    let question = b"\x03select '".as_slice();
    for more in [
        b"\0".as_slice(),
        &[0; 11],
        &packet(0, question),
        &packet(4, question),
        &packet(1, question),
        b"\xff\0\0\0\x03select '",
    ] {
        assert!(is_refused(4, &[&written, more].concat(), &read, TLS), "{more:?} after");
        assert!(is_refused(4, &[more, &written].concat(), &read, TLS), "{more:?} before");
        assert!(is_refused(4, &written, &[&read, more].concat(), TLS), "{more:?} read");
        assert!(is_refused(4, more, &read, TLS), "{more:?} alone");
    }
    // The server has let the guest in, or refused it, or wants something else.
    for said in [
        b"\0\0\0\x02\0\0\0".as_slice(),
        b"\xff\x15\x04#28000no",
        b"\x01\x03",
        b"\x01\x02",
        b"\x01",
        b"\xfe",
        b"",
        b"\xfemysql_native_password\0",
        b"\xfemysql_clear_passwords\0",
    ] {
        assert!(is_refused(4, &written, &packet(3, said), TLS), "{said:?}");
    }
    // A result set, whose first packet is like "more" and whose last is like "switch", after the server's OK.
    let read = [packet(3, b"\0\0\0\x02\0\0\0"), packet(1, b"\x01"), packet(2, b"\x01\x04")].concat();
    let asked = [written.clone(), packet(0, b"\x03select 1")].concat();
    for sequence in [1, 2, 3, 4] {
        assert!(is_refused(sequence, &asked, &read, TLS));
        assert!(is_refused(sequence, &written, &read, TLS));
    }
}

/// The server is a packet behind: what it asked for, the guest has answered already, and more.
#[test]
fn c7_packets_written_ahead_of_the_server_are_refused() {
    let (login, read) = (bytes(TLS_WRITTEN), bytes(TLS_READ));
    for ahead in [
        [login.clone(), packet(4, b"\x02")].concat(),
        [login.clone(), packet(4, b"\x02"), packet(2, b"")].concat(),
        [packet(4, b"\x02"), login.clone()].concat(),
        [login.clone(), login.clone()].concat(),
    ] {
        for sequence in 2..8 {
            assert!(is_refused(sequence, &ahead, &read, TLS), "{ahead:?}");
        }
    }
    // Numbers that wrap around would come to 0, where a command begins.
    let (mut written, mut read) = (login, Vec::new());
    for number in (3..=255u8).step_by(2) {
        read.extend(packet(number, &[1, 4]));
        if number < 255 {
            assert!(!is_refused(number + 1, &written, &read, TLS));
            written.extend(packet(number + 1, b"x"));
        }
    }
    assert!(is_refused(0, &written, &read, TLS));
}

#[test]
fn c7_numbers_count_up_from_where_a_login_begins() {
    let (written, read) = (bytes(TLS_WRITTEN), bytes(TLS_READ));
    let numbered = |mut packet: Vec<u8>, number: u8| {
        packet[3] = number;
        packet
    };
    for number in (0..=255).filter(|number| *number != 2) {
        let (written, after) = (numbered(written.clone(), number), number.wrapping_add(1));
        assert!(
            is_refused(number.wrapping_add(2), &written, &numbered(read.clone(), after), TLS),
            "{number}"
        );
        let after = after.wrapping_add(1);
        assert!(is_refused(after, &written, &read, TLS), "{number}");
    }
    for number in (0..=255).filter(|number| *number != 3) {
        let read = numbered(read.clone(), number);
        assert!(is_refused(number.wrapping_add(1), &written, &read, TLS), "{number}");
    }
    // The guest skips a number; the server is let in, or refused, before it asks.
    let asked_again = [read.clone(), packet(5, &[1, 4])].concat();
    for skipped in [0, 1, 2, 3, 5, 6, 7, 255] {
        let written = [written.clone(), packet(skipped, b"x")].concat();
        assert!(is_refused(6, &written, &asked_again, TLS), "{skipped}");
    }
    let twice = [written, packet(4, b"x")].concat();
    assert!(!is_refused(6, &twice, &asked_again, TLS));
    for said in [b"\0\0\0\x02\0\0\0".as_slice(), b"\xff\x15\x04#28000no", b"", b"\x03def"] {
        let read = [packet(3, said), packet(5, &[1, 4])].concat();
        assert!(is_refused(6, &twice, &read, TLS), "{said:?}");
    }
}

#[test]
fn c7_a_login_after_which_packets_are_compressed_is_refused() {
    let read = bytes(TLS_READ);
    for (at, bit) in [(4, 1 << 5), (7, 1 << 2)] {
        let mut written = bytes(TLS_WRITTEN);
        written[at] |= bit;
        assert!(is_refused(4, &written, &read, TLS));
    }
    let mut old = bytes(TLS_WRITTEN);
    old[5] &= !(1 << 1);
    assert!(is_refused(4, &old, &read, TLS));
}

#[test]
fn c7_plain_text_and_tls_are_not_taken_for_each_other() {
    let plain = Channel::default();
    assert!(is_refused(4, &bytes(TLS_WRITTEN), &bytes(TLS_READ), plain));
    let read = [bytes(PLAIN_GREETING), packet(2, b"\xfemysql_clear_password\0")].concat();
    assert!(!is_refused(3, &bytes(PLAIN_LOGIN), &read, plain));
    assert!(is_refused(3, &bytes(PLAIN_LOGIN), &read, TLS));
    // The server has the password in no cache: in plain text it takes it encrypted alone.
    let read = [bytes(PLAIN_GREETING), NOT_CACHED.to_vec()].concat();
    assert!(is_refused(3, &bytes(PLAIN_LOGIN), &read, plain));
    // A request for TLS after which there was none, and a greeting that is an error.
    let mut asks = bytes(PLAIN_LOGIN);
    asks[5] |= 1 << 3;
    let read = [bytes(PLAIN_GREETING), packet(2, b"\xfemysql_clear_password\0")].concat();
    assert!(is_refused(3, &asks, &read, plain));
    let read =
        [packet(0, b"\xff\x10\x04Too many connections"), packet(2, b"\xfemysql_clear_password\0")].concat();
    assert!(is_refused(3, &bytes(PLAIN_LOGIN), &read, plain));
}

#[test]
fn c5_a_password_that_the_packet_cannot_hold_is_refused() {
    let parameters = json!({"sequence": 4});
    let parameters = Parameters { object: parameters.as_object().unwrap(), mechanism: "mysql-cleartext" };
    let mut login = Cleartext::of(&parameters, "a\0b".into(), TLS).unwrap();
    let error = login.answer(b"", heard(&bytes(TLS_WRITTEN), &bytes(TLS_READ))).unwrap_err();
    assert_eq!(error.code, ErrorCode::AuthRequired);
}
