//! Random bytes, from the host. Natively, in tests, they are not random but distinct from call to call.

/// `count` bytes fit for keys.
#[must_use]
pub fn bytes(count: usize) -> Vec<u8> {
    #[cfg(target_arch = "wasm32")]
    {
        crate::bindings::wasi::random::random::get_random_bytes(count as u64)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        use std::sync::atomic::{AtomicU64, Ordering};
        static CALLS: AtomicU64 = AtomicU64::new(1);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        call.to_le_bytes().into_iter().cycle().take(count).collect()
    }
}

/// `count` bytes as twice as many lower-case hex digits.
#[must_use]
pub fn hex(count: usize) -> String {
    crate::digest::hex(&bytes(count))
}
