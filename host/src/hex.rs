//! Hashes as text.

use sha2::{Digest, Sha256};

/// What was hashed, in hexadecimal.
pub(crate) fn hex(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
