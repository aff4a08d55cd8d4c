//! Generated inputs: shapes for every port, and values of many kinds.

use crate::ops::PortIn;
use candle_core::{DType, Device, Result, Tensor, Var};
use stillhouse_plugin::desc::{Port, Source};

/// Samples of the training set that parts are told.
pub(super) const SAMPLES: usize = 40;
/// Frames of a sequence.
const FRAMES: usize = 3;

/// Shapes of one sample on both sides, tap by tap.
#[derive(Debug, Clone)]
pub(super) struct Family {
    pub(super) name: &'static str,
    student: &'static [&'static [usize]],
    teacher: &'static [&'static [usize]],
}

const fn family(
    name: &'static str,
    student: &'static [&'static [usize]],
    teacher: &'static [&'static [usize]],
) -> Family {
    Family { name, student, teacher }
}

/// What parts may be given; the first that a part takes is the one that it is looked at most closely with.
pub(super) const FAMILIES: [Family; 12] = [
    family("vectors", &[&[5]], &[&[5]]),
    family("maps", &[&[3, 4, 4]], &[&[3, 4, 4]]),
    family("vectors, a wider teacher", &[&[4]], &[&[6]]),
    family("maps, a wider teacher", &[&[2, 4, 4]], &[&[3, 4, 4]]),
    family("maps, a smaller teacher", &[&[2, 4, 4]], &[&[3, 2, 2]]),
    family("maps, a larger teacher", &[&[2, 2, 2]], &[&[3, 4, 4]]),
    family("sequences", &[&[3, 4]], &[&[3, 4]]),
    family("two taps", &[&[2, 4, 4], &[3, 2, 2]], &[&[2, 4, 4], &[3, 2, 2]]),
    family("two taps of one size", &[&[2, 4, 4], &[3, 4, 4]], &[&[2, 4, 4], &[3, 4, 4]]),
    family("one class", &[&[1]], &[&[1]]),
    family("scalars", &[&[]], &[&[]]),
    family("volumes", &[&[2, 3, 2, 2]], &[&[2, 3, 2, 2]]),
];

/// Larger ones, for time and memory.
pub(super) const LARGE: [Family; 3] = [
    family("large vectors", &[&[64]], &[&[64]]),
    family("large maps", &[&[16, 8, 8]], &[&[16, 8, 8]]),
    family("two large taps", &[&[8, 8, 8], &[16, 8, 8]], &[&[8, 8, 8], &[16, 8, 8]]),
];

/// Larger than what a kernel does at once, and of sizes that leave a rest; with the samples of a batch.
const WIDE: [(Family, usize); 4] = [
    (family("wide vectors", &[&[130]], &[&[130]]), 64),
    (family("odd vectors", &[&[67]], &[&[67]]), 33),
    (family("odd maps", &[&[19, 7, 9]], &[&[19, 7, 9]]), 11),
    (family("two odd taps", &[&[5, 9, 7], &[19, 5, 3]], &[&[5, 9, 7], &[19, 5, 3]]), 11),
];

/// Which of the optional ports are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Optional {
    /// Those that have a default.
    Usual,
    All,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Float,
    /// Whole numbers below this.
    Label(usize),
    /// Places of samples.
    Index,
}

#[derive(Debug, Clone)]
struct Bound {
    port: String,
    student: bool,
    teacher: bool,
    /// What the student reads, rather than what it gives: no gradient is wanted.
    is_read: bool,
    content: Content,
    /// Shapes of the taps, samples included.
    taps: Vec<Vec<usize>>,
    /// The first dimension is that of samples.
    of_samples: bool,
    frames: usize,
}

/// Shapes for every port of a part.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) name: String,
    /// One number a sample: a direction without angles, on which single precision need not agree with double.
    pub(super) is_narrow: bool,
    bound: Vec<Bound>,
}

/// What stands in the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// Between -1 and 1, looking random; other ones for another number.
    Random(u64),
    /// The same times a factor.
    Scaled(f64),
    Constant(f64),
    /// All samples alike.
    EqualRows,
    /// Both sides alike, where shapes are.
    Match,
    /// One entry of each sample far above the others.
    Spread(f64),
}

impl Scene {
    /// Shapes of a family for these ports; `None` when they differ from those of another family in nothing, or the ports
    /// do not take several taps.
    pub(super) fn new(ports: &[Port], family: &Family, batch: usize, optional: Optional) -> Option<Scene> {
        let takes_many = ports.iter().any(|port| port.many);
        if family.student.len() > 1 && !takes_many {
            return None;
        }
        let classes = family.student[0].first().copied().unwrap_or(1);
        let is_logits = |port: &Port| {
            !port.over_time && port.default.as_deref().is_some_and(|selector| selector.ends_with("logits"))
        };
        let on_side = |port: &&Port| matches!(port.source, Source::Student | Source::Teacher);
        // Beside features, logits are logits whatever the family.
        let beside_features = ports.iter().filter(on_side).any(|port| !is_logits(port));
        let mut bound = vec![];
        for port in ports {
            let is_bound = match optional {
                Optional::All => true,
                Optional::Usual => !port.optional || port.default.is_some(),
                Optional::None => !port.optional,
            };
            if !is_bound {
                continue;
            }
            let is_student = matches!(port.source, Source::Student | Source::StudentParameter);
            let side = if is_student { family.student } else { family.teacher };
            let with_batch = |shape: &&[usize]| std::iter::once(batch).chain(shape.iter().copied()).collect::<Vec<_>>();
            let taps: Vec<Vec<usize>> = side.iter().map(with_batch).collect();
            let taken = if port.many { taps.len() } else { 1 };
            let (content, taps) = match port.source {
                Source::Student | Source::Teacher if is_logits(port) && beside_features => {
                    (Content::Float, vec![vec![batch, 5]])
                }
                Source::Student | Source::Teacher => (Content::Float, taps[..taken].to_vec()),
                Source::StudentParameter | Source::TeacherParameter => {
                    let channels = |shape: &&[usize]| vec![shape.first().copied().unwrap_or(1)];
                    (Content::Float, side.iter().take(taken).map(channels).collect())
                }
                Source::Data => match port.name.as_str() {
                    "label" | "target" => (Content::Label(classes.max(1)), vec![vec![batch]]),
                    "index" => (Content::Index, vec![vec![batch]]),
                    "margin" => (
                        Content::Float,
                        side.iter().take(taken).map(|shape| vec![shape.first().copied().unwrap_or(1)]).collect(),
                    ),
                    name if name.ends_with("index") => (Content::Label(SAMPLES), vec![vec![batch, 4]]),
                    _ => (Content::Float, taps[..taken].to_vec()),
                },
            };
            let frames = if port.over_time { FRAMES } else { 1 };
            let is_parameter = matches!(port.source, Source::StudentParameter | Source::TeacherParameter);
            let of_samples = !is_parameter && (port.source != Source::Data || port.name != "margin");
            let is_read = |selector: &str| selector == "input" || selector.starts_with("frames.");
            bound.push(Bound {
                port: port.name.clone(),
                student: is_student,
                teacher: matches!(port.source, Source::Teacher | Source::TeacherParameter),
                is_read: port.default.as_deref().is_some_and(is_read),
                content,
                taps,
                of_samples,
                frames,
            });
        }
        let is_narrow = family.student.iter().chain(family.teacher).all(|shape| shape.iter().product::<usize>() == 1);
        Some(Scene { name: format!("{}, {batch} samples", family.name), is_narrow, bound })
    }

    /// All that are larger than what a kernel does at once.
    pub(super) fn wide(ports: &[Port]) -> Vec<Scene> {
        WIDE.iter().filter_map(|(family, batch)| Scene::new(ports, family, *batch, Optional::Usual)).collect()
    }

    /// The same with another shape for the taps of one side: samples or rank that do not fit the rest.
    pub(super) fn bent(&self, student: bool, bend: impl Fn(&[usize]) -> Vec<usize>, how: &str) -> Scene {
        let mut scene = self.clone();
        scene.name = format!("{}, {} {how}", self.name, if student { "student" } else { "other side" });
        for one in scene.bound.iter_mut().filter(|one| one.student == student) {
            one.taps.iter_mut().for_each(|shape| *shape = bend(shape));
        }
        scene
    }

    /// The same without one port.
    pub(super) fn without(&self, at: usize) -> Option<Scene> {
        let mut scene = self.clone();
        let gone = (at < scene.bound.len()).then(|| scene.bound.remove(at))?;
        scene.name = format!("{}, `{}` unbound", self.name, gone.port);
        Some(scene)
    }

    /// Values for all ports; those on the student's side are variables.
    pub(super) fn values(&self, float: DType, fill: Fill) -> Result<Vec<PortIn<'static>>> {
        self.filled(float, fill, |one| one.student)
    }

    /// The same, where those of the teacher are variables, too, as no host gives them.
    pub(super) fn watched(&self, float: DType, fill: Fill) -> Result<Vec<PortIn<'static>>> {
        self.filled(float, fill, |one| one.student || one.teacher)
    }

    fn filled(&self, float: DType, fill: Fill, is_variable: fn(&Bound) -> bool) -> Result<Vec<PortIn<'static>>> {
        let mut ports = vec![];
        for (at, one) in self.bound.iter().enumerate() {
            let mut values = vec![];
            for (tap, shape) in one.taps.iter().enumerate() {
                for frame in 0..one.frames {
                    let seed = match fill {
                        Fill::Match => (tap * 7 + frame) as u64,
                        Fill::Random(seed) => seed * 131 + (at * 31 + tap * 7 + frame) as u64,
                        _ => (at * 31 + tap * 7 + frame) as u64,
                    };
                    let tensor = one.content.tensor(shape, seed, fill, float)?;
                    let tracked = is_variable(one) && one.content == Content::Float;
                    values.push(if tracked { Var::from_tensor(&tensor)?.as_tensor().clone() } else { tensor });
                }
            }
            ports.push(PortIn { name: one.port.clone().into(), values, frames: one.frames });
        }
        Ok(ports)
    }

    /// Some samples of these values, the student's again variables.
    pub(super) fn part(&self, ports: &[PortIn<'static>], from: usize, count: usize) -> Result<Vec<PortIn<'static>>> {
        let one = |(bound, port): (&Bound, &PortIn<'static>)| {
            let some = |value: &Tensor| {
                let value =
                    if bound.of_samples { value.detach().narrow(0, from, count)?.copy()? } else { value.detach() };
                let tracked = bound.student && bound.content == Content::Float;
                Ok(if tracked { Var::from_tensor(&value)?.as_tensor().clone() } else { value })
            };
            let values = port.values.iter().map(some).collect::<Result<_>>()?;
            Ok(PortIn { name: port.name.clone(), values, frames: port.frames })
        };
        self.bound.iter().zip(ports).map(one).collect()
    }

    fn of_student(&self) -> impl Iterator<Item = &Bound> {
        self.bound.iter().filter(|one| one.student && one.content == Content::Float)
    }

    /// Names of the ports of the student's side, with the number of taps, and whether it is what the student reads.
    pub(super) fn student_ports(&self) -> impl Iterator<Item = (&str, usize, bool)> {
        self.of_student().map(|one| (one.port.as_str(), one.taps.len(), one.is_read))
    }

    /// Whether this port is on the student's side, as a module's own state is.
    pub(super) fn is_student(&self, port: &str) -> bool {
        port.starts_with("state.") || self.of_student().any(|one| one.port == port)
    }

    /// Whether this port is on the teacher's side.
    pub(super) fn is_teacher(&self, port: &str) -> bool {
        self.bound.iter().any(|one| one.teacher && one.port == port)
    }
}

impl Content {
    fn tensor(self, shape: &[usize], seed: u64, fill: Fill, float: DType) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        let whole = |values: Vec<i64>| Tensor::from_vec(values, shape, &Device::Cpu);
        match self {
            Content::Label(classes) => whole((0..count).map(|at| ((at * 3 + 1) % classes) as i64).collect()),
            Content::Index => whole((0..count).map(|at| ((at * 7 + 2) % SAMPLES) as i64).collect()),
            Content::Float => {
                let row = (count / shape.first().copied().unwrap_or(1).max(1)).max(1);
                let values: Vec<f64> = (0..count).map(|at| fill.value(at, row, seed)).collect();
                Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(float)
            }
        }
    }
}

impl Fill {
    fn value(self, at: usize, row: usize, seed: u64) -> f64 {
        match self {
            Fill::Constant(value) => value,
            Fill::EqualRows => unit(at % row, seed),
            Fill::Scaled(factor) => factor * unit(at, seed),
            Fill::Random(_) | Fill::Match => unit(at, seed),
            Fill::Spread(size) => {
                if at % row == (at / row + seed as usize) % row {
                    size
                } else {
                    -size
                }
            }
        }
    }
}

/// A number between -1 and 1 that looks random (SplitMix64).
pub(super) fn unit(at: usize, seed: u64) -> f64 {
    let mut z =
        seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add((at as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}
