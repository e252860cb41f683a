//! Makes one call: a fresh store, `configure`, the function, and what became of it.
//!
//! It refuses to know why the call is made. Invariant: whatever a guest does, the call ends within its deadline, the
//! host lives on, and the report says which of the four happened: the plugin failed, the host denied, a limit was hit,
//! or the host is at fault.

mod ending;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde::Serialize;
use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{Instance, ResourceTable, Val};
use wasmtime_wasi_http::WasiHttpCtx;
use windlass_runbook::outcome::{Attempt, Failure, Plan};
use windlass_runbook::wit::Type;

use crate::limits::Meter;
use crate::plugin::{Callable, Plugin};
use crate::state::{CallContext, CallParts, CallState};
use crate::value::{Place, decode, encode};
use crate::{
    AuditRecord, Bindings, CallError, Grants, HostFault, Limits, Mode, Reads, RunServices, StepContext,
    capability, wasi,
};
use ending::Ending;

/// A call of one function of a plugin.
pub struct Call<'a> {
    /// The interface in full.
    pub interface: &'a str,
    /// The action's name.
    pub action: &'a str,
    /// Which of the action's functions, with its arguments.
    pub phase: Phase<'a>,
    /// What the plugin was granted.
    pub grants: Arc<Grants>,
    /// What its slots are bound to.
    pub bindings: Arc<Bindings>,
    /// For `configure`, with snake_case keys.
    pub config: Option<&'a Value>,
    /// Which step this is a part of.
    pub context: StepContext,
    /// What the call may use.
    pub limits: Limits,
}

/// Which function of an action is called. Inputs are JSON with snake_case keys.
#[derive(Debug, Clone, Copy)]
pub enum Phase<'a> {
    /// A reading action.
    Read {
        /// The step's input.
        input: &'a Value,
    },
    /// `plan-X`
    Plan {
        /// The step's input.
        input: &'a Value,
        /// The attempts that are not proven without effect, oldest first.
        before: &'a [Attempt],
    },
    /// `apply-X`
    Apply {
        /// The step's input.
        input: &'a Value,
        /// What `plan-X` returned.
        plan: &'a Plan,
        /// Read where the plan says that the effect is in place.
        mode: Mode,
    },
    /// `plan-undo-X`
    PlanUndo {
        /// The step's input.
        input: &'a Value,
        /// All attempts, oldest first.
        done: &'a [Attempt],
    },
    /// `undo-X`, in write mode.
    Undo {
        /// The step's input.
        input: &'a Value,
        /// All attempts, oldest first.
        done: &'a [Attempt],
        /// What `plan-undo-X` returned.
        plan: &'a Plan,
    },
}

impl Phase<'_> {
    const fn mode(&self) -> Mode {
        match self {
            Self::Apply { mode, .. } => *mode,
            Self::Undo { .. } => Mode::Write,
            _ => Mode::Read,
        }
    }

    fn function(&self, action: &str) -> String {
        let prefix = match self {
            Self::Read { .. } => "",
            Self::Plan { .. } => "plan-",
            Self::Apply { .. } => "apply-",
            Self::PlanUndo { .. } => "plan-undo-",
            Self::Undo { .. } => "undo-",
        };
        format!("{prefix}{action}")
    }

    /// The arguments in the order of the function's parameters.
    fn arguments(&self) -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
        fn json<T: Serialize + ?Sized>(
            name: &'static str,
            value: &T,
        ) -> Result<(&'static str, Value), serde_json::Error> {
            Ok((name, serde_json::to_value(value)?))
        }
        Ok(match self {
            Self::Read { input } => vec![json("input", input)?],
            Self::Plan { input, before } => vec![json("input", input)?, json("before", before)?],
            Self::Apply { input, plan, .. } => vec![json("input", input)?, json("plan", plan)?],
            Self::PlanUndo { input, done } => vec![json("input", input)?, json("done", done)?],
            Self::Undo { input, done, plan } => {
                vec![json("input", input)?, json("done", done)?, json("plan", plan)?]
            }
        })
    }

    const fn returns_plan(&self) -> bool {
        matches!(self, Self::Plan { .. } | Self::PlanUndo { .. })
    }
}

/// What a call came to.
#[derive(Debug)]
pub struct CallReport {
    /// What it returned, or why it didn't.
    pub result: Result<Returned, CallError>,
    /// Whether anything that may have an effect left this host: only ever in write mode.
    pub sent: bool,
    /// How its reading calls of the host went.
    pub reads: Reads,
    /// One record for each thing it asked of the host.
    pub audit: Vec<AuditRecord>,
    /// From the beginning to the end, waiting for a free slot left out.
    pub elapsed: Duration,
}

/// What a function returned.
#[derive(Debug, Clone, PartialEq)]
pub enum Returned {
    /// The output with snake_case keys; null where the function returns nothing.
    Output(Value),
    /// Of `plan-X` and `plan-undo-X`.
    Plan(Plan),
}

impl Plugin {
    /// Makes one call in a fresh instance. Dropping the future stops it.
    pub async fn call(&self, call: Call<'_>, services: Arc<dyn RunServices>) -> CallReport {
        let slot = self.host.slots.acquire().await;
        let started = Instant::now();
        let mode = call.phase.mode();
        let context = CallContext::new(CallParts {
            mode,
            receipts_allowed: mode == Mode::Write,
            step: call.context.clone(),
            grants: Arc::clone(&call.grants),
            bindings: Arc::clone(&call.bindings),
            services,
            limits: call.limits.clone(),
            launcher: Arc::clone(&self.launcher),
        });
        let running = self.host.running();
        // A panic in the host's own code must not take the run with it.
        let work = AssertUnwindSafe(self.work(&call, &context)).catch_unwind();
        let ended = match tokio::time::timeout(call.limits.deadline, work).await {
            Ok(Ok(Ok(returned))) => Ok(returned),
            Ok(Ok(Err(ending))) => Err(ending),
            Ok(Err(_)) => Err(Ending::Fault(HostFault("the host's own code panicked".to_owned()))),
            Err(_) => Err(Ending::Limit(context.deadline_hit())),
        };
        drop((running, slot));
        CallReport {
            result: ended.map_err(|ending| ending.classify(&context)),
            sent: context.sent(),
            reads: context.reads(),
            audit: context.take_audit(),
            elapsed: started.elapsed(),
        }
    }

    async fn work(&self, call: &Call<'_>, context: &Arc<CallContext>) -> Result<Returned, Ending> {
        let function = call.phase.function(call.action);
        let callable = self
            .functions
            .get(&(call.interface.to_owned(), function.clone()))
            .ok_or_else(|| fault(format!("the plugin has no `{}#{function}`", call.interface)))?;
        let arguments = call.phase.arguments().map_err(|error| fault(format!("the arguments: {error}")))?;
        let arguments = encode_all(callable, &arguments)?;
        let configure = self.configuration(call)?;

        let mut store = self.store(context)?;
        let instance = self.instantiate(&mut store, context).await?;
        if let Some((configure, config)) = configure {
            context.set_configuring(true);
            let done = invoke(&mut store, &instance, configure, &config).await?;
            context.set_configuring(false);
            result(done, &configure.shape, context)?;
        }
        let done = invoke(&mut store, &instance, callable, &arguments).await?;
        let output = result(done, &callable.shape, context)?;
        if call.phase.returns_plan() {
            let plan =
                serde_json::from_value(output).map_err(|error| invalid(&format!("its plan: {error}")))?;
            return Ok(Returned::Plan(plan));
        }
        Ok(Returned::Output(output))
    }

    /// `configure` and its argument, where the plugin has it.
    fn configuration(&self, call: &Call<'_>) -> Result<Option<(&Callable, Vec<Val>)>, Ending> {
        let configure = self.functions.get(&(String::new(), "configure".to_owned()));
        match (configure, call.config) {
            (None, None) => Ok(None),
            (None, Some(Value::Object(config))) if config.is_empty() => Ok(None),
            (None, Some(_)) => Err(fault("the plugin takes no configuration".to_owned())),
            (Some(configure), config) => {
                let config = config.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
                let config = encode_all(configure, &[("config", config)])?;
                Ok(Some((configure, config)))
            }
        }
    }

    fn store(&self, context: &Arc<CallContext>) -> Result<Store<CallState>, Ending> {
        let limits = &context.limits;
        let (wasi, folders) = wasi::context(context, self.uses_folders).map_err(Ending::Fault)?;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        let state = CallState {
            wasi,
            table,
            http: WasiHttpCtx::new(),
            http_hooks: capability::http_hooks(context),
            folders,
            meter: Meter::new(limits, self.inspection.size),
            call: Arc::clone(context),
        };
        let mut store = Store::new(&self.host.engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_max_component_handles(limits.resources);
        // Set before there is an instance: a start function can loop too. Each tick gives way to the runtime, which is
        // where the deadline is looked at.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        Ok(store)
    }

    /// Makes an instance. The pool is a little smaller than what components may need together at the most, so that it
    /// can be full although a slot was free; then this waits for one to be given back.
    async fn instantiate(
        &self,
        store: &mut Store<CallState>,
        context: &CallContext,
    ) -> Result<Instance, Ending> {
        loop {
            match self.pre.instantiate_async(&mut *store).await {
                Ok(instance) => return Ok(instance),
                Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                    tokio::time::sleep(Duration::from_millis(5).min(context.time_left())).await;
                }
                Err(error) => return Err(Ending::trap(&error, store.data())),
            }
        }
    }
}

fn fault(message: String) -> Ending {
    Ending::Fault(HostFault(message))
}

fn invalid(why: &str) -> Ending {
    Ending::Failure(Failure {
        code: "invalid-output".to_owned(),
        message: format!("the plugin returned what it may not: {why}"),
        detail: None,
        retryable: false,
        retry_after: None,
    })
}

fn encode_all(callable: &Callable, arguments: &[(&'static str, Value)]) -> Result<Vec<Val>, Ending> {
    arguments
        .iter()
        .zip(&callable.shape.params)
        .zip(&callable.params)
        .map(|(((name, value), ours), theirs)| {
            encode(Some(value), ours, theirs, Place::root(name))
                .map_err(|error| fault(format!("an argument doesn't fit the plugin: {error}")))
        })
        .collect()
}

async fn invoke(
    store: &mut Store<CallState>,
    instance: &Instance,
    callable: &Callable,
    arguments: &[Val],
) -> Result<Val, Ending> {
    let function = instance
        .get_func(&mut *store, callable.index)
        .ok_or_else(|| fault("an export of the plugin is gone".to_owned()))?;
    let mut results = [Val::Bool(false)];
    match function.call_async(&mut *store, arguments, &mut results).await {
        Ok(()) => {
            let [returned] = results;
            Ok(returned)
        }
        Err(error) => Err(Ending::trap(&error, store.data())),
    }
}

/// Takes a result apart: the output, or the plugin's own failure.
fn result(returned: Val, shape: &crate::inspect::Shape, context: &CallContext) -> Result<Value, Ending> {
    let most = context.limits.output_bytes;
    let read = |val: Option<Box<Val>>, ty: Option<&Type>| match (val, ty) {
        (Some(val), Some(ty)) => {
            decode(&val, ty, Place::root("result"), most).map_err(|error| Ending::value(&error))
        }
        _ => Ok(Value::Null),
    };
    match returned {
        Val::Result(Ok(ok)) => read(ok, shape.ok.as_ref()),
        Val::Result(Err(failure)) => {
            let failure = read(failure, Some(&shape.failure))?;
            let failure =
                serde_json::from_value(failure).map_err(|error| invalid(&format!("its failure: {error}")))?;
            Err(Ending::failure(failure))
        }
        _ => Err(fault("a function of the plugin returned no result".to_owned())),
    }
}
