//! Keys of age as text: Bech32 (BIP 173) of 32 bytes, without its bound on the length.
//!
//! Invariant: what is decoded is the only text for its bytes: one case, no bits left over.

use zeroize::Zeroizing;

const DIGITS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The 32 bytes that `text` stands for after `prefix` (lower case) and a `1`.
pub(super) fn decode(prefix: &str, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    if text != lower.as_str() && text != text.to_ascii_uppercase() {
        return None;
    }
    let digits = lower.strip_prefix(prefix)?.strip_prefix('1')?;
    let digit = |c: u8| DIGITS.iter().position(|digit| *digit == c).and_then(|at| u8::try_from(at).ok());
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(digits.bytes().map(digit).collect::<Option<_>>()?);
    let expanded = prefix.bytes().map(|c| c >> 5).chain([0]).chain(prefix.bytes().map(|c| c & 31));
    if checksum(expanded.chain(digits.iter().copied())) != 1 {
        return None;
    }
    let (data, _) = digits.split_at_checked(digits.len().checked_sub(6)?)?;
    let mut bytes = Zeroizing::new([0; 32]);
    let (mut buffer, mut bits, mut out) = (0u32, 0, bytes.iter_mut());
    for digit in data {
        buffer = (buffer << 5 | u32::from(*digit)) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *out.next()? = u8::try_from(buffer >> bits & 0xff).ok()?;
        }
    }
    (out.next().is_none() && bits < 5 && buffer & ((1 << bits) - 1) == 0).then_some(bytes)
}

fn checksum(values: impl Iterator<Item = u8>) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    values.fold(1, |sum, value| {
        let top = sum >> 25;
        let next = (sum & 0x1ff_ffff) << 5 ^ u32::from(value);
        GENERATOR
            .iter()
            .enumerate()
            .filter(|(bit, _)| top >> bit & 1 == 1)
            .fold(next, |sum, (_, part)| sum ^ part)
    })
}
