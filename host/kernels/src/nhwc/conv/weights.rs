//! The gradient of the weights, and in the same pass that of the input.

use super::super::Level;
use super::corner::Grain;
use super::drive::with_make;
use super::lanes::{Job, Lanes};
use super::layout::Source;
use super::method::Method;
use super::plan::{Plan, Way};
use super::run::{Cut, Make, Shared, add_in_order};
use super::scratch::{scratch, zeroed_f64};
use super::{ConvShape, DataGrad, turned, wide};

/// Gradient of the weights from input and gradient of the output, and of the input if it is wanted.
///
/// Both read the same copy of the output's gradient. Each chunk of the batch sums weights of its own; they are added in order.
pub(super) fn backward(shape: &ConvShape, [x, dy]: [Source; 2], data: Option<DataGrad>, dw: &mut [f32]) {
    assert_eq!(dw.len(), shape.weights_len(), "convolution: length of the weights' gradient");
    match data {
        None => match Method::of(shape) {
            Some(method) => turned::weights(method, shape, [x, dy], None, dw),
            None => fused(&Plan::bare(Level::current(), shape, Way::Back), shape.batch, [x, dy], None, None, dw),
        },
        Some(data) => {
            let plan = data.packed.plan(shape, Way::Back);
            if let Some(method) = plan.winograd {
                return with_make(plan, shape.batch, data, |make, sums| {
                    turned::weights(method, shape, [x, dy], Some((make, sums)), dw);
                });
            }
            with_make(plan, shape.batch, data, |make, sums| {
                fused(plan, shape.batch, [x, dy], Some(make), sums, dw);
            });
        }
    }
}

/// Floats of all chunks' weights together.
const PARTIAL: usize = 2 << 20;

fn fused(
    plan: &Plan,
    batch: usize,
    [x, dy]: [Source; 2],
    make: Option<&Make>,
    sums: Option<&mut [f64]>,
    dw: &mut [f32],
) {
    let grain = Grain::new(plan);
    let len = grain.len();
    if len > wide::LEAST && !plan.depthwise {
        return wide::run(&grain, batch, [x, dy], make, sums, dw);
    }
    let cut = Cut::new(plan, batch, (PARTIAL / len).clamp(4, 16));
    let size = 2 * plan.made();
    let sums_len = if sums.is_some() { cut.chunks * size } else { 0 };
    scratch(cut.chunks * len, |partial| {
        zeroed_f64(sums_len, |partial_sums| {
            let (weights, shared) = (Shared(partial.as_mut_ptr()), Shared(partial_sums.as_mut_ptr()));
            cut.run(plan.shape.work() * batch, |chunk| {
                let sums = if sums_len == 0 { std::ptr::null_mut() } else { shared.at(chunk * size) };
                let dw = weights.at(chunk * len);
                // SAFETY: lengths were checked at the entry; each chunk has its own weights, sums and images.
                unsafe { plan.level.run(Chunk { grain: &grain, make, x, dy, cut: &cut, chunk, dw, sums }) };
            });
            if let Some(sums) = sums {
                add_in_order(partial_sums, sums);
            }
        });
        grain.deliver(partial, dw);
    });
}

struct Chunk<'a> {
    grain: &'a Grain<'a>,
    make: Option<&'a Make<'a>>,
    x: Source<'a>,
    dy: Source<'a>,
    cut: &'a Cut,
    chunk: usize,
    dw: *mut f32,
    sums: *mut f64,
}

impl Job for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let (grain, plan) = (self.grain, self.grain.plan);
        let whole = plan.made().is_multiple_of(V::N) && plan.taken().is_multiple_of(V::N);
        let in_place = if plan.in_place && whole { self.dy.plain() } else { None };
        let copied = if in_place.is_some() { 0 } else { plan.layout.image() * self.cut.together + 2 * V::N };
        // SAFETY: the chunk's own weights; copies hold the images of a piece and a vector beyond.
        unsafe { self.dw.write_bytes(0, grain.len()) };
        scratch(copied, |copies| {
            scratch(grain.x.image() * self.cut.together, |x_copies| {
                for piece in self.cut.pieces(self.chunk) {
                    // SAFETY: as above.
                    unsafe {
                        let dy = match in_place {
                            Some(values) => plan.pixel_in_place(values, piece),
                            None => plan.copy::<V>(self.dy, piece, copies.as_mut_ptr()),
                        };
                        if let Some(make) = self.make {
                            make.piece::<V>(dy, piece, self.sums);
                        }
                        let x = grain.copy::<V>(self.x, piece, x_copies.as_mut_ptr());
                        grain.accumulate::<V>(x, dy, piece, grain.all_blocks(), self.dw);
                    }
                }
            });
        });
    }
}
