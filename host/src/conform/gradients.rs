//! Gradients against difference quotients, in `f64`.

use super::kit::{Kit, Seen};
use super::report::Verdict;
use super::scene::{Fill, Scene, unit};
use super::subject::{Subject, Trouble, numbers, objective};
use crate::ops::{Manner, Moment, PortIn, Surface};
use candle_core::{DType, Device, Tensor};

/// Steps and weights of two quotients: a short central one, which a kink seldom meets, and a wide one of fourth order, which rounding
/// touches less. One that agrees is enough: a wrong gradient agrees with neither.
const SHORT: &[(f64, f64)] = &[(1e-6, 0.5e6), (-1e-6, -0.5e6)];
const WIDE: &[(f64, f64)] = &[(2e-4, -1e4 / 12.0), (1e-4, 8e4 / 12.0), (-1e-4, -8e4 / 12.0), (-2e-4, 1e4 / 12.0)];
/// Allowed difference, relative to the largest gradient of the call.
const TOLERANCE: f64 = 2e-5;
/// Rounding of the objective, relative to values above 1.
const ROUNDING: f64 = 1e-15;
/// Elements of a tensor that are moved one by one; beside them all move at once in some directions.
const SINGLE: usize = 12;
const DIRECTIONS: usize = 2;
/// At a kink a quotient is none: another point is taken, so many times.
const POINTS: u64 = 3;

pub(super) fn check(kit: &Kit<'_>) -> Seen {
    let (mut count, mut worst, mut largest, mut keeps) = (0, 0f64, 0f64, false);
    for scene in &kit.scenes {
        let mut wrong = None;
        for point in 0..POINTS {
            match compare(kit, scene, point)? {
                Ok(compared) => {
                    count += compared.count;
                    keeps |= compared.keeps;
                    (worst, largest) = (worst.max(compared.error), largest.max(compared.largest));
                    wrong = None;
                    break;
                }
                Err(text) => wrong = Some(text),
            }
        }
        if let Some(text) = wrong {
            return Ok(Verdict::Failed(format!("{}: {text}", scene.name)));
        }
    }
    if count == 0 {
        return Ok(Verdict::NotApplicable("nothing has a gradient: see `reach`".into()));
    }
    // What keeps something may be where it wants to be at first.
    let ordinary = kit.scenes.iter().find(|scene| !scene.is_narrow);
    if let (0.0, Some(scene), false) = (largest, ordinary, keeps) {
        return Ok(Verdict::Failed(format!("{}: every gradient is 0, so nothing would be learnt", scene.name)));
    }
    let within = if worst == 0.0 { "rounding".into() } else { format!("{worst:.0e} of the largest gradient") };
    Ok(Verdict::Ok(format!("{count} quotients, within {within}")))
}

/// Number of quotients, their largest relative error, the largest gradient, and whether the part has parameters or buffers.
struct Compared {
    count: usize,
    error: f64,
    largest: f64,
    keeps: bool,
}

/// Compares all gradients of a scene; or tells the first that differs.
fn compare(kit: &Kit<'_>, scene: &Scene, point: u64) -> Result<Result<Compared, String>, Trouble> {
    let subject = kit.subject(DType::F64, scene)?;
    subject.part.set_manner(Manner { draws: true, ..Manner::default() });
    let ports = scene.values(DType::F64, Fill::Random(point))?;
    let (mut count, mut worst, mut steepest) = (0, 0f64, 0f64);
    for at in subject.moments() {
        let outcome = subject.run(&at, &ports)?;
        let point = Point {
            subject: &subject,
            at: &at,
            ports: subject.read(&at, &ports)?,
            surface: surface(kit, &subject, &at, &ports)?,
        };
        let mut exact = vec![];
        for (name, gradient) in &outcome.gradients {
            let absent = || point.surface.as_ref().map(|_| vec![0.0; point.size(name)]);
            let values = gradient.as_ref().map(numbers).transpose()?;
            exact.push((name.clone(), values.or_else(absent)));
        }
        let all = exact.iter().filter_map(|(_, values)| values.as_ref()).flatten();
        let largest = all.fold(0f64, |most, value| most.max(value.abs()));
        steepest = steepest.max(largest);
        let largest = largest.max(1e-6);
        let size = objective(&outcome.given)?.abs().max(1.0);
        for (name, values) in &exact {
            let Some(values) = values else { continue };
            for direction in directions(values.len()) {
                let wanted: f64 = direction.iter().map(|(at, by)| values[*at] * by).sum();
                // A sum of many has the rounding of many.
                let scale = largest * (direction.len() as f64).sqrt();
                let mut error = f64::INFINITY;
                let mut quotient = 0.0;
                for stencil in [SHORT, WIDE] {
                    quotient = point.quotient(name, &direction, stencil)?;
                    // Where gradients vanish, the rounding of the objective is all that there is.
                    let rounding: f64 = stencil.iter().map(|(_, weight)| ROUNDING * size * weight.abs()).sum();
                    let apart = ((wanted - quotient).abs() - rounding).max(0.0);
                    error = error.min(if quotient.is_nan() { f64::INFINITY } else { apart / scale });
                    if error <= TOLERANCE {
                        break;
                    }
                }
                if error > TOLERANCE {
                    let place = match direction.as_slice() {
                        [(at, _)] => format!("{name} at {at}"),
                        _ => format!("{name} along a direction"),
                    };
                    return Ok(Err(format!("the gradient of {place} is {wanted:.6e}, by differences {quotient:.6e}")));
                }
                (count, worst) = (count + 1, worst.max(error));
            }
        }
    }
    let keeps = !subject.part.params().entries().is_empty();
    Ok(Ok(Compared { count, error: worst, largest: steepest, keeps }))
}

/// The part's graph with what passes no gradient held; `None` where values are read, so that the part itself is asked.
fn surface(kit: &Kit<'_>, subject: &Subject, at: &Moment, ports: &[PortIn<'_>]) -> Result<Option<Surface>, Trouble> {
    if kit.component.desc.dynamic {
        return Ok(None);
    }
    let traced = subject.trace(at, ports)?;
    Ok(Surface::at(&traced, &subject.read(at, ports)?, subject.part.params())?)
}

/// Elements and by what they move: some alone, then all at once.
fn directions(len: usize) -> Vec<Vec<(usize, f64)>> {
    let stride = len.div_ceil(SINGLE).max(1);
    let alone = (0..len).step_by(stride).map(|at| vec![(at, 1.0)]);
    let all = (0..DIRECTIONS as u64).map(|seed| (0..len).map(|at| (at, unit(at, 977 + seed).signum())).collect());
    alone.chain(all.filter(|_| len > 1)).collect()
}

/// Where the part stands.
struct Point<'a> {
    subject: &'a Subject,
    at: &'a Moment,
    ports: Vec<PortIn<'a>>,
    surface: Option<Surface>,
}

impl Point<'_> {
    fn value(&self, ports: &[PortIn<'_>]) -> Result<f64, Trouble> {
        Ok(match &self.surface {
            Some(surface) => objective(&surface.value(ports, self.subject.part.params())?)?,
            None => objective(&self.subject.part.cross(self.at, ports)?)?,
        })
    }

    /// The tensor of a leaf: a parameter, or a value of a port.
    fn leaf(&self, leaf: &str) -> Result<Option<Tensor>, Trouble> {
        let of_port = |port: &PortIn<'_>| {
            let names = (0..port.values.len()).map(|at| format!("{}[{at}]", port.name));
            names.zip(&port.values).find(|(name, _)| name == leaf).map(|(_, value)| value.detach())
        };
        Ok(match leaf.strip_prefix("parameter ") {
            Some(name) => self.subject.part.params().value(name).map(|value| value.detach().copy()).transpose()?,
            None => self.ports.iter().find_map(of_port),
        })
    }

    fn size(&self, leaf: &str) -> usize {
        self.leaf(leaf).ok().flatten().map_or(0, |tensor| tensor.elem_count())
    }

    /// The objective with another value of a leaf.
    fn with(&self, leaf: &str, moved: &Tensor, base: &Tensor) -> Result<f64, Trouble> {
        if let Some(name) = leaf.strip_prefix("parameter ") {
            let params = self.subject.part.params();
            params.assign(name, moved)?;
            let value = self.value(&self.ports);
            params.assign(name, base)?;
            return value;
        }
        let mut ports = self.ports.clone();
        for port in &mut ports {
            for at in 0..port.values.len() {
                if format!("{}[{at}]", port.name) == leaf {
                    port.values[at] = moved.clone();
                }
            }
        }
        self.value(&ports)
    }

    /// A difference quotient of the objective along a direction of one leaf.
    fn quotient(&self, leaf: &str, direction: &[(usize, f64)], stencil: &[(f64, f64)]) -> Result<f64, Trouble> {
        let Some(base) = self.leaf(leaf)? else { return Ok(0.0) };
        let start = numbers(&base)?;
        let mut quotient = 0.0;
        for (step, weight) in stencil {
            let mut values = start.clone();
            direction.iter().for_each(|(at, by)| values[*at] += step * by);
            let moved = Tensor::from_vec(values, base.dims(), &Device::Cpu)?;
            quotient += weight * self.with(leaf, &moved, &base)?;
        }
        Ok(quotient)
    }
}
