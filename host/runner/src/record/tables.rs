//! The tables that the record is made of, whatever form it takes.

use windlass_engine::Span;

use super::{Record, met_word};

/// A heading, the names of the columns, and the rows.
pub(super) type Table = (&'static str, &'static [&'static str], Vec<Vec<String>>);

/// In their order; empty ones are left out by whoever writes them.
pub(super) fn tables(record: &Record) -> Vec<Table> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let took = |ms: Option<u64>| ms.map(|ms| Span(ms).to_string()).unwrap_or_default();
    let criteria = record.criteria.iter().map(|criterion| {
        vec![criterion.text.clone(), met_word(criterion.met).to_owned(), criterion.met_by.clone()]
    });
    let approvals = record.approvals.iter().flat_map(|approval| {
        let asked = vec![
            approval.asked.clone(),
            approval.step.clone(),
            format!("asked of {}", approval.roles.join(", ")),
            approval.text.clone(),
            approval.covers.join("; "),
        ];
        let given = approval.given.iter().map(|word| {
            let role = word.role.as_deref().map(|role| format!(" as {role}")).unwrap_or_default();
            let evidence =
                word.evidence.as_deref().map(|seen| format!("; evidence: {seen}")).unwrap_or_default();
            vec![
                word.at.clone(),
                approval.step.clone(),
                format!("{}: {}{role}", word.decision, word.who),
                format!("{}{evidence}", word.reason),
                word.key.clone(),
            ]
        });
        let lapsed = approval
            .lapsed
            .iter()
            .map(|why| vec![String::new(), approval.step.clone(), why.clone(), String::new(), String::new()]);
        std::iter::once(asked).chain(given).chain(lapsed).collect::<Vec<_>>()
    });
    let steps = record.steps.iter().map(|step| {
        let name = match &step.title {
            Some(title) => format!("{title} ({})", step.step),
            None => step.step.clone(),
        };
        vec![text(&step.stage), name, step.result.to_owned(), took(step.took_ms), text(&step.detail)]
    });
    let changes = record.effects.iter().flat_map(|made| {
        let name = match &made.item {
            Some(item) => format!("{}[{item}]", made.step),
            None => made.step.clone(),
        };
        let word = made.effect.unwrap_or("running").to_owned();
        made.changes
            .iter()
            .map(|change| {
                vec![
                    made.started.clone(),
                    name.clone(),
                    word.clone(),
                    format!("{} {}", change.kind, change.target),
                    text(&change.before),
                    text(&change.after),
                ]
            })
            .collect::<Vec<_>>()
    });
    let samples = record.samples.iter().flat_map(|series| {
        series
            .bands
            .iter()
            .map(|change| {
                vec![change.at.clone(), series.of.clone(), change.band.to_owned(), change.measured.clone()]
            })
            .collect::<Vec<_>>()
    });
    let timeline = record.timeline.iter().map(|moment| {
        vec![moment.at.clone(), text(&moment.step), moment.what.clone(), text(&moment.who), text(&moment.why)]
    });
    let plugins = record
        .plugins
        .iter()
        .map(|plugin| vec![plugin.name.clone(), plugin.source.clone(), plugin.digest.clone()]);
    vec![
        ("Criteria", &["criterion", "", "by"], criteria.collect()),
        ("Approvals", &["when", "step", "who", "", "covers / key"], approvals.collect()),
        ("Steps", &["stage", "step", "result", "took", ""], steps.collect()),
        ("Changes", &["when", "step", "effect", "change", "before", "after"], changes.collect()),
        ("Gates and guards", &["since", "of", "", "measured"], samples.collect()),
        ("Timeline", &["when", "step", "what", "who", "why"], timeline.collect()),
        ("Plugins", &["name", "source", "digest"], plugins.collect()),
    ]
}
