//! How large a value is as JSON, without writing it anywhere.

use std::io;

use serde::Serialize;

/// What a run keeps of one output or one plan.
pub(crate) const CAP: u64 = 1024 * 1024;

struct Counter(u64);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Its bytes as JSON.
pub(crate) fn json_bytes(value: &impl Serialize) -> u64 {
    let mut counter = Counter(0);
    // Counting can't fail; what can't be serialised is over any cap.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => u64::MAX,
    }
}
