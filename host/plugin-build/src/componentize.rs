//! From a core module to a component.

use crate::BuildError;
use wasmparser::Parser;
use wit_component::ComponentEncoder;

/// Make a component of a core module whose bindings carry their WIT; a component passes through as it is.
///
/// # Errors
/// Where the bytes are neither, or the module's imports and exports don't fit its WIT.
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, BuildError> {
    if Parser::is_component(bytes) {
        return Ok(bytes.to_vec());
    }
    let failed =
        |message: String, help| BuildError::Componentize { name: "the module".to_owned(), message, help };
    if !Parser::is_core_wasm(bytes) {
        return Err(failed("it is no WebAssembly".to_owned(), None));
    }
    // The encoder says it in a chain of causes.
    let encoded =
        ComponentEncoder::default().validate(true).module(bytes).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| {
        let message = format!("{error:#}");
        let help = if message.contains("wasi_snapshot_preview1") {
            Some("it was compiled for wasm32-wasip1: build for wasm32-unknown-unknown, or for wasm32-wasip2")
        } else if message.contains("wbg") || message.contains("wasm_bindgen") {
            Some("a dependency believes it runs in a browser (wasm-bindgen): turn off its `js` or `wasmbind` feature")
        } else {
            None
        };
        failed(message, help)
    })
}

#[cfg(test)]
mod tests {
    use super::componentize;

    #[test]
    fn a_component_passes_through_and_other_bytes_do_not() {
        let component = b"\0asm\x0d\0\x01\0";
        assert_eq!(componentize(component).unwrap(), component);
        let error = componentize(b"#!/bin/sh\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`the module` compiled, but can't be made a component: it is no WebAssembly"
        );
    }

    #[test]
    fn a_module_for_another_host_is_named() {
        // (module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32))))
        let module = b"\0asm\x01\0\0\0\x01\x05\x01\x60\x01\x7f\0\x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0";
        let error = componentize(module).unwrap_err().to_string();
        assert!(error.contains("help: it was compiled for wasm32-wasip1"), "{error}");
    }
}
