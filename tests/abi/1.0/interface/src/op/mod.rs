//! The vocabulary of tensor operations: what may be asked of a host, by number and by name.
//!
//! An operation crosses the boundary as its code, its name and two short lists of numbers (see [`Encoded`]). Codes are only
//! ever appended; the meaning of one, its gradient at kinks included, never changes. Hosts decode a call to [`Op`] and either
//! infer the result's [`Meta`] ([`Op::infer`]) or compute.

mod codec;
mod infer;
mod kinds;

pub use codec::{Encoded, Reader};
pub use kinds::Op;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    /// 32-bit float, the type that trains.
    F32 = 0,
    /// 64-bit float, for checks.
    F64 = 1,
    /// 64-bit signed integer: labels and indices.
    I64 = 2,
    /// 8-bit unsigned integer.
    U8 = 3,
}

impl DType {
    /// The type of this code.
    pub fn from_code(code: u32) -> Option<DType> {
        [DType::F32, DType::F64, DType::I64, DType::U8].into_iter().find(|kind| *kind as u32 == code)
    }

    /// True for the types that can carry a gradient.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 | DType::I64 => 8,
            DType::U8 => 1,
        }
    }

    /// Short name, as error messages print it.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U8 => "u8",
        }
    }
}

/// Shape and element type of a tensor: what a symbolic handle knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: DType,
}

impl Meta {
    /// A description from its parts.
    pub fn new(shape: impl Into<Vec<usize>>, dtype: DType) -> Meta {
        Meta { shape: shape.into(), dtype }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

impl std::fmt::Display for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.shape, self.dtype.name())
    }
}
