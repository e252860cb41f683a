//! Builds plugins written in Rust: from a crate to a component with its documentation in it.
//!
//! It owns the choice of a compiler for `wasm32-unknown-unknown`, the turning of a core module into a component, and
//! the custom section that keeps doc comments. It refuses to know what a component may do: that is for the sandbox,
//! which looks at the bytes as if anybody had made them.
//!
//! Invariant: what lands in the output folder is a valid component, whole, of exactly the sources whose digest lies
//! beside it.

mod command;
mod compile;
mod componentize;
mod debian;
mod error;
mod manifest;
mod metadata;
mod sources;
mod toolchain;

pub use componentize::componentize;
pub use error::BuildError;
pub use manifest::{PluginManifest, SlotManifest};
pub use toolchain::{Source, Toolchain};

use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// What to build, and where to.
#[derive(Clone, Copy)]
pub struct BuildOptions<'a> {
    /// The folders of the plugins' crates, each with a `Cargo.toml` and a `plugin.toml`.
    pub plugin_dirs: &'a [PathBuf],
    /// Gets `NAME.wasm` of each. Made where missing.
    pub out_dir: &'a Path,
    /// Cargo's own target folder for guests.
    pub target_dir: &'a Path,
    /// Is told in one line at a time what happens: which compiler and why, what compiles, what is up to date.
    pub progress: &'a dyn Fn(&str),
}

/// A plugin that was built, or was up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPlugin {
    /// As its `plugin.toml` says.
    pub name: String,
    /// The component.
    pub path: PathBuf,
    /// SHA-256 of its bytes, as `sha256:` and lower-case hex.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was built now, and not found up to date.
    pub rebuilt: bool,
}

/// Build these plugins, in order; those whose sources haven't changed are left as they are.
///
/// # Errors
/// The first thing that goes wrong, with the compiler's own words and what to do about it. Plugins that were built
/// before it stay.
pub fn build(options: &BuildOptions<'_>) -> Result<Vec<BuiltPlugin>, BuildError> {
    std::fs::create_dir_all(options.out_dir).map_err(BuildError::file("make", options.out_dir))?;
    let mut plugins = Vec::new();
    for dir in options.plugin_dirs {
        let manifest = PluginManifest::read(dir)?;
        let sources = sources::digest(dir, &manifest)?;
        let locked = sources::are_locked(dir)?;
        let done = up_to_date(options.out_dir, &manifest.name, &sources)?;
        plugins.push((manifest, sources, locked, done));
    }

    let stale: Vec<&Path> = plugins
        .iter()
        .zip(options.plugin_dirs)
        .filter(|((.., done), _)| done.is_none())
        .map(|(_, dir)| dir.as_path())
        .collect();
    let mut modules = if stale.is_empty() {
        Vec::new()
    } else {
        let toolchain = toolchain::pick(options.progress)?;
        (options.progress)(&format!("compiling with {}: {}", toolchain.version, toolchain.reason));
        compile::compile(&toolchain, &stale, options.target_dir, options.progress)?
    }
    .into_iter();

    let mut built = Vec::new();
    for (manifest, sources, locked, done) in plugins {
        let plugin = match done {
            Some(done) => done,
            None => {
                let module =
                    modules.next().ok_or_else(|| BuildError::NoArtifact { name: manifest.name.clone() })?;
                // Cargo writes a missing lock file, which is a source too.
                let sources = if locked { sources } else { sources::digest(&manifest.dir, &manifest)? };
                finish(options, &manifest, &sources, &module)?
            }
        };
        (options.progress)(&format!(
            "{} {} ({} KiB, {})",
            if plugin.rebuilt { "built" } else { "up to date:" },
            plugin.name,
            plugin.size.div_ceil(1024),
            plugin.digest.get(..19).unwrap_or(&plugin.digest),
        ));
        built.push(plugin);
    }
    Ok(built)
}

/// Turn a compiled module into the component in the output folder.
fn finish(
    options: &BuildOptions<'_>,
    manifest: &PluginManifest,
    sources: &str,
    module: &Path,
) -> Result<BuiltPlugin, BuildError> {
    let bytes = std::fs::read(module).map_err(BuildError::file("read", module))?;
    let component = componentize(&bytes).map_err(|error| error.of(&manifest.name))?;
    let component = metadata::append(component, manifest)?;

    let path = component_path(options.out_dir, &manifest.name);
    let digest = digest(&component);
    write(&path, &component)?;
    // Last, since it says that the component beside it is of these sources.
    write(&stamp_path(options.out_dir, &manifest.name), format!("{sources}\n{digest}\n").as_bytes())?;
    let size = component.len() as u64;
    Ok(BuiltPlugin { name: manifest.name.clone(), path, digest, size, rebuilt: true })
}

/// The component that is there, if it is of these sources.
fn up_to_date(out_dir: &Path, name: &str, sources: &str) -> Result<Option<BuiltPlugin>, BuildError> {
    let Ok(stamp) = std::fs::read_to_string(stamp_path(out_dir, name)) else { return Ok(None) };
    let mut lines = stamp.lines();
    let (Some(of), Some(digest)) = (lines.next(), lines.next()) else { return Ok(None) };
    let path = component_path(out_dir, name);
    let Ok(bytes) = std::fs::read(&path) else { return Ok(None) };
    if of != sources || digest != self::digest(&bytes) {
        return Ok(None);
    }
    let size = bytes.len() as u64;
    Ok(Some(BuiltPlugin { name: name.to_owned(), path, digest: digest.to_owned(), size, rebuilt: false }))
}

fn component_path(out_dir: &Path, name: &str) -> PathBuf {
    out_dir.join(format!("{name}.wasm"))
}

fn stamp_path(out_dir: &Path, name: &str) -> PathBuf {
    out_dir.join(format!(".{name}.sources"))
}

/// Write a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder).map_err(BuildError::file("write", path))?;
    std::io::Write::write_all(&mut draft, bytes).map_err(BuildError::file("write", path))?;
    draft.persist(path).map_err(|error| BuildError::file("write", path)(error.error))?;
    Ok(())
}

/// `sha256:` and lower-case hex.
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
