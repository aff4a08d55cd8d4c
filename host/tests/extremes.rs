//! A thousand random inputs for every shipped loss, as the built file and by the way that training takes: finite values and
//! gradients or an error in words, never a panic.
#![allow(missing_docs)]

mod support;

use candle_core::{DType, Device, Tensor};
use std::rc::Rc;
use stillhouse::ops::native::Record;
use stillhouse::ops::{BoundPart, Moment, ParamSet, PortIn, TracePort, host_api};
use stillhouse::plugin::Component;
use stillhouse_plugin::desc::{Kind, Port, Source};
use support::made::PLUGINS;
use support::plugins;

const TRIALS: usize = 1000;
/// Samples that a memory knows.
const SAMPLES: u64 = 40;

/// What a loss reads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// `[N, C]`.
    Logits,
    /// `[N, D]`, of two widths where the loss allows it.
    Vectors { alike: bool },
    /// `[N, C, H, W]`, likewise; so many taps.
    Maps { alike: bool, taps: usize },
}

const LIKE: Shape = Shape::Vectors { alike: true };
const MAPS: Shape = Shape::Maps { alike: true, taps: 1 };
const ANY_MAPS: Shape = Shape::Maps { alike: false, taps: 1 };

/// Every shipped loss: what it reads, and its settings.
const LOSSES: &[(&str, Shape, &str)] = &[
    ("ab", MAPS, "{}"),
    ("at", ANY_MAPS, "{}"),
    ("cc", Shape::Vectors { alike: false }, r#"{"embed_dim": 4}"#),
    ("cosine", LIKE, "{}"),
    ("crd", Shape::Vectors { alike: false }, r#"{"feat_dim": 8, "negatives": 16}"#),
    ("crkd_mmd", LIKE, "{}"),
    ("crkd_pair", LIKE, "{}"),
    ("crkd_rad", Shape::Logits, "{}"),
    ("cross_entropy", Shape::Logits, "{}"),
    ("cwd", MAPS, "{}"),
    ("dist", Shape::Logits, "{}"),
    ("dkd", Shape::Logits, "{}"),
    ("fsp", Shape::Maps { alike: true, taps: 2 }, "{}"),
    ("ft_factor", MAPS, "{}"),
    ("hint", MAPS, "{}"),
    ("hint_distance", MAPS, "{}"),
    ("kd", Shape::Logits, "{}"),
    ("l1", MAPS, "{}"),
    ("mse", MAPS, "{}"),
    ("next_frame", MAPS, "{}"),
    ("nst", ANY_MAPS, "{}"),
    ("ofd", MAPS, "{}"),
    ("pkd", MAPS, "{}"),
    ("pkt", Shape::Vectors { alike: false }, "{}"),
    ("reviewkd_hcl", MAPS, "{}"),
    ("rkd", Shape::Vectors { alike: false }, "{}"),
    ("rkd_angle", Shape::Vectors { alike: false }, "{}"),
    ("rkd_distance", Shape::Vectors { alike: false }, "{}"),
    ("skd_map", MAPS, "{}"),
    ("soft_cross_entropy", Shape::Logits, "{}"),
    ("sp", Shape::Vectors { alike: false }, "{}"),
    ("tmu_memory", MAPS, "{}"),
    ("vid", MAPS, "{}"),
    ("wsld", Shape::Logits, "{}"),
];

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// Between -1 and 1.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Values of one of many sizes; rows may be zeros, constant, or each other's copies.
    fn values(&mut self, rows: usize, width: usize) -> Vec<f32> {
        let scale = self.of(&[0.0, 1e-12, 1e-4, 1.0, 1.0, 30.0, 1e3, 1e4]);
        let mut values: Vec<f32> = (0..rows * width).map(|_| self.unit() * scale).collect();
        if self.below(8) == 0 {
            values.fill(scale);
        }
        for row in 0..rows {
            let (kind, from) = (self.below(8), self.below(rows));
            let whole = row * width..(row + 1) * width;
            match kind {
                0 => values[whole].fill(0.0),
                1 => values[whole].fill(scale),
                2 => values.copy_within(from * width..(from + 1) * width, row * width),
                // One class above all others.
                3 => values[row * width + from % width] = 1e4,
                _ => {}
            }
        }
        values
    }
}

/// One trial: shapes, and values for a part's ports.
struct Trial {
    batch: usize,
    students: Vec<Tensor>,
    teachers: Vec<Tensor>,
    labels: Tensor,
    indices: Tensor,
    channels: Vec<Tensor>,
}

fn tensor(values: Vec<f32>, dims: &[usize]) -> Tensor {
    Tensor::from_vec(values, dims, &Device::Cpu).expect("fits")
}

fn trial(dice: &mut Dice, batch: usize, shape: Shape, inner: &[Vec<usize>; 2]) -> Trial {
    let taps = if let Shape::Maps { taps, .. } = shape { taps } else { 1 };
    let mut side = |inner: &Vec<usize>| -> Vec<Tensor> {
        let dims = [&[batch], inner.as_slice()].concat();
        (0..taps).map(|_| tensor(dice.values(batch, inner.iter().product()), &dims)).collect()
    };
    let students = side(&inner[0]);
    let mut teachers = side(&inner[1]);
    if inner[0] == inner[1] && dice.below(8) == 0 {
        teachers.clone_from(&students);
    }
    let whole = |values: Vec<i64>| Tensor::from_vec(values, batch, &Device::Cpu).expect("fits");
    let labels = whole((0..batch).map(|_| dice.below(inner[0][0]) as i64).collect());
    let start = dice.below(SAMPLES as usize) as i64;
    let indices = whole((0..batch as i64).map(|at| (start + at) % SAMPLES as i64).collect());
    let channels = (0..2).map(|_| tensor(dice.values(1, inner[1][0]), &[inner[1][0]])).collect();
    Trial { batch, students, teachers, labels, indices, channels }
}

/// Shapes of one sample on both sides.
fn inner(dice: &mut Dice, shape: Shape) -> [Vec<usize>; 2] {
    let mut one = || match shape {
        Shape::Logits => vec![dice.of(&[1, 2, 3, 10])],
        Shape::Vectors { .. } => vec![dice.of(&[1, 2, 7])],
        Shape::Maps { .. } => vec![dice.of(&[1, 2, 3]), dice.of(&[1, 2, 4]), dice.of(&[1, 3, 4])],
    };
    let (first, second) = (one(), one());
    match shape {
        Shape::Vectors { alike: false } | Shape::Maps { alike: false, .. } => [first, second],
        _ => [first.clone(), first],
    }
}

fn ports<'t>(list: &'t [Port], trial: &Trial) -> Vec<PortIn<'t>> {
    let value = |port: &Port| match (port.source, port.name.as_str()) {
        (Source::Student, "target") | (Source::Data, "map") => trial.teachers.clone(),
        (Source::Student, _) => trial.students.clone(),
        (Source::Teacher, _) => trial.teachers.clone(),
        (Source::TeacherParameter | Source::StudentParameter, name) => {
            vec![trial.channels[usize::from(name == "shift")].clone()]
        }
        (Source::Data, "label") => vec![trial.labels.clone()],
        (Source::Data, "index") => vec![trial.indices.clone()],
        _ => vec![],
    };
    let bound = list.iter().map(|port| PortIn { name: port.name.as_str().into(), values: value(port), frames: 1 });
    bound.filter(|port| !port.values.is_empty()).collect()
}

/// A bound part, or its refusal in words.
fn bound(component: &Component, config: &str, moment: &Moment, trial: &Trial) -> Result<BoundPart, String> {
    let part = component.create(config, host_api()).expect("the settings are right");
    let params = Rc::new(ParamSet::new("term", 1, DType::F32, &Device::Cpu));
    let part = BoundPart::new(&component.desc.name, component.desc.clone(), part, params);
    let shapes: Vec<TracePort> = ports(&component.desc.ports, trial).iter().map(TracePort::of).collect();
    let checked = part.bind(moment, &shapes).and_then(|()| part.trace(moment, &shapes));
    match checked {
        Ok(_) => Ok(part),
        Err(error) => {
            assert!(!error.is_panic(), "{}: {error}", component.desc.name);
            Err(error.to_string())
        }
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("floats");
    values.iter().all(|value| value.is_finite())
}

/// Runs a trial forward and back.
fn run(part: &BoundPart, moment: &Moment, list: &[Port], trial: &Trial) -> Result<(), String> {
    let mut record = Record::default();
    trial.students.iter().for_each(|student| record.watch(student));
    let given = record.during(|| part.run(moment, &ports(list, trial))).map_err(|error| {
        assert!(!error.is_panic(), "{error}");
        error.to_string()
    })?;
    let [(_, term)] = &given.terms[..] else { panic!("one term of a loss") };
    if !is_finite(term) {
        return Err(format!("NOT FINITE: {term}"));
    }
    let one = Tensor::ones(term.dims(), DType::F32, &Device::Cpu).expect("small");
    let gradients = record.gradients(&[(term.clone(), one)]).map_err(|error| error.to_string())?;
    let of_students: Vec<&Tensor> = trial.students.iter().filter_map(|student| gradients.get(student)).collect();
    assert_eq!(of_students.len(), trial.students.len(), "every value of the student has a gradient");
    let entries = part.params().entries();
    let of_parameters = entries.iter().filter_map(|(_, entry)| gradients.get(entry.var.as_tensor()));
    if !of_students.into_iter().chain(of_parameters).all(is_finite) {
        return Err("NOT FINITE: a gradient".into());
    }
    given.staged.iter().try_for_each(|change| change.commit(part.params())).map_err(|error| error.to_string())
}

/// All trials of a loss; gives how many ran.
fn check(component: &Component, shape: Shape, config: &str, seed: u64) -> Result<usize, String> {
    let (mut dice, mut ran) = (Dice(seed), 0);
    let moment = Moment { training: true, steps_per_epoch: 1, samples: SAMPLES, ..Moment::default() };
    let mut at = 0;
    while at < TRIALS {
        // A part lives for some steps, as in a training; then come other shapes.
        let (batch, inner) = (dice.of(&[1, 2, 3, 8]), inner(&mut dice, shape));
        let first = trial(&mut dice, batch, shape, &inner);
        let part = bound(component, config, &moment, &first);
        for step in 0..10u64 {
            at += 1;
            let Ok(part) = &part else { continue };
            let trial = if step == 0 { None } else { Some(trial(&mut dice, batch, shape, &inner)) };
            let trial = trial.as_ref().unwrap_or(&first);
            match run(part, &Moment { step, ..moment.clone() }, &component.desc.ports, trial) {
                Ok(()) => ran += 1,
                Err(error) => {
                    let shown = |list: &[Tensor]| list.iter().map(|one| format!("{one}\n")).collect::<String>();
                    let (ours, theirs) = (shown(&trial.students), shown(&trial.teachers));
                    return Err(format!("trial {at}, batch {}: {error}\n{ours}{theirs}{}", trial.batch, trial.labels));
                }
            }
        }
        if let Err(error) = part {
            assert!(error.len() > 20, "{}: {error}", component.desc.name);
        }
    }
    Ok(ran)
}

#[test]
fn losses_of_random_extremes_are_finite_or_refuse() {
    let registry = plugins(PLUGINS);
    let mut names: Vec<&str> = registry
        .components()
        .iter()
        .filter(|component| component.desc.kind == Kind::Loss)
        .map(|component| component.desc.name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, LOSSES.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), "every shipped loss is here");
    let mut wrong = vec![];
    for (at, (name, shape, config)) in LOSSES.iter().enumerate() {
        let component = registry.find(Some(Kind::Loss), name).expect("is there");
        match check(component, *shape, config, at as u64) {
            Ok(ran) => assert!(ran >= TRIALS / 2, "`{name}` refused all but {ran} of {TRIALS}"),
            Err(error) => wrong.push(format!("`{name}`: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn value_that_overflows_is_noticed() {
    let registry = plugins(PLUGINS);
    let component = registry.find(Some(Kind::Loss), "mse").expect("is there");
    let mut dice = Dice(1);
    let mut trial = trial(&mut dice, 2, MAPS, &[vec![1, 2, 2], vec![1, 2, 2]]);
    trial.students = vec![tensor(vec![1e30; 8], &[2, 1, 2, 2])];
    let moment = Moment { training: true, samples: SAMPLES, ..Moment::default() };
    let part = bound(component, "{}", &moment, &trial).expect("fits");
    let error = run(&part, &moment, &component.desc.ports, &trial).expect_err("overflows");
    assert!(error.starts_with("NOT FINITE"), "{error}");
}
