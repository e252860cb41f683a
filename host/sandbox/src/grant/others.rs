//! Lines for capabilities that runbooks may name and this build has not: Kubernetes, DNS, Redis, mail, sockets and
//! secrets. The grammar is checked first, so that a slip shows as a slip; a right line then says what is missing.
//!
//! Invariant: none of these lines ever becomes a grant.

use std::ops::Range;

use super::pattern::{Host, HostPattern};
use super::slot::slot_with_colon;
use super::words::Word;
use super::{GrantError, GrantErrorKind};

/// The first words of lines that this module knows.
pub(super) const KINDS: [&str; 6] = ["kubernetes", "dns", "redis", "mail", "socket", "secret"];

/// Why the line can't be used: its own mistake, or that this build has no such capability.
pub(super) fn refuse(kind: &str, words: &[Word], whole: &Range<usize>) -> GrantError {
    let checked = match kind {
        "kubernetes" => kubernetes(words, whole),
        "dns" => dns(words, whole),
        "redis" => redis(words, whole),
        "mail" => mail(words, whole),
        "socket" => socket(words, whole),
        _ => secret(words, whole),
    };
    match checked {
        Err(error) => error,
        Ok(()) => GrantError {
            message: format!("this build of windlass has no `{kind}` capability"),
            help: Some("it has `http`, `postgres`, `folder` and `program`".to_owned()),
            range: whole.clone(),
            kind: GrantErrorKind::Unavailable,
        },
    }
}

fn wrong(words: &[Word], whole: &Range<usize>, message: &str, help: &str) -> GrantError {
    let range = match (words.first(), words.last()) {
        (Some(first), Some(last)) => first.range.start..last.range.end,
        _ => whole.clone(),
    };
    GrantError::new(range, message).help(help)
}

fn is_list(text: &str, extra: &[u8]) -> bool {
    text.split(',').all(|item| {
        !item.is_empty()
            && item.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.contains(&b))
    })
}

fn kubernetes(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `kubernetes cluster: get,list deployments,pods in production`";
    let (_, rest) = slot_with_colon(words, whole, "kubernetes", help)?;
    let texts: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
    let (verbs, resources) = match texts.as_slice() {
        [verbs, resources] => (verbs, resources),
        [verbs, resources, "in", namespace] if is_list(namespace, b"-*") => (verbs, resources),
        _ => {
            return Err(wrong(
                rest,
                whole,
                "after the slot come verbs, resources and, but for cluster scope, `in` and a namespace",
                help,
            ));
        }
    };
    if !is_list(verbs, b"-") {
        return Err(wrong(rest.get(..1).unwrap_or(rest), whole, "these are no verbs", help));
    }
    if !is_list(resources, b"-./:*") {
        return Err(wrong(rest.get(1..2).unwrap_or(rest), whole, "these are no resources", help));
    }
    Ok(())
}

fn dns(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `dns zone: query example.com` or `dns zone: update example.com`";
    let (_, rest) = slot_with_colon(words, whole, "dns", help)?;
    match rest {
        [verb, zone] if matches!(verb.text.as_str(), "query" | "update") => {
            let pattern = zone.text.trim_end_matches('.').parse::<HostPattern>();
            pattern.map(|_| ()).map_err(|error| GrantError { range: zone.range.clone(), ..error })
        }
        _ => Err(wrong(rest, whole, "after the slot come `query` or `update` and a zone", help)),
    }
}

fn redis(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `redis cache: read` or `redis cache: write`";
    let (_, rest) = slot_with_colon(words, whole, "redis", help)?;
    match rest {
        [verb] if matches!(verb.text.as_str(), "read" | "write") => Ok(()),
        _ => Err(wrong(rest, whole, "after the slot comes `read` or `write`", help)),
    }
}

fn mail(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `mail post: to *@example.com`";
    let (_, rest) = slot_with_colon(words, whole, "mail", help)?;
    match rest {
        [to, pattern] if to.text == "to" => match pattern.text.split_once('@') {
            Some((_, domain)) if domain.parse::<HostPattern>().is_ok() => Ok(()),
            _ => Err(GrantError::new(pattern.range.clone(), "this is no pattern for addresses").help(help)),
        },
        _ => Err(wrong(rest, whole, "after the slot come `to` and a pattern for addresses", help)),
    }
}

fn socket(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `socket db.example.com:5432`";
    let [target] = words else {
        return Err(wrong(words, whole, "a `socket` line names one host and port", help));
    };
    match target.text.rsplit_once(':') {
        Some((host, port))
            if Host::parse(host).is_some() && port.parse::<u16>().is_ok_and(|port| port > 0) =>
        {
            Ok(())
        }
        _ => Err(GrantError::new(target.range.clone(), "this is no host with a port").help(help)),
    }
}

fn secret(words: &[Word], whole: &Range<usize>) -> Result<(), GrantError> {
    let help = "write `secret api_token`";
    match words {
        [name] if super::slot::is_slot(&name.text) => Ok(()),
        _ => Err(wrong(words, whole, "a `secret` line names one secret", help)),
    }
}
