//! A component whose `describe` never ends: it must end by the limits of `describe`, and not be installed.

wit_bindgen::generate!({ path: "../../../wit/v0.1", world: "connector" });

struct Spin;

impl Guest for Spin {
    fn describe() -> Manifest {
        loop {
            std::hint::spin_loop();
        }
    }

    fn check(_connection: String) -> Result<String, Failure> {
        Ok("null".into())
    }

    fn invoke(_invocation: Invocation) -> Result<String, Failure> {
        Ok("null".into())
    }
}

export!(Spin);
