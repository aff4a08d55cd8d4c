//! What a convolution reads for each output, in either direction.
//!
//! A pass makes each pixel of its destination from pixels of its source. Forward, the source is the input and moves by the
//! stride. For the gradient of the input the source is the gradient of the output: pixels of the input whose places agree
//! modulo the stride are a phase, read the same taps, and lie a stride apart.

use super::super::Level;
use super::ConvShape;
use super::layout::Layout;
use super::method::Method;

/// The way through a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the input to the output.
    Forward,
    /// From the gradient of the output to that of the input.
    Back,
}

/// A run of source elements that lie one after another: those of some taps.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// From the source pixel of a destination pixel.
    pub(super) offset: usize,
    /// Elements.
    pub(super) depth: usize,
    /// Block of channels within the group.
    pub(super) block: usize,
    /// Taps `[ky, kx]`.
    pub(super) taps: Vec<[usize; 2]>,
    /// Index of the first tap in the window.
    pub(super) tap: usize,
}

/// Destination pixels that read the same taps.
#[derive(Debug, Clone, Default)]
pub(super) struct Phase {
    /// The first of them.
    pub(super) origin: [usize; 2],
    /// Rows and columns.
    pub(super) size: [usize; 2],
    pub(super) segments: Vec<Segment>,
    /// Elements read for one destination pixel.
    pub(super) depth: usize,
}

/// A pass of a convolution through images of one size.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) level: Level,
    pub(super) way: Way,
    /// The convolution, of batch 1.
    pub(super) shape: ConvShape,
    /// Padded copies of the source.
    pub(super) layout: Layout,
    /// Steps between source pixels and between destination pixels of a phase.
    pub(super) steps: [[usize; 2]; 2],
    pub(super) phases: Vec<Phase>,
    /// Rows (of a phase) in a band.
    pub(super) band: usize,
    /// Each channel on its own.
    pub(super) depthwise: bool,
    /// By Winograd's method: bands and copies hold whole tiles.
    pub(super) winograd: Option<Method>,
    /// Copies and weights are pairs of bf16, which segments count as one element.
    pub(super) pairs: bool,
    /// The copy would equal the source.
    pub(super) in_place: bool,
}

/// Floats of source and destination that should stay in the second-level cache.
const BUDGET: usize = 128 * 1024;

/// A tap that a phase reads: distance in the source, place in the window.
type Tap = ([isize; 2], [usize; 2]);

impl Plan {
    pub(super) fn new(level: Level, shape: &ConvShape, way: Way) -> Self {
        let mut plan = Self::bare(level, shape, way);
        plan.phases = plan.read();
        plan
    }

    /// A plan without phases: the cut, and how sources are copied.
    pub(super) fn bare(level: Level, shape: &ConvShape, way: Way) -> Self {
        let shape = ConvShape { batch: 1, ..*shape };
        let stride = shape.window.stride;
        let (layout, steps) = match way {
            Way::Forward => (forward_layout(&shape), [stride, [1, 1]]),
            Way::Back => (back_layout(level, &shape), [[1, 1], stride]),
        };
        let (phases, depthwise) = (Vec::new(), is_depthwise(&shape));
        let mut plan = Self {
            level,
            way,
            shape,
            layout,
            steps,
            phases,
            band: 0,
            depthwise,
            winograd: None,
            pairs: false,
            in_place: false,
        };
        let alone = layout.groups * layout.blocks() == 1;
        plan.in_place = alone && layout.before == [0, 0] && layout.size == plan.sizes()[0];
        plan.cut();
        plan
    }

    /// A plan by Winograd's method.
    pub(super) fn winograd(level: Level, shape: &ConvShape, way: Way, method: Method) -> Self {
        let mut plan = Self::bare(level, shape, way);
        plan.winograd = Some(method);
        plan.in_place = false;
        let [_, size] = plan.sizes();
        plan.band = plan.band.next_multiple_of(method.outs());
        let beyond = shape.window.kernel.map(|size| size - 1);
        plan.layout.size = [plan.band + beyond[0], size[1].next_multiple_of(method.outs()) + beyond[1]];
        plan
    }

    /// Lets this plan read pairs of bf16: source channels are even, in one block.
    pub(super) fn pair(&mut self) {
        self.pairs = true;
        for phase in &mut self.phases {
            phase.depth /= 2;
            phase
                .segments
                .iter_mut()
                .for_each(|segment| (segment.offset, segment.depth) = (segment.offset / 2, segment.depth / 2));
        }
    }

    /// Height and width of source and destination.
    pub(super) fn sizes(&self) -> [[usize; 2]; 2] {
        match self.way {
            Way::Forward => [self.shape.input, self.shape.output],
            Way::Back => [self.shape.output, self.shape.input],
        }
    }

    /// Channels of a destination pixel.
    pub(super) fn made(&self) -> usize {
        match self.way {
            Way::Forward => self.shape.out_channels,
            Way::Back => self.shape.in_channels,
        }
    }

    /// Channels of a source pixel.
    pub(super) fn taken(&self) -> usize {
        self.shape.in_channels + self.shape.out_channels - self.made()
    }

    /// Rows of the longest phase.
    pub(super) fn rows(&self) -> usize {
        self.sizes()[1][0].div_ceil(self.steps[1][0])
    }

    /// Bands of an image.
    pub(super) fn bands(&self) -> usize {
        self.rows().div_ceil(self.band)
    }

    /// Source elements of one destination pixel of the next group.
    pub(super) fn group_step(&self) -> usize {
        match self.way {
            Way::Forward => self.shape.in_group(),
            Way::Back => self.layout.blocks() * self.layout.plane(),
        }
    }

    /// Cuts large images into bands whose source and destination stay in cache.
    fn cut(&mut self) {
        let rows = self.rows();
        self.band = rows.div_ceil(self.image().div_ceil(BUDGET).min(rows));
        let missing = rows - self.band;
        if missing > 0 && self.way == Way::Back {
            // A band ends at the same row in each phase, the image maybe a row earlier in some.
            let needed = self.layout.before[0] + rows + self.beyond();
            self.layout.size[0] = self.layout.size[0].max(needed);
        }
        self.layout.size[0] -= missing * self.steps[0][0];
    }

    /// Rows that the furthest tap of the phases lies below a pixel's own.
    fn beyond(&self) -> usize {
        let origins = 0..self.steps[1][0].min(self.sizes()[1][0]);
        let taps = origins.flat_map(|origin| taps_along(&self.shape, self.way, 0, origin));
        taps.map(|(distance, _)| distance.max(0) as usize).max().unwrap_or(0)
    }

    /// Images whose sources fit the cache together, such that a batch makes a multiple of 8 pieces if it can.
    pub(super) fn together(&self, batch: usize) -> usize {
        self.share(batch, self.budget(), 8)
    }

    /// Floats of the source and destination of a piece.
    fn budget(&self) -> usize {
        // Few tiles of an image would read the weights often.
        if self.winograd.is_some() { 2 * BUDGET } else { BUDGET }
    }

    /// Images whose sources fit the cache together.
    pub(super) fn fitting(&self) -> usize {
        if self.bands() > 1 { 1 } else { (self.budget() / self.image()).max(1) }
    }

    /// Floats of an image's source and destination.
    fn image(&self) -> usize {
        let [_, [height, width]] = self.sizes();
        self.layout.image() + height * width * self.made()
    }

    /// [`Plan::together`] where weights come from memory: fewer pieces, since each reads them all.
    pub(super) fn together_of_heavy(&self, batch: usize, threads: usize) -> usize {
        self.share(batch, 8 * BUDGET, threads.clamp(4, 8))
    }

    /// Images of a piece of at most `budget` floats, where the number of pieces is to be a multiple.
    fn share(&self, batch: usize, budget: usize, multiple: usize) -> usize {
        if self.bands() > 1 || batch == 0 {
            return 1;
        }
        let pieces = batch.div_ceil((budget / self.image()).max(1));
        batch.div_ceil(pieces.next_multiple_of(multiple).min(batch)).max(1)
    }

    /// The phases with what they read.
    fn read(&self) -> Vec<Phase> {
        let [_, size] = self.sizes();
        let step = self.steps[1];
        let mut phases = Vec::with_capacity(step[0] * step[1]);
        for y in 0..step[0].min(size[0]) {
            for x in 0..step[1].min(size[1]) {
                let size = [(size[0] - y).div_ceil(step[0]), (size[1] - x).div_ceil(step[1])];
                let segments = self.segments(&taps(&self.shape, self.way, [y, x]));
                let depth = segments.iter().map(|segment| segment.depth).sum();
                phases.push(Phase { origin: [y, x], size, segments, depth });
            }
        }
        phases
    }

    /// Joins taps that lie one after another.
    fn segments(&self, taps: &[Tap]) -> Vec<Segment> {
        let layout = &self.layout;
        let mut segments: Vec<Segment> = Vec::new();
        let blocks = match self.way {
            Way::Forward => 1,
            Way::Back => layout.blocks(),
        };
        for block in 0..blocks {
            let depth = match self.way {
                Way::Forward => self.shape.in_group(),
                Way::Back => layout.block(block).1,
            };
            for (distance, tap) in taps {
                let [y, x] = [0, 1].map(|axis| (distance[axis] + layout.before[axis] as isize) as usize);
                let offset = block * layout.plane() + y * layout.line() + x * layout.cell;
                match segments.last_mut() {
                    Some(last) if last.block == block && last.offset + last.depth == offset && !self.depthwise => {
                        last.depth += depth;
                        last.taps.push(*tap);
                    }
                    _ => {
                        let index = tap[0] * self.shape.window.kernel[1] + tap[1];
                        segments.push(Segment { offset, depth, block, taps: vec![*tap], tap: index });
                    }
                }
            }
        }
        segments
    }
}

/// The taps of a phase, by their place in the source.
fn taps(shape: &ConvShape, way: Way, origin: [usize; 2]) -> Vec<Tap> {
    let [rows, columns] = [0, 1].map(|axis| taps_along(shape, way, axis, origin[axis]));
    rows.iter().flat_map(|y| columns.iter().map(move |x| ([y.0, x.0], [y.1, x.1]))).collect()
}

/// Distance in the source and index of the taps of one axis.
fn taps_along(shape: &ConvShape, way: Way, axis: usize, origin: usize) -> Vec<(isize, usize)> {
    let w = &shape.window;
    let distance = |tap: usize| {
        let at = (tap * w.dilation[axis]) as isize - w.padding[axis] as isize;
        if way == Way::Forward {
            return Some(at);
        }
        let (at, stride) = (origin as isize - at, w.stride[axis] as isize);
        (at.rem_euclid(stride) == 0).then(|| at.div_euclid(stride))
    };
    let mut taps: Vec<_> = (0..w.kernel[axis]).filter_map(|tap| distance(tap).map(|at| (at, tap))).collect();
    taps.sort_unstable();
    taps
}

/// A padded image in the usual order, no larger than windows reach.
fn forward_layout(shape: &ConvShape) -> Layout {
    let w = &shape.window;
    let reach = |axis: usize| (shape.output[axis] - 1) * w.stride[axis] + w.span(axis);
    let size = if w.padding == [0, 0] { shape.input } else { [reach(0), reach(1)] };
    let channels = shape.in_channels;
    Layout { groups: 1, channels, cell: channels, size, before: w.padding }
}

/// Blocks of as many channels as two vectors hold: those that the gradient of the weights reads together.
fn back_layout(level: Level, shape: &ConvShape) -> Layout {
    let (mut before, mut size) = ([0; 2], shape.output);
    for axis in 0..2 {
        let stride = shape.window.stride[axis];
        let (mut low, mut high) = (0, 0);
        for origin in 0..stride.min(shape.input[axis]) {
            let last = (shape.input[axis] - origin).div_ceil(stride) as isize - 1;
            for (distance, _) in taps_along(shape, Way::Back, axis, origin) {
                low = low.min(distance);
                high = high.max(last + distance);
            }
        }
        let rows = shape.input[axis].div_ceil(stride) as isize;
        before[axis] = (-low) as usize;
        size[axis] = (high + 1).max(rows).max(shape.output[axis] as isize) as usize + before[axis];
    }
    let (groups, channels) = if is_depthwise(shape) { (1, shape.groups) } else { (shape.groups, shape.out_group()) };
    let cell = if is_depthwise(shape) { channels } else { channels.min(2 * level.lanes()) };
    Layout { groups, channels, cell, size, before }
}

/// One input and one output channel a group.
pub(super) fn is_depthwise(shape: &ConvShape) -> bool {
    shape.is_depthwise() && shape.out_group() == 1
}

#[cfg(test)]
mod tests {
    use super::super::super::Level;
    use super::super::{ConvShape, Window};
    use super::{Method, Plan, Way};

    /// 64 images of 4x4 in eight pieces; in four where each piece brings 38 MB of weights from memory, in more for more threads.
    #[test]
    fn weights_from_memory_are_read_by_fewer_pieces() {
        let window = Window { padding: [1, 1], ..Window::new([3, 3]) };
        let shape = ConvShape::new([1, 512, 4, 4], 512, window, 1).expect("a shape");
        let plan = Plan::winograd(Level::Portable, &shape, Way::Forward, Method::FourThree);
        assert_eq!(plan.together(64), 8);
        assert_eq!([1, 4, 6, 64].map(|threads| plan.together_of_heavy(64, threads)), [16, 16, 11, 8]);
        assert_eq!((plan.together_of_heavy(1, 2), plan.together_of_heavy(0, 2)), (1, 1));
    }
}
