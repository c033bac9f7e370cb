//! The integration tests of OpenAct, one module per theme.

mod embedded;
