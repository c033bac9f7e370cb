//! A column of a result: its name, its type, and what its values are in JSON.
//!
//! | kind | MySQL | JSON |
//! |---|---|---|
//! | `Int` | `TINYINT` … `BIGINT`, `YEAR` | a number; text beyond 2^53 |
//! | `Float` `Double` | `FLOAT` `DOUBLE` | a number |
//! | `Bit` | `BIT` | its number; text beyond 2^53 |
//! | `Json` | `JSON` | as it is |
//! | `Bytes` | `BINARY` … `BLOB`, geometry, vectors | `{"base64": …}` |
//! | `Date` `Time` `DateTime` | `DATE` `TIME` `DATETIME` `TIMESTAMP` | text; with a `T` between date and time |
//! | `Text` | everything else: text, `DECIMAL`, `ENUM`, `SET` | text |
//!
//! Invariant: a kind follows from what the server said of the column alone, so that all values of a column are told alike.

use openact_connector::Failure;

use crate::wire::{Fields, unexpected};

const UNSIGNED: u16 = 0x20;
const ENUM: u16 = 0x100;
const SET: u16 = 0x800;

/// The character set of what is no text.
const BINARY: u16 = 63;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// So many bytes.
    Int {
        /// 1, 2, 4 or 8.
        bytes: u8,
        /// Whether there is no sign.
        unsigned: bool,
    },
    /// Single precision.
    Float,
    /// Double precision.
    Double,
    /// Bits, the greatest first.
    Bit,
    /// JSON.
    Json,
    /// Bytes.
    Bytes,
    /// A day.
    Date,
    /// A time of day, or a span of some days.
    Time,
    /// A day and a time.
    DateTime,
    /// Whatever has no form of its own.
    Text,
    /// NULL is all there is.
    Null,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What its type is called in SQL.
    pub type_name: String,
    /// How its values are told.
    pub kind: Kind,
    /// Digits of a second's fraction, where they are fixed.
    pub decimals: u8,
}

impl Column {
    /// Of the server's description. With `extended` that has MariaDB's addition.
    pub fn read(body: &[u8], extended: bool) -> Result<Self, Failure> {
        let mut fields = Fields(body);
        for _ in 0..4 {
            fields.counted()?;
        }
        let name = String::from_utf8_lossy(fields.counted()?).into_owned();
        fields.counted()?;
        let mut is_json = false;
        if extended {
            let mut more = Fields(fields.counted()?);
            while !more.0.is_empty() {
                let (kind, text) = (more.u8()?, more.counted()?);
                is_json |= kind == 1 && text == b"json";
            }
        }
        fields.number()?;
        let (charset, _length) = (fields.u16()?, fields.u32()?);
        let (code, flags, decimals) = (fields.u8()?, fields.u16()?, fields.u8()?);
        let (type_name, kind) = if is_json { ("json", Kind::Json) } else { of(code, flags, charset)? };
        let unsigned = matches!(kind, Kind::Int { unsigned: true, .. }) && type_name != "year";
        let type_name = if unsigned { format!("{type_name} unsigned") } else { type_name.to_owned() };
        Ok(Self { name, type_name, kind, decimals })
    }
}

fn of(code: u8, flags: u16, charset: u16) -> Result<(&'static str, Kind), Failure> {
    let int = |bytes| Kind::Int { bytes, unsigned: flags & UNSIGNED != 0 };
    let either = |bytes, text| if charset == BINARY { (bytes, Kind::Bytes) } else { (text, Kind::Text) };
    Ok(match code {
        _ if flags & ENUM != 0 => ("enum", Kind::Text),
        _ if flags & SET != 0 => ("set", Kind::Text),
        0 | 246 => ("decimal", Kind::Text),
        1 => ("tinyint", int(1)),
        2 => ("smallint", int(2)),
        3 => ("int", int(4)),
        4 => ("float", Kind::Float),
        5 => ("double", Kind::Double),
        6 => ("null", Kind::Null),
        7 | 17 => ("timestamp", Kind::DateTime),
        8 => ("bigint", int(8)),
        9 => ("mediumint", int(4)),
        10 | 14 => ("date", Kind::Date),
        11 | 19 => ("time", Kind::Time),
        12 | 18 => ("datetime", Kind::DateTime),
        13 => ("year", Kind::Int { bytes: 2, unsigned: true }),
        16 => ("bit", Kind::Bit),
        242 => ("vector", Kind::Bytes),
        245 => ("json", Kind::Json),
        247 => ("enum", Kind::Text),
        248 => ("set", Kind::Text),
        249..=252 => either("blob", "text"),
        15 | 253 => either("varbinary", "varchar"),
        254 => either("binary", "char"),
        255 => ("geometry", Kind::Bytes),
        _ => return Err(unexpected("a column of an unknown type")),
    })
}
