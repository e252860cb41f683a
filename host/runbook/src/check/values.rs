//! TOML values against WIT types, with expressions in them: where a wrong value stands, to the letter.

use std::sync::Arc;

use serde_json::Value;

use super::Checker;
use super::expressions::{Context, Place};
use crate::coerce::{coerce, expected, found, snake};
use crate::expression::shape::Shape;
use crate::expression::{Piece, Template, TextPart, pieces};
use crate::node::{Entry, Kind, Node, Table, offset_in_string};
use crate::source::Span;
use crate::suggest;
use crate::wit::{Record, Type, Variant, same_name};

impl Checker<'_> {
    /// A value as a template; `None` for the type takes anything. What is wrong is reported, and the template then
    /// never used.
    pub(crate) fn template(&mut self, node: &Node, ty: Option<&Type>, context: &Context) -> Template {
        let ty = match ty {
            Some(Type::Option(inner)) => Some(&**inner),
            ty => ty,
        };
        let ty = ty.filter(|ty| !matches!(ty, Type::Json));
        match &node.kind {
            Kind::String(text) if text.contains('$') => self.text_template(node, text, ty, context),
            Kind::List(items) => self.list_template(node, items, ty, context),
            Kind::Table(table) => self.table_template(node, table, ty, context),
            _ => self.literal(node, node.to_value(), ty),
        }
    }

    fn literal(&mut self, node: &Node, value: Value, ty: Option<&Type>) -> Template {
        if let Some(ty) = ty
            && let Err(mismatch) = coerce(value.clone(), ty)
        {
            let help = match (ty, &value) {
                (Type::Enum(words), Value::String(text)) => {
                    suggest::nearest(text, words.iter().map(String::as_str))
                        .map(|near| format!("did you mean \"{near}\"?"))
                }
                (Type::Integer { .. } | Type::Float | Type::Bool, Value::String(_)) => {
                    Some("write it without quotes".to_owned())
                }
                (Type::String, Value::Number(_) | Value::Bool(_)) => Some("put it in quotes".to_owned()),
                _ => None,
            };
            let message = format!("expected {}, found {}", mismatch.expected, mismatch.found);
            self.report.error("wrong-type", node.span, message, help);
        }
        Template::Literal(value)
    }

    fn text_template(&mut self, node: &Node, text: &str, ty: Option<&Type>, context: &Context) -> Template {
        let mut parts = Vec::new();
        let mut shapes = Vec::new();
        let mut sound = true;
        for piece in pieces(text) {
            match piece {
                Piece::Literal(literal) => parts.push(TextPart::Literal(literal)),
                Piece::Expression(source, at) => {
                    let place = Place { string: node.span, base: at };
                    match self.expression_at(source, place, context) {
                        Some((expression, shape)) => {
                            shapes.push(shape);
                            parts.push(TextPart::Expression(expression));
                        }
                        None => sound = false,
                    }
                }
                Piece::Unclosed(at) => {
                    let file = self.report.text(node.span.file);
                    let start = offset_in_string(&file, node.span, at);
                    let span = Span::new(node.span.file, &(start..(start + 2).min(file.len())));
                    let help = "end it with `}`; a `${` that is meant as such is written `$${`".to_owned();
                    self.report.error("expression-syntax", span, "the expression does not end", Some(help));
                    sound = false;
                }
            }
        }
        if !sound {
            return Template::Literal(Value::Null);
        }
        match (parts.as_slice(), shapes.as_slice()) {
            ([TextPart::Expression(expression)], [shape]) => {
                if let Some(ty) = ty {
                    self.assignable(node.span, shape, ty);
                }
                Template::Expression(expression.clone())
            }
            ([], _) => self.literal(node, Value::String(String::new()), ty),
            ([TextPart::Literal(literal)], _) => self.literal(node, Value::String(literal.clone()), ty),
            _ => {
                if let Some(ty) = ty {
                    self.assignable(node.span, &Shape::Text, ty);
                }
                Template::Text(parts)
            }
        }
    }

    fn assignable(&mut self, span: Span, shape: &Shape, ty: &Type) {
        if fits(shape, ty) {
            return;
        }
        let message =
            format!("expected {}, found an expression that gives {}", expected(ty), shape.describe());
        let help = match (ty, shape) {
            (Type::String, Shape::Int | Shape::Float | Shape::Bool) => Some("write `string(…)` around it"),
            (Type::Integer { .. }, Shape::Float | Shape::Text) => Some("write `int(…)` around it"),
            _ => None,
        };
        self.report.error("wrong-type", span, message, help.map(str::to_owned));
    }

    fn list_template(
        &mut self,
        node: &Node,
        items: &[Node],
        ty: Option<&Type>,
        context: &Context,
    ) -> Template {
        let types: Vec<Option<&Type>> = match ty {
            None => vec![None; items.len()],
            Some(Type::List(item)) => vec![Some(&**item); items.len()],
            Some(Type::Tuple(types)) if types.len() == items.len() => types.iter().map(Some).collect(),
            Some(Type::Flags(words)) => return self.flags(node, items, words),
            Some(ty) => {
                let found = match ty {
                    Type::Tuple(_) => format!("a list of {}", items.len()),
                    _ => "a list".to_owned(),
                };
                let message = format!("expected {}, found {found}", expected(ty));
                self.report.error("wrong-type", node.span, message, None);
                return Template::Literal(Value::Null);
            }
        };
        let items = items.iter().zip(types).map(|(item, ty)| self.template(item, ty, context)).collect();
        joined_list(items)
    }

    fn flags(&mut self, node: &Node, items: &[Node], words: &[String]) -> Template {
        for item in items {
            let known =
                matches!(&item.kind, Kind::String(text) if crate::coerce::word(words, text).is_some());
            if !known {
                let value = item.to_value();
                let message = format!("there is no flag {}", found(&value));
                let help =
                    suggest::help(value.as_str().unwrap_or_default(), words.iter().map(String::as_str));
                self.report.error("wrong-type", item.span, message, help);
            }
        }
        Template::Literal(node.to_value())
    }

    fn table_template(
        &mut self,
        node: &Node,
        table: &Table,
        ty: Option<&Type>,
        context: &Context,
    ) -> Template {
        match ty {
            None => self.free_table(table, None, context),
            Some(Type::Map(value)) => self.free_table(table, Some(value), context),
            Some(Type::Record(record)) => self.record_template(table, record, node.span, context),
            Some(Type::Variant(variant)) => self.variant_template(table, variant, node.span, context),
            Some(ty) => {
                let message = format!("expected {}, found a table", expected(ty));
                self.report.error("wrong-type", node.span, message, None);
                Template::Literal(Value::Null)
            }
        }
    }

    fn free_table(&mut self, table: &Table, ty: Option<&Type>, context: &Context) -> Template {
        let fields = table
            .entries
            .iter()
            .map(|entry| (entry.key.value.to_string(), self.template(&entry.value, ty, context)))
            .collect();
        joined_table(fields)
    }

    /// A table for a record: no field too many, none missing, each of its type.
    pub(crate) fn record_template(
        &mut self,
        table: &Table,
        record: &Arc<Record>,
        span: Span,
        context: &Context,
    ) -> Template {
        let mut fields = Vec::with_capacity(table.entries.len());
        for entry in &table.entries {
            match record.field(&entry.key.value) {
                Some(field) => {
                    let name = snake(&field.name);
                    if fields.iter().any(|(known, _): &(String, Template)| *known == name) {
                        let message = format!("`{}` is given twice, with `-` and with `_`", entry.key.value);
                        self.report.error("duplicate-field", entry.key.span, message, None);
                    }
                    let value = self.template(&entry.value, Some(&field.ty), context);
                    fields.push((name, value));
                }
                None => self.unknown_field(entry, record),
            }
        }
        for field in &record.fields {
            if table.entries.iter().any(|entry| same_name(&field.name, &entry.key.value)) {
                continue;
            }
            let name = snake(&field.name);
            let misspelt = || {
                let unknown = table.entries.iter().filter(|entry| record.field(&entry.key.value).is_none());
                unknown.into_iter().any(|entry| suggest::nearest(&entry.key.value, [name.as_str()]).is_some())
            };
            if !field.may_be_absent() && !misspelt() {
                let message = format!("`{name}` is missing");
                let mut help = format!("`{name}` is {}", expected(&field.ty));
                if let Some(docs) = field.docs.as_deref().and_then(|docs| docs.lines().next()) {
                    help = format!("{help}. {docs}");
                }
                self.report.error("missing-field", span, message, Some(help));
            }
        }
        joined_table(fields)
    }

    fn unknown_field(&mut self, entry: &Entry, record: &Record) {
        let names: Vec<String> = record.fields.iter().map(|field| snake(&field.name)).collect();
        let message = format!("there is no field `{}` in `{}`", entry.key.value, record.name);
        let help = suggest::nearest(&entry.key.value, names.iter().map(String::as_str))
            .map_or_else(|| format!("it has {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
        self.report.error("unknown-field", entry.key.span, message, Some(help));
    }

    fn variant_template(
        &mut self,
        table: &Table,
        variant: &Variant,
        span: Span,
        context: &Context,
    ) -> Template {
        let names = || variant.cases.iter().map(|(name, _)| name.as_str());
        let [entry] = table.entries.as_slice() else {
            let message = format!("a `{}` is a table with one key", variant.name);
            let help = format!("one of {}", suggest::list(&names().collect::<Vec<_>>()));
            self.report.error("wrong-type", span, message, Some(help));
            return Template::Literal(Value::Null);
        };
        match variant.cases.iter().find(|(name, _)| same_name(name, &entry.key.value)) {
            Some((name, Some(ty))) => {
                let payload = self.template(&entry.value, Some(ty), context);
                joined_table(vec![(name.clone(), payload)])
            }
            Some((name, None)) => {
                let help = Some(format!("write \"{name}\""));
                self.report.error("wrong-type", span, format!("`{name}` takes no value"), help);
                Template::Literal(Value::Null)
            }
            None => {
                let message = format!("there is no case `{}` in `{}`", entry.key.value, variant.name);
                let help = suggest::help(&entry.key.value, names());
                self.report.error("unknown-field", entry.key.span, message, help);
                Template::Literal(Value::Null)
            }
        }
    }
}

/// A list, literal where all of it is.
fn joined_list(items: Vec<Template>) -> Template {
    if !items.iter().all(Template::is_literal) {
        return Template::List(items);
    }
    let literal = |item| match item {
        Template::Literal(value) => Some(value),
        _ => None,
    };
    Template::Literal(Value::Array(items.into_iter().filter_map(literal).collect()))
}

/// A table, literal where all of it is.
fn joined_table(fields: Vec<(String, Template)>) -> Template {
    if !fields.iter().all(|(_, value)| value.is_literal()) {
        return Template::Table(fields);
    }
    let literal = |(name, value)| match value {
        Template::Literal(value) => Some((name, value)),
        _ => None,
    };
    Template::Literal(Value::Object(fields.into_iter().filter_map(literal).collect()))
}

/// Whether a value of the shape can be what the type takes. What only the value itself can tell is let through.
fn fits(shape: &Shape, ty: &Type) -> bool {
    match (shape, ty) {
        (Shape::Any, _) | (_, Type::Json) => true,
        (shape, Type::Option(inner)) => matches!(shape, Shape::Null) || fits(shape, inner),
        (Shape::Bool, Type::Bool) => true,
        (Shape::Int, Type::Integer { .. } | Type::Float | Type::Duration | Type::ByteSize) => true,
        (Shape::Float, Type::Float) => true,
        (
            Shape::Text | Shape::Words(_),
            Type::String
            | Type::Char
            | Type::Bytes
            | Type::Timestamp
            | Type::SecretName
            | Type::Enum(_)
            | Type::Variant(_)
            | Type::Duration
            | Type::ByteSize,
        ) => true,
        (Shape::List(item), Type::List(ty)) => fits(item, ty),
        (Shape::List(_), Type::Tuple(_) | Type::Flags(_)) => true,
        (Shape::Map(value), Type::Map(ty)) => fits(value, ty),
        (Shape::Map(_) | Shape::Record(_), Type::Record(_) | Type::Variant(_)) => true,
        (Shape::Record(record), Type::Map(ty)) => {
            record.fields.iter().all(|field| fits(&Shape::of(&field.ty), ty))
        }
        _ => false,
    }
}
