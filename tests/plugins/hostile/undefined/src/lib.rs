//! Calls a function that no library defines, so that opening it fails.

/// A preamble by hand, field by field as the interface freezes them.
#[repr(C)]
pub struct Preamble {
    magic: [u8; 8],
    abi: [u32; 2],
    pointer_bits: u8,
    unwinds: u8,
    reserved: [u8; 6],
    name: [u8; 64],
    version: [u8; 32],
    built_with: [u8; 96],
}

const fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    let mut i = 0;
    while i < text.len() && i < N {
        out[i] = text[i];
        i += 1;
    }
    out
}

/// Read by the host.
#[unsafe(no_mangle)]
pub static STILLHOUSE_PREAMBLE: Preamble = Preamble {
    magic: *b"STILLHSE",
    abi: [1, 0],
    pointer_bits: usize::BITS as u8,
    unwinds: 1,
    reserved: [0; 6],
    name: padded(b"hostile-undefined"),
    version: padded(b"0.1.0"),
    built_with: padded(b"a text editor"),
};

/// Stands in for a header, which is never read: the library cannot be opened.
#[unsafe(no_mangle)]
pub static STILLHOUSE_HEADER: [usize; 256] = [1; 256];

unsafe extern "C" {
    fn stillhouse_symbol_that_nobody_has() -> u32;
}

/// Needs the missing function.
#[unsafe(no_mangle)]
pub extern "C" fn hostile_undefined_answer() -> u32 {
    // SAFETY: never reached, since the library cannot be opened.
    unsafe { stillhouse_symbol_that_nobody_has() }
}
