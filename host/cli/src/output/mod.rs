//! Everything that is printed goes through here: data to standard output, talk to standard error.

pub(crate) mod lines;
pub(crate) mod printer;
pub(crate) mod safeguards;
pub(crate) mod style;
pub(crate) mod tree;

pub(crate) use printer::Printer;
pub(crate) use style::Style;
