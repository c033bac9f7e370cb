//! A component that imports `evil:host/shell`: it must be refused when it is loaded, by the import's name.

wit_bindgen::generate!({ path: ["../../../wit/v0.1", "wit"], world: "evil:host/forbidden", generate_all });

struct Forbidden;

impl Guest for Forbidden {
    fn describe() -> Manifest {
        Manifest {
            name: "forbidden-import".into(),
            version: "0.1.0".into(),
            summary: evil::host::shell::run("id"),
            connection_schema: r#"{"type":"object"}"#.into(),
            operations: vec![],
            default_operation: String::new(),
            needs: vec![],
        }
    }

    fn check(_connection: String) -> Result<String, Failure> {
        Ok("null".into())
    }

    fn invoke(_invocation: Invocation) -> Result<String, Failure> {
        Ok("null".into())
    }
}

export!(Forbidden);
