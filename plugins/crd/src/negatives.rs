//! Which rows of the memories a sample is held against.

use stillhouse_plugin::prelude::*;

/// Buffer of the class of every sample that was seen, -1 for the others.
pub(crate) const CLASSES: &str = "classes";
/// How often a negative is drawn again when it is of the sample's own class.
const REDRAWS: usize = 2;

/// Rows that one batch may be held against: 0.3 GB for each list of as many numbers.
const MOST_ROWS: usize = 1 << 25;

/// Refuses numbers of negatives with which a step takes minutes and many gigabytes.
pub(crate) fn check_count(batch: usize, negatives: usize) -> Result<()> {
    let rows = batch.saturating_mul(negatives.saturating_add(1));
    ensure!(
        rows <= MOST_ROWS,
        "`crd` got `negatives` = {negatives}: a batch of {batch} would be held against {rows} rows a step, {:.1} GB for each list \
         of them\n\nhint: at this batch `negatives` may be up to {}; 16384 is published",
        rows as f64 * 8e-9,
        (MOST_ROWS / batch.max(1)).saturating_sub(1)
    );
    Ok(())
}

/// Makes the buffer of the classes.
pub(crate) fn bind_classes(cx: &BindCx, samples: usize) {
    cx.add_buffer_of(CLASSES, &[samples], DType::I64, &Init::Constant { value: -1.0 });
}

/// Rows `[N, 1 + negatives]`: each sample's own first, then negatives from all `samples`, uniform and with replacement. With
/// `label` those that are known to be of the sample's class are drawn again, twice, and the classes of the batch are kept.
pub(crate) fn draw(
    cx: &Cx,
    index: &Tensor,
    label: Option<&Tensor>,
    samples: usize,
    negatives: usize,
) -> Result<Tensor> {
    let batch = index.dim(0)?;
    let uniform = |at: usize| {
        let draws = cx.uniform(&format!("negatives.{at}"), &[batch, negatives], DType::F64, 0.0, samples as f64);
        // Rounding may reach the upper bound.
        draws.floor().clamp_max(samples as f64 - 1.0).cast(DType::I64) // [N, K]
    };
    let mut rows = uniform(0);
    if let Some(label) = label {
        let classes = cx.buffer(CLASSES); // [samples]
        let own = label.unsqueeze(1); // [N, 1]
        for at in 1..=REDRAWS {
            let drawn = classes.index_select(0, &rows.reshape(&[batch * negatives])).reshape(&[batch, negatives]);
            rows = drawn.eq(&own).select(&uniform(at), &rows);
        }
        cx.set_rows(CLASSES, index, label);
    }
    Tensor::concat(&[&index.unsqueeze(1), &rows], 1)
}
