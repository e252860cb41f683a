//! Log lines of a plugin, as macros.

use crate::bindings::windlass::plugin::step;
use serde_json::Value;

/// Leave a line in the run's log. Natively, in tests, it goes nowhere.
pub fn log(level: step::Level, message: &str, fields: &[(&str, Value)]) {
    if cfg!(target_arch = "wasm32") {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        step::log(level, message, &fields);
    }
}

/// Log with a level: `log!(Info, "took {n}")`, or with fields: `log!(Info, "done", rows = 3)`.
#[macro_export]
macro_rules! log {
    ($level:ident, $format:literal $(, $argument:expr)* $(; $($name:ident = $value:expr),+)? $(,)?) => {
        $crate::__private::log(
            $crate::step::Level::$level,
            &format!($format $(, $argument)*),
            &[$($((stringify!($name), $crate::json!($value))),+)?],
        )
    };
}

/// Log something only a developer wants: `debug!("asked {url}"; bytes = 12)`.
#[macro_export]
macro_rules! debug { ($($arguments:tt)*) => { $crate::log!(Debug, $($arguments)*) }; }

/// Log what an operator wants to know: `info!("asked {url}"; bytes = 12)`.
#[macro_export]
macro_rules! info { ($($arguments:tt)*) => { $crate::log!(Info, $($arguments)*) }; }

/// Log what looks wrong but goes on.
#[macro_export]
macro_rules! warn { ($($arguments:tt)*) => { $crate::log!(Warn, $($arguments)*) }; }

/// Log what is wrong.
#[macro_export]
macro_rules! error { ($($arguments:tt)*) => { $crate::log!(Error, $($arguments)*) }; }
