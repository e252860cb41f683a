//! What a probe saw of the thing that a write changes: enough to tell whether it is as before, as written, or neither.
//!
//! Of an answer count its status, what stands at the paths that the probe names in `expect` and `capture`, and its entity
//! tag. The rest, a time of the answer say, may change without anybody having changed anything.

use crate::request::Probe;
use windlass_sdk::http::Response;
use windlass_sdk::{Value, expect, json};

/// What was seen at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    status: u16,
    etag: Option<String>,
    /// By path; null where nothing is there.
    values: Vec<(String, Value)>,
}

impl Seen {
    /// What an answer to this probe shows.
    pub(crate) fn of(probe: &Probe, response: &Response) -> Self {
        let expected = probe.expect.iter().map(|(path, _)| path);
        let mut paths: Vec<&str> =
            expected.chain(probe.capture.iter().map(|(_, path)| path)).map(String::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        Self::at(&paths, response)
    }

    /// What another answer shows of the same.
    pub(crate) fn again(&self, response: &Response) -> Self {
        let paths: Vec<&str> = self.values.iter().map(|(path, _)| path.as_str()).collect();
        Self::at(&paths, response)
    }

    fn at(paths: &[&str], response: &Response) -> Self {
        let body = if response.status == 404 { None } else { response.json() };
        let value = |path: &&str| {
            let found = body.as_ref().and_then(|body| expect::lookup(body, path)).cloned();
            ((*path).to_owned(), found.unwrap_or_default())
        };
        Self {
            status: response.status,
            etag: response.header("etag").map(|etag| etag.trim().to_owned()),
            values: paths.iter().map(value).collect(),
        }
    }

    /// The entity tag.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Whether both are the same state. The tag doesn't count: with what was there before, it may get a new one.
    pub(crate) fn same_state(&self, other: &Self) -> bool {
        self.status == other.status && self.values == other.values
    }

    /// Whether nobody changed it between the two.
    pub(crate) fn untouched_since(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(now), Some(then)) => now == then,
            _ => self.same_state(other),
        }
    }

    /// For a memo.
    pub(crate) fn to_json(&self) -> Value {
        let values: Vec<Value> = self.values.iter().map(|(path, value)| json!([path, value])).collect();
        json!({ "status": self.status, "etag": self.etag, "values": values })
    }

    /// Out of a memo; none where it holds nothing that was seen.
    pub(crate) fn from_json(memo: &Value) -> Option<Self> {
        let values = memo.get("values")?.as_array()?.iter();
        let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.clone()));
        Some(Self {
            status: u16::try_from(memo.get("status")?.as_u64()?).ok()?,
            etag: memo.get("etag").and_then(Value::as_str).map(str::to_owned),
            values: values.filter_map(pair).collect(),
        })
    }
}

/// For a person.
impl std::fmt::Display for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.status == 404 {
            return formatter.write_str("nothing (404)");
        }
        write!(formatter, "status {}", self.status)?;
        if let Some(etag) = &self.etag {
            write!(formatter, ", ETag {etag}")?;
        }
        self.values.iter().try_for_each(|(path, value)| write!(formatter, ", `{path}` {value}"))
    }
}

/// Whether a tag may stand in `if-match`: a weak one never matches there.
pub(crate) fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}
