//! The launcher alone, as the tests of this crate start programs by it. Operators get it as a part of `windlass`.

use std::process::ExitCode;

fn main() -> ExitCode {
    windlass_sandbox::launcher_main(std::env::args_os().skip(1))
}
