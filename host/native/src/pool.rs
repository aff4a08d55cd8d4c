//! Pooling and resizing of the last two dims of `[N, C, H, W]`.

use super::last;
use super::node::{Call, Element, Grads, Node, View, apply, elsewhere};
use candle_core::{Error, Result, Tensor};
use stillhouse_kernels::Float;
use stillhouse_kernels::conv::Window;
use stillhouse_kernels::pool::{Average, PoolShape, max_pool2d_backward, max_pool2d_forward};
use stillhouse_kernels::resize::Resize;

/// How a pooling window moves. Pairs are `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Rows and columns of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Elements around the input, on each side; at most half the window.
    pub padding: [usize; 2],
}

impl Pool2d {
    /// Windows side by side: the stride is the kernel, no padding.
    pub fn tiled(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: kernel, padding: [0, 0] }
    }

    fn shape(&self, name: &str, x: &Tensor) -> Result<PoolShape> {
        let (n, c, height, width) = x.dims4()?;
        let window = Window { kernel: self.kernel, stride: self.stride, padding: self.padding, dilation: [1, 1] };
        PoolShape::new(n * c, [height, width], window).map_err(|e| refused(name, e))
    }
}

fn refused(name: &str, error: impl std::fmt::Display) -> Error {
    Error::msg(format!("`{name}`: {error}"))
}

/// The input's shape with other planes.
fn with_planes(dims: &[usize], plane: [usize; 2]) -> Vec<usize> {
    let lead = dims.len().saturating_sub(2);
    [&dims[..lead], &plane].concat()
}

/// Largest element of each window; padding never wins. The first maximum, by rows then columns, takes the whole gradient.
///
/// # Shapes
/// `x` `[N, C, H, W]` to `[N, C, H', W']`, `H' = (H + 2 padding - k) / stride + 1`, rounded down.
///
/// # Errors
/// Another rank, a window that does not fit, padding above half the window, a device other than the CPU.
pub fn max_pool2d(x: &Tensor, options: &Pool2d) -> Result<Tensor> {
    let shape = options.shape("max_pool2d", x)?;
    if !x.device().is_cpu() {
        return Err(elsewhere("max_pool2d", x));
    }
    apply(Max(shape), &[x])
}

struct Max(PoolShape);

impl Node for Max {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let dims = with_planes(ins[0].dims, self.0.output);
        let mut out = vec![<T as Float>::ZERO; dims.iter().product()];
        max_pool2d_forward(&self.0, ins[0].data, &mut out);
        Ok((out, dims))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        max_pool2d_backward(&self.0, call.ins[0].data, call.grad, &mut grad);
        Ok(vec![Some(grad)])
    }
}

/// Mean of each window. With `count_include_pad` padding counts as zeros, else the mean is over the elements inside.
///
/// # Shapes
/// As [`max_pool2d`].
///
/// # Errors
/// As [`max_pool2d`]; on another device candle's own runs where there is no padding.
pub fn avg_pool2d(x: &Tensor, options: &Pool2d, count_include_pad: bool) -> Result<Tensor> {
    let shape = options.shape("avg_pool2d", x)?;
    if !x.device().is_cpu() {
        let ([kernel_h, kernel_w], [stride_h, stride_w]) = (options.kernel, options.stride);
        return match options.padding {
            [0, 0] => x.avg_pool2d_with_stride((kernel_h, kernel_w), (stride_h, stride_w)),
            _ => Err(elsewhere("avg_pool2d with padding", x)),
        };
    }
    averaged("avg_pool2d", x, Average::fixed(&shape, count_include_pad))
}

/// Means over windows that tile the plane as evenly as they can: window `k` of `L -> l` is
/// `floor(k L / l) .. ceil((k + 1) L / l)`, for any `l >= 1`, larger than `L` too.
///
/// # Shapes
/// `x` `[N, C, H, W]` to `[N, C, output[0], output[1]]`; `[1, 1]` is the global average.
///
/// # Errors
/// Another rank, an empty plane, a device other than the CPU unless `output` is `[1, 1]`.
pub fn adaptive_avg_pool2d(x: &Tensor, output: [usize; 2]) -> Result<Tensor> {
    let name = "adaptive_avg_pool2d";
    let (n, c, height, width) = x.dims4()?;
    let average = Average::adaptive(n * c, [height, width], output).map_err(|e| refused(name, e))?;
    if !x.device().is_cpu() {
        return match output {
            [1, 1] => x.mean_keepdim((2, 3)),
            _ => Err(elsewhere(name, x)),
        };
    }
    averaged(name, x, average)
}

fn averaged(name: &'static str, x: &Tensor, average: Average) -> Result<Tensor> {
    if last::is_last_f32(x) { last::average(name, x, average) } else { apply(Mean { name, average }, &[x]) }
}

struct Mean {
    name: &'static str,
    average: Average,
}

impl Node for Mean {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let dims = with_planes(ins[0].dims, self.average.output());
        let mut out = vec![<T as Float>::ZERO; dims.iter().product()];
        self.average.forward(ins[0].data, &mut out);
        Ok((out, dims))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        self.average.backward(call.grad, &mut grad);
        Ok(vec![Some(grad)])
    }
}

/// Bilinear resizing with `align_corners = false`: `src = (k + 0.5) L / l - 0.5`, not below 0; neighbours clamped.
///
/// # Shapes
/// `x` `[N, C, H, W]` to `[N, C, output[0], output[1]]`.
///
/// # Errors
/// Another rank, an empty plane, a device other than the CPU.
pub fn resize_bilinear(x: &Tensor, output: [usize; 2]) -> Result<Tensor> {
    resized("resize_bilinear", x, output, Resize::bilinear)
}

/// Nearest resizing: `src = floor(k L / l)`, in whole numbers.
///
/// # Shapes
/// As [`resize_bilinear`].
///
/// # Errors
/// As [`resize_bilinear`].
pub fn resize_nearest(x: &Tensor, output: [usize; 2]) -> Result<Tensor> {
    resized("resize_nearest", x, output, Resize::nearest)
}

type MakeResize = fn([usize; 2], [usize; 2]) -> std::result::Result<Resize, stillhouse_kernels::ShapeError>;

fn resized(name: &'static str, x: &Tensor, output: [usize; 2], make: MakeResize) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let resize = make([height, width], output).map_err(|e| refused(name, e))?;
    if !x.device().is_cpu() {
        return Err(elsewhere(name, x));
    }
    if last::is_last_f32(x) { last::resized(name, x, resize) } else { apply(Resized { name, resize }, &[x]) }
}

struct Resized {
    name: &'static str,
    resize: Resize,
}

impl Node for Resized {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let dims = with_planes(ins[0].dims, self.resize.output());
        let mut out = vec![<T as Float>::ZERO; dims.iter().product()];
        self.resize.forward(ins[0].data, &mut out);
        Ok((out, dims))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let mut grad = vec![<T as Float>::ZERO; call.ins[0].data.len()];
        self.resize.backward(call.grad, &mut grad);
        Ok(vec![Some(grad)])
    }
}
