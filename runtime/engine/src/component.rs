//! From bytes to a [`Connector`]: verify what it imports, compile, ask it to describe itself, keep both.
//!
//! | import | allowed |
//! |---|---|
//! | `openact:connector/*@0.1.x` | yes |
//! | `wasi:{io,clocks,random,cli,filesystem,http,sockets}/*@0.2.x` | yes; see `instance` for what they can do |
//! | anything else | refused at load, named (S8) |
//!
//! Exports beside the world's own are allowed: toolchains of other languages add initialisers.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use openact_core::{
    Error, Result,
    limits::{COMPILE_TIME_MAX, COMPONENT_BYTES_MAX, MANIFEST_BYTES_MAX},
    manifest::{Capability, ComponentDigest, Effect, Manifest, Operation},
};
use serde_json::Value;
use wasmtime::component::Component;

use crate::{
    Connector, Engine, Inner,
    bindings::v0_1::{ConnectorPre, types},
    instance::{self, limit_error},
};

/// WASI packages a component may import.
const WASI_PACKAGES: &[&str] = &["io", "clocks", "random", "cli", "filesystem", "http", "sockets"];

pub(crate) async fn load(engine: &Engine, bytes: Bytes) -> Result<Connector> {
    let size = bytes.len() as u64;
    if size > COMPONENT_BYTES_MAX {
        return Err(limit_error(
            "component_bytes",
            format!("the component has {size} bytes; at most {COMPONENT_BYTES_MAX} are allowed"),
        ));
    }
    recognise(&bytes)?;
    let inner = &engine.0;
    let digest = digest_of(&bytes);
    if let Some((manifest, component)) =
        inner.cache.as_ref().and_then(|cache| cache.get(&inner.wasmtime, digest))
    {
        return Ok(Connector { digest, manifest: Arc::new(manifest), pre: link(inner, &component)? });
    }
    let component = compile(inner.clone(), bytes).await?;
    verify_imports(inner, &component)?;
    let pre = link(inner, &component)?;
    let manifest = describe(engine, &pre).await?;
    if let Some(cache) = &inner.cache {
        let compiled = component
            .serialize()
            .map_err(|error| Error::internal("failed to serialise a component").because(error))?;
        cache.put(digest, &manifest, &compiled);
    }
    Ok(Connector { digest, manifest: Arc::new(manifest), pre })
}

/// Tells what was handed in instead of a component, before a compiler's error would.
fn recognise(bytes: &[u8]) -> Result<()> {
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    let what = match bytes.get(..COMPONENT.len()) {
        Some(COMPONENT) => return Ok(()),
        Some(start) if start.starts_with(b"\0asm") => "this is a core WebAssembly module, not a component",
        _ => "this is not a WebAssembly file",
    };
    Err(Error::invalid_config(what).hint(
        "a connector is a component that exports the world openact:connector/connector; see wit/README.md",
    ))
}

fn digest_of(bytes: &[u8]) -> ComponentDigest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    ComponentDigest(out)
}

async fn compile(inner: Arc<Inner>, bytes: Bytes) -> Result<Component> {
    let work = async {
        // The permit goes with the compiler, which cannot be stopped: after a timeout it is still at work.
        let permit = inner.compilers.clone().acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let compiled = Component::from_binary(&inner.wasmtime, &bytes);
            drop(permit);
            compiled
        })
        .await
    };
    match tokio::time::timeout(COMPILE_TIME_MAX, work).await {
        Ok(Ok(Ok(component))) => Ok(component),
        Ok(Ok(Err(error))) => {
            let cause = error.root_cause().to_string();
            let cause = cause.lines().next().unwrap_or_default();
            Err(Error::invalid_config(format!("not a valid WebAssembly component: {cause}")))
        }
        Ok(Err(error)) => Err(Error::internal("the compiler panicked").because(error)),
        Err(_) => {
            Err(limit_error("compile_time", format!("compiling took longer than {COMPILE_TIME_MAX:?}")))
        }
    }
}

fn verify_imports(inner: &Inner, component: &Component) -> Result<()> {
    for (name, _) in component.component_type().imports(&inner.wasmtime) {
        if !is_allowed_import(name) {
            return Err(Error::invalid_config(format!("the component imports '{name}', which connectors may not"))
                .hint("allowed: openact:connector/*@0.1 and wasi:{io,clocks,random,cli,filesystem,http,sockets}/*@0.2")
                .details(serde_json::json!({ "import": name })));
        }
    }
    Ok(())
}

fn is_allowed_import(name: &str) -> bool {
    let Some((path, version)) = name.split_once('@') else {
        return false;
    };
    let Some((package, _)) = path.split_once('/') else {
        return false;
    };
    match package.split_once(':') {
        Some(("openact", "connector")) => version.starts_with("0.1."),
        Some(("wasi", package)) => version.starts_with("0.2.") && WASI_PACKAGES.contains(&package),
        _ => false,
    }
}

fn link(inner: &Inner, component: &Component) -> Result<ConnectorPre<instance::CallState>> {
    inner.linker.instantiate_pre(component).and_then(ConnectorPre::new).map_err(|error| {
        Error::invalid_config(format!("the component is not a connector: {error:#}"))
            .hint("build it against wit/v0.1 of OpenAct, world connector")
    })
}

/// Asks a component for its manifest, in an instance that is granted nothing.
async fn describe(engine: &Engine, pre: &ConnectorPre<instance::CallState>) -> Result<Manifest> {
    let raw = instance::describe(engine, pre)
        .await
        .map_err(|error| error.context("failed to ask the connector for its manifest"))?;
    manifest(raw)?.validated()
}

fn manifest(raw: types::Manifest) -> Result<Manifest> {
    let name = raw.name;
    let schema = |text: &str, what: &str| -> Result<Value> {
        serde_json::from_str(text).map_err(|error| {
            Error::invalid_config(format!(
                "the manifest of connector '{name}' is wrong: {what} is not JSON: {error}"
            ))
        })
    };
    let texts = raw.operations.iter().map(|operation| {
        let output = operation.output_schema.as_deref().unwrap_or_default();
        let overridable = operation.overridable.iter().map(String::len).sum::<usize>();
        let own = [&operation.name, &operation.summary, &operation.action_schema, &operation.input_schema];
        own.map(String::len).iter().sum::<usize>() + output.len() + overridable
    });
    let own = [&raw.version, &raw.summary, &raw.connection_schema, &raw.default_operation];
    let size = name.len() + own.map(String::len).iter().sum::<usize>() + texts.sum::<usize>();
    if size > MANIFEST_BYTES_MAX || raw.operations.len() > 1_000 || raw.needs.len() > 100 {
        return Err(limit_error(
            "manifest_bytes",
            format!("the manifest of the connector is over {MANIFEST_BYTES_MAX} bytes"),
        ));
    }
    let operations = raw.operations.into_iter().map(|operation| {
        Ok(Operation {
            action_schema: schema(&operation.action_schema, "action-schema")?,
            input_schema: schema(&operation.input_schema, "input-schema")?,
            output_schema: operation
                .output_schema
                .as_deref()
                .map(|text| schema(text, "output-schema"))
                .transpose()?,
            name: operation.name,
            summary: operation.summary,
            overridable: operation.overridable,
            effect: match operation.effect {
                types::Effect::Read => Effect::Read,
                types::Effect::Write => Effect::Write,
                types::Effect::Destructive => Effect::Destructive,
            },
            idempotent: operation.idempotent,
        })
    });
    Ok(Manifest {
        connection_schema: schema(&raw.connection_schema, "connection-schema")?,
        operations: operations.collect::<Result<_>>()?,
        version: raw.version,
        summary: raw.summary,
        default_operation: raw.default_operation,
        needs: raw.needs.into_iter().map(capability).collect(),
        name: name.parse().map_err(|error: Error| Error::invalid_config(error.message.clone()))?,
    })
}

fn capability(raw: types::Capability) -> Capability {
    match raw {
        types::Capability::Http => Capability::Http,
        types::Capability::Sockets => Capability::Sockets,
        types::Capability::RevealCredential => Capability::RevealCredential,
        types::Capability::State => Capability::State,
        types::Capability::Emit => Capability::Emit,
    }
}

#[cfg(test)]
mod tests {
    use openact_core::{
        ErrorCode,
        limits::{COMPILERS_MAX, EPOCH_TICK},
    };
    use tokio::time::Instant;

    use super::*;
    use crate::EngineSettings;

    /// The smallest component there is; it is no connector, which is only seen once it is compiled.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    /// The clock moves only when nothing else can happen: the two minutes take no time.
    #[tokio::test(start_paused = true)]
    async fn s10_what_takes_too_long_to_compile_is_refused() {
        let settings = EngineSettings { instances_max: Some(1), ..EngineSettings::default() };
        let engine = Engine::new(settings).unwrap();
        // Compilers that are at work for ever, as with a component that never ends.
        let compilers = engine.0.compilers.clone();
        let busy = compilers.acquire_many_owned(COMPILERS_MAX as u32).await.unwrap();
        let started = Instant::now();
        let error = engine.load(EMPTY).await.map(drop).unwrap_err();
        let limit = error.details.as_ref().and_then(|details| details.get("limit")?.as_str());
        assert_eq!((error.code, limit), (ErrorCode::LimitExceeded, Some("compile_time")), "{error:?}");
        let waited = started.elapsed();
        assert!((COMPILE_TIME_MAX..COMPILE_TIME_MAX + EPOCH_TICK).contains(&waited), "{waited:?}");
        drop(busy);
        let error = engine.load(EMPTY).await.map(drop).unwrap_err();
        assert!(error.message.contains("not a connector"), "compilers are of use again: {error:?}");
    }

    #[test]
    fn s8_only_the_contract_and_wasi_are_allowed() {
        for name in [
            "openact:connector/http@0.1.0",
            "openact:connector/types@0.1.7",
            "wasi:io/streams@0.2.6",
            "wasi:http/types@0.2.12",
            "wasi:sockets/tcp@0.2.0",
        ] {
            assert!(is_allowed_import(name), "{name}");
        }
        for name in [
            "openact:connector/http@0.2.0",
            "openact:connector/http",
            "openact:other/http@0.1.0",
            "wasi:keyvalue/store@0.2.0",
            "wasi:io/streams@0.3.0",
            "evil:host/api@0.1.0",
            "wasi:nn/graph@0.2.0",
            "log",
            "",
            "a@b",
        ] {
            assert!(!is_allowed_import(name), "{name}");
        }
    }
}
