//! Elementwise functions over values of one shape, as one call of the record: nothing between them is kept.

use super::last::{dim_lying, lies, lying, standing};
use super::node::{Element, by_dtype, on_cpu, tensor};
use super::record::{self, Back, Found, Inputs};
use super::shape::narrow;
use candle_core::{Error, Result, Tensor};
use smallvec::SmallVec;
use std::rc::Rc;
use stillhouse_kernels::fusion::{self, Columns, Elementwise, Wanted};

/// An elementwise function of one or two tensors of `f32` or `f64`.
pub trait Pointwise: Send + Sync + 'static {
    /// Runs it; two tensors broadcast.
    ///
    /// # Errors
    /// Another number of tensors, shapes that do not broadcast, other dtypes.
    fn apply(&self, ins: &[&Tensor]) -> Result<Tensor>;

    /// The loop in `f32`.
    fn single(&self) -> &dyn Elementwise<f32>;

    /// The loop in `f64`.
    fn double(&self) -> &dyn Elementwise<f64>;
}

/// A tensor that a [`Fusion`] reads, whole or a part of one of its dims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Which of the tensors given.
    pub tensor: usize,
    /// Dim, start and length of the part.
    pub part: Option<[usize; 3]>,
}

/// Functions over values of one shape. Values are numbered: what is read first, then the result of each step.
pub struct Fusion {
    /// Values that are read; parts are along the same dim, and those of one tensor do not overlap.
    pub reads: Vec<Read>,
    /// Functions with the numbers of the values that they read, one of them twice when it reads one.
    pub steps: Vec<(Box<dyn Pointwise>, [usize; 2])>,
    /// Numbers of the results that are given.
    pub outputs: Vec<usize>,
}

/// Values as matrices of equal size: rows of columns from the dim of the parts on.
struct Geometry {
    rows: usize,
    width: usize,
    /// By value that is read: the width of the whole tensor, and the first column.
    columns: Vec<[usize; 2]>,
}

impl Fusion {
    /// The results. Outside a record, on other devices, and of other dtypes the functions run one by one.
    ///
    /// # Errors
    /// Tensors of other shapes than the fusion is made for.
    pub fn run(self: &Rc<Self>, given: &[&Tensor]) -> Result<SmallVec<[Tensor; 2]>> {
        let native = given.iter().all(|x| x.device().is_cpu() && x.dtype() == given[0].dtype() && x.dtype().is_float());
        if !record::is_open() || !native {
            return self.one_by_one(given);
        }
        if !lies(given) {
            return self.together(given, false);
        }
        let turned = given.iter().map(|x| lying(x)).collect::<Result<SmallVec<[Tensor; 4]>>>()?;
        let outs = self.together(&turned.iter().collect::<SmallVec<[&Tensor; 4]>>(), true)?;
        outs.iter().map(standing).collect()
    }

    fn one_by_one(&self, given: &[&Tensor]) -> Result<SmallVec<[Tensor; 2]>> {
        let mut values: Vec<Tensor> = Vec::with_capacity(self.reads.len() + self.steps.len());
        for read in &self.reads {
            values.push(match read.part {
                Some([dim, start, len]) => narrow(given[read.tensor], dim, start, len)?,
                None => given[read.tensor].clone(),
            });
        }
        for (function, ins) in &self.steps {
            let ins = ins.map(|value| &values[value]);
            values.push(function.apply(&ins[..function.single().arity()])?);
        }
        Ok(self.outputs.iter().map(|value| values[*value].clone()).collect())
    }

    fn together(self: &Rc<Self>, given: &[&Tensor], lies: bool) -> Result<SmallVec<[Tensor; 2]>> {
        let ins: Inputs = given.iter().map(|x| x.contiguous()).collect::<Result<_>>()?;
        let outs = by_dtype!(ins[0].dtype(), "fusion", T => self.forward::<T>(&ins, lies))?;
        record::note(given, ins, &outs, || Box::new(Noted { fusion: self.clone(), lies }));
        Ok(outs)
    }

    /// Dims of a value that is read, as it lies.
    fn dims(&self, read: &Read, ins: &[Tensor], lies: bool) -> Vec<usize> {
        let mut dims = ins[read.tensor].dims().to_vec();
        if let Some((dim, [_, _, len])) = self.part(read, lies) {
            dims[dim] = len;
        }
        dims
    }

    fn part(&self, read: &Read, lies: bool) -> Option<(usize, [usize; 3])> {
        read.part.map(|part| (if lies { dim_lying(part[0]) } else { part[0] }, part))
    }

    fn geometry(&self, ins: &[Tensor], lies: bool) -> Result<Geometry> {
        let dims = self.dims(&self.reads[0], ins, lies);
        if self.reads.iter().any(|read| self.dims(read, ins, lies) != dims) {
            return Err(Error::msg("a fusion of values of different shapes"));
        }
        // Without parts everything is one column.
        let dim = self.reads.iter().find_map(|read| self.part(read, lies)).map_or(dims.len(), |(dim, _)| dim);
        let width = dims[dim..].iter().product();
        let columns = self.reads.iter().map(|read| match self.part(read, lies) {
            Some((dim, [_, start, _])) => {
                let whole = ins[read.tensor].dims();
                [whole[dim..].iter().product(), start * whole[dim + 1..].iter().product::<usize>()]
            }
            None => [width, 0],
        });
        Ok(Geometry { rows: dims[..dim].iter().product(), width, columns: columns.collect() })
    }

    /// Runs `task` on the kernel's form of this.
    fn within<T: Element, R>(
        &self,
        ins: &[Tensor],
        lies: bool,
        task: impl FnOnce(&fusion::Fusion<'_, T>, &Geometry) -> Result<R>,
    ) -> Result<R> {
        let geometry = self.geometry(ins, lies)?;
        let held: SmallVec<[_; 4]> = ins.iter().map(Tensor::storage_and_layout).collect();
        let views = held.iter().map(|(s, l)| on_cpu::<T>(s, l)).collect::<Result<SmallVec<[_; 4]>>>()?;
        let columns = |(read, [stride, start]): (&Read, &[usize; 2])| Columns {
            data: views[read.tensor].data,
            stride: *stride,
            start: *start,
        };
        let fusion = fusion::Fusion {
            rows: geometry.rows,
            width: geometry.width,
            inputs: self.reads.iter().zip(&geometry.columns).map(columns).collect(),
            steps: self
                .steps
                .iter()
                .map(|(f, ins)| fusion::Step { function: T::pointwise(f.as_ref()), ins: *ins })
                .collect(),
        };
        task(&fusion, &geometry)
    }

    fn forward<T: Element>(&self, ins: &[Tensor], lies: bool) -> Result<SmallVec<[Tensor; 2]>> {
        let dims = self.dims(&self.reads[0], ins, lies);
        self.within::<T, _>(ins, lies, |fusion, _| {
            fusion.forward(&self.outputs).into_iter().map(|data| tensor(data, &dims)).collect()
        })
    }

    fn backward<T: Element>(
        &self,
        ins: &[Tensor],
        grads: &[(usize, Tensor)],
        lies: bool,
        wanted: &[bool],
    ) -> Result<Found> {
        let held: SmallVec<[_; 2]> = grads.iter().map(|(_, grad)| grad.storage_and_layout()).collect();
        let views = held.iter().map(|(s, l)| on_cpu::<T>(s, l)).collect::<Result<SmallVec<[_; 2]>>>()?;
        let given: Vec<(usize, &[T])> =
            grads.iter().zip(&views).map(|((value, _), view)| (*value, view.data)).collect();
        self.within::<T, _>(ins, lies, |fusion, geometry| {
            let of = |tensor: usize| {
                let reads = self.reads.iter().enumerate().filter(|(_, read)| read.tensor == tensor);
                let parts: Vec<_> = reads.map(|(value, _)| (value, geometry.columns[value][1])).collect();
                Wanted { stride: parts.first().map_or(0, |(value, _)| geometry.columns[*value][0]), parts }
            };
            let asked: Vec<usize> = (0..ins.len()).filter(|tensor| wanted[*tensor]).collect();
            let made = fusion.backward(&given, &asked.iter().map(|tensor| of(*tensor)).collect::<Vec<_>>());
            let mut found: Found = (0..ins.len()).map(|_| None).collect();
            for (at, data) in asked.into_iter().zip(made) {
                found[at] = Some(tensor(data, ins[at].dims())?);
            }
            Ok(found)
        })
    }
}

/// A call of a fusion.
struct Noted {
    fusion: Rc<Fusion>,
    lies: bool,
}

impl Back for Noted {
    fn back(&self, ins: &[Tensor], _: &[Tensor], grads: &[Option<Tensor>], wanted: &[bool]) -> Result<Found> {
        let outputs = self.fusion.outputs.iter().zip(grads);
        let grads = outputs.filter_map(|(value, grad)| grad.as_ref().map(|grad| Ok((*value, grad.contiguous()?))));
        let grads = grads.collect::<Result<SmallVec<[(usize, Tensor); 2]>>>()?;
        by_dtype!(ins[0].dtype(), "fusion", T => self.fusion.backward::<T>(ins, &grads, self.lies, wanted))
    }
}
