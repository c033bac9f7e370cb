//! Text to bytes and back, by charset.
//!
//! By hand for the few that APIs still use: the tables of all the others would be several times this connector.
//! Labels are those of WHATWG Encoding and read as browsers read them, so `iso-8859-1` of an answer is Windows-1252;
//! written, it is what it says. Invariant: text is never changed to fit; what cannot be written or read is said.

use std::borrow::Cow;

/// A charset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8.
    Utf8,
    /// The first 128 characters.
    Ascii,
    /// The first 256 characters.
    Latin1,
    /// Latin-1 with the euro and seven letters in place of signs.
    Latin9,
    /// Latin-1 with printable characters in place of control characters.
    Windows1252,
    /// UTF-16, little end first.
    Utf16Le,
    /// UTF-16, big end first.
    Utf16Be,
}

/// For messages.
pub const KNOWN: &str = "utf-8, us-ascii, iso-8859-1, iso-8859-15, windows-1252, utf-16le, utf-16be";

impl Charset {
    /// The charset called `label`, without regard to case.
    pub fn of(label: &str) -> Option<Self> {
        Some(match label.trim().to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" | "unicode11utf8" | "unicode20utf8"
            | "x-unicode20utf8" => Self::Utf8,
            "us-ascii" | "ascii" | "ansi_x3.4-1968" => Self::Ascii,
            "iso-8859-1" | "iso8859-1" | "iso88591" | "iso_8859-1" | "iso_8859-1:1987" | "iso-ir-100"
            | "latin1" | "latin-1" | "l1" | "csisolatin1" | "cp819" | "ibm819" => Self::Latin1,
            "iso-8859-15" | "iso8859-15" | "iso885915" | "iso_8859-15" | "csisolatin9" | "l9" => Self::Latin9,
            "windows-1252" | "cp1252" | "x-cp1252" => Self::Windows1252,
            "utf-16le" | "utf-16" | "ucs-2" | "iso-10646-ucs-2" | "unicode" | "csunicode" | "unicodefeff" => {
                Self::Utf16Le
            }
            "utf-16be" | "unicodefffe" => Self::Utf16Be,
            _ => return None,
        })
    }

    /// The name to send.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Ascii => "us-ascii",
            Self::Latin1 => "iso-8859-1",
            Self::Latin9 => "iso-8859-15",
            Self::Windows1252 => "windows-1252",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
        }
    }

    /// `text` as bytes, or the position (from 1) of the first character that this charset lacks.
    pub fn encode(self, text: &str) -> Result<Vec<u8>, usize> {
        let single = |byte: fn(char) -> Option<u8>| {
            let bytes = text.chars().enumerate().map(|(at, c)| byte(c).ok_or(at + 1));
            bytes.collect()
        };
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Ascii => single(|c| u8::try_from(c).ok().filter(u8::is_ascii)),
            Self::Latin1 => single(|c| u8::try_from(c).ok()),
            Self::Latin9 => single(latin9_byte),
            Self::Windows1252 => single(windows_1252_byte),
            Self::Utf16Le => Ok(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            Self::Utf16Be => Ok(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        }
    }

    /// `bytes` as text, unless they are none.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Ascii | Self::Latin1 | Self::Windows1252 => {
                Some(bytes.iter().copied().map(windows_1252_char).collect::<String>().into())
            }
            Self::Latin9 => Some(bytes.iter().copied().map(latin9_char).collect::<String>().into()),
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes),
            Self::Utf16Be => utf16(bytes, u16::from_be_bytes),
        }
    }

    /// The charset that a byte order mark at the start of `bytes` tells, and what follows the mark.
    pub fn marked(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let marks: [(Self, &[u8]); 3] =
            [(Self::Utf8, b"\xef\xbb\xbf"), (Self::Utf16Le, b"\xff\xfe"), (Self::Utf16Be, b"\xfe\xff")];
        marks.into_iter().find_map(|(charset, mark)| Some((charset, bytes.strip_prefix(mark)?)))
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<Cow<'_, str>> {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let units = pairs.iter().copied().map(unit);
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.ok().filter(|_| odd.is_empty()).map(Cow::Owned)
}

/// Where ISO 8859-15 is not Latin-1.
const LATIN9: [(u8, char); 8] =
    [(0xa4, '€'), (0xa6, 'Š'), (0xa8, 'š'), (0xb4, 'Ž'), (0xb8, 'ž'), (0xbc, 'Œ'), (0xbd, 'œ'), (0xbe, 'Ÿ')];

fn latin9_char(byte: u8) -> char {
    LATIN9.iter().find(|(other, _)| *other == byte).map_or(char::from(byte), |(_, c)| *c)
}

fn latin9_byte(c: char) -> Option<u8> {
    match LATIN9.iter().find(|(_, other)| *other == c) {
        Some((byte, _)) => Some(*byte),
        None => u8::try_from(c).ok().filter(|byte| LATIN9.iter().all(|(other, _)| other != byte)),
    }
}

/// 0x80 to 0x9F; the five that Windows-1252 does not use are control characters, as in Latin-1.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}',
    '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252_char(byte: u8) -> char {
    let special = byte.checked_sub(0x80).and_then(|at| WINDOWS_1252.get(usize::from(at)));
    special.copied().unwrap_or(char::from(byte))
}

fn windows_1252_byte(c: char) -> Option<u8> {
    let special =
        || WINDOWS_1252.iter().zip(0x80..).find_map(|(special, byte)| (*special == c).then_some(byte));
    u8::try_from(c).ok().filter(|byte| !(0x80..0xa0).contains(byte)).or_else(special)
}
