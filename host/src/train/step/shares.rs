//! What each piece of an update counts: as much as it has samples.

/// Samples of the pieces of the running update, in those of its first one.
#[derive(Debug, Default)]
pub(super) struct Shares {
    first: usize,
    sum: f64,
}

impl Shares {
    /// What a piece of so many samples counts beside the first one, which counts 1.
    pub(super) fn add(&mut self, samples: usize) -> f64 {
        if self.first == 0 {
            self.first = samples.max(1);
        }
        let share = samples as f64 / self.first as f64;
        self.sum += share;
        share
    }

    /// What a sum over `pieces` that were each divided by their number is to be multiplied by: 1 where all have as many samples.
    pub(super) fn rest(&self, pieces: usize) -> f64 {
        pieces as f64 / self.sum
    }

    /// Whether no piece had a sample so far.
    pub(super) fn is_empty(&self) -> bool {
        self.first == 0
    }

    /// The next update begins.
    pub(super) fn clear(&mut self) {
        *self = Shares::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn shares_of_uneven_pieces_give_the_mean_over_samples() {
        // Means 1, 2 and 4 over 2, 3 and 1 samples: (2 + 6 + 4) / 6.
        let mut shares = Shares::default();
        let sum: f64 =
            [(1.0, 2), (2.0, 3), (4.0, 1)].map(|(mean, samples)| mean * shares.add(samples) / 3.0).iter().sum();
        assert!((sum * shares.rest(3) - 2.0).abs() < 1e-15);
        shares.clear();
        assert_eq!((shares.add(7), shares.add(7), shares.rest(2)), (1.0, 1.0, 1.0));
    }
}
