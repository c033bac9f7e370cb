//! The types of columns and parameters, as far as their JSON form differs.
//!
//! | kind | PostgreSQL | JSON |
//! |---|---|---|
//! | `Bool` | `bool` | true or false |
//! | `Int` | `int2` `int4` `int8` `oid` `xid` `cid` | a number; text beyond 2^53 |
//! | `Float` | `float4` `float8` | a number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `Json` | `json` `jsonb` | as it is |
//! | `Bytes` | `bytea` | `"\\x…"`, in hex |
//! | `Time` | `timestamp` `timestamptz` | text as in RFC 3339 |
//! | `Void` | `void` | null |
//! | `Text` | everything else | text as PostgreSQL writes it |
//! | `Array` | a list of one of these | a list |
//!
//! Invariant: PostgreSQL's own text form of every type is read and written by the server without loss, so that a kind
//! that is not known costs beauty and no digit.

use std::collections::BTreeMap;

/// What a value is in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Scalar {
    /// Whatever has no form of its own.
    Text = 0,
    /// True or false.
    Bool = 1,
    /// Digits.
    Int = 2,
    /// Digits, or the name of what is no number.
    Float = 3,
    /// JSON.
    Json = 4,
    /// Bytes.
    Bytes = 5,
    /// Date and time.
    Time = 6,
    /// Nothing.
    Void = 7,
}

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    One(Scalar),
    /// A list of them, separated by this byte.
    Array(Scalar, u8),
}

impl Kind {
    /// As two bytes, for the state of a parked session.
    pub fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::One(scalar) => [scalar as u8, 0],
            Self::Array(scalar, delimiter) => [scalar as u8, delimiter],
        }
    }

    /// What [`Kind::to_bytes`] made.
    pub fn from_bytes([scalar, delimiter]: [u8; 2]) -> Option<Self> {
        use Scalar::{Bool, Bytes, Float, Int, Json, Text, Time, Void};
        let all = [Text, Bool, Int, Float, Json, Bytes, Time, Void];
        let scalar = *all.get(usize::from(scalar))?;
        Some(if delimiter == 0 { Self::One(scalar) } else { Self::Array(scalar, delimiter) })
    }
}

/// Types below this id are PostgreSQL's own, and the same in every database.
const OWN_MAX: u32 = 10_000;

/// PostgreSQL's own types whose JSON form or array matters: name, id, id of the array.
const OWN: &[(&str, u32, u32, Scalar)] = &[
    ("int4", 23, 1007, Scalar::Int),
    ("text", 25, 1009, Scalar::Text),
    ("int8", 20, 1016, Scalar::Int),
    ("bool", 16, 1000, Scalar::Bool),
    ("varchar", 1043, 1015, Scalar::Text),
    ("timestamptz", 1184, 1185, Scalar::Time),
    ("timestamp", 1114, 1115, Scalar::Time),
    ("numeric", 1700, 1231, Scalar::Text),
    ("uuid", 2950, 2951, Scalar::Text),
    ("jsonb", 3802, 3807, Scalar::Json),
    ("json", 114, 199, Scalar::Json),
    ("int2", 21, 1005, Scalar::Int),
    ("float8", 701, 1022, Scalar::Float),
    ("float4", 700, 1021, Scalar::Float),
    ("bytea", 17, 1001, Scalar::Bytes),
    ("date", 1082, 1182, Scalar::Text),
    ("time", 1083, 1183, Scalar::Text),
    ("timetz", 1266, 1270, Scalar::Text),
    ("interval", 1186, 1187, Scalar::Text),
    ("bpchar", 1042, 1014, Scalar::Text),
    ("char", 18, 1002, Scalar::Text),
    ("name", 19, 1003, Scalar::Text),
    ("oid", 26, 1028, Scalar::Int),
    ("xid", 28, 1011, Scalar::Int),
    ("cid", 29, 1012, Scalar::Int),
    ("xml", 142, 143, Scalar::Text),
    ("money", 790, 791, Scalar::Text),
    ("inet", 869, 1041, Scalar::Text),
    ("cidr", 650, 651, Scalar::Text),
    ("macaddr", 829, 1040, Scalar::Text),
    ("macaddr8", 774, 775, Scalar::Text),
    ("bit", 1560, 1561, Scalar::Text),
    ("varbit", 1562, 1563, Scalar::Text),
    ("point", 600, 1017, Scalar::Text),
    ("lseg", 601, 1018, Scalar::Text),
    ("path", 602, 1019, Scalar::Text),
    ("box", 603, 1020, Scalar::Text),
    ("polygon", 604, 1027, Scalar::Text),
    ("line", 628, 629, Scalar::Text),
    ("circle", 718, 719, Scalar::Text),
    ("tsvector", 3614, 3643, Scalar::Text),
    ("tsquery", 3615, 3645, Scalar::Text),
    ("jsonpath", 4072, 4073, Scalar::Text),
    ("int4range", 3904, 3905, Scalar::Text),
    ("numrange", 3906, 3907, Scalar::Text),
    ("tsrange", 3908, 3909, Scalar::Text),
    ("tstzrange", 3910, 3911, Scalar::Text),
    ("daterange", 3912, 3913, Scalar::Text),
    ("int8range", 3926, 3927, Scalar::Text),
    ("int4multirange", 4451, 6150, Scalar::Text),
    ("nummultirange", 4532, 6151, Scalar::Text),
    ("tsmultirange", 4533, 6152, Scalar::Text),
    ("tstzmultirange", 4534, 6153, Scalar::Text),
    ("datemultirange", 4535, 6155, Scalar::Text),
    ("int8multirange", 4536, 6157, Scalar::Text),
    ("regclass", 2205, 2210, Scalar::Text),
    ("regtype", 2206, 2211, Scalar::Text),
    ("xid8", 5069, 271, Scalar::Text),
    ("tid", 27, 1010, Scalar::Text),
    ("record", 2249, 2287, Scalar::Text),
    ("void", 2278, 0, Scalar::Void),
    ("unknown", 705, 0, Scalar::Text),
    ("cstring", 2275, 1263, Scalar::Text),
];

/// What is known of types that are not PostgreSQL's own, by id.
pub type Known = BTreeMap<u32, (String, Kind)>;

/// Name and kind of a type; none if the server has to be asked.
pub fn of(oid: u32, known: &Known) -> Option<(String, Kind)> {
    let own = OWN.iter().find_map(|(name, one, list, scalar)| {
        // Of all types only boxes have lists that commas do not separate.
        let delimiter = if *name == "box" { b';' } else { b',' };
        match oid {
            0 => None,
            _ if oid == *one => Some(((*name).to_owned(), Kind::One(*scalar))),
            _ if oid == *list => Some((format!("{name}[]"), Kind::Array(*scalar, delimiter))),
            _ => None,
        }
    });
    own.or_else(|| known.get(&oid).cloned())
        .or_else(|| (oid < OWN_MAX).then(|| (String::new(), Kind::One(Scalar::Text))))
}

/// What a type is made of in the end: domains may be of domains.
macro_rules! root {
    ($oid:literal) => {
        concat!(
            "(WITH RECURSIVE r(oid) AS (SELECT ",
            $oid,
            " UNION ALL SELECT d.typbasetype FROM r, pg_catalog.pg_type d \
                WHERE d.oid OPERATOR(pg_catalog.=) r.oid AND d.typtype OPERATOR(pg_catalog.=) 'd') \
            SELECT r.oid FROM r, pg_catalog.pg_type d \
                WHERE d.oid OPERATOR(pg_catalog.=) r.oid AND d.typtype OPERATOR(pg_catalog.<>) 'd')"
        )
    };
}

/// Name, root, element, its delimiter, name and root, of types that are not PostgreSQL's own. The schema is named
/// everywhere, so that no search path puts other things in place of these.
pub const LOOK_UP: &str = concat!(
    "SELECT t.oid, t.typname, b.oid, \
        CASE WHEN b.typcategory OPERATOR(pg_catalog.=) 'A' THEN b.typelem ELSE 0 END, e.typdelim, e.typname, ",
    root!("e.oid"),
    " FROM pg_catalog.pg_type t JOIN pg_catalog.pg_type b ON b.oid OPERATOR(pg_catalog.=) ",
    root!("t.oid"),
    " LEFT JOIN pg_catalog.pg_type e ON e.oid OPERATOR(pg_catalog.=) b.typelem \
        WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.oid[])",
);

/// What a row of [`LOOK_UP`] says, into `known`.
pub fn learn(known: &mut Known, row: &[Option<String>]) -> Option<()> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref);
    let id = |at: usize| text(at).and_then(|text| text.parse::<u32>().ok()).filter(|oid| *oid != 0);
    // A domain is told as what it is made of.
    let scalar = |oid: Option<u32>| match oid.and_then(|oid| of(oid, &Known::new())) {
        Some((_, Kind::One(scalar))) => scalar,
        _ => Scalar::Text,
    };
    let entry = match id(3) {
        None => {
            let base = id(2).and_then(|oid| of(oid, &Known::new()));
            (text(1)?.to_owned(), base.map_or(Kind::One(Scalar::Text), |(_, kind)| kind))
        }
        Some(element) => {
            let delimiter = text(4).and_then(|text| text.bytes().next()).unwrap_or(b',');
            let kind = Kind::Array(scalar(id(6).or(Some(element))), delimiter);
            (format!("{}[]", text(5).unwrap_or_default()), kind)
        }
    };
    known.insert(id(0)?, entry);
    Some(())
}
