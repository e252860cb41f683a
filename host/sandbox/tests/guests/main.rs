//! Plugins of every kind against a real sandbox: what works, and how everything else ends.

mod call;
mod guest;
mod hostile;
mod load;
