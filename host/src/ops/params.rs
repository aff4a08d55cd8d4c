//! Parameters and buffers: owned by the host, whoever made them.

use super::eager::{meta_of, to_candle_dtype};
use super::init::initialise;
use super::slices::change;
use candle_core::{DType as CandleType, Device, Result, Tensor, Var};
use indexmap::IndexMap;
use std::cell::{Cell, RefCell};
use stillhouse_plugin::Init;
use stillhouse_plugin::op::{DType, Meta};

/// What a stored tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Trained, unless frozen.
    Parameter,
    /// Kept and saved, never trained.
    Buffer,
}

/// One stored tensor.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The tensor; a parameter enters computations as this variable, a buffer as its detached value.
    pub var: Var,
    /// What it is for.
    pub kind: ParamKind,
}

/// The tensors of one owner (a model, or a part of one term), by name, in the order in which they were made.
#[derive(Debug)]
pub struct ParamSet {
    owner: String,
    seed: u64,
    float: CandleType,
    device: Device,
    entries: RefCell<IndexMap<String, Entry>>,
    /// Counts changes of the values.
    version: Cell<u64>,
}

impl ParamSet {
    /// An empty set. `float` is the type of every float tensor in it.
    pub fn new(owner: &str, seed: u64, float: CandleType, device: &Device) -> ParamSet {
        ParamSet {
            owner: owner.into(),
            seed,
            float,
            device: device.clone(),
            entries: RefCell::default(),
            version: Cell::new(0),
        }
    }

    /// Who owns the tensors: a model's or a term's name.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Type of the float tensors.
    pub fn float(&self) -> CandleType {
        self.float
    }

    /// Where the tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Makes a tensor. `float` types all become the set's own.
    ///
    /// # Errors
    /// candle cannot allocate it.
    pub fn add(&self, name: &str, shape: &[usize], dtype: DType, init: &Init, kind: ParamKind) -> Result<()> {
        let values = initialise(init, shape, self.seed, &format!("{}/{name}", self.owner));
        let dtype = if dtype.is_float() { self.float } else { to_candle_dtype(dtype) };
        let tensor = Tensor::from_vec(values, shape, &self.device)?.to_dtype(dtype)?;
        self.entries.borrow_mut().insert(name.into(), Entry { var: Var::from_tensor(&tensor)?, kind });
        Ok(())
    }

    /// Another number after every change of a value.
    pub fn version(&self) -> u64 {
        self.version.get()
    }

    /// Notes that a value is about to change through its variable.
    pub fn touch(&self) {
        self.version.set(self.version.get() + 1);
    }

    /// A stored tensor.
    pub fn get(&self, name: &str) -> Option<Entry> {
        self.entries.borrow().get(name).cloned()
    }

    /// The tensor as it enters a computation: a parameter with, a buffer without gradient.
    pub fn value(&self, name: &str) -> Option<Tensor> {
        self.entries.borrow().get(name).map(|entry| match entry.kind {
            ParamKind::Parameter => entry.var.as_tensor().clone(),
            ParamKind::Buffer => entry.var.as_detached_tensor(),
        })
    }

    /// Shape and type of a stored tensor.
    pub fn meta(&self, name: &str) -> Option<Meta> {
        self.entries.borrow().get(name).map(|entry| meta_of(entry.var.as_tensor()))
    }

    /// Overwrites a stored tensor.
    ///
    /// # Errors
    /// No such name, or another shape.
    pub fn assign(&self, name: &str, value: &Tensor) -> Result<()> {
        let Some(entry) = self.get(name) else { candle_core::bail!("`{}` has no tensor `{name}`", self.owner) };
        let value = value.detach().to_dtype(entry.var.dtype())?;
        if value.dims() != entry.var.dims() {
            candle_core::bail!("`{name}` wants the shape {:?}, got {:?}", entry.var.dims(), value.dims());
        }
        self.touch();
        entry.var.set(&value)
    }

    /// Changes the values of a stored tensor where they are: a contiguous `f32` one on the CPU; `false` for another.
    ///
    /// # Errors
    /// No such name.
    pub fn change(&self, name: &str, task: impl FnOnce(&mut [f32])) -> Result<bool> {
        let Some(entry) = self.get(name) else { candle_core::bail!("`{}` has no tensor `{name}`", self.owner) };
        self.touch();
        change(entry.var.as_tensor(), task)
    }

    /// Overwrites rows of a stored tensor in place: `index` `[B]`, `rows` `[B, ...]`.
    ///
    /// # Errors
    /// No such name, a row that does not exist, or shapes that do not fit.
    pub fn assign_rows(&self, name: &str, index: &Tensor, rows: &Tensor) -> Result<()> {
        let Some(entry) = self.get(name) else { candle_core::bail!("`{}` has no tensor `{name}`", self.owner) };
        let rows = rows.detach().to_dtype(entry.var.dtype())?.contiguous()?;
        let (count, index) = (entry.var.dim(0)?, index.to_vec1::<i64>()?);
        let is_row = |row: &i64| usize::try_from(*row).is_ok_and(|row| row < count);
        if let Some(row) = index.iter().find(|row| !is_row(row)) {
            candle_core::bail!("row {row} of `{name}`, which has {count}");
        }
        self.touch();
        let set = |(at, row): (usize, i64)| entry.var.slice_set(&rows.narrow(0, at, 1)?, 0, row as usize);
        index.into_iter().enumerate().try_for_each(set)
    }

    /// Names and entries, in the order in which they were made.
    pub fn entries(&self) -> Vec<(String, Entry)> {
        self.entries.borrow().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Names of all tensors of a kind.
    pub fn names(&self, kind: ParamKind) -> Vec<String> {
        self.entries.borrow().iter().filter(|(_, entry)| entry.kind == kind).map(|(name, _)| name.clone()).collect()
    }

    /// True when there is such a tensor.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.borrow().contains_key(name)
    }

    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        let entries = self.entries.borrow();
        entries.values().filter(|e| e.kind == ParamKind::Parameter).map(|e| e.var.elem_count()).sum()
    }
}
