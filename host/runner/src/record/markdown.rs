//! The record as Markdown. Nothing that comes from elsewhere can end a cell or begin a heading.

use std::fmt::{self, Write as _};

use super::Record;
use super::tables::tables;

pub(super) fn write(record: &Record) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ok = whole(record, &mut text);
    text
}

/// Text that can't break out of a table's cell.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => safe.push(' '),
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' => {
                safe.push('\\');
                safe.push(letter);
            }
            _ => safe.push(letter),
        }
    }
    safe
}

fn table(out: &mut String, heading: &str, columns: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n## {heading}\n")?;
    writeln!(out, "| {} |", columns.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(columns.len()))?;
    for row in rows {
        let row: Vec<String> = row.iter().map(|text| cell(text)).collect();
        writeln!(out, "| {} |", row.join(" | "))?;
    }
    Ok(())
}

fn whole(record: &Record, out: &mut String) -> fmt::Result {
    writeln!(out, "# {}\n", cell(&record.title))?;
    writeln!(out, "| | |\n| --- | --- |")?;
    for (name, value) in record.facts() {
        writeln!(out, "| {name} | {} |", cell(&value))?;
    }
    for (heading, columns, rows) in tables(record) {
        table(out, heading, columns, &rows)?;
    }
    Ok(())
}
