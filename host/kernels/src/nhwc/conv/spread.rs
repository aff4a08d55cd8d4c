//! The transforms of [`super::turned`]: tiles of the input and of the output's gradient.

use super::lanes::{Job, Lanes};
use super::layout::{Fill, Layout, load};
use super::points::Points;
use super::scratch::scratch;
use super::turned::{To, Turned};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// Transforms of a unit.
pub(super) struct Spread<'a, P, const SIDE: usize, const OUTS: usize> {
    pub(super) turned: Turned<'a, P, SIDE, OUTS>,
    pub(super) to: To,
    pub(super) first: usize,
    pub(super) unit: usize,
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Job for Spread<'_, P, SIDE, OUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Turned { shape, cut, sources, channels, .. } = self.turned;
        let values = self.to.values;
        let [image, row, rows] = cut.unit(self.unit);
        let at = cut.before(self.unit) - cut.before(self.first);
        let columns = OUTS * cut.across[1];
        let side = |channels: usize, beyond: usize, before: [usize; 2]| Layout {
            groups: 1,
            channels,
            cell: channels,
            size: [OUTS * rows + beyond, columns + beyond],
            before,
        };
        let layouts = [side(channels[0], SIDE - OUTS, shape.window.padding), side(shape.out_channels, 0, [0; 2])];
        for (which, size) in [shape.input, shape.output].into_iter().enumerate() {
            let (layout, source) = (&layouts[which], sources[which]);
            scratch(layout.image(), |copy| {
                let to = copy.as_mut_ptr();
                let fill = Fill { source, layout, image, size, first: OUTS * row, rows: layout.size[0], step: 1, to };
                // SAFETY: the copy holds the rows, the source has the image.
                unsafe { V::call(fill) };
                let tiles = Tiles {
                    from: copy.as_ptr(),
                    to: values[which].at(at * channels[which]),
                    steps: [layout.line(), layout.cell, cut.place(channels[which])],
                    counts: [rows, cut.across[1]],
                    channels: layout.channels,
                    padded: channels[which],
                };
                // SAFETY: the tiles lie in the copy, their transforms in the memory of the unit.
                unsafe {
                    if which == 0 {
                        V::call(Transform::<OfInput<P, OUTS>, SIDE, SIDE, OUTS>(tiles, PhantomData));
                    } else {
                        V::call(Transform::<OfGradient<P>, OUTS, SIDE, OUTS>(tiles, PhantomData));
                    }
                }
            });
        }
    }
}

/// The transform of one dimension of a tile.
trait Along<const FROM: usize, const SIDE: usize> {
    /// # Safety
    /// The processor has the instructions of `V`.
    unsafe fn along<V: Lanes>(values: [V; FROM]) -> [V; SIDE];
}

/// Of the input.
struct OfInput<P, const OUTS: usize>(PhantomData<P>);

/// Of the output's gradient.
struct OfGradient<P>(PhantomData<P>);

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Along<SIDE, SIDE> for OfInput<P, OUTS> {
    #[inline(always)]
    unsafe fn along<V: Lanes>(values: [V; SIDE]) -> [V; SIDE] {
        // SAFETY: the caller's contract.
        unsafe { P::differences(values) }
    }
}

impl<P: Points<SIDE, OUTS>, const SIDE: usize, const OUTS: usize> Along<OUTS, SIDE> for OfGradient<P> {
    #[inline(always)]
    unsafe fn along<V: Lanes>(values: [V; OUTS]) -> [V; SIDE] {
        // SAFETY: the caller's contract.
        unsafe { P::spread(values) }
    }
}

/// The tiles of a unit before their transforms.
#[derive(Clone, Copy)]
struct Tiles {
    from: *const f32,
    to: *mut f32,
    /// Between rows, columns, places.
    steps: [usize; 3],
    /// Rows and columns of tiles.
    counts: [usize; 2],
    channels: usize,
    /// Channels that are written; those beyond are 0.
    padded: usize,
}

/// Transforms squares of `FROM` pixels a side, `OUTS` apart.
struct Transform<A, const FROM: usize, const SIDE: usize, const OUTS: usize>(Tiles, PhantomData<A>);

impl<A: Along<FROM, SIDE>, const FROM: usize, const SIDE: usize, const OUTS: usize> Job
    for Transform<A, FROM, SIDE, OUTS>
{
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Tiles { from, to, steps: [line, cell, _], counts: [rows, columns], channels, padded } = self.0;
        for y in 0..rows {
            for x in 0..columns {
                for channel in (0..padded).step_by(V::N) {
                    // SAFETY: the contract of `Spread`.
                    unsafe {
                        let from = from.add(OUTS * y * line + OUTS * x * cell + channel);
                        let to = to.add((y * columns + x) * padded + channel);
                        let [read, written] = [channels, padded].map(|all| V::N.min(all - channel.min(all)));
                        if read == V::N {
                            self.tile::<V, true>(from, read, to, written);
                        } else {
                            self.tile::<V, false>(from, read, to, written);
                        }
                    }
                }
            }
        }
    }
}

impl<A: Along<FROM, SIDE>, const FROM: usize, const SIDE: usize, const OUTS: usize> Transform<A, FROM, SIDE, OUTS> {
    #[inline(always)]
    unsafe fn tile<V: Lanes, const FULL: bool>(&self, from: *const f32, read: usize, to: *mut f32, written: usize) {
        let [line, cell, place] = self.0.steps;
        // SAFETY: the contract of `Spread`.
        unsafe {
            let mut half = MaybeUninit::<[[V; FROM]; SIDE]>::uninit();
            let rows = half.as_mut_ptr().cast::<[V; FROM]>();
            for column in 0..FROM {
                let mut values = [V::splat(0.0); FROM];
                for (row, value) in values.iter_mut().enumerate() {
                    *value = load::<V, FULL>(from.add(row * line + column * cell), read);
                }
                for (row, value) in A::along(values).into_iter().enumerate() {
                    rows.add(row).cast::<V>().add(column).write(value);
                }
            }
            for row in 0..SIDE {
                for (column, value) in A::along(rows.add(row).read()).into_iter().enumerate() {
                    let to = to.add((row * SIDE + column) * place);
                    if FULL { value.store(to) } else { value.store_some(to, written) }
                }
            }
        }
    }
}
