//! A `*.test.toml` as it is written: data only, every part that can be wrong with its place.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) test: Header,
    #[serde(default)]
    pub(super) case: Vec<Case>,
}

/// What all cases share.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Relative to this file; without it the file of the same name without `.test`.
    pub(super) runbook: Option<Spanned<String>>,
    pub(super) env: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, Value>,
}

/// One story.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) inputs: BTreeMap<String, Value>,
    /// When it begins.
    pub(super) at: Option<Spanned<String>>,
    /// When T is.
    pub(super) t: Option<Spanned<String>>,
    pub(super) started_by: Option<String>,
    #[serde(default)]
    pub(super) step: BTreeMap<String, Spanned<Script>>,
    #[serde(default)]
    pub(super) guard: BTreeMap<String, Spanned<Script>>,
    #[serde(default)]
    pub(super) then: Vec<Spanned<Then>>,
    #[serde(default)]
    pub(super) expect: Expect,
}

/// What the calls of a step come to.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    /// What it returns.
    pub(super) result: Option<Value>,
    /// What it returns the first time, the second, and so on; the last one stays.
    #[serde(default)]
    pub(super) results: Vec<Value>,
    /// What it returns from a time on.
    #[serde(default)]
    pub(super) values: Vec<From>,
    /// What its plan says, instead of what follows from what has happened.
    pub(super) plan: Option<Spanned<String>>,
    pub(super) fail: Option<Spanned<Fail>>,
    /// So often; without it always.
    pub(super) times: Option<u32>,
    pub(super) takes: Option<Spanned<String>>,
    /// The same of its undo.
    pub(super) undo: Option<Box<Self>>,
    /// The same of single items of a `for_each`, by key.
    #[serde(default)]
    pub(super) items: BTreeMap<String, Self>,
}

/// A result from a time on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct From {
    pub(super) after: Spanned<String>,
    pub(super) result: Option<Value>,
    pub(super) fail: Option<Spanned<Fail>>,
}

/// How a call fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Fail {
    Word(String),
    Said(Said),
}

/// A failure in the plugin's own words.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) code: String,
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) retryable: bool,
    /// `none`: nothing was sent; `unknown`: something was, in vain; `applied`: the effect is there, and the reply lost.
    pub(super) effect: Option<String>,
}

/// What happens besides: people, crashes, clocks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Then {
    /// So long after the start, or after what `on` names.
    pub(super) after: Option<Spanned<String>>,
    /// An event, in the words of `expect.events`.
    pub(super) on: Option<Spanned<String>>,
    #[serde(rename = "do")]
    pub(super) act: Spanned<String>,
    pub(super) step: Option<Spanned<String>>,
    pub(super) item: Option<String>,
    pub(super) who: Option<String>,
    pub(super) role: Option<String>,
    pub(super) roles: Option<Vec<String>>,
    pub(super) input: Option<Value>,
    pub(super) output: Option<Value>,
    pub(super) reason: Option<String>,
    pub(super) evidence: Option<String>,
    #[serde(default)]
    pub(super) only: Vec<String>,
    #[serde(default)]
    pub(super) past_commit: bool,
    /// Of a crash: until the next process has the run. Of a clock: by how much it steps.
    pub(super) by: Option<Spanned<String>>,
}

/// What must have come of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// A verdict, or `held`, or `waiting`.
    pub(super) verdict: Option<Spanned<String>>,
    pub(super) world: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) steps: BTreeMap<String, Spanned<String>>,
    /// In this order, with anything between.
    #[serde(default)]
    pub(super) events: Vec<Spanned<String>>,
    /// None of these.
    #[serde(default)]
    pub(super) not: Vec<Spanned<String>>,
    pub(super) within: Option<Spanned<String>>,
    pub(super) finally_failed: Option<Spanned<bool>>,
}
