//! Matrices that parts hand to the run's report: their means over an epoch, rows and columns named.

use super::exact::Exact;
use super::plan::StagePlan;
use super::selector::Selector;
use super::step::StepReport;
use super::term::{BoundTerm, Read};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use stillhouse_plugin::report;

/// A matrix, mean over an epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// The term whose part gave it.
    pub term: String,
    /// Its name.
    pub name: String,
    /// What the rows and the columns are: the ports.
    pub axes: [String; 2],
    /// Names of the rows: what the first port reads.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Row by row.
    pub values: Vec<Vec<f64>>,
}

/// Sums of the matrices of one epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// Term, name, sum and number of matrices.
    sums: Vec<(String, String, Vec<Vec<Exact>>, u64)>,
}

impl Tables {
    /// Adds what a step handed out; what is not a matrix with named axes is no table. A matrix of another shape starts anew.
    pub(super) fn add(&mut self, step: &StepReport) {
        for (term, emitted) in &step.emitted {
            let Some(values) = report::parse(&emitted.name).and_then(|_| matrix(&emitted.value)) else { continue };
            let known = self.sums.iter_mut().find(|(of, name, ..)| of == term && *name == emitted.name);
            match known {
                Some((.., sum, count)) if is_alike(sum, &values) => {
                    sum.iter_mut().flatten().zip(values.iter().flatten()).for_each(|(sum, value)| sum.0 += value.0);
                    *count += 1;
                }
                Some((.., sum, count)) => (*sum, *count) = (values, 1),
                None => self.sums.push((term.clone(), emitted.name.clone(), values, 1)),
            }
        }
    }

    /// The means, with the names of what the stage's terms read.
    pub(super) fn means(&self, stage: &StagePlan) -> Vec<Table> {
        let terms = stage.terms();
        let mean = |(term, full, sum, count): &(String, String, Vec<Vec<Exact>>, u64)| {
            let (name, axes) = report::parse(full)?;
            let bound = terms.iter().find(|bound| bound.name == *term)?;
            let share = |row: &Vec<Exact>| row.iter().map(|value| value.0 / *count as f64).collect::<Vec<f64>>();
            Some(Table {
                term: term.clone(),
                name: name.to_owned(),
                axes: axes.map(str::to_owned),
                rows: names(bound, axes[0], sum.len()),
                columns: names(bound, axes[1], sum.first().map_or(0, Vec::len)),
                values: sum.iter().map(share).collect(),
            })
        };
        self.sums.iter().filter_map(mean).collect()
    }
}

fn is_alike(a: &[Vec<Exact>], b: &[Vec<Exact>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len())
}

fn matrix(value: &Tensor) -> Option<Vec<Vec<Exact>>> {
    let rows = value.to_dtype(DType::F64).and_then(|value| value.to_vec2::<f64>()).ok()?;
    Some(rows.into_iter().map(|row| row.into_iter().map(Exact).collect()).collect())
}

/// What a port reads, as many names as there are; else numbers.
fn names(term: &BoundTerm, port: &str, count: usize) -> Vec<String> {
    let name = |read: &Read| match read {
        Read::Tap { text, .. } => Selector::parse(text).map_or_else(|_| text.clone(), |selector| selector.tap()),
        Read::Parameter { name, .. } | Read::Field(name) => name.clone(),
    };
    let reads: Vec<String> = term.port(port).into_iter().flat_map(|port| &port.reads).map(name).collect();
    if reads.len() == count { reads } else { (0..count).map(|at| at.to_string()).collect() }
}
