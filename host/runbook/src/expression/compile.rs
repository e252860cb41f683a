//! Text to a compiled expression, and its evaluation.
//!
//! Compiling replaces every path below a root (`steps.a.output.id`) by a variable `$0`, `$1`, …, so that evaluating
//! binds exactly those. A text that is one path never meets CEL at all: runbooks of ten thousand steps are full of
//! them, and CEL's parser is slow.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::{Context, Env, ExecutionError};
use serde_json::Value;

use super::functions::{self, Style};
use super::{ExpressionError, Reference, Root, Scope, Segment, convert};
use crate::suggest;

/// Longer texts are refused: an expression is a line, and CEL's own recursion follows its depth.
const MAX_LENGTH: usize = 4096;
/// Levels of the tree; an evaluation in a debug build needs a few KiB of stack for each.
const MAX_DEPTH: usize = 100;
/// Brackets within brackets, checked before CEL's parser recurses into them.
const MAX_NESTING: usize = 24;

/// The first names of paths.
const ROOTS: [&str; 6] = ["inputs", "vars", "steps", "item", "result", "run"];
/// The types that can be compared with `type(x)`.
const TYPES: [&str; 9] = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"];
/// The fields of `run`.
pub(crate) const RUN_FIELDS: [&str; 6] = ["id", "name", "started", "now", "reason", "report"];
/// The fields of a step.
const STEP_FIELDS: [&str; 3] = ["output", "status", "effect"];

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

/// A compiled expression.
pub(crate) struct Compiled {
    pub(crate) source: Box<str>,
    pub(crate) references: Vec<Reference>,
    pub(crate) body: Body,
}

/// How it is evaluated.
pub(crate) enum Body {
    /// It is its only reference.
    Reference,
    /// A tree in which `$N` is the reference N.
    Tree { tree: Box<IdedExpr>, positions: SourceInfo },
}

impl Compiled {
    /// The byte where a node of the tree begins.
    pub(crate) fn position(&self, id: u64) -> usize {
        match &self.body {
            Body::Reference => 0,
            Body::Tree { positions, .. } => byte_of(&self.source, positions, id),
        }
    }
}

/// The number of the reference that a variable of the tree stands for.
pub(crate) fn reference_index(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// Compiled expressions by their text: thousands of steps often share a few.
#[derive(Default)]
pub(crate) struct Cache(HashMap<Box<str>, Arc<Compiled>>);

impl Cache {
    /// Compiles, or finds what was compiled before.
    pub(crate) fn compile(&mut self, source: &str) -> Result<super::Expression, Vec<ExpressionIssue>> {
        if let Some(known) = self.0.get(source) {
            return Ok(super::Expression(Arc::clone(known)));
        }
        let compiled = Arc::new(compile(source)?);
        // A lone path costs less to read again than to remember.
        if matches!(compiled.body, Body::Tree { .. }) {
            self.0.insert(source.into(), Arc::clone(&compiled));
        }
        Ok(super::Expression(compiled))
    }
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Env::stdlib().with_optional_support(false);
        // Declared once on a fresh environment: there is nothing for it to collide with.
        let declared = environment.add_extension(cel::extensions::strings);
        debug_assert!(declared.is_ok(), "CEL's string extension collides with its own standard library");
        Arc::new(environment)
    })
}

/// Compiles an expression.
pub(crate) fn compile(source: &str) -> Result<Compiled, Vec<ExpressionIssue>> {
    if let Some(path) = lone_path(source) {
        let mut issues = Vec::new();
        let range = path.range.clone();
        return match reference(path, false, &mut issues) {
            Some(reference) => Ok(Compiled {
                source: source.into(),
                references: vec![Reference { range, ..reference }],
                body: Body::Reference,
            }),
            None => Err(issues),
        };
    }
    guard(source).map_err(|issue| vec![issue])?;
    let (mut tree, positions) = environment().parser().parse_with_source_info(source).map_err(|errors| {
        // What follows the first is mostly its echo.
        errors.errors.first().map(|error| syntax_issue(source, error)).into_iter().collect::<Vec<_>>()
    })?;
    if depth_exceeds(&tree, MAX_DEPTH) {
        return Err(vec![too_complex(source)]);
    }
    let mut rewriter = Rewriter {
        source,
        positions: &positions,
        bound: Vec::new(),
        references: Vec::new(),
        issues: Vec::new(),
    };
    rewriter.rewrite(&mut tree);
    let Rewriter { references, issues, .. } = rewriter;
    if !issues.is_empty() {
        return Err(issues);
    }
    Ok(Compiled { source: source.into(), references, body: Body::Tree { tree: Box::new(tree), positions } })
}

/// Evaluates a compiled expression.
pub(crate) fn evaluate(compiled: &Compiled, scope: &dyn Scope) -> Result<Value, ExpressionError> {
    let Body::Tree { tree, .. } = &compiled.body else {
        let Some(reference) = compiled.references.first() else {
            return Err(failed(compiled, "it refers to nothing"));
        };
        return match reference.look_up(scope) {
            Some(value) => Ok(value.into_owned()),
            None => Err(missing(compiled, reference, scope)),
        };
    };
    let mut context = Context::with_env(Arc::clone(environment()));
    for (index, reference) in compiled.references.iter().enumerate() {
        let found = reference.look_up(scope);
        if reference.presence {
            context.add_variable_from_value(format!("${index}"), found.is_some());
        } else if let Some(value) = found {
            context.add_variable_from_value(format!("${index}"), convert::to_cel(&value));
        }
    }
    match cel::Value::resolve(tree, &context) {
        Ok(value) => convert::to_json(&value).map_err(|message| failed(compiled, message)),
        Err(ExecutionError::UndeclaredReference(name)) => {
            let reference = reference_index(&name).and_then(|index| compiled.references.get(index));
            Err(match reference {
                Some(reference) => missing(compiled, reference, scope),
                None => failed(compiled, &format!("`{name}` is not known")),
            })
        }
        Err(error) => Err(failed(compiled, &explain(&error))),
    }
}

fn missing(compiled: &Compiled, reference: &Reference, scope: &dyn Scope) -> ExpressionError {
    let expression = compiled.source.to_string();
    match &reference.root {
        Root::StepOutput(step) if scope.step_output(step).is_none() => {
            ExpressionError::NoOutput { step: step.clone(), expression }
        }
        _ => ExpressionError::Absent { reference: reference.to_string(), expression },
    }
}

fn failed(compiled: &Compiled, message: &str) -> ExpressionError {
    ExpressionError::Evaluation { expression: compiled.source.to_string(), message: message.to_owned() }
}

/// CEL's error in words of the runbook. Values stay out: they may be what nobody should read.
fn explain(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no `{key}` in the value"),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(" and ");
            format!("{} does not take {types}", operator_name(overload.function()))
        }
        ExecutionError::ValuesNotComparable(..) => "the two values can't be compared".to_owned(),
        ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
            format!("{} does not take these two values", operator_name(operator))
        }
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "the number does not fit into 64 bits".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the list is shorter than that".to_owned(),
        ExecutionError::UnsupportedIndex(..) => "the value can't be indexed so".to_owned(),
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {message}"),
        ExecutionError::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        ExecutionError::UndeclaredReference(name) => format!("`{name}` is not known"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("expected {expected} arguments, found {actual}")
        }
        _ => "it can't be evaluated".to_owned(),
    }
}

fn operator_name(name: &str) -> String {
    let trimmed = match name.trim_matches(|letter| letter == '_' || letter == '@') {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        other => other,
    };
    format!("`{}`", if trimmed.is_empty() { name } else { trimmed })
}

/// Whether it can stand behind a dot.
pub(crate) fn is_identifier(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

fn guard(source: &str) -> Result<(), ExpressionIssue> {
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

fn too_complex(source: &str) -> ExpressionIssue {
    ExpressionIssue {
        code: "expression-too-complex",
        message: "the expression is too long or too deep".to_owned(),
        help: Some("let a script or a query of a plugin compute it".to_owned()),
        range: 0..source.len(),
    }
}

fn syntax_issue(source: &str, error: &cel::ParseError) -> ExpressionIssue {
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
fn lone_equals(source: &str) -> Option<usize> {
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
fn readable(detail: &str) -> String {
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

fn byte_of(source: &str, positions: &SourceInfo, id: u64) -> usize {
    let characters = positions.offset_for(id).map_or(0, |(start, _)| start as usize);
    source.char_indices().nth(characters).map_or(source.len(), |(offset, _)| offset)
}

fn depth_exceeds(tree: &IdedExpr, limit: usize) -> bool {
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

/// A path as it was written, root first.
struct Path {
    root: String,
    segments: Vec<Segment>,
    range: Range<usize>,
}

/// Reads a text that is a path and nothing else. `None` leaves it to CEL.
fn lone_path(source: &str) -> Option<Path> {
    let trimmed = source.trim();
    let start = source.len() - source.trim_start().len();
    let bytes = trimmed.as_bytes();
    let word = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        trimmed.get(from..from + length).filter(|word| is_identifier(word))
    };
    let root = word(0)?;
    if !ROOTS.contains(&root) {
        return None;
    }
    let mut at = root.len();
    let mut segments = Vec::new();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'.' => {
                let name = word(at + 1)?;
                segments.push(Segment::Name(name.to_owned()));
                at += 1 + name.len();
            }
            b'[' => {
                let end = at + bytes.get(at..)?.iter().position(|byte| *byte == b']')?;
                let inside = trimmed.get(at + 1..end)?;
                segments.push(Segment::Index(inside.parse().ok()?));
                at = end + 1;
            }
            _ => return None,
        }
    }
    // CEL has words that can't be names; it says so better.
    let reserved = |segment: &Segment| matches!(segment, Segment::Name(name) if matches!(name.as_str(), "in" | "true" | "false" | "null"));
    if segments.iter().any(reserved) {
        return None;
    }
    Some(Path { root: root.to_owned(), segments, range: start..start + trimmed.len() })
}

/// A path as a reference, or what is wrong with it.
fn reference(path: Path, presence: bool, issues: &mut Vec<ExpressionIssue>) -> Option<Reference> {
    let Path { root, segments, range } = path;
    let mut segments = segments.into_iter();
    let mut issue = |code, message: String, help: Option<String>| {
        issues.push(ExpressionIssue { code, message, help, range: range.clone() });
        None
    };
    let mut name = || match segments.next() {
        Some(Segment::Name(name)) => Some(name),
        _ => None,
    };
    let root = match root.as_str() {
        "inputs" => match name() {
            Some(name) => Root::Input(name),
            None => {
                return issue(
                    "incomplete-path",
                    "which input?".to_owned(),
                    Some("write `inputs.NAME`".to_owned()),
                );
            }
        },
        "vars" => match name() {
            Some(name) => Root::Var(name),
            None => {
                return issue(
                    "incomplete-path",
                    "which var?".to_owned(),
                    Some("write `vars.NAME`".to_owned()),
                );
            }
        },
        "run" => match name() {
            Some(field) if RUN_FIELDS.contains(&field.as_str()) => Root::Run(field),
            Some(field) => {
                let help = suggest::help(&field, RUN_FIELDS);
                return issue("unknown-field", format!("`run` has no `{field}`"), help);
            }
            None => {
                return issue(
                    "incomplete-path",
                    "which field of the run?".to_owned(),
                    suggest::help("", RUN_FIELDS),
                );
            }
        },
        "steps" => {
            let Some(id) = name() else {
                let help = Some("write `steps.ID.output` or `steps.ID.status`".to_owned());
                return issue("incomplete-path", "which step?".to_owned(), help);
            };
            match name().as_deref() {
                Some("output") => Root::StepOutput(id),
                Some("status") => Root::StepStatus(id),
                Some("effect") => Root::StepEffect(id),
                Some(other) => {
                    let help = suggest::nearest(other, STEP_FIELDS).map_or_else(
                        || format!("what it returned is in `steps.{id}.output`: `steps.{id}.output.{other}`"),
                        |near| format!("did you mean `{near}`?"),
                    );
                    return issue("unknown-field", format!("a step has no `{other}`"), Some(help));
                }
                None => {
                    let help = Some(format!(
                        "write `steps.{id}.output`, `steps.{id}.status` or `steps.{id}.effect`"
                    ));
                    return issue("incomplete-path", format!("what of step `{id}`?"), help);
                }
            }
        }
        "item" => Root::Item,
        _ => Root::Result,
    };
    Some(Reference { root, path: segments.collect(), presence, range })
}

struct Rewriter<'a> {
    source: &'a str,
    positions: &'a SourceInfo,
    /// The variables of the comprehensions around the node.
    bound: Vec<String>,
    references: Vec<Reference>,
    issues: Vec<ExpressionIssue>,
}

impl Rewriter<'_> {
    fn rewrite(&mut self, node: &mut IdedExpr) {
        if let Some((path, presence)) = self.path(node) {
            if let Some(reference) = reference(path, presence, &mut self.issues) {
                node.expr = Expr::Ident(format!("${}", self.references.len()));
                self.references.push(reference);
            }
            return;
        }
        let id = node.id;
        match &mut node.expr {
            Expr::Ident(name) => {
                let known = self.bound.iter().any(|bound| bound == name) || TYPES.contains(&name.as_str());
                if !known {
                    let name = name.clone();
                    self.unknown_name(id, &name);
                }
            }
            Expr::Call(call) => {
                let (name, arguments, method) =
                    (call.func_name.clone(), call.args.len(), call.target.is_some());
                if let Some(target) = call.target.as_deref_mut() {
                    self.rewrite(target);
                }
                for argument in &mut call.args {
                    self.rewrite(argument);
                }
                self.call(id, &name, arguments, method);
            }
            Expr::Comprehension(all) => {
                self.rewrite(&mut all.iter_range);
                self.rewrite(&mut all.accu_init);
                let before = self.bound.len();
                self.bound.push(all.accu_var.clone());
                self.bound.push(all.iter_var.clone());
                self.bound.extend(all.iter_var2.clone());
                self.rewrite(&mut all.loop_cond);
                self.rewrite(&mut all.loop_step);
                self.rewrite(&mut all.result);
                self.bound.truncate(before);
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|element| self.rewrite(element)),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let cel::common::ast::EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.rewrite(&mut entry.key);
                        self.rewrite(&mut entry.value);
                    }
                }
            }
            Expr::Select(select) => self.rewrite(&mut select.operand),
            Expr::Struct(message) => {
                let name = message.type_name.clone();
                self.issue(
                    id,
                    &name,
                    "unknown-name",
                    format!("there are no messages such as `{name}`"),
                    None,
                );
            }
            Expr::Unspecified | Expr::Literal(_) => {}
        }
    }

    /// The path that the node is, if it is one below a root.
    fn path(&self, node: &IdedExpr) -> Option<(Path, bool)> {
        let mut segments = Vec::new();
        let mut presence = false;
        let mut at = node;
        loop {
            match &at.expr {
                Expr::Ident(name) => {
                    if !ROOTS.contains(&name.as_str()) || self.bound.iter().any(|bound| bound == name) {
                        return None;
                    }
                    segments.reverse();
                    let start = byte_of(self.source, self.positions, at.id);
                    let end = end_of_path(self.source, start);
                    return Some((Path { root: name.clone(), segments, range: start..end }, presence));
                }
                Expr::Select(select) => {
                    if select.test && !std::ptr::eq(at, node) {
                        return None;
                    }
                    presence |= select.test;
                    segments.push(Segment::Name(select.field.clone()));
                    at = &select.operand;
                }
                Expr::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                    let [operand, index] = call.args.as_slice() else { return None };
                    segments.push(match &index.expr {
                        Expr::Literal(LiteralValue::String(name)) => Segment::Name(name.inner().to_owned()),
                        Expr::Literal(LiteralValue::Int(number)) => {
                            Segment::Index(usize::try_from(*number.inner()).ok()?)
                        }
                        _ => return None,
                    });
                    at = operand;
                }
                _ => return None,
            }
        }
    }

    fn call(&mut self, id: u64, name: &str, arguments: usize, method: bool) {
        let operator = !name.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if operator {
            return;
        }
        let style = if method { Style::Method } else { Style::Global };
        if let Some(function) = functions::find(name, style) {
            if !function.arguments.contains(&arguments) {
                let (least, most) = (function.arguments.start(), function.arguments.end());
                let wanted = if least == most { format!("{least}") } else { format!("{least} or {most}") };
                let noun = if *most == 1 { "argument" } else { "arguments" };
                let message = format!("`{name}` takes {wanted} {noun}, not {arguments}");
                self.issue(id, name, "wrong-arguments", message, None);
            }
            return;
        }
        if let Some((_, usage)) = functions::MACROS.iter().find(|(known, _)| *known == name) {
            let message = format!("`{name}` is not written so");
            self.issue(id, name, "wrong-arguments", message, Some(format!("write `{usage}`")));
            return;
        }
        let other = if method { Style::Global } else { Style::Method };
        let help = if matches!(name, "now" | "timestamp" | "duration" | "random" | "uuid") {
            Some("expressions have no clock and no randomness; `run.now` and `run.id` are there".to_owned())
        } else if functions::find(name, other).is_some() {
            Some(if method { format!("write `{name}(x)`") } else { format!("write `x.{name}(…)`") })
        } else {
            let known =
                functions::FUNCTIONS.iter().filter(|known| known.style == style).map(|known| known.name);
            let known: Vec<_> = known.chain(functions::MACROS.iter().map(|(known, _)| *known)).collect();
            suggest::nearest(name, known.iter().copied())
                .or_else(|| known.iter().copied().find(|known| name.len() > 2 && known.starts_with(name)))
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| Some(format!("known functions: {}", suggest::list(&known))))
        };
        self.issue(id, name, "unknown-function", format!("there is no function `{name}`"), help);
    }

    fn unknown_name(&mut self, id: u64, name: &str) {
        let roots = ROOTS.iter().copied().chain(self.bound.iter().map(String::as_str));
        let help = suggest::nearest(name, roots).map_or_else(
            || format!("an expression sees {}; a text stands in quotes: `'{name}'`", suggest::list(&ROOTS)),
            |near| format!("did you mean `{near}`?"),
        );
        self.issue(id, name, "unknown-name", format!("`{name}` is not known here"), Some(help));
    }

    fn issue(&mut self, id: u64, name: &str, code: &'static str, message: String, help: Option<String>) {
        let near = byte_of(self.source, self.positions, id);
        // A call's position is its bracket, a member's its dot: the name is close by.
        let start = (!name.is_empty()).then(|| closest(self.source, name, near)).flatten().unwrap_or(near);
        let length =
            if self.source.get(start..).is_some_and(|rest| rest.starts_with(name)) { name.len() } else { 1 };
        let end = (start + length).min(self.source.len());
        self.issues.push(ExpressionIssue { code, message, help, range: start.min(end)..end });
    }
}

fn closest(source: &str, name: &str, near: usize) -> Option<usize> {
    source.match_indices(name).map(|(at, _)| at).min_by_key(|at| at.abs_diff(near))
}

/// Where the path that begins at `start` ends in the text.
fn end_of_path(source: &str, start: usize) -> usize {
    let bytes = source.as_bytes();
    let mut at = start;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' => {
                let Some(close) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b']'))
                else {
                    break;
                };
                let inside = source.get(at + 1..at + close).unwrap_or_default();
                let literal =
                    inside.starts_with(['"', '\'']) || inside.bytes().all(|byte| byte.is_ascii_digit());
                if !literal {
                    break;
                }
                at += close + 1;
            }
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') => at += 1,
            _ => break,
        }
    }
    at.max(start)
}
