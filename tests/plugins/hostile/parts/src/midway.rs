//! A loss that works until a step, and then fails in the way that it is told.

use stillhouse_plugin::prelude::*;

/// How it fails.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(crate) enum How {
    /// Gives an error.
    Error,
    /// Panics.
    Panic,
    /// Panics with a value whose destructor panics.
    Bomb,
    /// Panics in a piece of `parallel_for`.
    Worker,
    /// The same, with a value whose destructor panics.
    WorkerBomb,
    /// Panics when an operation of its own is asked for its shape.
    Shape,
    /// Panics on the way forward of one.
    Forward,
    /// Panics on the way back.
    Backward,
    /// Gives what is no number.
    Nan,
    /// Calls `exit`.
    Exit,
    /// Aborts.
    Abort,
    /// Reads where nothing is.
    Address,
    /// Fills the stack of a thread of the host.
    Stack,
}

/// Settings of [`Midway`].
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MidwayConfig {
    /// How it fails.
    how: How,
    /// The step of the stage in which it does.
    step: u64,
}

/// The mean of the student's values, until it fails.
pub(crate) struct Midway(MidwayConfig);

impl Component for Midway {
    type Config = MidwayConfig;
    const NAME: &'static str = "midway";
    const DOC: &'static str = "Works until a step, and then fails as it is told";
    fn new(config: MidwayConfig) -> Result<Self> {
        Ok(Midway(config))
    }
    fn ports() -> Vec<Port> {
        vec![Port::student().or("logits")]
    }
}

/// A payload whose destructor panics, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom in the payload");
    }
}

/// The sum, which panics where it is told.
struct Breaks(How);

impl FusedOp for Breaks {
    const NAME: &'static str = "breaks";
    fn shape(&self, _: &[&[usize]]) -> Result<Vec<usize>> {
        assert!(!matches!(self.0, How::Shape), "boom in its shape");
        Ok(vec![])
    }
    fn forward<T: Float>(&self, inputs: &[Slice<'_, T>], output: &mut [T]) -> Result<()> {
        assert!(!matches!(self.0, How::Forward), "boom on the way forward");
        output[0] = inputs[0].values.iter().copied().sum();
        Ok(())
    }
    fn backward<T: Float>(&self, _: &[Slice<'_, T>], _: &[T], _: &[T], _: &mut [Option<&mut [T]>]) -> Result<()> {
        panic!("boom on the way back")
    }
}

/// Calls itself for ever; the result keeps the compiler from making a loop of it.
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    1 + deeper(depth.wrapping_add(1)) + here[63]
}

impl Loss for Midway {
    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let student = x.one("student")?;
        // Asked in the trace, too, so that no graph stands for this part.
        let moment = cx.moment();
        if student.is_symbolic()? || moment.step < self.0.step || !moment.training {
            return Ok(student.mean_all());
        }
        match self.0.how {
            How::Error => return Err(Error::new("refuses this batch")),
            How::Panic => panic!("boom midway"),
            How::Bomb => std::panic::panic_any(Bomb),
            How::Worker => cx.parallel_for(64, 1, |start, _| assert!(start != 37, "boom in a worker"))?,
            How::WorkerBomb => cx.parallel_for(64, 1, |start, _| {
                if start == 37 {
                    std::panic::panic_any(Bomb);
                }
            })?,
            how @ (How::Shape | How::Forward | How::Backward) => return cx.fused(Breaks(how), &[&student]),
            How::Nan => return Ok(student.mean_all() * f64::NAN),
            How::Exit => std::process::exit(86),
            How::Abort => std::process::abort(),
            How::Address => {
                let nowhere = std::hint::black_box(16_usize) as *const u64;
                // SAFETY: there is none: the process is to end.
                std::hint::black_box(unsafe { nowhere.read_volatile() });
            }
            How::Stack => cx.parallel_for(64, 1, |_, _| {
                std::hint::black_box(deeper(std::hint::black_box(0)));
            })?,
        }
        Ok(student.mean_all())
    }
}

register!(loss Midway);
