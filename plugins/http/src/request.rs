//! Requests as a runbook writes them, parsed.
//!
//! A write comes in two shapes: as the typed input of a call, and as the JSON of an earlier attempt's input, which may
//! be of another generation. Both end up in [`Write`].

use crate::bindings::exports::windlass::contracts::http_call;
use windlass_sdk::{Failure, Value};

/// Pairs of a name and a text.
pub(crate) type Pairs = Vec<(String, String)>;

/// A request that writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Write {
    pub(crate) call: Call,
    pub(crate) expect: Vec<(String, Value)>,
    pub(crate) capture: Pairs,
    pub(crate) probe: Option<Probe>,
    pub(crate) reverse: Option<Call>,
    pub(crate) repeatable: bool,
}

/// One request, before its placeholders are filled in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) query: Pairs,
    pub(crate) headers: Pairs,
    pub(crate) json: Option<Value>,
    pub(crate) text: Option<String>,
    /// Empty means 200 to 299.
    pub(crate) status: Vec<u16>,
    /// Milliseconds.
    pub(crate) timeout: Option<u64>,
}

/// The request that tells whether a write has landed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Probe {
    pub(crate) call: Call,
    pub(crate) expect: Vec<(String, Value)>,
    pub(crate) capture: Pairs,
}

impl TryFrom<http_call::Writing> for Write {
    type Error = Failure;

    fn try_from(input: http_call::Writing) -> Result<Self, Failure> {
        let timeout = input.timeout;
        let probe = input.probe.map(|probe| {
            Ok::<_, Failure>(Probe {
                call: Call {
                    method: "GET".to_owned(),
                    url: probe.url,
                    query: probe.query,
                    headers: probe.headers,
                    timeout,
                    ..Call::default()
                },
                expect: expectations(probe.expect)?,
                capture: probe.capture,
            })
        });
        let reverse = input.reverse.map(|reverse| {
            Ok::<_, Failure>(Call {
                method: reverse.method,
                url: reverse.url,
                headers: reverse.headers,
                json: json(reverse.json.as_deref())?,
                status: reverse.status,
                timeout,
                ..Call::default()
            })
        });
        Ok(Self {
            call: Call {
                method: input.method,
                url: input.url,
                query: input.query,
                headers: input.headers,
                json: json(input.json.as_deref())?,
                text: input.text,
                status: input.status,
                timeout,
            },
            expect: expectations(input.expect)?,
            capture: input.capture,
            probe: probe.transpose()?,
            reverse: reverse.transpose()?,
            repeatable: input.repeatable,
        })
    }
}

impl Write {
    /// Out of the input of an earlier attempt, as the journal has it.
    pub(crate) fn from_json(input: &Value) -> Self {
        let call = Call::from_json(input);
        let timeout = call.timeout;
        let probe = input.get("probe").filter(|probe| probe.is_object()).map(|probe| Probe {
            call: Call { method: "GET".to_owned(), timeout, ..Call::from_json(probe) },
            expect: values(probe, "expect"),
            capture: pairs(probe, "capture"),
        });
        let reverse = input.get("reverse").filter(|reverse| reverse.is_object());
        Self {
            expect: values(input, "expect"),
            capture: pairs(input, "capture"),
            probe,
            reverse: reverse.map(|reverse| Call { timeout, ..Call::from_json(reverse) }),
            repeatable: input.get("repeatable").and_then(Value::as_bool).unwrap_or_default(),
            call,
        }
    }
}

impl Call {
    /// Out of JSON with the fields' names in snake_case.
    pub(crate) fn from_json(input: &Value) -> Self {
        let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
        let status = input.get("status").and_then(Value::as_array).into_iter().flatten();
        Self {
            method: text("method").unwrap_or_default(),
            url: text("url").unwrap_or_default(),
            query: pairs(input, "query"),
            headers: pairs(input, "headers"),
            json: input.get("json").cloned(),
            text: text("text"),
            status: status.filter_map(|code| u16::try_from(code.as_u64()?).ok()).collect(),
            timeout: input.get("timeout").and_then(Value::as_u64),
        }
    }

    /// Whether the idempotency key is in its URL, query or headers.
    pub(crate) fn names_the_key(&self) -> bool {
        let pairs = self.query.iter().chain(&self.headers).map(|(_, value)| value);
        std::iter::once(&self.url).chain(pairs).any(|text| text.contains("{idempotency_key}"))
    }

    /// For a memo; [`Call::from_json`] reads it.
    pub(crate) fn to_json(&self) -> Value {
        let object = |pairs: &Pairs| -> Value {
            pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect()
        };
        let mut json = windlass_sdk::json!({
            "method": self.method,
            "url": self.url,
            "query": object(&self.query),
            "headers": object(&self.headers),
            "status": self.status,
        });
        if let Some(fields) = json.as_object_mut() {
            let optional = [
                ("json", self.json.clone()),
                ("text", self.text.clone().map(Value::from)),
                ("timeout", self.timeout.map(Value::from)),
            ];
            fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        json
    }
}

/// Expectations, which the bindings give as JSON texts.
pub(crate) fn expectations(given: Vec<(String, String)>) -> Result<Vec<(String, Value)>, Failure> {
    given.into_iter().map(|(path, text)| Ok((path, parse(&text)?))).collect()
}

/// An optional JSON text.
pub(crate) fn json(text: Option<&str>) -> Result<Option<Value>, Failure> {
    text.map(parse).transpose()
}

fn parse(text: &str) -> Result<Value, Failure> {
    windlass_sdk::serde_json::from_str(text)
        .map_err(|error| Failure::invalid_input(format!("a value is no JSON: {error}")))
}

fn pairs(input: &Value, name: &str) -> Pairs {
    let fields = input.get(name).and_then(Value::as_object).into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn values(input: &Value, name: &str) -> Vec<(String, Value)> {
    let fields = input.get(name).and_then(Value::as_object).into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}
