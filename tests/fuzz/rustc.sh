#!/bin/sh
# RUSTC_WRAPPER of `make fuzz`: adds the counters that libFuzzer steers by (SanitizerCoverage) to what is fuzzed, and to
# nothing else. What cargo-fuzz does with `--sanitizer none`, on stable Rust and without counting wasmtime's branches.
# Guests are built without any wrapper (runtime/bundled/build_guests.rs). No crate that a procedural macro needs can be here:
# the compiler loads those, and has no libFuzzer. After an edit, remove `fuzz` of cargo's target folder: cargo does not see it.
rustc=$1
shift
case " $* " in
*" --crate-name openact_bundled "*) ;;
*" --crate-name openact"* | *" --crate-name support "* | *" --crate-name fuzz "* | \
    *" --crate-name saphyr_parser "* | *" --crate-name yaml_serde "* | *" --crate-name libyaml_rs "* | \
    *" --crate-name toml "* | *" --crate-name toml_parser "* | *" --crate-name toml_writer "* | \
    *" --crate-name toml_datetime "* | *" --crate-name serde_spanned "* | *" --crate-name winnow "* | \
    *" --crate-name jsonschema "* | *" --crate-name jsonschema_regex "* | *" --crate-name jsonschema_value "* | \
    *" --crate-name referencing "* | *" --crate-name fluent_uri "*)
    set -- "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$rustc" "$@"
