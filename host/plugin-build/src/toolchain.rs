//! Which compiler is used for guests.
//!
//! Three ways, in this order: the compiler on the search path, where the target is installed; Debian's `cargo-web` and
//! `rustc-web` with `rust-web-src`, which build the standard library from source; the same packages unpacked into the
//! cache, which needs no root. Invariant: cargo, compiler and library sources are always of one origin, since any mix
//! of two fails late and strangely.

use crate::command::{clean, find, output};
use crate::{BuildError, debian};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that guests compile for: no ambient WASI at all.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";
/// The oldest compiler that the guests' edition and the bindings work with.
const OLDEST: (u32, u32) = (1, 95);

/// Where a compiler comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The search path; the target is installed.
    Installed,
    /// Debian's packages, installed.
    Debian,
    /// Debian's packages, unpacked into the cache.
    DebianUnpacked,
}

/// A way to compile guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// Where it comes from.
    pub source: Source,
    /// As the compiler gives it: `rustc 1.96.0 …`.
    pub version: String,
    /// Why it was picked, in one line.
    pub reason: String,
    pub(crate) cargo: PathBuf,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Whether the standard library has to be built too.
    pub(crate) build_std: bool,
    /// The folder that the compiler's paths begin with.
    pub(crate) sysroot: PathBuf,
}

/// Pick a way, and prepare it where that is needed.
pub(crate) fn pick(progress: &dyn Fn(&str)) -> Result<Toolchain, BuildError> {
    let mut tried = Vec::new();
    match installed() {
        Ok(toolchain) => return Ok(toolchain),
        Err(why) => tried.push(why),
    }
    let linker = match linker() {
        Ok(linker) => linker,
        Err(why) => {
            tried.push(why);
            return Err(none(&tried));
        }
    };
    let since = tried.first().cloned().unwrap_or_default();
    match from_debian(Path::new("/"), &linker, Source::Debian) {
        Ok(toolchain) => {
            let reason = format!("Debian's packages, building std from source, since {since}");
            return Ok(Toolchain { reason, ..toolchain });
        }
        Err(why) => tried.push(format!("Debian's packages are not installed: {why}")),
    }
    match debian::unpack(progress).and_then(|root| from_debian(&root, &linker, Source::DebianUnpacked)) {
        Ok(toolchain) => {
            let reason = format!(
                "Debian's packages, unpacked into the cache, building std from source, since {since}"
            );
            Ok(Toolchain { reason, ..toolchain })
        }
        Err(why) => {
            tried.push(format!("Debian's packages can't be unpacked into the cache: {why}"));
            Err(none(&tried))
        }
    }
}

fn none(tried: &[String]) -> BuildError {
    let help = format!(
        "`rustup target add {TARGET}` is the quickest; on Debian, `apt-get install rustc-web cargo-web rust-web-src` serves too"
    );
    BuildError::NoToolchain {
        tried: tried.iter().map(|why| format!("  - {why}")).collect::<Vec<_>>().join("\n"),
        help,
    }
}

/// The compiler on the search path, if it has the target.
fn installed() -> Result<Toolchain, String> {
    let rustc = find("rustc").ok_or("there is no rustc on the search path")?;
    let cargo = find("cargo").ok_or("there is no cargo on the search path")?;
    let ask = |arguments: &[&str]| output(clean(&rustc).args(arguments)).map_err(|error| error.to_string());
    let version = recent(&ask(&["--version"])?)?;
    let library = PathBuf::from(ask(&["--print", "target-libdir", "--target", TARGET])?);
    // The compiler names the folder also where nothing is in it.
    let has_std = std::fs::read_dir(&library).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    });
    if !has_std {
        return Err(format!("the compiler on the search path has no {TARGET}"));
    }
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?);
    let reason = format!("the compiler on the search path, which has {TARGET}");
    Ok(Toolchain {
        source: Source::Installed,
        version,
        reason,
        cargo,
        environment: Vec::new(),
        build_std: false,
        sysroot,
    })
}

/// Debian's compiler below a root folder.
fn from_debian(root: &Path, linker: &Path, source: Source) -> Result<Toolchain, String> {
    let usr = root.join("usr");
    let (rustc, cargo) = (usr.join("bin/rustc"), usr.join("bin/cargo"));
    for program in [&rustc, &cargo] {
        if !program.is_file() {
            return Err(format!("there is no {}", program.display()));
        }
    }
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("RUSTC".into(), rustc.clone().into()),
        // `-Z build-std` is asked for by name; nothing else unstable is used.
        ("RUSTC_BOOTSTRAP".into(), "1".into()),
        ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER".into(), linker.into()),
    ];
    if source == Source::DebianUnpacked {
        environment.push(("LD_LIBRARY_PATH".into(), debian::library_path(root)));
    }
    let ask = |program: &Path, arguments: &[&str]| {
        output(clean(program).args(arguments).envs(environment.iter().cloned()))
            .map_err(|error| error.to_string())
    };
    let version = recent(&ask(&rustc, &["--version"])?)?;
    ask(&cargo, &["--version"])?;
    let sysroot = PathBuf::from(ask(&rustc, &["--print", "sysroot"])?);
    let library = sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if !library.is_file() {
        return Err(format!("it has no sources of the standard library ({})", library.display()));
    }
    Ok(Toolchain { source, version, reason: String::new(), cargo, environment, build_std: true, sysroot })
}

/// A linker for WebAssembly. Debian's compiler brings none, rustup's does.
fn linker() -> Result<PathBuf, String> {
    let of_rustup = find("rustc").and_then(|rustc| {
        let sysroot = PathBuf::from(output(clean(&rustc).args(["--print", "sysroot"])).ok()?);
        let host = output(clean(&rustc).arg("-vV")).ok()?;
        let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
        Some(sysroot.join("lib/rustlib").join(host).join("bin/rust-lld")).filter(|path| path.is_file())
    });
    of_rustup
        .or_else(|| find("rust-lld"))
        .or_else(|| find("wasm-ld"))
        .filter(|path| Command::new(path).args(["-flavor", "wasm", "--version"]).output().is_ok())
        .ok_or_else(|| "Debian's packages need `rust-lld` from rustup's compiler, or `wasm-ld`".to_owned())
}

/// The version, if it is recent enough.
fn recent(version: &str) -> Result<String, String> {
    let version = version.lines().next().unwrap_or_default();
    let mut numbers = version.split_whitespace().nth(1).unwrap_or_default().split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => Ok(version.to_owned()),
        _ => Err(format!("`{version}` is older than {}.{}", OLDEST.0, OLDEST.1)),
    }
}

#[cfg(test)]
mod tests {
    use super::recent;

    #[test]
    fn an_old_compiler_is_refused() {
        assert!(recent("rustc 1.95.0 (59807616e 2026-04-14)").is_ok());
        assert!(recent("rustc 2.0.0-nightly").is_ok());
        assert_eq!(recent("rustc 1.63.0"), Err("`rustc 1.63.0` is older than 1.95".to_owned()));
        assert!(recent("what").is_err());
    }
}
