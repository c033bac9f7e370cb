//! The first-party connectors of OpenAct, compiled to WebAssembly and embedded, and the first-party templates over them.
//!
//! So that one binary has them, and a test or an embedder needs no file. Invariant: the bytes here are what
//! `connectors/` compiles to, nothing else; the engine treats them like any component.

/// A connector in this binary.
#[derive(Clone, Copy)]
pub struct Bundled {
    /// Its name, equal to the one in its manifest.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

macro_rules! connectors {
    ($($name:literal),*) => {
        &[$(Bundled {
            name: $name,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/connectors/", $name, ".wasm")),
        }),*]
    };
}

/// Every connector in this binary.
pub const CONNECTORS: &[Bundled] = connectors!("http", "mcp", "mongodb", "mysql", "postgres", "redis");

/// A connector template in this binary.
#[derive(Clone, Copy)]
pub struct BundledTemplate {
    /// Its name, equal to the one in its text.
    pub name: &'static str,
    /// The template, YAML.
    pub text: &'static str,
}

macro_rules! templates {
    ($($name:literal),*) => {
        &[$(BundledTemplate {
            name: $name,
            text: include_str!(concat!("../../../connectors/templates/", $name, ".yaml")),
        }),*]
    };
}

/// Every template in this binary; each extends a connector in it.
pub const TEMPLATES: &[BundledTemplate] = templates!("github", "notion", "openai", "s3", "slack", "stripe");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_component() {
        for connector in CONNECTORS {
            // Magic number, then version 13 of the binary format, layer 1: a component and not a core module.
            assert_eq!(connector.bytes[..8], *b"\0asm\x0d\0\x01\0", "{}", connector.name);
        }
    }
}
