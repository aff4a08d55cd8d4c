//! Elementwise functions together: values and gradients of the formula, whatever the shape, the parts, and the threads.

mod common;

use common::Cases;
use stillhouse_kernels::fusion::{Back, Columns, Elementwise, Fusion, Step, Wanted};

struct Product;
struct Square;
struct Sign;

impl Elementwise<f64> for Product {
    fn arity(&self) -> usize {
        2
    }

    fn value(&self, [a, b]: [&[f64]; 2], out: &mut [f64]) {
        (0..out.len()).for_each(|i| out[i] = a[i] * b[i]);
    }

    fn slope(&self, which: usize, call: Back<'_, f64>, to: &mut [f64]) {
        (0..to.len()).for_each(|i| to[i] = call.grad[i] * call.ins[1 - which][i]);
    }
}

impl Elementwise<f64> for Square {
    fn arity(&self) -> usize {
        1
    }

    fn value(&self, [x, _]: [&[f64]; 2], out: &mut [f64]) {
        (0..out.len()).for_each(|i| out[i] = x[i] * x[i]);
    }

    fn slope(&self, _: usize, call: Back<'_, f64>, to: &mut [f64]) {
        (0..to.len()).for_each(|i| to[i] = call.grad[i] * 2.0 * call.ins[0][i]);
    }
}

impl Elementwise<f64> for Sign {
    fn arity(&self) -> usize {
        1
    }

    fn is_smooth(&self) -> bool {
        false
    }

    fn value(&self, [x, _]: [&[f64]; 2], out: &mut [f64]) {
        (0..out.len()).for_each(|i| out[i] = x[i].signum());
    }

    fn slope(&self, _: usize, _: Back<'_, f64>, _: &mut [f64]) {
        panic!("it has no gradient");
    }
}

/// Of `x` and `y`, columns of a matrix `[rows, 3 width + 1]`, and a whole `z`: `p = x y`, `q = p^2 sign(z)`, `r = q p z`.
struct Case {
    rows: usize,
    width: usize,
    wide: Vec<f64>,
    z: Vec<f64>,
    grads: [Vec<f64>; 2],
}

impl Case {
    fn new(rows: usize, width: usize) -> Case {
        let mut rng = Cases::new((rows * 31 + width) as u64);
        let mut some = |len: usize| (0..len).map(|_| rng.real()).collect::<Vec<f64>>();
        let (wide, z) = (some(rows * (3 * width + 1)), some(rows * width));
        Case { rows, width, wide, z, grads: [some(rows * width), some(rows * width)] }
    }

    fn fusion(&self) -> Fusion<'_, f64> {
        let stride = 3 * self.width + 1;
        let part = |start| Columns { data: self.wide.as_slice(), stride, start };
        let step = |function, ins| Step { function, ins };
        Fusion {
            rows: self.rows,
            width: self.width,
            inputs: vec![part(2 * self.width), part(1), Columns { data: &self.z, stride: self.width, start: 0 }],
            steps: vec![
                step(&Product, [0, 1]),
                step(&Square, [3, 3]),
                step(&Sign, [2, 2]),
                step(&Product, [4, 5]),
                step(&Product, [6, 3]),
                step(&Product, [7, 2]),
            ],
        }
    }

    /// `x`, `y`, `z` of an element, and where the first two are.
    fn element(&self, at: usize) -> ([f64; 3], [usize; 2]) {
        let row = at / self.width * (3 * self.width + 1) + at % self.width;
        let places = [row + 2 * self.width, row + 1];
        ([self.wide[places[0]], self.wide[places[1]], self.z[at]], places)
    }

    fn check(&self) {
        let made = self.fusion().forward(&[6, 8]);
        let wide = Wanted { stride: 3 * self.width + 1, parts: vec![(0, 2 * self.width), (1, 1)] };
        let whole = Wanted { stride: self.width, parts: vec![(2, 0)] };
        let grads = self.fusion().backward(&[(6, &self.grads[0]), (8, &self.grads[1])], &[wide, whole]);
        let mut of_wide = vec![0.0; self.wide.len()];
        for at in 0..self.rows * self.width {
            let ([x, y, z], places) = self.element(at);
            let (p, sign, [gq, gr]) = (x * y, z.signum(), [self.grads[0][at], self.grads[1][at]]);
            let near = |got: f64, want: f64| assert!((got - want).abs() <= 1e-13 * (1.0 + want.abs()), "{got}, {want}");
            near(made[0][at], p * p * sign);
            near(made[1][at], p * p * p * sign * z);
            let gp = gq * 2.0 * p * sign + gr * 3.0 * p * p * sign * z;
            (of_wide[places[0]], of_wide[places[1]]) = (gp * y, gp * x);
            near(grads[1][at], gr * p * p * p * sign);
        }
        for (got, want) in grads[0].iter().zip(&of_wide) {
            assert!((got - want).abs() <= 1e-13 * (1.0 + want.abs()), "{got}, {want}");
        }
    }
}

#[test]
fn values_and_gradients_are_those_of_the_formula() {
    for (rows, width) in [(1, 1), (1, 511), (3, 512), (2, 513), (1000, 7), (5, 4099), (20_011, 1), (300, 64)] {
        Case::new(rows, width).check();
    }
}

#[test]
fn columns_of_no_part_and_values_without_a_path_get_zero() {
    let case = Case::new(700, 13);
    let wide = Wanted { stride: 40, parts: vec![(1, 1)] };
    let whole = Wanted { stride: 13, parts: vec![(2, 0)] };
    let found = case.fusion().backward(&[(6, &case.grads[0])], &[wide, whole]);
    assert!(found[1].iter().all(|grad| *grad == 0.0), "the sign has no gradient");
    let in_part = |at: usize| (1..14).contains(&(at % 40));
    assert!(found[0].iter().enumerate().all(|(at, grad)| (*grad != 0.0) == in_part(at)));
}

#[test]
fn results_are_the_same_on_any_number_of_threads() {
    let case = Case::new(3001, 11);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let wanted = [Wanted { stride: 34, parts: vec![(0, 22), (1, 1)] }];
            (case.fusion().forward(&[6, 8]), case.fusion().backward(&[(8, &case.grads[1])], &wanted))
        })
    };
    let one = run(1);
    assert_eq!(run(2), one);
    assert_eq!(run(3), one);
}
