//! Cases that no reference made, of the methods beside soft targets and hints: other sizes and hyperparameters, whose values plain
//! loops in this file compute.

mod support;

use serde_json::{Value, json};
use support::made::{Made, map, noise};
use support::naive::{self, Map};

fn made(algorithm: &'static str, variant: &'static str, settings: Value, student: &Map, teacher: &Map) -> Made {
    Made::new(algorithm, variant, settings).map("input.student.0", student).map("input.teacher.0", teacher)
}

/// Vectors `[samples, width]`, as maps of one place.
fn vectors(samples: usize, width: usize, seed: usize) -> Map {
    map([samples, width, 1, 1], seed)
}

fn rows(x: &Map) -> Vec<&[f64]> {
    x.values.chunks(x.values.len() / x.dims[0]).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(row: &[f64]) -> Vec<f64> {
    let length = dot(row, row).sqrt();
    row.iter().map(|value| value / length).collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn huber(d: f64, beta: f64) -> f64 {
    if d.abs() < beta { 0.5 * d * d / beta } else { d.abs() - 0.5 * beta }
}

#[test]
fn golden_methods_relations_by_setting() {
    let (student, teacher) = (vectors(5, 3, 1), vectors(5, 6, 2));
    for (normalize, squared, beta) in [(true, false, 1.0), (false, true, 0.3), (true, true, 2.0)] {
        let prepared =
            |x: &Map| rows(x).iter().map(|row| if normalize { unit(row) } else { row.to_vec() }).collect::<Vec<_>>();
        let distances = |rows: &[Vec<f64>]| {
            let of = |a: &[f64], b: &[f64]| {
                let square = dot(&difference(a, b), &difference(a, b));
                if squared { square } else { square.sqrt() }
            };
            let all: Vec<f64> = rows.iter().flat_map(|a| rows.iter().map(move |b| of(a, b))).collect();
            let mean = all.iter().sum::<f64>() / 20.0;
            all.into_iter().map(|d| d / mean).collect::<Vec<_>>()
        };
        let cosines = |rows: &[Vec<f64>]| {
            let toward = |i: usize, j: usize| {
                if i == j { vec![0.0; rows[0].len()] } else { unit(&difference(&rows[j], &rows[i])) }
            };
            let at = |i: usize, j: usize, k: usize| dot(&toward(i, j), &toward(i, k));
            (0..125).map(|n| at(n / 25, n / 5 % 5, n % 5)).collect::<Vec<_>>()
        };
        let (s, t) = (prepared(&student), prepared(&teacher));
        let mean =
            |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| huber(a - b, beta)).sum::<f64>() / a.len() as f64;
        let (distance, angle) = (mean(distances(&s), distances(&t)), mean(cosines(&s), cosines(&t)));
        let settings = |more: Value| {
            let mut all = json!({ "with_l2_norm": normalize, "squared": squared, "smooth_l1_beta": beta });
            all.as_object_mut().expect("is one").extend(more.as_object().expect("is one").clone());
            all
        };
        let case = |variant, settings| made("rkd", variant, settings, &student, &teacher);
        case("distance", settings(json!({ "loss_weight": 3.0 }))).loss(3.0 * distance).check();
        case("angle", settings(json!({ "loss_weight": 0.5 }))).loss(0.5 * angle).check();
        let both = settings(json!({ "distance_weight": 7.0, "angle_weight": 0.2 }));
        case("distance_angle", both).loss(7.0 * distance + 0.2 * angle).check();
    }
}

#[test]
fn golden_methods_attention_of_other_powers_and_sizes() {
    let (student, teacher) = (map([2, 3, 5, 4], 1), map([2, 2, 3, 6], 2));
    // Each side is pooled where it is the larger one.
    let (ours, theirs) = (naive::pool(&student, [3, 4]), naive::pool(&teacher, [3, 4]));
    for p in [1, 3] {
        let attention = |x: &Map, n: usize| {
            let places = 12;
            let at = |c: usize, place: usize| x.values[(n * x.dims[1] + c) * places + place];
            let mean =
                |place: usize| (0..x.dims[1]).map(|c| at(c, place).abs().powi(p)).sum::<f64>() / x.dims[1] as f64;
            unit(&(0..places).map(mean).collect::<Vec<_>>())
        };
        let of = |n: usize| naive::squares(&attention(&ours, n), &attention(&theirs, n));
        let loss = (of(0) + of(1)) / 24.0;
        made("at", "attention", json!({ "p": p, "loss_weight": 10.0 }), &student, &teacher).loss(10.0 * loss).check();
    }
}

#[test]
fn golden_methods_channels_as_distributions() {
    let (student, teacher) = (map([2, 3, 2, 5], 1), map([2, 3, 2, 5], 2));
    let divergence = naive::divergence(&student.values, &teacher.values, 10, 2.5);
    let settings = json!({ "tau": 2.5, "loss_weight": 3.0 });
    made("cwd", "channel_wise", settings, &student, &teacher).loss(3.0 * 6.25 * divergence / 6.0).check();
}

#[test]
fn golden_methods_levels_of_a_pyramid() {
    let (student, teacher) = (map([2, 2, 6, 3], 1), map([2, 2, 6, 3], 2));
    let mse = |a: &Map, b: &Map| naive::squares(&a.values, &b.values) / a.values.len() as f64;
    let at = |level: usize| mse(&naive::pool(&student, [level; 2]), &naive::pool(&teacher, [level; 2]));
    let loss = (mse(&student, &teacher) + 0.5 * at(3) + 0.25 * at(2)) / 1.75;
    made("reviewkd", "hcl", json!({ "levels": [6, 3, 2] }), &student, &teacher).loss(loss).check();
}

#[test]
fn golden_methods_correlations_at_a_temperature() {
    let (student, teacher) = (vectors(4, 3, 5), vectors(4, 3, 6));
    let soft = |x: &Map| rows(x).iter().flat_map(|row| naive::log_softmax(row, 2.0)).map(f64::exp).collect::<Vec<_>>();
    let (q, p) = (soft(&student), soft(&teacher));
    let correlation = |a: &[f64], b: &[f64]| {
        let centred =
            |x: &[f64]| x.iter().map(|value| value - x.iter().sum::<f64>() / x.len() as f64).collect::<Vec<_>>();
        let (a, b) = (centred(a), centred(b));
        dot(&a, &b) / (dot(&a, &a).sqrt() * dot(&b, &b).sqrt() + 1e-8)
    };
    let column = |x: &[f64], c: usize| x.iter().skip(c).step_by(3).copied().collect::<Vec<_>>();
    let inter = 1.0 - q.chunks(3).zip(p.chunks(3)).map(|(q, p)| correlation(q, p)).sum::<f64>() / 4.0;
    let intra = 1.0 - (0..3).map(|c| correlation(&column(&q, c), &column(&p, c))).sum::<f64>() / 3.0;
    let settings = json!({ "tau": 2.0, "inter_loss_weight": 0.5, "intra_loss_weight": 3.0, "loss_weight": 2.0 });
    let case = Made::new("dist", "pearson", settings).with("input.student.0", &[4, 3], &student.values);
    let loss = 2.0 * 4.0 * (0.5 * inter + 3.0 * intra);
    case.with("input.teacher.0", &[4, 3], &teacher.values).loss(loss).check();
}

#[test]
fn golden_methods_boundaries_and_margins() {
    let (student, teacher) = (map([3, 2, 2, 2], 1), map([3, 2, 2, 2], 2));
    let pairs = || student.values.iter().zip(&teacher.values);
    let boundary = |(s, t): (&f64, &f64)| match *t > 0.0 {
        true if *s <= 0.4 => (s - 0.4).powi(2),
        false if *s > -0.4 => (s + 0.4).powi(2),
        _ => 0.0,
    };
    let loss = pairs().map(boundary).sum::<f64>() * 0.003 / 3.0;
    made("ab", "boundary", json!({ "margin": 0.4 }), &student, &teacher).loss(loss).check();
    let margins = [-0.3, -1.0];
    let partial = |(at, (s, t)): (usize, (&f64, &f64))| {
        let target = t.max(margins[at / 4 % 2]);
        if *s > target || target > 0.0 { (s - target).powi(2) } else { 0.0 }
    };
    let loss = pairs().enumerate().map(partial).sum::<f64>() / 3.0;
    let case = made("ofd", "partial_l2", json!({}), &student, &teacher);
    case.with("input.margin", &[2], &margins).loss(loss).check();
}

#[test]
fn golden_methods_discrepancy_of_other_kernels() {
    let (student, teacher) = (noise(8, 1, 1.0), noise(8, 2, 1.0));
    let all: Vec<&[f64]> = student.chunks(2).chain(teacher.chunks(2)).collect();
    let kernel = |a: &[f64], b: &[f64]| {
        let square = dot(&difference(a, b), &difference(a, b));
        (0..4).map(|u| (-square / (1.5 * 3f64.powi(u - 2))).exp()).sum::<f64>()
    };
    let sign = |i: usize, j: usize| if (i < 4) == (j < 4) { 1.0 } else { -1.0 };
    let sum: f64 = (0..64).map(|n| sign(n / 8, n % 8) * kernel(all[n / 8], all[n % 8])).sum();
    let case = Made::new("crkd", "mmd", json!({ "sigma2": 1.5, "kernels": 4, "factor": 3.0 }));
    let case = case.with("input.student.0", &[4, 2], &student).with("input.teacher.0", &[4, 2], &teacher);
    case.loss(sum / 16.0).check();
}

#[test]
fn golden_methods_factors_of_other_powers() {
    let (student, teacher) = (map([2, 3, 4, 4], 1), map([2, 2, 2, 2], 2));
    let ours = naive::pool(&student, [2, 2]);
    let factor = |x: &Map, n: usize| {
        let mean = |place: usize| {
            (0..x.dims[1]).map(|c| x.values[(n * x.dims[1] + c) * 4 + place].powi(3)).sum::<f64>() / x.dims[1] as f64
        };
        unit(&(0..4).map(mean).collect::<Vec<_>>())
    };
    let loss = (0..2).map(|n| naive::squares(&factor(&ours, n), &factor(&teacher, n))).sum::<f64>() / 8.0;
    made("ft", "factor", json!({ "p1": 3, "p2": 2 }), &student, &teacher).loss(loss).check();
}
