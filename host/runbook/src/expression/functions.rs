//! The functions an expression may call: the standard ones of CEL and its string extension.
//!
//! A list of our own, since CEL finds an unknown function only when it calls it.

use super::shape::Shape;

/// How a function is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `size(x)`
    Global,
    /// `x.size()`
    Method,
}

/// A function: name, style, least and most arguments (the target not counted), what it returns.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) style: Style,
    pub(crate) arguments: std::ops::RangeInclusive<usize>,
    pub(crate) returns: fn() -> Shape,
}

const fn function(
    name: &'static str,
    style: Style,
    arguments: std::ops::RangeInclusive<usize>,
    returns: fn() -> Shape,
) -> Function {
    Function { name, style, arguments, returns }
}

const fn int() -> Shape {
    Shape::Int
}
const fn float() -> Shape {
    Shape::Float
}
const fn text() -> Shape {
    Shape::Text
}
const fn truth() -> Shape {
    Shape::Bool
}
const fn any() -> Shape {
    Shape::Any
}
fn texts() -> Shape {
    Shape::list(Shape::Text)
}

/// All of them.
pub(crate) static FUNCTIONS: &[Function] = &[
    function("size", Style::Global, 1..=1, int),
    function("int", Style::Global, 1..=1, int),
    function("uint", Style::Global, 1..=1, int),
    function("double", Style::Global, 1..=1, float),
    function("string", Style::Global, 1..=1, text),
    function("bytes", Style::Global, 1..=1, any),
    function("bool", Style::Global, 1..=1, truth),
    function("type", Style::Global, 1..=1, any),
    function("dyn", Style::Global, 1..=1, any),
    function("size", Style::Method, 0..=0, int),
    function("contains", Style::Method, 1..=1, truth),
    function("startsWith", Style::Method, 1..=1, truth),
    function("endsWith", Style::Method, 1..=1, truth),
    function("matches", Style::Method, 1..=1, truth),
    function("charAt", Style::Method, 1..=1, text),
    function("indexOf", Style::Method, 1..=2, int),
    function("lastIndexOf", Style::Method, 1..=2, int),
    function("join", Style::Method, 0..=1, text),
    function("lowerAscii", Style::Method, 0..=0, text),
    function("upperAscii", Style::Method, 0..=0, text),
    function("trim", Style::Method, 0..=0, text),
    function("replace", Style::Method, 2..=3, text),
    function("split", Style::Method, 1..=2, texts),
    function("substring", Style::Method, 1..=2, text),
    function("reverse", Style::Method, 0..=0, text),
];

/// The macros, as one writes them: they are no calls any more once parsed, unless written wrongly.
pub(crate) static MACROS: &[(&str, &str)] = &[
    ("has", "has(a.b)"),
    ("all", "list.all(x, condition)"),
    ("exists", "list.exists(x, condition)"),
    ("exists_one", "list.exists_one(x, condition)"),
    ("map", "list.map(x, expression)"),
    ("filter", "list.filter(x, condition)"),
];

/// The function that is called so.
pub(crate) fn find(name: &str, style: Style) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name && function.style == style)
}
