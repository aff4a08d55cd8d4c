//! Numbers that come back from a file as they were, to the bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that is written by its bits: what is read is what was written, numbers that are not finite included.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exact(pub f64);

impl PartialEq for Exact {
    fn eq(&self, other: &Exact) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl From<f64> for Exact {
    fn from(value: f64) -> Exact {
        Exact(value)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.to_bits().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Exact, D::Error> {
        u64::deserialize(from).map(f64::from_bits).map(Exact)
    }
}

#[cfg(test)]
mod tests {
    use super::Exact;

    #[test]
    fn exact_numbers_come_back_to_the_bit() {
        let all = [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 8.0, f64::NEG_INFINITY, f64::NAN, 1e300].map(Exact);
        let text = serde_json::to_string(&all).expect("is written");
        assert_eq!(serde_json::from_str::<[Exact; 6]>(&text).expect("is read"), all);
    }
}
