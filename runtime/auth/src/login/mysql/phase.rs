//! How far a login of MySQL's protocol is, by the packets that went over the socket.
//!
//! A packet is its length (three bytes), a sequence number and that many bytes. Within a login the numbers count up, each
//! side in turn; a command begins anew at 0. So a stream in which every packet of the client has the number after the
//! server's last one, and in which the server has said neither OK nor error, is still a login, and the server has read
//! all that was written.
//!
//! Invariant: [`Phase::of`] is none for everything else; a guest that has written one byte of a command gets nothing.

use openact_core::login::Heard;

/// Of the capabilities in the client's first packet: after the login, packets are compressed, and numbered otherwise.
const COMPRESS: u32 = 1 << 5;
const ZSTD: u32 = 1 << 26;
/// The first packet is of protocol 4.1, whose capabilities are four bytes.
const PROTOCOL_41: u32 = 1 << 9;
/// TLS begins after the first packet.
const SSL: u32 = 1 << 11;

const GREETING: u8 = 10;
const MORE: u8 = 1;
const SWITCH: u8 = 0xfe;

/// A login under way, and the client's turn.
pub(super) struct Phase<'a> {
    /// The number of the client's next packet.
    pub(super) next: u8,
    /// What the server said last.
    said: &'a [u8],
    /// What it answers.
    asked: &'a [u8],
}

impl<'a> Phase<'a> {
    /// The login of `heard`, if that is one.
    pub(super) fn of(heard: Heard<'a>, is_encrypted: bool) -> Option<Self> {
        let (written, mut read) = (packets(heard.written)?, packets(heard.read)?);
        // What came before TLS is not heard: the greeting, and the request for TLS with number 1.
        let mut next = 2;
        if !is_encrypted {
            let (number, greeting) = read.first()?;
            if *number != 0 || greeting.first() != Some(&GREETING) {
                return None;
            }
            read.remove(0);
            next = 1;
        }
        let (_, response) = written.first()?;
        if !heard.is_whole || written.len() != read.len() || !is_plain_response(response, is_encrypted) {
            return None;
        }
        for ((mine, _), (theirs, said)) in written.iter().zip(&read) {
            let is_login = matches!(said.first(), Some(&(MORE | SWITCH)));
            if *mine != next || *theirs != next.checked_add(1)? || !is_login {
                return None;
            }
            next = theirs.checked_add(1)?;
        }
        Some(Self { next, said: read.last()?.1, asked: written.last()?.1 })
    }

    /// The public key that the server has just sent, having been asked.
    pub(super) fn public_key(&self) -> Option<&'a [u8]> {
        let key = self.said.strip_prefix(&[MORE])?;
        (self.asked == [2] && key.starts_with(b"-----BEGIN PUBLIC KEY-----")).then_some(key)
    }

    /// Whether the server has just asked for the password: because it has it in no cache, or by name. The former it
    /// would not take in plain text.
    pub(super) fn wants_password(&self, is_encrypted: bool) -> bool {
        let by_name = self.said.strip_prefix(&[SWITCH]).is_some_and(|rest| {
            rest.strip_prefix(b"mysql_clear_password").is_some_and(|rest| matches!(rest, [] | [0, ..]))
        });
        by_name || (is_encrypted && self.said == [MORE, 4])
    }
}

/// Whether `response`, the client's first packet, is a login that packets stay as they are after.
fn is_plain_response(response: &[u8], is_encrypted: bool) -> bool {
    let Some(capabilities) = response.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return false;
    };
    let only_asks_for_tls = capabilities & SSL != 0 && !is_encrypted;
    capabilities & PROTOCOL_41 != 0 && capabilities & (COMPRESS | ZSTD) == 0 && !only_asks_for_tls
}

/// The packets of `bytes`, each with its number; none if the last one is not whole.
fn packets(mut bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let ([a, b, c, number], rest) = bytes.split_first_chunk()?;
        let length = u32::from_le_bytes([*a, *b, *c, 0]);
        let (packet, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        packets.push((*number, packet));
        bytes = rest;
    }
    Some(packets)
}
