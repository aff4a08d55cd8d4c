//! The part of a plugin that a host reads from the file, before the operating system maps it.

/// First bytes of every [`Preamble`].
pub const MAGIC: [u8; 8] = *b"STILLHSE";

/// What a plugin file says of itself. The layout is frozen for all versions; every field is inline, so that the bytes in the
/// file are the bytes in memory. Text is UTF-8, padded with zeros.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Preamble {
    pub magic: [u8; 8],
    pub abi_major: u32,
    pub abi_minor: u32,
    pub pointer_bits: u8,
    /// 1 when a panic unwinds, 0 when it aborts the process.
    pub unwinds: u8,
    pub reserved: [u8; 6],
    pub name: [u8; 64],
    pub version: [u8; 32],
    pub built_with: [u8; 96],
}

impl Preamble {
    /// Bytes that a preamble occupies.
    pub const SIZE: usize = std::mem::size_of::<Preamble>();

    /// The preamble of the crate that is being compiled. `unwinds` is `cfg!(panic = "unwind")` of that crate.
    pub const fn of(name: &str, version: &str, unwinds: bool) -> Preamble {
        Preamble {
            magic: MAGIC,
            abi_major: super::ABI_MAJOR,
            abi_minor: super::ABI_MINOR,
            pointer_bits: (std::mem::size_of::<usize>() * 8) as u8,
            unwinds: unwinds as u8,
            reserved: [0; 6],
            name: padded(name),
            version: padded(version),
            built_with: padded(env!("STILLHOUSE_BUILT_WITH")),
        }
    }

    /// The preamble in these bytes of a file of this machine's byte order; `None` when there are too few.
    pub fn parse(bytes: &[u8]) -> Option<Preamble> {
        let mut rest = bytes;
        let mut take = |n: usize| -> Option<&[u8]> {
            let (head, tail) = rest.split_at_checked(n)?;
            rest = tail;
            Some(head)
        };
        let magic = take(8)?.try_into().ok()?;
        let abi_major = u32::from_ne_bytes(take(4)?.try_into().ok()?);
        let abi_minor = u32::from_ne_bytes(take(4)?.try_into().ok()?);
        let (pointer_bits, unwinds) = (take(1)?[0], take(1)?[0]);
        Some(Preamble {
            magic,
            abi_major,
            abi_minor,
            pointer_bits,
            unwinds,
            reserved: take(6)?.try_into().ok()?,
            name: take(64)?.try_into().ok()?,
            version: take(32)?.try_into().ok()?,
            built_with: take(96)?.try_into().ok()?,
        })
    }

    /// The text of a padded field; bytes that are no UTF-8 are replaced.
    pub fn text(field: &[u8]) -> String {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).into_owned()
    }
}

/// `text` in `N` bytes, cut or padded with zeros.
pub const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut out = [0; N];
    let mut i = 0;
    while i < bytes.len() && i < N {
        out[i] = bytes[i];
        i += 1;
    }
    out
}
