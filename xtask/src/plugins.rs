//! `cargo xtask plugins`: the plugins of this repository, built into `target/plugins`.
//!
//! The building itself is `windlass-plugin-build`, which `windlass plugin build` uses too.

use crate::{Error, workspace};
use std::path::PathBuf;
use std::time::Instant;
use windlass_plugin_build::{BuildOptions, BuiltPlugin, build};

/// Build all plugins, or those named.
pub(crate) fn run(names: &[String]) -> Result<(), Error> {
    let started = Instant::now();
    let built = build_named(names)?;
    for plugin in &built {
        println!(
            "{:<10} {:>7} bytes  {}  {}",
            plugin.name,
            plugin.size,
            plugin.digest,
            plugin.path.display()
        );
    }
    eprintln!("{} plugins in {:.1} s", built.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// As [`run`], without the table; for commands that need the plugins.
pub(crate) fn build_named(names: &[String]) -> Result<Vec<BuiltPlugin>, Error> {
    let target_dir = workspace::target_dir();
    let plugin_dirs = folders(names)?;
    let options = BuildOptions {
        plugin_dirs: &plugin_dirs,
        out_dir: &target_dir.join("plugins"),
        target_dir: &target_dir.join("plugins-build"),
        progress: &|line| eprintln!("plugins: {line}"),
    };
    Ok(build(&options)?)
}

/// The folders of `plugins/` that hold a plugin; of all, or of those named.
fn folders(names: &[String]) -> Result<Vec<PathBuf>, Error> {
    let plugins = workspace::root().join("plugins");
    let mut all: Vec<PathBuf> = std::fs::read_dir(&plugins)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("plugin.toml").is_file())
        .collect();
    all.sort();
    if names.is_empty() {
        return Ok(all);
    }
    let wanted = |name: &String| {
        let path = plugins.join(name);
        if all.contains(&path) { Ok(path) } else { Err(format!("plugins/{name} is no plugin").into()) }
    };
    names.iter().map(wanted).collect()
}
