//! The traits of `windlass:plugin`, generated from the WIT files that guests are built against.
//!
//! It holds no code of its own. Each capability implements the trait of its interface on [`crate::state::CallState`].

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    clippy::uninlined_format_args,
    clippy::semicolon_if_nothing_returned,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    path: "../../wit/plugin",
    inline: "
        package windlass:host;
        world host {
            import windlass:plugin/values@0.1.0;
            import windlass:plugin/outcome@0.1.0;
            import windlass:plugin/step@0.1.0;
            import windlass:plugin/connections@0.1.0;
            import windlass:plugin/artifacts@0.1.0;
            import windlass:plugin/postgres@0.1.0;
            import windlass:plugin/process@0.1.0;
        }
    ",
    imports: { default: async | trappable },
});

#[allow(unused_imports, reason = "an interface without a capability yet")]
pub(crate) use windlass::plugin::{artifacts, connections, outcome, postgres, process, step};
