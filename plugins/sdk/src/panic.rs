//! What a panic leaves behind.
//!
//! On `wasm32-unknown-unknown` there is no standard error: a panic is a bare `unreachable` trap. The hook logs the
//! message and the place first, so that the host can report them with the trap.

use crate::bindings::windlass::plugin::step;

/// Make panics log themselves. Called once per instance, by the constructor that [`crate::plugin!`] writes.
pub extern "C" fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let message = info
            .payload()
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| info.payload().downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        step::log(step::Level::Error, &format!("panicked at {place}: {message}"), &[]);
    }));
}
