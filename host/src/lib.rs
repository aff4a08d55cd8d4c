//! Stillhouse, the host: reads a manifest, loads plugins and trains students from teachers.
//!
//! The rooms, in the order in which a run passes through them: [`manifest`] (the file and its errors), [`plugin`] (find,
//! verify, load, register), [`data`], [`graph`] and [`model`] (networks as data), [`ops`] (the host's side of the operation
//! table), [`exec`] (run a graph), [`train`] (plan and train),
//! [`eval`] (parts on given tensors, golden cases), [`conform`] (whether a plugin keeps the rules), [`scaffold`] (a new plugin's
//! files), [`report`] (folder, progress, table), [`receipt`] (what a run was, to repeat it), [`sweep`] (grids of runs) and [`cli`]
//! (the commands).

pub mod cli;
pub mod conform;
pub mod data;
mod disk;
pub mod eval;
pub mod exec;
pub mod graph;
mod hex;
pub mod manifest;
pub mod model;
pub mod ops;
pub mod plugin;
pub mod receipt;
pub mod report;
pub mod scaffold;
pub mod sweep;
pub mod train;
