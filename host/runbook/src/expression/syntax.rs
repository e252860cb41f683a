//! What is wrong with a text that is no expression, in fewer words than the parser has for it, and the bounds within
//! which CEL's own recursion is safe.

use std::ops::Range;

use cel::common::ast::{Expr, IdedExpr};

/// Longer texts are refused: an expression is a line, and CEL's own recursion follows its depth.
const MAX_LENGTH: usize = 4096;

/// Brackets within brackets, checked before CEL's parser recurses into them.
const MAX_NESTING: usize = 24;

/// Something wrong with an expression's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionIssue {
    /// A stable word.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Bytes of the expression.
    pub range: Range<usize>,
}

pub(super) fn guard(source: &str) -> Result<(), ExpressionIssue> {
    let mut nesting = 0_usize;
    let mut deepest = 0;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => nesting += 1,
            b')' | b']' | b'}' | b':' => nesting = nesting.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(nesting);
    }
    if source.len() > MAX_LENGTH || deepest > MAX_NESTING { Err(too_complex(source)) } else { Ok(()) }
}

pub(super) fn too_complex(source: &str) -> ExpressionIssue {
    ExpressionIssue {
        code: "expression-too-complex",
        message: "the expression is too long or too deep".to_owned(),
        help: Some("let a script or a query of a plugin compute it".to_owned()),
        range: 0..source.len(),
    }
}

pub(super) fn syntax_issue(source: &str, error: &cel::ParseError) -> ExpressionIssue {
    let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(error.pos.1).unwrap_or(0);
    let start_of_line: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let within = source.get(start_of_line..).unwrap_or_default();
    let offset =
        within.char_indices().nth(column.saturating_sub(1)).map_or(within.len(), |(offset, _)| offset);
    let start = start_of_line + offset;
    let end =
        source.get(start..).and_then(|rest| rest.chars().next()).map_or(start, |c| start + c.len_utf8());
    if let Some(at) = lone_equals(source) {
        return ExpressionIssue {
            code: "expression-syntax",
            message: "`=` does not compare".to_owned(),
            help: Some("write `==`".to_owned()),
            range: at..at + 1,
        };
    }
    let detail = error.msg.lines().next().unwrap_or_default().trim();
    let detail = detail.strip_prefix("Syntax error:").unwrap_or(detail).trim();
    ExpressionIssue {
        code: "expression-syntax",
        message: format!("this is no valid expression: {}", readable(detail)),
        help: Some("expressions are CEL: `a.b == \"x\" && size(c) > 0`".to_owned()),
        range: start..end,
    }
}

/// A `=` that is none of `==`, `!=`, `<=`, `>=`, outside quotes.
pub(super) fn lone_equals(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut quote = None;
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (Some(open), close) if open == close => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'=') => {
                let before = at.checked_sub(1).and_then(|before| bytes.get(before));
                if !matches!(before, Some(b'=' | b'!' | b'<' | b'>')) && bytes.get(at + 1) != Some(&b'=') {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The parser's words in ours. It lists every token it would have taken; that helps nobody.
pub(super) fn readable(detail: &str) -> String {
    let detail = detail.split(" expecting ").next().unwrap_or(detail);
    if detail.contains("<EOF>") {
        return "it ends too early".to_owned();
    }
    let quoted =
        detail.find('\'').zip(detail.rfind('\'')).and_then(|(first, last)| detail.get(first + 1..last));
    match quoted {
        Some(text) if text.starts_with(['"', '\'']) => "a text in quotes does not end".to_owned(),
        Some(text) if detail.starts_with("token recognition") => format!("`{text}` can't be read"),
        Some(text) if detail.starts_with("unsupported syntax") => format!("`{text}` is not supported"),
        Some(text) => format!("`{text}` does not belong here"),
        None if detail.is_empty() => "it can't be read".to_owned(),
        None => detail.to_owned(),
    }
}

pub(super) fn depth_exceeds(tree: &IdedExpr, limit: usize) -> bool {
    let mut queue = vec![(tree, 1_usize)];
    while let Some((node, depth)) = queue.pop() {
        if depth > limit {
            return true;
        }
        let mut push = |child| queue.push((child, depth + 1));
        match &node.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| push(target));
                call.args.iter().for_each(push);
            }
            Expr::Comprehension(all) => {
                [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
                    .into_iter()
                    .for_each(push);
            }
            Expr::List(list) => list.elements.iter().for_each(push),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let cel::common::ast::EntryExpr::MapEntry(entry) = &entry.expr {
                        push(&entry.key);
                        push(&entry.value);
                    }
                }
            }
            Expr::Select(select) => push(&select.operand),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
    false
}
