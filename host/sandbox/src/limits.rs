//! What one call may use, and what is said when it used more.
//!
//! The figures let guests in Rust, Python, JavaScript and Go live. Invariant: every limit that ends a call is reported
//! as a [`LimitHit`] with its figure, never as a failure of the guest.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Components above this size bring an interpreter along and are given more memory.
const BIG_COMPONENT: u64 = 4 * MIB;

/// The largest linear memory that the engine has room for, whatever a call's limit says.
pub(crate) const MAX_MEMORY: u64 = 256 * MIB;
/// The stack of a guest, in bytes.
pub(crate) const STACK: usize = 1024 * 1024;
/// The largest table that the engine has room for, in elements.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 65_536;

/// What one call may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes, all memories together. None: 64 MiB, and 128 MiB for a component that brings an
    /// interpreter along.
    pub memory: Option<u64>,
    /// Elements of all tables together. Go programs need about ten thousand.
    pub table_elements: usize,
    /// Core instances. Python has 14.
    pub instances: usize,
    /// Linear memories.
    pub memories: usize,
    /// Bytes that the host copies out of the guest for one host call or one result.
    pub hostcall_bytes: usize,
    /// Resources that the guest holds at one time: streams, requests, descriptors.
    pub resources: usize,
    /// Random bytes that the guest gets in one call of a random function.
    pub random_bytes: u64,
    /// Log lines, those of its standard output and error included. What is over is dropped, and one line says so.
    pub log_lines: u32,
    /// Bytes of a log line. What is over is cut off with a mark.
    pub log_line_bytes: usize,
    /// Bytes of the end of standard error that are kept for the message of a panic.
    pub stderr_bytes: usize,
    /// Receipts of one call.
    pub receipts: u32,
    /// Bytes of one receipt.
    pub receipt_bytes: usize,
    /// Bytes of the JSON that a result becomes.
    pub output_bytes: usize,
    /// Wall time from before the instance is made until the function returned.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            table_elements: 32_768,
            instances: 32,
            memories: 4,
            hostcall_bytes: 8 * 1024 * 1024,
            resources: 1_000,
            random_bytes: MIB,
            log_lines: 1_000,
            log_line_bytes: 4 * 1024,
            stderr_bytes: 16 * 1024,
            receipts: 100,
            receipt_bytes: 64 * 1024,
            output_bytes: 8 * 1024 * 1024,
            deadline: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// The memory limit for a component of this size, in bytes.
    pub(crate) fn memory_for(&self, component: u64) -> u64 {
        let usual = if component > BIG_COMPONENT { 128 * MIB } else { 64 * MIB };
        self.memory.unwrap_or(usual).min(MAX_MEMORY)
    }
}

/// What a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitKind {
    /// Linear memory, in bytes.
    Memory,
    /// Table elements.
    TableElements,
    /// Core instances.
    Instances,
    /// Nested calls within the guest, in bytes of stack.
    Stack,
    /// Wall time, in milliseconds.
    Deadline,
    /// Bytes copied out of the guest at once.
    HostCall,
    /// Resources held at one time.
    Resources,
    /// Bytes of a result.
    Output,
    /// Bytes of an HTTP answer.
    HttpBody,
    /// Bytes or rows of a database's answer.
    Rows,
    /// Processor time of a program, in seconds.
    ProcessorTime,
}

/// A limit that ended a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// What it is on.
    pub kind: LimitKind,
    /// The figure, in the unit of the kind.
    pub limit: u64,
}

impl LimitHit {
    /// A limit of this kind, and its figure.
    #[must_use]
    pub const fn new(kind: LimitKind, limit: u64) -> Self {
        Self { kind, limit }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        match self.kind {
            LimitKind::Memory => write!(f, "it wanted more memory than its limit of {}", Size(limit)),
            LimitKind::TableElements => {
                write!(f, "it wanted larger tables than its limit of {limit} elements")
            }
            LimitKind::Instances => write!(f, "it has more core instances than its limit of {limit}"),
            LimitKind::Stack => write!(f, "its calls nest deeper than its stack of {}", Size(limit)),
            LimitKind::Deadline => write!(f, "it did not return within {}", Milliseconds(limit)),
            LimitKind::HostCall => {
                write!(
                    f,
                    "it handed over more than {} in one call of the host, or as its result",
                    Size(limit)
                )
            }
            LimitKind::Resources => {
                write!(f, "it holds more than {limit} streams, requests and other resources of the host")
            }
            LimitKind::Output => write!(f, "its result is longer than {}", Size(limit)),
            LimitKind::HttpBody => write!(f, "the answer to its request is longer than {}", Size(limit)),
            LimitKind::Rows => write!(f, "the answer to its query is longer than {limit}"),
            LimitKind::ProcessorTime => {
                write!(f, "its program used more than {limit} s of processor time")
            }
        }
    }
}

/// Bytes as a person writes them.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes >= MIB && bytes.is_multiple_of(MIB) => write!(f, "{} MiB", bytes / MIB),
            bytes if bytes >= KIB && bytes.is_multiple_of(KIB) => write!(f, "{} KiB", bytes / KIB),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

struct Milliseconds(u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            whole if whole >= 1000 && whole.is_multiple_of(1000) => write!(f, "{} s", whole / 1000),
            millis => write!(f, "{millis} ms"),
        }
    }
}

/// Sums what all memories and tables of a store take, since the engine's own limiter looks at each alone.
#[derive(Debug)]
pub(crate) struct Meter {
    memory_limit: usize,
    memory: usize,
    table_limit: usize,
    elements: usize,
    max_instances: usize,
    max_tables: usize,
    max_memories: usize,
    hit: Option<LimitHit>,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, component: u64) -> Self {
        Self {
            memory_limit: usize::try_from(limits.memory_for(component)).unwrap_or(usize::MAX),
            memory: 0,
            table_limit: limits.table_elements.min(MAX_TABLE_ELEMENTS),
            elements: 0,
            max_instances: limits.instances,
            // A guest has about one for each instance; their size is what matters.
            max_tables: limits.instances,
            max_memories: limits.memories,
            hit: None,
        }
    }

    /// The last request that was refused. A guest that got a refusal may live on, so this alone does not end a call.
    pub(crate) fn hit(&self) -> Option<&LimitHit> {
        self.hit.as_ref()
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            self.hit = Some(LimitHit::new(LimitKind::Memory, self.memory_limit as u64));
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_add(desired.saturating_sub(current));
        if total > self.table_limit {
            self.hit = Some(LimitHit::new(LimitKind::TableElements, self.table_limit as u64));
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.max_instances
    }

    fn tables(&self) -> usize {
        self.max_tables
    }

    fn memories(&self) -> usize {
        self.max_memories
    }
}
