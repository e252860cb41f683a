//! The macro that makes a crate a plugin.
//!
//! It owns what every plugin would otherwise repeat: the bindings for its world, the mapping of the common types onto
//! this crate's, and the hook that reports panics.

/// Make this crate a plugin: generate the bindings of its world and export a type that implements them.
///
/// `wit` lists folders or files relative to the crate, each after the ones it builds on; `world` is in full. The
/// bindings land in a module `bindings`; the traits to implement are `bindings::exports::…::Guest` for exported
/// interfaces and `bindings::Guest` for functions of the world itself, such as `configure`.
///
/// ```text
/// windlass_sdk::plugin! {
///     wit: ["../../wit/plugin", "../../wit/contracts", "wit"],
///     world: "windlass:http-plugin/plugin",
///     exports: Plugin,
/// }
///
/// struct Plugin;
/// ```
#[macro_export]
macro_rules! plugin {
    (wit: [$($path:tt),+ $(,)?], world: $world:tt, exports: $plugin:ident $(,)?) => {
        /// The bindings of this plugin's world.
        #[allow(clippy::all, clippy::restriction, missing_docs, unreachable_pub, reason = "generated code")]
        pub mod bindings {
            $crate::wit_bindgen::generate!({
                path: [$($path),+],
                world: $world,
                runtime_path: "windlass_sdk::wit_bindgen::rt",
                with: {
                    "windlass:plugin/values@0.1.0": ::windlass_sdk::values,
                    "windlass:plugin/outcome@0.1.0": ::windlass_sdk::outcome,
                },
            });

            #[cfg(target_arch = "wasm32")]
            use super::$plugin;
            #[cfg(target_arch = "wasm32")]
            export!($plugin);
        }

        // Runs with the constructors, before the first exported function does. It stands in the plugin's own crate,
        // since the linker may leave out a static of a library that nothing refers to.
        #[cfg(target_arch = "wasm32")]
        #[used]
        #[unsafe(link_section = ".init_array")]
        static REPORT_PANICS: extern "C" fn() = $crate::__private::install_hook;
    };
}
