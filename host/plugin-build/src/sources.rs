//! What a plugin is made of, as one digest: its crate, the local crates it depends on, its WIT, its lock file.
//!
//! Cargo would know better, but asking it takes seconds. Invariant: a change to any file that can change the component
//! changes the digest; that a change elsewhere in those folders does too costs no more than a build.

use crate::{BuildError, PluginManifest, hex};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Raised whenever this crate makes something else of the same sources.
const FORMAT: u32 = 1;

/// The digest of everything the plugin in a folder is made of.
pub(crate) fn digest(dir: &Path, manifest: &PluginManifest) -> Result<String, BuildError> {
    let mut roots = BTreeSet::new();
    crates(&canonical(dir)?, &mut roots)?;
    if let Some((root, _)) = workspace(&canonical(dir)?)? {
        roots.insert(root.join("Cargo.toml"));
        roots.insert(root.join("Cargo.lock"));
        roots.insert(root.join(".cargo"));
    }
    for path in manifest.wit_paths() {
        roots.insert(canonical(&path)?);
    }
    let mut files = BTreeSet::new();
    for root in roots {
        collect(&root, &mut files)?;
    }
    let mut hash = Sha256::new();
    hash.update(FORMAT.to_le_bytes());
    // Paths from the plugin's own folder, so that a checkout elsewhere has the same digest.
    let from = canonical(dir)?;
    for file in files {
        let bytes = std::fs::read(&file).map_err(BuildError::file("read", &file))?;
        let name = relative(&from, &file);
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}

/// The version of the crate in a folder, also where its workspace gives it.
pub(crate) fn version(dir: &Path) -> Result<Option<String>, BuildError> {
    let manifest = read(&dir.join("Cargo.toml"))?;
    let of = |table: &Table| table.get("package")?.get("version").cloned();
    Ok(match of(&manifest) {
        Some(Value::String(version)) => Some(version),
        Some(_) => workspace(&canonical(dir)?)?.and_then(|(_, root)| {
            root.get("workspace")?.get("package")?.get("version")?.as_str().map(str::to_owned)
        }),
        None => None,
    })
}

/// Whether the workspace of the crate in a folder has a lock file.
pub(crate) fn are_locked(dir: &Path) -> Result<bool, BuildError> {
    let dir = canonical(dir)?;
    let root = workspace(&dir)?.map_or(dir, |(root, _)| root);
    Ok(root.join("Cargo.lock").is_file())
}

/// The crate in a folder and the local ones it depends on, closed transitively.
fn crates(dir: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), BuildError> {
    if !found.insert(dir.to_owned()) {
        return Ok(());
    }
    let manifest = read(&dir.join("Cargo.toml"))?;
    let root = workspace(dir)?;
    let mut tables: Vec<&Table> = ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|name| manifest.get(*name)?.as_table())
        .collect();
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        tables.extend(targets.values().filter_map(|target| target.get("dependencies")?.as_table()));
    }
    for (name, dependency) in tables.into_iter().flatten() {
        let inherited = dependency.get("workspace").and_then(Value::as_bool) == Some(true);
        let path = match &root {
            Some((root_dir, root)) if inherited => root
                .get("workspace")
                .and_then(|workspace| workspace.get("dependencies")?.get(name)?.get("path")?.as_str())
                .map(|path| root_dir.join(path)),
            _ => dependency.get("path").and_then(Value::as_str).map(|path| dir.join(path)),
        };
        if let Some(path) = path {
            crates(&canonical(&path)?, found)?;
        }
    }
    Ok(())
}

/// The nearest folder upwards whose manifest has a `[workspace]`, and that manifest.
fn workspace(dir: &Path) -> Result<Option<(PathBuf, Table)>, BuildError> {
    for folder in dir.ancestors() {
        let path = folder.join("Cargo.toml");
        if path.is_file() {
            let manifest = read(&path)?;
            if manifest.contains_key("workspace") {
                return Ok(Some((folder.to_owned(), manifest)));
            }
        }
    }
    Ok(None)
}

/// All files of a folder, without what cargo and editors leave there.
fn collect(path: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), BuildError> {
    if path.is_file() {
        files.insert(path.to_owned());
        return Ok(());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(BuildError::file("read", path))?;
        let name = entry.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if name != "target" && !hidden {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Table, BuildError> {
    let text = std::fs::read_to_string(path).map_err(BuildError::file("read", path))?;
    text.parse().map_err(|error: toml::de::Error| BuildError::Manifest {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

fn canonical(path: &Path) -> Result<PathBuf, BuildError> {
    path.canonicalize().map_err(BuildError::file("find", path))
}

/// `to` as seen from `from`; both are absolute.
fn relative(from: &Path, to: &Path) -> String {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared).map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::relative;
    use std::path::Path;

    #[test]
    fn a_path_is_told_from_the_plugins_folder() {
        let from = Path::new("/w/plugins/http");
        assert_eq!(relative(from, Path::new("/w/plugins/http/src/lib.rs")), "src/lib.rs");
        assert_eq!(relative(from, Path::new("/w/wit/plugin/step.wit")), "../../wit/plugin/step.wit");
    }
}
