//! The walk over CEL's tree that cuts out the paths and refuses what is not known.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::functions::{self, Style};
use super::path::{Path, ROOTS, end_of_path, reference};
use super::syntax::ExpressionIssue;
use super::{Reference, Segment};
use crate::suggest;

/// The types that can be compared with `type(x)`.
const TYPES: [&str; 9] = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type"];

pub(super) struct Rewriter<'a> {
    pub(super) source: &'a str,
    pub(super) positions: &'a SourceInfo,
    /// The variables of the comprehensions around the node.
    pub(super) bound: Vec<String>,
    pub(super) references: Vec<Reference>,
    pub(super) issues: Vec<ExpressionIssue>,
}

impl Rewriter<'_> {
    pub(super) fn rewrite(&mut self, node: &mut IdedExpr) {
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

pub(super) fn closest(source: &str, name: &str, near: usize) -> Option<usize> {
    source.match_indices(name).map(|(at, _)| at).min_by_key(|at| at.abs_diff(near))
}

pub(super) fn byte_of(source: &str, positions: &SourceInfo, id: u64) -> usize {
    let characters = positions.offset_for(id).map_or(0, |(start, _)| start as usize);
    source.char_indices().nth(characters).map_or(source.len(), |(offset, _)| offset)
}
