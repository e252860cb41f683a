//! Programs for guests. [`policy`] decides, [`child`] starts and watches, [`launcher`] is what runs in between in a
//! process of its own, [`libpq`] gives a program its database, [`identity`] tells processes apart, [`host`] ties them to
//! a call.

mod child;
mod host;
mod identity;
mod launcher;
mod libpq;
mod policy;

#[cfg(test)]
mod database_tests;
#[cfg(test)]
mod tests;

pub use identity::process_group_is_gone;
pub use launcher::launcher_main;
