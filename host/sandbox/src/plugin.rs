//! Loads components: from bytes to something that can be called.
//!
//! Invariant: what is loaded was inspected first, and its code came from our own compiler or from an entry of the cache
//! that this user wrote.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wasmparser::{Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Type as EngineType};
use windlass_runbook::wit::Signature;

use crate::cache::{Cache, Trusted};
use crate::compile::Compiler;
use crate::engine::{Engines, Host, Kind};
use crate::inspect::{Decoded, ImportGroup, Inspection, Shape, decode};
use crate::state::CallState;
use crate::text::plain;
use crate::{HostFault, LoadError};

/// How a [`Sandbox`] works.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where compiled components are kept; nowhere if none. Beside it, its key is kept, with `.key` after the name.
    pub cache_dir: Option<PathBuf>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// What starts granted programs.
    pub launcher: Launcher,
}

/// What starts granted programs: this executable with these arguments calls the sandbox's launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The `windlass` executable.
    pub program: PathBuf,
    /// Its hidden subcommand.
    pub arguments: Vec<String>,
}

/// Loads and runs plugins. Clones share everything.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engines: Engines,
    cache: Option<Cache>,
    compiler: Compiler,
    launcher: Arc<Launcher>,
    /// By digest, as long as anybody uses them.
    plugins: Mutex<HashMap<String, Weak<Plugin>>>,
}

/// A loaded component.
pub struct Plugin {
    pub(crate) inspection: Inspection,
    pub(crate) host: Arc<Host>,
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) functions: HashMap<(String, String), Callable>,
    pub(crate) uses_folders: bool,
    pub(crate) launcher: Arc<Launcher>,
}

/// A function of a component, found once.
pub(crate) struct Callable {
    pub(crate) index: ComponentExportIndex,
    pub(crate) shape: Shape,
    /// The engine's own description of the parameters.
    pub(crate) params: Vec<EngineType>,
}

impl Sandbox {
    /// A sandbox without any plugin. Engines start when they are first needed. A cache folder that can't be used is no
    /// error: it is left alone, with a warning.
    ///
    /// # Errors
    ///
    /// The machine has no thread left for it.
    pub fn new(options: SandboxOptions) -> Result<Self, HostFault> {
        let cache = options.cache_dir.and_then(|folder| {
            Cache::open(&folder)
                .inspect_err(|why| {
                    tracing::warn!(folder = %folder.display(), why, "compiled plugins can't be kept");
                })
                .ok()
        });
        Ok(Self(Arc::new(Shared {
            engines: Engines::new()?,
            cache,
            compiler: options.compiler,
            launcher: Arc::new(options.launcher),
            plugins: Mutex::default(),
        })))
    }

    /// Loads a component: inspects it, and compiles it unless it was compiled before.
    ///
    /// # Errors
    ///
    /// The bytes are no usable component; see [`crate::inspect()`].
    pub async fn load(&self, bytes: Arc<[u8]>) -> Result<Arc<Plugin>, LoadError> {
        let copy = Arc::clone(&bytes);
        // Megabytes of types take a good part of a second to read.
        let decoded =
            tokio::task::spawn_blocking(move || decode(&copy).map(|decoded| (decoded, data_size(&copy))));
        let (decoded, data) =
            decoded.await.map_err(|error| HostFault::new("reading the component", error))??;
        let digest = decoded.inspection.signature.digest.clone();
        if let Some(plugin) = self.loaded(&digest) {
            return Ok(plugin);
        }
        let kind = Kind::for_data(data);
        let host = Arc::clone(self.0.engines.get(kind)?);
        let component = self.component(&bytes, &digest, kind, &host).await?;
        let plugin = Arc::new(Plugin::new(decoded, host, &component, Arc::clone(&self.0.launcher))?);
        self.0.plugins.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn loaded(&self, digest: &str) -> Option<Arc<Plugin>> {
        self.0.plugins.lock().unwrap_or_else(PoisonError::into_inner).get(digest)?.upgrade()
    }

    /// From the cache, or compiled.
    async fn component(
        &self,
        bytes: &Arc<[u8]>,
        digest: &str,
        kind: Kind,
        host: &Host,
    ) -> Result<Component, LoadError> {
        let hash = digest.trim_start_matches("sha256:");
        let entry = format!("{hash}-{}", host.compatibility);
        let cached = self.0.cache.as_ref().and_then(|cache| cache.get(&entry));
        if let Some(component) = cached.and_then(|code| code.load(&host.engine).ok()) {
            return Ok(component);
        }
        let code = self.0.compiler.compile(Arc::clone(bytes), kind).await?;
        let code = Trusted::just_compiled(code);
        let component = code
            .load(&host.engine)
            .map_err(|error| HostFault::new("what was compiled can't be loaded", error.root_cause()))?;
        if let Some(cache) = &self.0.cache
            && let Err(error) = cache.put(&entry, &code)
        {
            tracing::warn!(%error, "a compiled plugin can't be kept");
        }
        Ok(component)
    }
}

impl Plugin {
    fn new(
        decoded: Decoded,
        host: Arc<Host>,
        component: &Component,
        launcher: Arc<Launcher>,
    ) -> Result<Self, LoadError> {
        let Decoded { inspection, shapes } = decoded;
        let pre = host.linker.instantiate_pre(component).map_err(|error| {
            LoadError::with_help(
                format!("it doesn't fit this host: {}", plain(&format!("{error:#}"))),
                "rebuild it against the WIT files of this host",
            )
        })?;
        let mut functions = HashMap::with_capacity(shapes.len());
        for ((interface, function), shape) in shapes {
            let callable = callable(component, &interface, &function, shape).ok_or_else(|| {
                LoadError::new(format!("its export `{interface}#{function}` can't be found"))
            })?;
            functions.insert((interface, function), callable);
        }
        let uses_folders =
            inspection.imports.iter().any(|import| import.group == ImportGroup::Capability("folder"));
        Ok(Self { inspection, host, pre, functions, uses_folders, launcher })
    }

    /// Its actions and their types.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.inspection.signature
    }

    /// Everything else that is known of it.
    #[must_use]
    pub const fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// SHA-256 of the component's bytes, as `sha256:` and lower-case hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.inspection.signature.digest
    }
}

fn callable(component: &Component, interface: &str, function: &str, shape: Shape) -> Option<Callable> {
    let instance = match interface {
        "" => None,
        interface => Some(component.get_export_index(None, interface)?),
    };
    match component.get_export(instance.as_ref(), function)? {
        (ComponentItem::ComponentFunc(found), index) => {
            let params = found.params().map(|(_, ty)| ty).collect();
            Some(Callable { index, shape, params })
        }
        _ => None,
    }
}

/// Bytes in the data segments of all modules in the component.
fn data_size(bytes: &[u8]) -> u64 {
    Parser::new(0)
        .parse_all(bytes)
        .map_while(Result::ok)
        .map(|payload| match payload {
            Payload::DataSection(section) => section.range().len() as u64,
            _ => 0,
        })
        .sum()
}
