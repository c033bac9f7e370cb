//! The binary interface, generated from `wit/v0.1`. Re-exported type by type, so that what is public is a choice.
#![expect(clippy::too_many_arguments, reason = "generated")]

wit_bindgen::generate!({
    path: "../../wit/v0.1",
    world: "connector",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "openact_connector::bindings",
    additional_derives: [PartialEq],
    additional_derives_ignore: ["response", "opened"],
});
