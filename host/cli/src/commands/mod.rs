//! One file per command: what it is asked, what it does, what it prints.

pub(crate) mod approve;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod daemon;
pub(crate) mod drive;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod preview;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod test;
pub(crate) mod verbs;
pub(crate) mod verify;
