//! The host's interfaces as Rust, generated once for all plugins.
//!
//! A plugin generates only its own exports and maps `values` and `outcome` onto these, so that `Failure`, `Plan` and
//! `Attempt` are one type everywhere. Imports that a plugin doesn't use are not in its component: the linker drops
//! them, and with them the right that they stand for.
#![allow(missing_docs, reason = "the WIT files hold the documentation")]
#![allow(clippy::all, reason = "generated code")]

wit_bindgen::generate!({
    inline: "
        package windlass:sdk;

        world guest {
            import windlass:plugin/values@0.1.0;
            import windlass:plugin/outcome@0.1.0;
            import windlass:plugin/step@0.1.0;
            import windlass:plugin/connections@0.1.0;
            import windlass:plugin/postgres@0.1.0;
            import windlass:plugin/process@0.1.0;
            import windlass:plugin/artifacts@0.1.0;
            import wasi:clocks/monotonic-clock@0.2.12;
            import wasi:clocks/wall-clock@0.2.12;
            import wasi:random/random@0.2.12;
            import wasi:filesystem/types@0.2.12;
            import wasi:filesystem/preopens@0.2.12;
            import wasi:http/types@0.2.12;
            import wasi:http/outgoing-handler@0.2.12;
        }
    ",
    path: [
        "../../wit/plugin",
        "../../wit/wasi/io.wit",
        "../../wit/wasi/random.wit",
        "../../wit/wasi/clocks.wit",
        "../../wit/wasi/filesystem.wit",
        "../../wit/wasi/sockets.wit",
        "../../wit/wasi/cli.wit",
        "../../wit/wasi/http.wit",
    ],
    world: "guest",
    generate_all,
    generate_unused_types: true,
    additional_derives: [PartialEq],
    additional_derives_ignore: ["stream-error"],
});
