//! Debian's Rust packages, unpacked into the cache without root.
//!
//! apt itself says which packages are missing on this machine, downloads them and checks their signatures; `dpkg -x`
//! unpacks without installing. Invariant: a folder in the cache is either complete or not there.

use crate::command::output;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build needs; apt adds what these need in turn.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "libstd-rust-web-dev"];

/// The root folder of the unpacked packages; unpacks them if they are not there.
pub(crate) fn unpack(progress: &dyn Fn(&str)) -> Result<PathBuf, String> {
    for program in ["apt-get", "dpkg"] {
        crate::command::find(program).ok_or_else(|| format!("there is no {program}"))?;
    }
    let cache = cache().ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    std::fs::create_dir_all(&cache).map_err(|error| format!("can't make {}: {error}", cache.display()))?;
    let root = cache.join("debian");
    if root.join("usr/bin/rustc").is_file() {
        return Ok(root);
    }
    let apt = Apt::with_lists(&cache, progress)?;
    let packages = apt.closure()?;
    progress(&format!("downloading {} Debian packages for the guests' compiler", packages.len()));
    let draft =
        tempfile::tempdir_in(&cache).map_err(|error| format!("can't write {}: {error}", cache.display()))?;
    let downloads = draft.path().join("packages");
    std::fs::create_dir(&downloads).map_err(|error| error.to_string())?;
    run(apt.command("download").args(&packages).current_dir(&downloads))?;

    progress(&format!("unpacking them into {}", root.display()));
    let unpacked = draft.path().join("root");
    for entry in std::fs::read_dir(&downloads).map_err(|error| error.to_string())?.flatten() {
        run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(&unpacked))?;
    }
    if let Err(error) = std::fs::rename(&unpacked, &root) {
        // Another process may have been quicker; what it left is as good.
        if !root.join("usr/bin/rustc").is_file() {
            return Err(format!("can't make {}: {error}", root.display()));
        }
    }
    Ok(root)
}

/// Where the loader finds the unpacked libraries.
pub(crate) fn library_path(root: &Path) -> OsString {
    let mut folders = Vec::new();
    for base in ["usr/lib", "lib"] {
        let Ok(entries) = std::fs::read_dir(root.join(base)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.contains("-linux-") {
                folders.push(entry.path());
            } else if name.starts_with("llvm-") {
                folders.push(entry.path().join("lib"));
            }
        }
    }
    folders.sort();
    std::env::join_paths(folders).unwrap_or_default()
}

/// The folder for toolchains in the user's cache.
fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("windlass/toolchain"))
}

/// apt, with the system's package lists or with ones of its own.
struct Apt {
    options: Vec<OsString>,
}

impl Apt {
    /// With the system's lists where they know the packages, else with lists fetched into the cache.
    fn with_lists(cache: &Path, progress: &dyn Fn(&str)) -> Result<Self, String> {
        let system = Self { options: Vec::new() };
        if system.closure().is_ok() {
            return Ok(system);
        }
        let state = cache.join("apt");
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = state.join(folder);
            std::fs::create_dir_all(&folder)
                .map_err(|error| format!("can't make {}: {error}", folder.display()))?;
        }
        let option = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push("=");
            option.push(value);
            [OsString::from("-o"), option]
        };
        let mut options = Vec::new();
        options.extend(option("Dir::State::lists", &state.join("lists")));
        options.extend(option("Dir::Cache", &state.join("cache")));
        options.extend(["-o", "APT::Sandbox::User="].map(OsString::from));
        let own = Self { options };
        progress("fetching Debian's package lists");
        run(&mut own.command("update"))?;
        own.closure()?;
        Ok(own)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").arg(verb).args(["-o", "Debug::NoLocking=1"]).args(&self.options).env("LC_ALL", "C");
        command
    }

    /// The packages and what they need that is not installed here. Nothing is installed: apt only prints.
    fn closure(&self) -> Result<Vec<String>, String> {
        let mut asked: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
        // The compiler finds its library sources from where its own library lies: that one comes along even where it
        // is installed.
        let depends =
            run(Command::new("apt-cache").args(["depends", "libstd-rust-web-dev"]).args(&self.options))?;
        asked.extend(
            depends
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Depends: "))
                .filter(|name| name.starts_with("libstd-rust-web-"))
                .map(str::to_owned),
        );
        let printed = run(self
            .command("install")
            .args(["--reinstall", "--print-uris", "--no-install-recommends", "-y"])
            .args(&asked))?;
        let files =
            printed.lines().filter(|line| line.starts_with('\'')).filter_map(|line| line.split(' ').nth(1));
        let packages: Vec<String> =
            files.filter_map(|file| Some(file.split_once('_')?.0.to_owned())).collect();
        if packages.is_empty() { Err("apt knows none of the packages".to_owned()) } else { Ok(packages) }
    }
}

fn run(command: &mut Command) -> Result<String, String> {
    output(command).map_err(|error| error.to_string())
}
