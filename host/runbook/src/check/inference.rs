//! Static types of expressions: what every operator and function is given, and what comes out.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::Checker;
use super::expressions::{Place, expression_field};
use crate::expression::shape::Shape;
use crate::expression::{Expression, FunctionStyle, find_function, reference_index};
use crate::suggest;

/// The bytes of the word, number, string or sign that a text begins with.
fn token_length(text: &str) -> usize {
    let Some(first) = text.chars().next() else { return 1 };
    if matches!(first, '"' | '\'') {
        return text.get(1..).and_then(|rest| rest.find(first)).map_or(text.len(), |at| at + 2);
    }
    let word = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let sign = text.bytes().take_while(|byte| b"<>=!&|".contains(byte)).count();
    word.max(sign).max(first.len_utf8())
}

/// The walk over one expression's tree.
pub(super) struct Inference<'c, 'd, 'e> {
    checker: &'c mut Checker<'d>,
    expression: &'e Expression,
    place: Place,
    /// By reference.
    shapes: Vec<Shape>,
    /// The variables of the comprehensions around, innermost last.
    bound: Vec<(&'e str, Shape)>,
    pub(super) sound: bool,
}

impl<'c, 'd, 'e> Inference<'c, 'd, 'e> {
    /// An expression of which the references' shapes are known.
    pub(super) const fn new(
        checker: &'c mut Checker<'d>,
        expression: &'e Expression,
        place: Place,
        shapes: Vec<Shape>,
    ) -> Self {
        Self { checker, expression, place, shapes, bound: Vec::new(), sound: true }
    }

    /// The shape of a node; what does not fit is reported.
    pub(super) fn infer(&mut self, node: &'e IdedExpr) -> Shape {
        match &node.expr {
            Expr::Ident(name) => self.name(name),
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Shape::Bool,
                LiteralValue::Double(_) => Shape::Float,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Shape::Int,
                LiteralValue::Null => Shape::Null,
                LiteralValue::String(_) => Shape::Text,
                LiteralValue::Bytes(_) => Shape::Any,
            },
            Expr::List(list) => {
                let items: Vec<Shape> = list.elements.iter().map(|element| self.infer(element)).collect();
                Shape::list(items.into_iter().reduce(Shape::join).unwrap_or(Shape::Any))
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let cel::common::ast::EntryExpr::MapEntry(entry) = &entry.expr {
                        self.infer(&entry.key);
                        self.infer(&entry.value);
                    }
                }
                Shape::map(Shape::Any)
            }
            Expr::Select(select) => {
                let operand = self.infer(&select.operand);
                if select.test { Shape::Bool } else { self.select(node.id, operand, &select.field) }
            }
            Expr::Comprehension(all) => {
                let item = match self.infer(&all.iter_range) {
                    Shape::List(item) => *item,
                    Shape::Map(_) | Shape::Record(_) => Shape::Text,
                    Shape::Any => Shape::Any,
                    other => {
                        let message = format!("{} has no items to go through", other.describe());
                        return self.wrong(all.iter_range.id, message);
                    }
                };
                let start = self.infer(&all.accu_init);
                let depth = self.bound.len();
                self.bound.push((&all.accu_var, start));
                self.bound.push((&all.iter_var, item));
                if let Some(second) = &all.iter_var2 {
                    self.bound.push((second, Shape::Any));
                }
                self.infer(&all.loop_cond);
                self.infer(&all.loop_step);
                let result = self.infer(&all.result);
                self.bound.truncate(depth);
                result
            }
            Expr::Call(call) => {
                let target = call.target.as_deref().map(|target| self.infer(target));
                let arguments: Vec<Shape> = call.args.iter().map(|argument| self.infer(argument)).collect();
                self.call(node, &call.func_name, target.as_ref(), &arguments, &call.args)
            }
            Expr::Struct(_) | Expr::Unspecified => Shape::Any,
        }
    }

    fn name(&self, name: &str) -> Shape {
        if let Some(index) = reference_index(name) {
            return self.shapes.get(index).cloned().unwrap_or(Shape::Any);
        }
        let bound = self.bound.iter().rev().find(|(bound, _)| *bound == name);
        bound.map_or(Shape::Any, |(_, shape)| shape.clone())
    }

    fn select(&mut self, id: u64, operand: Shape, field: &str) -> Shape {
        match operand {
            Shape::Any => Shape::Any,
            Shape::Map(value) => *value,
            Shape::Record(record) => match expression_field(&record, field) {
                Some(field) => Shape::of(&field.ty),
                None => self.wrong(id, format!("a `{}` has no field `{field}`", record.name)),
            },
            other => self.wrong(id, format!("{} has no field `{field}`", other.describe())),
        }
    }

    fn call(
        &mut self,
        node: &'e IdedExpr,
        name: &str,
        target: Option<&Shape>,
        arguments: &[Shape],
        nodes: &'e [IdedExpr],
    ) -> Shape {
        match (name, arguments) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, sides) => {
                for (shape, side) in sides.iter().zip(nodes) {
                    self.truth(shape, side);
                }
                Shape::Bool
            }
            (operators::LOGICAL_NOT, [operand]) => {
                if let [side] = nodes {
                    self.truth(operand, side);
                }
                Shape::Bool
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                if let Some(side) = nodes.first() {
                    self.truth(condition, side);
                }
                yes.clone().join(no.clone())
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                self.equality(node, left, right, nodes);
                Shape::Bool
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let ordered = |shape: &Shape| {
                    matches!(shape, Shape::Any | Shape::Int | Shape::Float | Shape::Text | Shape::Words(_))
                };
                if !ordered(left) || !ordered(right) || !left.comparable(right) {
                    let message = format!("{} and {} have no order", left.describe(), right.describe());
                    self.wrong(node.id, message);
                }
                Shape::Bool
            }
            (operators::IN, [left, right]) => {
                match right {
                    Shape::Any | Shape::Map(_) | Shape::Record(_) => {}
                    Shape::List(item) if item.comparable(left) => self.words_in_list(left, nodes),
                    Shape::List(item) => {
                        let message = format!(
                            "{} is never in a list of which an item is {}",
                            left.describe(),
                            item.describe()
                        );
                        self.wrong(node.id, message);
                    }
                    other => {
                        self.wrong(node.id, format!("nothing is `in` {}", other.describe()));
                    }
                }
                Shape::Bool
            }
            (operators::INDEX, [operand, _]) => match operand {
                Shape::List(item) => (**item).clone(),
                Shape::Map(value) => (**value).clone(),
                Shape::Any | Shape::Record(_) => Shape::Any,
                other => self.wrong(node.id, format!("{} has no items", other.describe())),
            },
            (operators::NEGATE, [operand]) => operand.clone(),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [left, right],
            ) => self.arithmetic(node, name, left, right),
            _ => self.function(node, name, target, arguments),
        }
    }

    fn arithmetic(&mut self, node: &'e IdedExpr, name: &str, left: &Shape, right: &Shape) -> Shape {
        match (left, right) {
            (Shape::Any, _) | (_, Shape::Any) => Shape::Any,
            (Shape::Int, Shape::Int) => Shape::Int,
            (Shape::Float, Shape::Float) if name != operators::MODULO => Shape::Float,
            (Shape::Text | Shape::Words(_), Shape::Text | Shape::Words(_)) if name == operators::ADD => {
                Shape::Text
            }
            (Shape::List(a), Shape::List(b)) if name == operators::ADD => {
                Shape::list((**a).clone().join((**b).clone()))
            }
            (left, right) => {
                let sign = name.trim_matches('_');
                let message = format!("`{sign}` does not take {} and {}", left.describe(), right.describe());
                let help = match (left, right) {
                    (Shape::Int, Shape::Float) | (Shape::Float, Shape::Int) => {
                        Some("make both floats: `double(x)`, `2.0`")
                    }
                    (Shape::Text | Shape::Words(_), _) | (_, Shape::Text | Shape::Words(_))
                        if name == operators::ADD =>
                    {
                        Some("make a string of the other: `string(x)`")
                    }
                    _ => None,
                };
                self.wrong_with(node.id, message, help.map(str::to_owned))
            }
        }
    }

    fn function(
        &mut self,
        node: &'e IdedExpr,
        name: &str,
        target: Option<&Shape>,
        arguments: &[Shape],
    ) -> Shape {
        let style = if target.is_some() { FunctionStyle::Method } else { FunctionStyle::Global };
        let Some(function) = find_function(name, style) else { return Shape::Any };
        let subject = target.or_else(|| arguments.first()).unwrap_or(&Shape::Any);
        let text = |shape: &Shape| matches!(shape, Shape::Text | Shape::Words(_) | Shape::Any);
        let fits = match (name, style) {
            ("size", _) => {
                text(subject) || matches!(subject, Shape::List(_) | Shape::Map(_) | Shape::Record(_))
            }
            ("join", _) => matches!(subject, Shape::List(_) | Shape::Any),
            (_, FunctionStyle::Method) => text(subject),
            ("int" | "double" | "uint", _) => text(subject) || matches!(subject, Shape::Int | Shape::Float),
            ("string", _) => text(subject) || matches!(subject, Shape::Int | Shape::Float | Shape::Bool),
            _ => true,
        };
        if !fits {
            let message = format!("`{name}` does not take {}", subject.describe());
            let help = matches!((name, subject), ("contains", Shape::List(_)))
                .then(|| "write `x in list`".to_owned());
            return self.wrong_with(node.id, message, help);
        }
        (function.returns)()
    }

    fn truth(&mut self, shape: &Shape, node: &'e IdedExpr) {
        if !matches!(shape, Shape::Bool | Shape::Any) {
            let message = format!("expected true or false, found {}", shape.describe());
            self.wrong(node.id, message);
        }
    }

    fn equality(&mut self, node: &'e IdedExpr, left: &Shape, right: &Shape, nodes: &'e [IdedExpr]) {
        if !left.comparable(right) {
            let message = format!("{} never equals {}", left.describe(), right.describe());
            self.wrong(node.id, message);
            return;
        }
        if let [a, b] = nodes {
            self.known_word(left, b);
            self.known_word(right, a);
        }
    }

    fn words_in_list(&mut self, left: &Shape, nodes: &'e [IdedExpr]) {
        if let [_, list] = nodes
            && let Expr::List(list) = &list.expr
        {
            for element in &list.elements {
                self.known_word(left, element);
            }
        }
    }

    /// A text compared with a closed set must be in it.
    fn known_word(&mut self, shape: &Shape, node: &'e IdedExpr) {
        let Shape::Words(words) = shape else { return };
        let Expr::Literal(LiteralValue::String(literal)) = &node.expr else { return };
        let literal = literal.inner();
        if !words.iter().any(|word| word == literal) {
            let message = format!("this is never \"{literal}\"");
            let help = suggest::help(literal, words.iter().map(String::as_str));
            self.wrong_with(node.id, message, help);
        }
    }

    fn wrong(&mut self, id: u64, message: String) -> Shape {
        self.wrong_with(id, message, None)
    }

    fn wrong_with(&mut self, id: u64, message: String, help: Option<String>) -> Shape {
        let source = self.expression.source();
        let start = self.expression.0.position(id).min(source.len().saturating_sub(1));
        let end = start + token_length(source.get(start..).unwrap_or_default());
        let part = self.checker.span_in(self.place, &(start..end));
        self.checker.report.error("wrong-type", part, message, help);
        self.sound = false;
        Shape::Any
    }
}
