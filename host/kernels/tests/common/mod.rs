//! Random cases and comparisons.
#![allow(dead_code, unreachable_pub)]

/// SplitMix64: the same cases on each run.
pub struct Cases(u64);

impl Cases {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `from..=to`.
    pub fn whole(&mut self, from: usize, to: usize) -> usize {
        from + (self.next() % (to - from + 1) as u64) as usize
    }

    pub fn pair(&mut self, from: usize, to: usize) -> [usize; 2] {
        [self.whole(from, to), self.whole(from, to)]
    }

    /// Uniform in -1 to 1.
    pub fn real(&mut self) -> f64 {
        self.next() as f64 / u64::MAX as f64 * 2.0 - 1.0
    }

    pub fn reals(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.real()).collect()
    }
}

pub fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

pub fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[track_caller]
pub fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let error = (got - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "{what}: element {index} is {got}, expected {want}");
    }
}

/// Central differences of `scalar` at `x` against `grad`.
#[track_caller]
pub fn assert_gradient(x: &[f64], grad: &[f64], tolerance: f64, scalar: impl Fn(&[f64]) -> f64) {
    let step = 1e-6;
    let mut moved = x.to_vec();
    for at in 0..x.len() {
        moved[at] = x[at] + step;
        let above = scalar(&moved);
        moved[at] = x[at] - step;
        let below = scalar(&moved);
        moved[at] = x[at];
        let want = (above - below) / (2.0 * step);
        let error = (grad[at] - want).abs();
        assert!(error <= tolerance * (1.0 + want.abs()), "element {at}: {} against {want}", grad[at]);
    }
}

/// Runs `task` in a pool of `threads` threads.
pub fn with_threads<R: Send>(threads: usize, task: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(task)
}
