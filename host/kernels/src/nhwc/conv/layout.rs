//! How an image lies in scratch memory, and how it gets there.

use super::super::{Curve, Grad, Load, with_curve};
use super::lanes::{Job, Lanes};
use crate::prefetch;

/// Padded copies of images: `[image][block of channels][row][column][cell]`.
///
/// A block holds `cell` channels of one group, the last block of a group maybe fewer (its other cells are unspecified).
/// With one group and one block this is a padded image in the usual order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) groups: usize,
    /// Channels of a group.
    pub(super) channels: usize,
    /// Channels of a block.
    pub(super) cell: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Zeros above the first row of an image and left of its first column.
    pub(super) before: [usize; 2],
}

impl Layout {
    /// Blocks of a group.
    pub(super) fn blocks(&self) -> usize {
        self.channels.div_ceil(self.cell)
    }

    /// Elements of one block.
    pub(super) fn plane(&self) -> usize {
        self.size[0] * self.line()
    }

    /// Elements of a row.
    pub(super) fn line(&self) -> usize {
        self.size[1] * self.cell
    }

    /// Elements of one image.
    pub(super) fn image(&self) -> usize {
        self.groups * self.blocks() * self.plane()
    }

    /// First channel of a block and the number of its channels; blocks count through all groups.
    pub(super) fn block(&self, block: usize) -> (usize, usize) {
        let (group, within) = (block / self.blocks(), block % self.blocks() * self.cell);
        (group * self.channels + within, self.cell.min(self.channels - within))
    }
}

/// Where values come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Load(Load<'a>),
    Grad(Grad<'a>),
}

impl Source<'_> {
    /// The values, when reading them is copying.
    pub(super) fn plain(&self) -> Option<&[f32]> {
        match self {
            Self::Load(load) => load.is_plain().then_some(load.values),
            Self::Grad(grad) => grad.norm.is_none().then_some(grad.dz),
        }
    }

    pub(super) fn check(&self, len: usize, channels: usize) {
        match self {
            Self::Load(load) => load.check(len, channels),
            Self::Grad(grad) => grad.check(len, channels),
        }
    }
}

/// Copies rows of one image to scratch memory: those that `to` holds, from row `first - before` of the image on.
#[derive(Clone, Copy)]
pub(super) struct Fill<'a> {
    pub(super) source: Source<'a>,
    pub(super) layout: &'a Layout,
    /// Image.
    pub(super) image: usize,
    /// Height and width of the image.
    pub(super) size: [usize; 2],
    /// Row of the image that follows the `before` rows.
    pub(super) first: usize,
    /// Rows that are needed.
    pub(super) rows: usize,
    /// One of this many rows is read; the others stay unspecified.
    pub(super) step: usize,
    /// [`Layout::image`] elements.
    pub(super) to: *mut f32,
}

impl Job for Fill<'_> {
    type Output = ();

    /// # Safety
    /// `to` holds an image of the layout; the source has the image, with all channels.
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.source {
                Source::Load(load) => match load.affine {
                    None if load.is_plain() => self.rows_of::<V, _>(Plain(load.values.as_ptr())),
                    None => with_curve!(load.activation, curve => {
                        self.rows_of::<V, _>(Curved { values: load.values.as_ptr(), curve })
                    }),
                    Some([scale, shift]) => with_curve!(load.activation, curve => {
                        let (scale, shift) = (scale.as_ptr(), shift.as_ptr());
                        self.rows_of::<V, _>(Affine { values: load.values.as_ptr(), scale, shift, curve })
                    }),
                },
                Source::Grad(grad) => match grad.norm {
                    None => self.rows_of::<V, _>(Plain(grad.dz.as_ptr())),
                    Some((y, k)) => {
                        self.rows_of::<V, _>(Formed { dz: grad.dz.as_ptr(), y: y.as_ptr(), k: k.map(<[f32]>::as_ptr) })
                    }
                },
            }
        }
    }
}

impl Fill<'_> {
    #[inline(always)]
    unsafe fn rows_of<V: Lanes, R: Read>(&self, read: R) {
        let layout = self.layout;
        let [height, width] = self.size;
        let line = layout.line();
        let left = layout.before[1].min(layout.size[1]);
        let columns = width.min(layout.size[1] - left);
        let right = layout.size[1] - left - columns;
        let all = layout.groups * layout.channels;
        for row in (0..self.rows).step_by(self.step) {
            let y = (self.first + row).wrapping_sub(layout.before[0]);
            for block in 0..layout.groups * layout.blocks() {
                // SAFETY: rows, columns and channels lie inside of the image and of the layout.
                unsafe {
                    let to = self.to.add(block * layout.plane() + row * line);
                    if y >= height {
                        clear::<V>(to, line);
                        continue;
                    }
                    clear::<V>(to, left * layout.cell);
                    clear::<V>(to.add((left + columns) * layout.cell), right * layout.cell);
                    let (channel, count) = layout.block(block);
                    let from = ((self.image * height + y) * width) * all + channel;
                    let to = to.add(left * layout.cell);
                    let span = Span { from, from_step: all, channel, count, pixels: columns };
                    read.span::<V>(span, to, layout.cell);
                }
            }
        }
    }
}

/// Pixels whose `count` channels from `channel` on are read.
#[derive(Clone, Copy)]
struct Span {
    from: usize,
    from_step: usize,
    channel: usize,
    count: usize,
    pixels: usize,
}

/// Zeros. The C library's function costs more than the few that are left and right of a row.
#[inline(always)]
unsafe fn clear<V: Lanes>(to: *mut f32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let (zero, whole) = (V::splat(0.0), count / V::N * V::N);
        (0..whole).step_by(V::N).for_each(|at| zero.store(to.add(at)));
        if whole < count {
            zero.store_some(to.add(whole), count - whole);
        }
    }
}

/// Copies. The C library's function has a slow start for a row.
#[inline(always)]
unsafe fn copy<V: Lanes>(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let whole = count / V::N * V::N;
        for at in (0..whole).step_by(V::N) {
            prefetch::to_read(from.wrapping_add(at + AHEAD));
            V::load(from.add(at)).store(to.add(at));
        }
        if whole < count {
            V::load_some(from.add(whole), count - whole).store_some(to.add(whole), count - whole);
        }
    }
}

/// Elements between what is read and what is fetched for later: two rows of a small image.
const AHEAD: usize = 1024;

/// A way of reading values by vectors.
trait Read: Copy {
    /// The vectors of `count` channels (of all lanes, if `FULL`), loaded once for a span.
    ///
    /// # Safety
    /// As [`Lanes`].
    unsafe fn hold<V: Lanes, const FULL: bool>(self, channel: usize, count: usize) -> [V; 3];
    /// # Safety
    /// As [`Read::hold`].
    unsafe fn at<V: Lanes, const FULL: bool>(self, held: [V; 3], from: usize, count: usize) -> V;

    /// # Safety
    /// The source has the pixels, `to` has `step` elements for each.
    #[inline(always)]
    unsafe fn span<V: Lanes>(self, span: Span, to: *mut f32, step: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let whole = span.count / V::N * V::N;
            for lane in (0..whole).step_by(V::N) {
                let held = self.hold::<V, true>(span.channel + lane, V::N);
                for pixel in 0..span.pixels {
                    let value = self.at::<V, true>(held, span.from + pixel * span.from_step + lane, V::N);
                    value.store(to.add(pixel * step + lane));
                }
            }
            let rest = span.count - whole;
            if rest > 0 {
                let held = self.hold::<V, false>(span.channel + whole, rest);
                for pixel in 0..span.pixels {
                    let value = self.at::<V, false>(held, span.from + pixel * span.from_step + whole, rest);
                    value.store_some(to.add(pixel * step + whole), rest);
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn load<V: Lanes, const FULL: bool>(from: *const f32, count: usize) -> V {
    // SAFETY: the caller's contract.
    unsafe { if FULL { V::load(from) } else { V::load_some(from, count) } }
}

#[derive(Clone, Copy)]
struct Plain(*const f32);

impl Read for Plain {
    #[inline(always)]
    unsafe fn hold<V: Lanes, const FULL: bool>(self, _: usize, _: usize) -> [V; 3] {
        // SAFETY: the caller's contract.
        [unsafe { V::splat(0.0) }; 3]
    }
    #[inline(always)]
    unsafe fn at<V: Lanes, const FULL: bool>(self, _: [V; 3], from: usize, count: usize) -> V {
        // SAFETY: the caller's contract.
        unsafe { load::<V, FULL>(self.0.add(from), count) }
    }
    #[inline(always)]
    unsafe fn span<V: Lanes>(self, span: Span, to: *mut f32, step: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            let from = self.0.add(span.from);
            if span.count == step && span.from_step == step {
                return copy::<V>(from, to, span.pixels * step);
            }
            for pixel in 0..span.pixels {
                let (from, to) = (from.add(pixel * span.from_step), to.add(pixel * step));
                let whole = span.count / V::N * V::N;
                (0..whole).step_by(V::N).for_each(|lane| V::load(from.add(lane)).store(to.add(lane)));
                if whole < span.count {
                    let rest = span.count - whole;
                    V::load_some(from.add(whole), rest).store_some(to.add(whole), rest);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Curved<C> {
    values: *const f32,
    curve: C,
}

impl<C: Curve> Read for Curved<C> {
    #[inline(always)]
    unsafe fn hold<V: Lanes, const FULL: bool>(self, _: usize, _: usize) -> [V; 3] {
        // SAFETY: the caller's contract.
        [unsafe { V::splat(0.0) }; 3]
    }
    #[inline(always)]
    unsafe fn at<V: Lanes, const FULL: bool>(self, _: [V; 3], from: usize, count: usize) -> V {
        // SAFETY: the caller's contract.
        unsafe { self.curve.vector(load::<V, FULL>(self.values.add(from), count)) }
    }
}

#[derive(Clone, Copy)]
struct Affine<C> {
    values: *const f32,
    scale: *const f32,
    shift: *const f32,
    curve: C,
}

impl<C: Curve> Read for Affine<C> {
    #[inline(always)]
    unsafe fn hold<V: Lanes, const FULL: bool>(self, channel: usize, count: usize) -> [V; 3] {
        // SAFETY: the caller's contract.
        unsafe {
            let scale = load::<V, FULL>(self.scale.add(channel), count);
            [scale, load::<V, FULL>(self.shift.add(channel), count), scale]
        }
    }
    #[inline(always)]
    unsafe fn at<V: Lanes, const FULL: bool>(self, [scale, shift, _]: [V; 3], from: usize, count: usize) -> V {
        prefetch::to_read(self.values.wrapping_add(from + AHEAD));
        // SAFETY: the caller's contract.
        unsafe { self.curve.vector(load::<V, FULL>(self.values.add(from), count).mul(scale).add(shift)) }
    }
}

#[derive(Clone, Copy)]
struct Formed {
    dz: *const f32,
    y: *const f32,
    k: [*const f32; 3],
}

impl Read for Formed {
    #[inline(always)]
    unsafe fn hold<V: Lanes, const FULL: bool>(self, channel: usize, count: usize) -> [V; 3] {
        // SAFETY: the caller's contract.
        unsafe {
            let at = |k: *const f32| load::<V, FULL>(k.add(channel), count);
            [at(self.k[0]), at(self.k[1]), at(self.k[2])]
        }
    }
    #[inline(always)]
    unsafe fn at<V: Lanes, const FULL: bool>(self, k: [V; 3], from: usize, count: usize) -> V {
        prefetch::to_read(self.dz.wrapping_add(from + AHEAD));
        prefetch::to_read(self.y.wrapping_add(from + AHEAD));
        // SAFETY: the caller's contract.
        unsafe {
            let dz = load::<V, FULL>(self.dz.add(from), count).mul(k[0]);
            dz.add(load::<V, FULL>(self.y.add(from), count).mul(k[1])).add(k[2])
        }
    }
}
