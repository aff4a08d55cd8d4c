//! One differentiable function of tensors as one node of a tape: the open record, or candle's.

use super::record::{self, Back, Found, Inputs};
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Storage, Tensor, WithDType,
};
use smallvec::SmallVec;
use stillhouse_kernels::Float;

/// `f32` and `f64`, as candle and as the kernels know them.
pub(crate) trait Element: Float + WithDType {
    /// The user's functions for this type.
    fn user(op: &dyn super::many::ManyOp) -> super::many::Typed<'_, Self>;
    /// The loop of a function in this type.
    fn pointwise(function: &dyn super::fusion::Pointwise) -> &dyn stillhouse_kernels::fusion::Elementwise<Self>;
    /// The same elements, when they are `f32`.
    fn single(data: &[Self]) -> Option<&[f32]>;
    /// From `f32`.
    fn of_single(data: Vec<f32>) -> Vec<Self>;
}

/// Contiguous elements and their shape.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) dims: &'a [usize],
}

/// What a backward pass may read.
pub(crate) struct Call<'a, T> {
    pub(crate) ins: &'a [View<'a, T>],
    pub(crate) out: &'a [T],
    pub(crate) grad: &'a [T],
    /// By input: whether its gradient leads to a variable.
    pub(crate) wanted: &'a [bool],
}

/// Gradients by input; those that are not wanted may be `None`.
pub(crate) type Grads<T> = Vec<Option<Vec<T>>>;

/// A function of one or more tensors of one float type to one tensor, with its gradient.
pub(crate) trait Node: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// The output and its shape.
    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)>;

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>>;

    /// Whether the gradient of input `index` is that of the output itself: it is handed on without a copy.
    fn passes(&self, _index: usize) -> bool {
        false
    }
}

/// Runs `$body` with `$type` standing for the element type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $name:expr, $type:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $type = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $type = f64;
                $body
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, $name).bt()),
        }
    };
}
pub(crate) use by_dtype;

/// Calls `node` on tensors on the CPU; any number of inputs is one node of the tape.
pub(crate) fn apply<N: Node>(node: N, given: &[&Tensor]) -> Result<Tensor> {
    let ins = prepared(node.name(), given)?;
    if record::is_open() {
        let op = Op(node);
        let out = op.call(&ins)?;
        record::note(given, ins, std::slice::from_ref(&out), || Box::new(op));
        return Ok(out);
    }
    match ins.as_slice() {
        [a] => a.apply_op1(Op(node)),
        [a, b] => a.apply_op2(b, Op(node)),
        [a, b, c] => a.apply_op3(b, c, Op(node)),
        _ => {
            let flat = ins.iter().map(Tensor::flatten_all).collect::<Result<Vec<_>>>()?;
            let packed = Tensor::cat(&flat, 0)?;
            let shapes = ins.iter().map(|t| t.dims().to_vec()).collect();
            let wanted = ins.iter().map(Tensor::track_op).collect();
            packed.apply_op1(Op(Packed { node, shapes, wanted }))
        }
    }
}

/// Calls `node` without a tape.
pub(crate) fn apply_constant<N: Node>(node: N, ins: &[&Tensor]) -> Result<Tensor> {
    let ins = prepared(node.name(), ins)?;
    Op(node).call(&ins)
}

fn prepared(name: &'static str, ins: &[&Tensor]) -> Result<Inputs> {
    let Some(first) = ins.first() else {
        return Err(Error::msg(format!("`{name}` got no input")));
    };
    for tensor in ins {
        if !tensor.device().is_cpu() {
            return Err(elsewhere(name, tensor));
        }
        if tensor.dtype() != first.dtype() {
            let (lhs, rhs) = (first.dtype(), tensor.dtype());
            return Err(Error::DTypeMismatchBinaryOp { lhs, rhs, op: name }.bt());
        }
        if !matches!(tensor.dtype(), DType::F32 | DType::F64) {
            return Err(Error::UnsupportedDTypeForOp(tensor.dtype(), name).bt());
        }
    }
    ins.iter().map(|t| t.contiguous()).collect()
}

/// The error of an operation that runs on the CPU only.
pub(crate) fn elsewhere(name: &str, tensor: &Tensor) -> Error {
    Error::msg(format!("`{name}` has no form for {:?}, only for the CPU", tensor.device().location()))
}

/// Reads a tensor on the CPU as a contiguous slice, without a copy where it is one.
pub(crate) fn read<T: Element, R>(tensor: &Tensor, task: impl FnOnce(View<'_, T>) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(elsewhere("read", &tensor));
    };
    task(view(storage, layout)?)
}

fn view<'a, T: Element>(storage: &'a CpuStorage, layout: &'a Layout) -> Result<View<'a, T>> {
    let Some((from, to)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous { op: "native" }.bt());
    };
    let data = T::cpu_storage_as_slice(storage)?;
    // A piece without elements may begin behind the end of what has none.
    let data = if from == to { &data[..0] } else { &data[from..to] };
    Ok(View { data, dims: layout.dims() })
}

/// A tensor on the CPU that owns `data`.
pub(crate) fn tensor<T: Element>(data: Vec<T>, dims: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(data, dims, &candle_core::Device::Cpu)
}

struct Op<N>(N);

impl<N: Node> Op<N> {
    fn run(&self, ins: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        let Some((first, _)) = ins.first() else {
            return Err(Error::msg(format!("`{}` got no input", self.0.name())));
        };
        by_dtype!(candle_core::backend::BackendStorage::dtype(*first), self.0.name(), T => {
            let views = ins.iter().map(|(s, l)| view::<T>(s, l)).collect::<Result<Vec<_>>>()?;
            let (data, dims) = self.0.forward(&views)?;
            debug_assert_eq!(data.len(), dims.iter().product::<usize>());
            Ok((<T as WithDType>::to_cpu_storage_owned(data), Shape::from(dims)))
        })
    }

    /// The output, on no tape.
    fn call(&self, ins: &[Tensor]) -> Result<Tensor> {
        by_dtype!(ins[0].dtype(), self.0.name(), T => {
            let held: SmallVec<[_; 3]> = ins.iter().map(Tensor::storage_and_layout).collect();
            let views = held.iter().map(|(s, l)| on_cpu::<T>(s, l)).collect::<Result<SmallVec<[_; 3]>>>()?;
            let (data, dims) = self.0.forward(&views)?;
            tensor(data, &dims)
        })
    }

    fn grads<'a>(
        &self,
        ins: impl Iterator<Item = &'a Tensor> + Clone,
        out: &Tensor,
        grad: &Tensor,
        wanted: &[bool],
    ) -> Result<Found> {
        let passes = |index: usize| wanted[index] && self.0.passes(index);
        let mut grads: Found = (0..wanted.len()).map(|index| passes(index).then(|| grad.clone())).collect();
        let left: SmallVec<[bool; 3]> = (0..wanted.len()).map(|index| wanted[index] && !passes(index)).collect();
        if left.contains(&true) {
            by_dtype!(out.dtype(), self.0.name(), T => self.fill::<T>(ins, out, grad, &left, &mut grads))?;
        }
        Ok(grads)
    }

    fn fill<'a, T: Element>(
        &self,
        ins: impl Iterator<Item = &'a Tensor> + Clone,
        out: &Tensor,
        grad: &Tensor,
        wanted: &[bool],
        grads: &mut Found,
    ) -> Result<()> {
        let grad = grad.contiguous()?;
        let held: SmallVec<[_; 3]> = ins.map(Tensor::storage_and_layout).collect();
        let views = held.iter().map(|(s, l)| on_cpu::<T>(s, l)).collect::<Result<SmallVec<[_; 3]>>>()?;
        let (out_storage, out_layout) = out.storage_and_layout();
        let (grad_storage, grad_layout) = grad.storage_and_layout();
        let made = self.0.backward(&Call {
            ins: &views,
            out: on_cpu(&out_storage, out_layout)?.data,
            grad: on_cpu(&grad_storage, grad_layout)?.data,
            wanted,
        })?;
        let made = made.into_iter().chain(std::iter::repeat_with(|| None));
        for (((slot, made), wanted), from) in grads.iter_mut().zip(made).zip(wanted).zip(&views) {
            if let (true, Some(data)) = (wanted, made) {
                *slot = Some(tensor(data, from.dims)?);
            }
        }
        Ok(())
    }

    /// For candle's tape, which has no place for a missing gradient of an input that it tracks.
    fn all_grads<const N_IN: usize>(
        &self,
        ins: [&Tensor; N_IN],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N_IN]> {
        let wanted = ins.map(Tensor::track_op);
        let mut found = self.grads(ins.into_iter(), out, grad, &wanted)?.into_iter();
        let mut grads = ins.map(|_| None);
        for ((slot, wanted), from) in grads.iter_mut().zip(wanted).zip(ins) {
            let found = found.next().flatten();
            if wanted {
                *slot = Some(found.map_or_else(|| from.zeros_like(), Ok)?);
            }
        }
        Ok(grads)
    }
}

impl<N: Node> Back for Op<N> {
    fn back(&self, ins: &[Tensor], outs: &[Tensor], grads: &[Option<Tensor>], wanted: &[bool]) -> Result<Found> {
        let (out, grad) = record::sole(outs, grads)?;
        self.grads(ins.iter(), out, grad, wanted)
    }
}

pub(crate) fn on_cpu<'a, T: Element>(storage: &'a Storage, layout: &'a Layout) -> Result<View<'a, T>> {
    match storage {
        Storage::Cpu(storage) => view(storage, layout),
        _ => Err(Error::msg("a native operation met a tensor that is not on the CPU")),
    }
}

impl<N: Node> CustomOp1 for Op<N> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(&[(s, l)])
    }

    fn bwd(&self, a: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.all_grads([a], out, grad)?;
        Ok(a)
    }
}

impl<N: Node> CustomOp2 for Op<N> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(&[(s1, l1), (s2, l2)])
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, out: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.all_grads([a, b], out, grad)?;
        Ok((a, b))
    }
}

impl<N: Node> CustomOp3 for Op<N> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.run(&[(s1, l1), (s2, l2), (s3, l3)])
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.all_grads([a, b, c], out, grad)?;
        Ok((a, b, c))
    }
}

/// More inputs than a node can have, laid end to end in one.
struct Packed<N> {
    node: N,
    shapes: Vec<Vec<usize>>,
    wanted: Vec<bool>,
}

impl<N> Packed<N> {
    fn split<'a, T>(&'a self, packed: &'a [T]) -> Vec<View<'a, T>> {
        let mut rest = packed;
        let mut next = |dims: &'a Vec<usize>| {
            let (data, after) = rest.split_at(dims.iter().product());
            rest = after;
            View { data, dims: dims.as_slice() }
        };
        self.shapes.iter().map(&mut next).collect()
    }
}

impl<N: Node> Node for Packed<N> {
    fn name(&self) -> &'static str {
        self.node.name()
    }

    fn forward<T: Element>(&self, ins: &[View<'_, T>]) -> Result<(Vec<T>, Vec<usize>)> {
        let packed = ins.first().map_or(&[][..], |view| view.data);
        self.node.forward(&self.split(packed))
    }

    fn backward<T: Element>(&self, call: &Call<'_, T>) -> Result<Grads<T>> {
        let packed = call.ins.first().map_or(&[][..], |view| view.data);
        let ins = self.split(packed);
        let made = self.node.backward(&Call { ins: &ins, out: call.out, grad: call.grad, wanted: &self.wanted })?;
        let mut grad = Vec::with_capacity(packed.len());
        for (made, view) in made.into_iter().chain(std::iter::repeat_with(|| None)).zip(&ins) {
            match made {
                Some(made) => grad.extend(made),
                None => grad.resize(grad.len() + view.data.len(), <T as Float>::ZERO),
            }
        }
        Ok(vec![Some(grad)])
    }
}
