//! Version 99 of the interface, of which this host knows nothing but the preamble.

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
    abi: [99, 7],
    pointer_bits: usize::BITS as u8,
    unwinds: 1,
    reserved: [0; 6],
    name: padded(b"hostile-major"),
    version: padded(b"0.1.0"),
    built_with: padded(b"a text editor"),
};
