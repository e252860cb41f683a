//! Placeholders in requests: `{idempotency_key}` and `{captured.NAME}`.
//!
//! Anything else in braces is left as it is. In a URL a value is percent-encoded, so that no answer of a service can
//! lead a request to another path.

use crate::request::{Call, Pairs};
use windlass_sdk::http::url;
use windlass_sdk::{Failure, Value};

/// What placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) key: &'a str,
    pub(crate) captured: &'a [(String, Value)],
}

impl Values<'_> {
    /// A request with its placeholders filled in.
    pub(crate) fn fill(&self, call: &Call) -> Result<Call, Failure> {
        Ok(Call {
            method: call.method.clone(),
            url: self.text(&call.url, url::segment)?,
            query: self.pairs(&call.query)?,
            headers: self.pairs(&call.headers)?,
            json: call.json.as_ref().map(|json| self.json(json)).transpose()?,
            text: call.text.clone(),
            status: call.status.clone(),
            timeout: call.timeout,
        })
    }

    fn pairs(&self, pairs: &Pairs) -> Result<Pairs, Failure> {
        pairs.iter().map(|(name, value)| Ok((name.clone(), self.text(value, str::to_owned)?))).collect()
    }

    fn json(&self, json: &Value) -> Result<Value, Failure> {
        Ok(match json {
            Value::String(text) => match self.whole(text)? {
                Some(value) => value,
                None => Value::String(self.text(text, str::to_owned)?),
            },
            Value::Array(items) => items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?,
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| Ok::<_, Failure>((name.clone(), self.json(value)?)))
                .collect::<Result<_, _>>()?,
            other => other.clone(),
        })
    }

    /// The value of a text that is one placeholder and nothing else: it keeps its type.
    fn whole(&self, text: &str) -> Result<Option<Value>, Failure> {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => self.value(name),
            None => Ok(None),
        }
    }

    fn text(&self, text: &str, encode: fn(&str) -> String) -> Result<String, Failure> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let value = match after.split_once('}') {
                Some((name, behind)) => self.value(name)?.map(|value| (value, behind)),
                None => None,
            };
            match value {
                Some((value, behind)) => {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    filled.push_str(&encode(&value));
                    rest = behind;
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// What a name stands for; none where it is no placeholder.
    fn value(&self, name: &str) -> Result<Option<Value>, Failure> {
        if name == "idempotency_key" {
            return Ok(Some(Value::from(self.key)));
        }
        let Some(name) = name.strip_prefix("captured.") else { return Ok(None) };
        let captured = self.captured.iter().find(|(captured, _)| captured == name);
        captured.map(|(_, value)| Some(value.clone())).ok_or_else(|| {
            let message = format!("`{{captured.{name}}}` stands for nothing: the write captured no `{name}`");
            Failure::new("missing-capture", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Values;
    use crate::request::Call;
    use windlass_sdk::json;

    #[test]
    fn placeholders_are_filled_in_and_other_braces_stay() {
        let captured = [("id".to_owned(), json!("a/../b")), ("n".to_owned(), json!(7))];
        let values = Values { key: "abc", captured: &captured };
        let call = Call {
            url: "https://h/events/{captured.id}?k={idempotency_key}&x={other}".to_owned(),
            headers: vec![("idempotency-key".to_owned(), "{idempotency_key}".to_owned())],
            json: Some(
                json!({ "n": "{captured.n}", "text": "n={captured.n} {", "list": ["{idempotency_key}"] }),
            ),
            ..Call::default()
        };
        let filled = values.fill(&call).unwrap();
        assert_eq!(filled.url, "https://h/events/a%2F..%2Fb?k=abc&x={other}");
        assert_eq!(filled.headers[0].1, "abc");
        assert_eq!(filled.json, Some(json!({ "n": 7, "text": "n=7 {", "list": ["abc"] })));

        let missing = Call { url: "/{captured.name}".to_owned(), ..Call::default() };
        let failure = values.fill(&missing).unwrap_err();
        assert_eq!(failure.message, "`{captured.name}` stands for nothing: the write captured no `name`");
    }
}
