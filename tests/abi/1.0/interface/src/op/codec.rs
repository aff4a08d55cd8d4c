//! How the attributes of an operation cross the boundary: two short lists of numbers.

/// Longest list of whole numbers that one operation needs: a shape of rank 8 and the parameters beside it.
const INTS: usize = 20;
/// Longest list of real numbers.
const FLOATS: usize = 4;

/// Attributes of one call, encoded on the stack.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    ints: [i64; INTS],
    floats: [f64; FLOATS],
    int_count: usize,
    float_count: usize,
    overflow: bool,
}

impl Default for Encoded {
    fn default() -> Self {
        Encoded { ints: [0; INTS], floats: [0.0; FLOATS], int_count: 0, float_count: 0, overflow: false }
    }
}

impl Encoded {
    /// Whole numbers, in the order of the operation's fields.
    pub fn ints(&self) -> &[i64] {
        &self.ints[..self.int_count]
    }

    /// Real numbers, in the order of the operation's fields.
    pub fn floats(&self) -> &[f64] {
        &self.floats[..self.float_count]
    }

    /// True when a list (a shape of more than 8 dimensions, say) did not fit.
    pub fn overflowed(&self) -> bool {
        self.overflow
    }

    fn int(&mut self, value: i64) {
        match self.ints.get_mut(self.int_count) {
            Some(slot) => {
                *slot = value;
                self.int_count += 1;
            }
            None => self.overflow = true,
        }
    }

    fn float(&mut self, value: f64) {
        match self.floats.get_mut(self.float_count) {
            Some(slot) => {
                *slot = value;
                self.float_count += 1;
            }
            None => self.overflow = true,
        }
    }
}

/// Takes the numbers off again, in the same order.
#[derive(Debug)]
pub struct Reader<'a> {
    ints: std::slice::Iter<'a, i64>,
    floats: std::slice::Iter<'a, f64>,
}

impl<'a> Reader<'a> {
    /// A reader over both lists.
    pub fn new(ints: &'a [i64], floats: &'a [f64]) -> Self {
        Reader { ints: ints.iter(), floats: floats.iter() }
    }

    /// True when both lists were used up.
    pub fn is_empty(&self) -> bool {
        self.ints.len() == 0 && self.floats.len() == 0
    }
}

/// A field of an operation that crosses as numbers.
pub(super) trait Attribute: Sized {
    fn put(&self, to: &mut Encoded);
    fn take(from: &mut Reader<'_>) -> Option<Self>;
}

impl Attribute for usize {
    fn put(&self, to: &mut Encoded) {
        to.int(i64::try_from(*self).unwrap_or(i64::MAX));
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        usize::try_from(*from.ints.next()?).ok()
    }
}

impl Attribute for bool {
    fn put(&self, to: &mut Encoded) {
        to.int(i64::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        match from.ints.next()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Attribute for f64 {
    fn put(&self, to: &mut Encoded) {
        to.float(*self);
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        from.floats.next().copied()
    }
}

impl Attribute for super::DType {
    fn put(&self, to: &mut Encoded) {
        to.int(i64::from(*self as u32));
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        super::DType::from_code(u32::try_from(*from.ints.next()?).ok()?)
    }
}

impl Attribute for [usize; 2] {
    fn put(&self, to: &mut Encoded) {
        self.iter().for_each(|value| value.put(to));
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        Some([usize::take(from)?, usize::take(from)?])
    }
}

impl Attribute for Vec<usize> {
    fn put(&self, to: &mut Encoded) {
        self.len().put(to);
        self.iter().for_each(|value| value.put(to));
    }
    fn take(from: &mut Reader<'_>) -> Option<Self> {
        let len = usize::take(from)?;
        if len > from.ints.len() {
            return None;
        }
        (0..len).map(|_| usize::take(from)).collect()
    }
}
