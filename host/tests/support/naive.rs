//! The formulas, element by element in double precision.

/// `log softmax` of one sample's logits at a temperature.
pub fn log_softmax(row: &[f64], temperature: f64) -> Vec<f64> {
    let sum: f64 = row.iter().map(|value| (value / temperature).exp()).sum();
    row.iter().map(|value| value / temperature - sum.ln()).collect()
}

/// Sum over samples and classes of the divergence of softened classes, without any factor. Rows of `classes` logits.
pub fn divergence(student: &[f64], teacher: &[f64], classes: usize, temperature: f64) -> f64 {
    let rows = student.chunks(classes).zip(teacher.chunks(classes));
    rows.map(|(s, t)| {
        let (q, p) = (log_softmax(s, temperature), log_softmax(t, temperature));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    })
    .sum()
}

/// Label against rest, and the rest among themselves, both summed over the samples.
pub fn decoupled(student: &[f64], teacher: &[f64], labels: &[i64], classes: usize, temperature: f64) -> [f64; 2] {
    let mut parts = [0.0, 0.0];
    for (at, label) in labels.iter().enumerate() {
        let row = |all: &[f64]| all[at * classes..(at + 1) * classes].to_vec();
        let probability = |row: &[f64]| log_softmax(row, temperature)[*label as usize].exp();
        let rest = |mut row: Vec<f64>| {
            row.remove(*label as usize);
            row
        };
        let (p, q) = (probability(&row(teacher)), probability(&row(student)));
        parts[0] += p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        parts[1] += divergence(&rest(row(student)), &rest(row(teacher)), classes - 1, temperature);
    }
    parts
}

/// Mean cross-entropy with labels.
pub fn cross_entropy(student: &[f64], labels: &[i64], classes: usize) -> f64 {
    let of = |(row, label): (&[f64], &i64)| -log_softmax(row, 1.0)[*label as usize];
    student.chunks(classes).zip(labels).map(of).sum::<f64>() / labels.len() as f64
}

/// A map, `[N, C, H, W]`.
#[derive(Clone)]
pub struct Map {
    pub dims: [usize; 4],
    pub values: Vec<f64>,
}

impl Map {
    pub fn make(dims: [usize; 4], value: impl Fn([usize; 4]) -> f64) -> Map {
        let [n, c, h, w] = dims;
        let place = |at: usize| [at / (c * h * w), at / (h * w) % c, at / w % h, at % w];
        Map { dims, values: (0..n * c * h * w).map(|at| value(place(at))).collect() }
    }

    /// The value at a place, zero outside.
    pub fn at(&self, n: usize, c: usize, y: i64, x: i64) -> f64 {
        let [_, channels, h, w] = self.dims;
        let inside = y >= 0 && x >= 0 && y < h as i64 && x < w as i64;
        if inside { self.values[((n * channels + c) * h + y as usize) * w + x as usize] } else { 0.0 }
    }
}

/// Mean over windows from `floor(k L / l)` to `ceil((k + 1) L / l)`.
pub fn pool(x: &Map, [height, width]: [usize; 2]) -> Map {
    let [n, c, h, w] = x.dims;
    let window = |k: usize, long: usize, short: usize| k * long / short..((k + 1) * long).div_ceil(short);
    Map::make([n, c, height, width], |[n, c, y, x_out]| {
        let (ys, xs) = (window(y, h, height), window(x_out, w, width));
        let count = (ys.len() * xs.len()) as f64;
        ys.flat_map(|y| xs.clone().map(move |x_in| (y, x_in)))
            .map(|(y, x_in)| x.at(n, c, y as i64, x_in as i64))
            .sum::<f64>()
            / count
    })
}

/// Cross-correlation with a kernel `[out, in, kH, kW]`.
pub fn conv(x: &Map, kernel: &Map, bias: &[f64], stride: usize, padding: i64, size: [usize; 2]) -> Map {
    let [out, inputs, kh, kw] = kernel.dims;
    Map::make([x.dims[0], out, size[0], size[1]], |[n, o, y, column]| {
        let mut sum = bias.get(o).copied().unwrap_or_default();
        for (i, a, b) in (0..inputs).flat_map(|i| (0..kh).flat_map(move |a| (0..kw).map(move |b| (i, a, b)))) {
            let (row, column) = ((y * stride + a) as i64 - padding, (column * stride + b) as i64 - padding);
            sum += kernel.at(o, i, a as i64, b as i64) * x.at(n, i, row, column);
        }
        sum
    })
}

/// Transposed convolution, kernel `[in, out, 4, 4]`, stride 2, padding 1: every value of the input adds the kernel.
pub fn doubled(x: &Map, kernel: &Map, bias: &[f64]) -> Map {
    let [n, inputs, h, w] = x.dims;
    Map::make([n, kernel.dims[1], 2 * h, 2 * w], |[n, o, y, column]| {
        let mut sum = bias[o];
        for (i, row, at) in (0..inputs).flat_map(|i| (0..h).flat_map(move |row| (0..w).map(move |at| (i, row, at)))) {
            let (a, b) = ((y + 1) as i64 - 2 * row as i64, (column + 1) as i64 - 2 * at as i64);
            sum += kernel.at(i, o, a, b) * x.at(n, i, row as i64, at as i64);
        }
        sum
    })
}

/// Batch normalisation by the batch's statistics, then ReLU; gives mean and unbiased variance, too.
pub fn normalised(x: &Map, scale: &[f64], shift: &[f64]) -> (Map, Vec<f64>, Vec<f64>) {
    let [n, c, h, w] = x.dims;
    let count = (n * h * w) as f64;
    let of = |channel: usize| {
        x.values.iter().enumerate().filter(move |(at, _)| at / (h * w) % c == channel).map(|(_, value)| *value)
    };
    let means: Vec<f64> = (0..c).map(|channel| of(channel).sum::<f64>() / count).collect();
    let squares: Vec<f64> =
        (0..c).map(|channel| of(channel).map(|value| (value - means[channel]).powi(2)).sum::<f64>()).collect();
    let y = Map::make(x.dims, |[n, c, y, column]| {
        let deviation = (squares[c] / count + 1e-5).sqrt();
        ((x.at(n, c, y as i64, column as i64) - means[c]) / deviation * scale[c] + shift[c]).max(0.0)
    });
    (y, means, squares.iter().map(|sum| sum / (count - 1.0)).collect())
}

/// Sum of squared differences.
pub fn squares(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}
