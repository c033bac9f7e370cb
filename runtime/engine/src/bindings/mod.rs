//! Generated bindings, one private module per WIT version. Nothing outside this crate names a generated type.

pub(crate) mod v0_1;
