//! A search through all of the guest's own memory, stack and freed heap included.

use windlass_sdk::Failure;

use crate::bindings::exports::windlass::hostile::attacks::{Searched, Wanted};
use crate::request;

/// The base of the rolling hash; any odd number with well-mixed bits will do, and the tests know this one.
const BASE: u64 = 1_099_511_628_211;

/// Counts the places at which a text with this hash stands.
pub(crate) fn search(wanted: &Wanted) -> Result<Searched, Failure> {
    if let Some(first) = &wanted.first {
        let answer = request::send(first)?;
        if answer.status >= 400 {
            return Err(Failure::new("not-answered", format!("status {}", answer.status)));
        }
    }
    let length = wanted.length as usize;
    if length == 0 {
        return Err(Failure::invalid_input("`length` must be at least 1"));
    }
    // What leaves the window has been multiplied by the base this often.
    let oldest = (0..length - 1).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut window = vec![0_u8; length];
    let (mut hash, mut found) = (0_u64, 0);
    let size = size();
    for address in 1..size {
        let place = address % length;
        let leaving = window.get(place).copied().unwrap_or_default();
        let byte = byte(address);
        hash = hash.wrapping_sub(oldest.wrapping_mul(u64::from(leaving)));
        hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(byte));
        if let Some(slot) = window.get_mut(place) {
            *slot = byte;
        }
        found += u32::from(address >= length && hash >> 1 == wanted.hash);
    }
    Ok(Searched { found, bytes: size as u64 })
}

#[cfg(target_arch = "wasm32")]
fn size() -> usize {
    core::arch::wasm32::memory_size(0) * 64 * 1024
}

/// The byte at an address of the linear memory.
#[cfg(target_arch = "wasm32")]
fn byte(address: usize) -> u8 {
    // SAFETY: the address is below the size of the memory, all of which may be read; the read is volatile, since the
    // compiler knows nothing of what lies there.
    unsafe { core::ptr::read_volatile(address as *const u8) }
}

#[cfg(not(target_arch = "wasm32"))]
fn size() -> usize {
    0
}

#[cfg(not(target_arch = "wasm32"))]
fn byte(_: usize) -> u8 {
    0
}
