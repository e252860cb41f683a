//! The record as one HTML page, self-contained: no script, nothing fetched. Everything is escaped on its way in.

use std::fmt::{self, Write as _};

use super::tables::tables;
use super::{Record, plot};

/// What keeps the page from fetching or running anything even if something got past the escapes.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
th { font-weight: 600; }
figure { margin: 1rem 0; } figcaption { font-size: .9rem; }
svg { width: 100%; max-width: 40rem; height: auto; font-size: 10px; fill: currentColor; }
svg polyline { fill: none; stroke: currentColor; stroke-width: 1.2; }
svg .axis { stroke: #8886; stroke-width: .6; }
svg .good, svg .open { fill: #2a9d55; } svg .hold, svg .closed { fill: #d9a400; }
svg .rollback { fill: #c8372d; } svg .no_data { fill: #8888; }
";

pub(super) fn write(record: &Record) -> String {
    let mut page = String::new();
    // Writing to a string can't fail.
    let _ok = whole(record, &mut page);
    page
}

/// Text as it stands between tags or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

fn whole(record: &Record, out: &mut String) -> fmt::Result {
    let title = escaped(&record.title);
    writeln!(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(out, "<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width\">")?;
    writeln!(
        out,
        "<title>{title} – {}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        escaped(&record.status)
    )?;
    writeln!(out, "<h1>{title}</h1>\n<table>")?;
    for (name, value) in record.facts() {
        writeln!(out, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escaped(&value))?;
    }
    writeln!(out, "</table>")?;
    for (heading, columns, rows) in tables(record) {
        if rows.is_empty() {
            continue;
        }
        writeln!(out, "<h2>{heading}</h2>")?;
        if heading == "Gates and guards" {
            pictures(record, out)?;
        }
        writeln!(out, "<table>\n<thead><tr>")?;
        for column in columns {
            write!(out, "<th scope=\"col\">{column}</th>")?;
        }
        writeln!(out, "</tr></thead>\n<tbody>")?;
        for row in rows {
            write!(out, "<tr>")?;
            for text in row {
                write!(out, "<td>{}</td>", escaped(&text))?;
            }
            writeln!(out, "</tr>")?;
        }
        writeln!(out, "</tbody>\n</table>")?;
    }
    writeln!(out, "</body>\n</html>")
}

fn pictures(record: &Record, out: &mut String) -> fmt::Result {
    for series in &record.samples {
        let Some(svg) = plot::svg(series) else { continue };
        let of = match &series.item {
            Some(item) => format!("{}[{item}]", series.of),
            None => series.of.clone(),
        };
        let of = escaped(&of);
        let (count, failed) = (series.count, series.failed);
        writeln!(
            out,
            "<figure>{svg}<figcaption>{of}: {count} samples, {failed} without a value</figcaption></figure>"
        )?;
    }
    Ok(())
}
