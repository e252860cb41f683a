//! The wasmtime engines, their settings and their clock.
//!
//! There are two engines, each made when first needed: small guests start faster when their data is copied, big ones
//! when it is mapped copy-on-write. Invariant: one engine compiles and runs with the same settings, and no guest runs
//! without the ticker, so that every guest can be interrupted.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::HostFault;
use crate::capability;
use crate::limits::{MAX_MEMORY, MAX_TABLE_ELEMENTS, STACK};
use crate::state::CallState;

/// A guest that computes gives way this often, to other guests and to its deadline.
const TICK: Duration = Duration::from_millis(10);

/// Which of the two engines a component runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its data is copied into fresh memory.
    Small,
    /// Its data is mapped copy-on-write.
    Big,
}

impl Kind {
    /// With more static data than this, mapping wins over copying.
    const MOST_COPIED: u64 = 64 * 1024;

    /// For a component with this many bytes in its data segments.
    pub(crate) const fn for_data(bytes: u64) -> Self {
        if bytes > Self::MOST_COPIED { Self::Big } else { Self::Small }
    }

    /// How many calls may run at one time; more wait for their turn.
    const fn slots(self) -> u16 {
        match self {
            Self::Small => 256,
            Self::Big => 32,
        }
    }
}

/// An engine with what is linked in it.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<CallState>,
    /// One permit for each call that may run at one time.
    pub(crate) slots: Semaphore,
    /// Of everything that compiled code depends on.
    pub(crate) compatibility: String,
    ticker: Arc<Ticker>,
}

impl Host {
    fn new(kind: Kind, ticker: &Arc<Ticker>) -> Result<Self, HostFault> {
        // The pool reserves much address space, which a machine may refuse.
        let engine = Engine::new(&config(kind, true))
            .or_else(|_| Engine::new(&config(kind, false)))
            .map_err(|error| HostFault::new("the WebAssembly engine doesn't start", error))?;
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker)
            .map_err(|error| HostFault::new("the host's functions can't be linked", error))?;
        let compatibility = compatibility(&engine);
        ticker.watch(&engine);
        let slots = Semaphore::new(usize::from(kind.slots()));
        Ok(Self { engine, linker, slots, compatibility, ticker: Arc::clone(ticker) })
    }

    /// Keeps the ticker going while the guard lives.
    pub(crate) fn running(&self) -> Running<'_> {
        self.ticker.start();
        Running(&self.ticker)
    }
}

/// Both engines.
pub(crate) struct Engines {
    small: OnceLock<Arc<Host>>,
    big: OnceLock<Arc<Host>>,
    ticker: Arc<Ticker>,
}

impl Engines {
    pub(crate) fn new() -> Result<Self, HostFault> {
        Ok(Self { small: OnceLock::new(), big: OnceLock::new(), ticker: Ticker::new()? })
    }

    /// The engine, made if it isn't there yet.
    pub(crate) fn get(&self, kind: Kind) -> Result<&Arc<Host>, HostFault> {
        let cell = match kind {
            Kind::Small => &self.small,
            Kind::Big => &self.big,
        };
        if let Some(host) = cell.get() {
            return Ok(host);
        }
        let host = Arc::new(Host::new(kind, &self.ticker)?);
        // Of two that were made at one time, the first stays.
        Ok(cell.get_or_init(|| host))
    }
}

/// The settings of an engine; only an engine that runs guests is `pooled`, which compiled code does not depend on.
pub(crate) fn config(kind: Kind, pooled: bool) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(kind == Kind::Big)
        .max_wasm_stack(STACK)
        .async_stack_size(STACK + 1024 * 1024);
    if pooled {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(kind)));
    }
    config
}

fn pool(kind: Kind) -> PoolingAllocationConfig {
    let slots = u32::from(kind.slots());
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        // A component of a compiler has the program, a shim and a fixup; an interpreter up to 14 instances.
        .total_core_instances(slots * if kind == Kind::Big { 16 } else { 8 })
        .total_memories(slots * 2)
        .total_tables(slots * if kind == Kind::Big { 8 } else { 4 })
        .max_core_instances_per_component(64)
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_memory_size(usize::try_from(MAX_MEMORY).unwrap_or(usize::MAX))
        .table_elements(MAX_TABLE_ELEMENTS)
        // What a small guest dirties is wiped by hand, which two threads do side by side; giving pages back to the
        // system takes a lock on the whole address space.
        .linear_memory_keep_resident(64 * 1024)
        .table_keep_resident(64 * 1024)
        .decommit_batch_size(32)
        .max_unused_warm_slots(16);
    pool
}

fn compatibility(engine: &Engine) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sha = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sha);
    crate::inspect::hex(&sha.0.finalize())
}

/// A thread that raises the epoch of all engines while any guest runs, and sleeps while none does.
struct Ticker {
    engines: Arc<Mutex<Vec<EngineWeak>>>,
    running: Arc<AtomicUsize>,
    thread: Thread,
}

/// Ends with the call it was made for.
pub(crate) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ticker {
    fn new() -> Result<Arc<Self>, HostFault> {
        let engines = Arc::new(Mutex::new(Vec::<EngineWeak>::new()));
        let running = Arc::new(AtomicUsize::new(0));
        let (weak_engines, weak_running) = (Arc::downgrade(&engines), Arc::downgrade(&running));
        let thread = std::thread::Builder::new()
            .name("windlass-ticker".to_owned())
            .spawn(move || {
                loop {
                    let (Some(engines), Some(running)) = (weak_engines.upgrade(), weak_running.upgrade())
                    else {
                        return;
                    };
                    let idle = running.load(Ordering::Acquire) == 0;
                    for engine in engines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        if let Some(engine) = engine.upgrade() {
                            engine.increment_epoch();
                        }
                    }
                    drop((engines, running));
                    if idle {
                        std::thread::park();
                    } else {
                        std::thread::sleep(TICK);
                    }
                }
            })
            .map_err(|error| HostFault::new("the ticker's thread doesn't start", error))?
            .thread()
            .clone();
        Ok(Arc::new(Self { engines, running, thread }))
    }

    fn watch(&self, engine: &Engine) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine.weak());
    }

    fn start(&self) {
        if self.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // It wakes, finds nothing left to watch, and ends.
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::{Engines, Kind, compatibility, config};
    use wasmtime::Engine;

    #[test]
    fn what_is_compiled_without_a_pool_runs_with_one() {
        for kind in [Kind::Small, Kind::Big] {
            let engines = Engines::new().unwrap();
            let compiling = Engine::new(&config(kind, false)).unwrap();
            assert_eq!(engines.get(kind).unwrap().compatibility, compatibility(&compiling));
        }
    }

    #[test]
    fn the_two_kinds_do_not_share_compiled_code() {
        let of = |kind| compatibility(&Engine::new(&config(kind, false)).unwrap());
        assert_ne!(of(Kind::Small), of(Kind::Big));
    }
}
