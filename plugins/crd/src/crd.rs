//! The loss.

use crate::config::CrdConfig;
use crate::negatives;
use stillhouse_plugin::prelude::*;

/// Buffers of past embeddings, student's and teacher's, and of both normalisers.
const MEMORIES: [&str; 2] = ["memory_student", "memory_teacher"];
const NORMALISERS: &str = "z";
/// Keeps a share of probabilities off one.
const EPS: f64 = 1e-7;
/// Above so many samples for each row that is read, rows are gathered before they are multiplied.
const FEW_ROWS: usize = 64;

/// Contrastive representation distillation: the student's embedding of a sample is to be told from those of others by the
/// teacher's embedding of it, and the other way round, with memories of all samples' embeddings.
///
/// Tian, Krishnan & Isola 2020 (arXiv:1910.10699), as in RepDistiller `crd/criterion.py`, `crd/memory.py`.
/// ```text
/// L = sum over both ways of -1/N sum_n ( ln h(p_n0) + sum_{k >= 1} ln (1 - h(p_nk)) )
/// h(p) = p / (p + c + 1e-7)   1 - h stands for c / (p + c + 1e-7)   c = K / samples
/// p_nk = exp(v_n . m_r / T) / Z     v the one side's embedding, m the other's memory, r = row k of sample n, its own first
/// v = W x + b, divided by its length
/// ```
/// Z is `samples` times the mean of exp(v . m / T) over the first batch, and stays. After the step a seen row becomes `momentum`
/// times the old one plus `1 - momentum` times the new embedding, divided by its length.
///
/// Negatives are drawn from all samples, uniform and with replacement, unless `contrast_index` names them. With `label`, those
/// known to be of the sample's own class are drawn again, twice; a class is known once its sample was seen.
///
/// # Shapes and units
/// - `student` `[N, ...]` float, flattened; carries gradient
/// - `teacher` `[N, ...]` of any size, same type; constant (its embedding is trained)
/// - `index` `[N]` i64: places of the samples in the training set; `label` `[N]` i64, may be unbound
/// - `contrast_index` `[N, 1 + K]` i64: rows to compare with, the sample's own first; may be unbound
/// - parameters `embed_student.weight` `[feat_dim, D]`, `.bias`, and `embed_teacher.*`
/// - buffers `memory_student`, `memory_teacher` `[samples, feat_dim]`, `z` `[2]` (negative: not set), `classes` `[samples]`
/// - returns `[]`, nats a sample, >= 0 but for the 1e-7
///
/// # Errors
/// Batches that differ, an empty batch, an index beyond the training set, settings out of range, more negatives than 2^25 a batch,
/// no training set.
///
/// # Example
/// A memory of two rows, embeddings of one feature: p is the same for the positive and the only negative.
/// ```
/// # use stillhouse_crd::Crd;
/// # use stillhouse_plugin::testing::{Array, Bench};
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let mut bench = Bench::loss::<Crd>(r#"{"feat_dim": 1}"#)?
///     .samples(2)
///     .input("student", &[1, 1], &[3.0])
///     .input("teacher", &[1, 1], &[2.0])
///     .labels("index", &[0])
///     .array("contrast_index", &Array::whole(&[1, 2], &[0, 1]))
///     .buffer("memory_student", &[1.0, 1.0])
///     .buffer("memory_teacher", &[1.0, 1.0]);
/// // p = 1/2 by the normaliser of the first batch, and c = 1/2: both shares are 1/2, both ways.
/// assert!((bench.run()?.loss() - 4.0 * 2f64.ln()).abs() < 1e-6);
/// # Ok(())
/// # }
/// ```
pub struct Crd {
    config: CrdConfig,
    bound: Option<Bound>,
}

struct Bound {
    embeddings: [Linear; 2],
    samples: usize,
}

impl Component for Crd {
    type Config = CrdConfig;
    const NAME: &'static str = "crd";
    const DOC: &'static str = "Contrastive representation distillation, with memories of all samples";
    const CITATION: &'static str =
        "Tian, Krishnan & Isola, Contrastive Representation Distillation, ICLR 2020, arXiv:1910.10699";
    // Through the normaliser of the first batch.
    const BATCH_COUPLED: bool = true;

    fn new(config: CrdConfig) -> Result<Crd> {
        config.check()?;
        Ok(Crd { config, bound: None })
    }

    fn ports() -> Vec<Port> {
        vec![
            Port::student(),
            Port::teacher(),
            Port::data("index"),
            Port::data("label").optional(),
            Port { default: None, ..Port::data("contrast_index") }.optional(),
        ]
    }
}

impl Loss for Crd {
    fn bind(&mut self, cx: &BindCx, x: &Inputs) -> Result<()> {
        let (student, teacher) = x.pair(Self::NAME)?;
        let (features, samples) = (self.config.feat_dim, cx.moment().samples as usize);
        ensure!(samples > 0, "`crd` keeps a row for each sample of the training set, and it has none");
        let embedding = |name: &str, x: &Tensor| -> Result<Linear> {
            Ok(Linear::bind(cx, name, x.flatten_from(1).dim(1)?, features, true))
        };
        let embeddings = [embedding("embed_student", &student)?, embedding("embed_teacher", &teacher)?];
        let bound = (3.0 / features as f64).sqrt();
        for memory in MEMORIES {
            cx.add_buffer(memory, &[samples, features], &Init::Uniform { low: -bound, high: bound });
        }
        cx.add_buffer(NORMALISERS, &[2], &Init::Constant { value: -1.0 });
        if !x.has("contrast_index") {
            negatives::check_count(student.dim(0)?, self.config.negatives)?;
            if x.has("label") {
                negatives::bind_classes(cx, samples);
            }
        }
        self.bound = Some(Bound { embeddings, samples });
        Ok(())
    }

    fn forward(&self, cx: &Cx, x: &Inputs) -> Result<Tensor> {
        let bound = self.bound.as_ref().ok_or_else(|| Error::new("`crd` ran before it was bound"))?;
        let (student, teacher) = x.pair(Self::NAME)?;
        let (index, rows) = self.rows(cx, x, student.dim(0)?, bound.samples)?;
        let [of_student, of_teacher] = &bound.embeddings;
        let embed = |layer: &Linear, x: &Tensor| layer.forward(cx, &x.flatten_from(1)).normalize(&[1], 1e-12);
        let embeddings = [embed(of_student, &student), embed(of_teacher, &teacher)]; // [N, F]
        let mut losses = vec![];
        let mut normalisers = vec![];
        for (side, embedding) in embeddings.iter().enumerate() {
            let others = cx.buffer(MEMORIES[1 - side]); // [samples, F]
            let scores = similarities(embedding, &others, &rows)? / self.config.temperature; // [N, 1 + K]
            let before = cx.buffer(NORMALISERS).narrow(0, side, 1); // [1]
            let first = (scores.detach().exp().mean_all() * bound.samples as f64).reshape(&[1]); // [1]
            let normaliser = before.le_value(0.0).select(&first, &before); // [1]
            losses.push(contrast(&(scores - normaliser.log()), bound.samples)?);
            normalisers.push(normaliser);
        }
        if cx.training() {
            cx.set(NORMALISERS, &Tensor::concat(&normalisers.iter().collect::<Vec<_>>(), 0)?);
            for (memory, embedding) in MEMORIES.iter().zip(&embeddings) {
                let kept = cx.buffer(memory).index_select(0, &index) * self.config.momentum; // [N, F]
                let row = kept + embedding.detach() * (1.0 - self.config.momentum);
                cx.set_rows(memory, &index, &row.normalize(&[1], 1e-12));
            }
        }
        Ok(&losses[0] + &losses[1])
    }
}

impl Crd {
    /// Places of the samples, and the rows that each is held against.
    fn rows(&self, cx: &Cx, x: &Inputs, batch: usize, samples: usize) -> Result<(Tensor, Tensor)> {
        let index = x.one("index")?;
        let dims = index.dims()?;
        ensure!(dims == [batch], "`crd` wants an index [{batch}], one for each sample, got {dims:?}");
        let Some(rows) = x.optional("contrast_index")? else {
            let label = x.optional("label")?;
            let rows = negatives::draw(cx, &index, label.as_ref(), samples, self.config.negatives)?;
            return Ok((index, rows));
        };
        let dims = rows.dims()?;
        ensure!(
            dims.len() == 2 && dims[0] == batch && dims[1] >= 2,
            "`crd` wants a contrast_index [{batch}, 1 + K] with one negative or more, got {dims:?}"
        );
        Ok((index, rows))
    }
}

/// Products of each embedding with the memory's rows that `rows` names, `[N, 1 + K]`.
fn similarities(embedding: &Tensor, memory: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let ([samples, features], [batch, count]) = (two(memory)?, two(rows)?);
    if samples <= FEW_ROWS * count {
        return Ok(embedding.matmul(&memory.t()).gather(1, rows));
    }
    let read = memory.index_select(0, &rows.reshape(&[batch * count])); // [N (1 + K), F]
    Ok(read.reshape(&[batch, count, features]).matmul(&embedding.unsqueeze(2)).squeeze(2))
}

fn two(x: &Tensor) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(x.dims()?).map_err(|dims| Error::new(format!("`crd` wants a matrix, got {dims:?}")))
}

/// Noise-contrastive loss of the logarithms of probabilities `[N, 1 + K]`, the positive one first.
fn contrast(logs: &Tensor, samples: usize) -> Result<Tensor> {
    let [batch, count] = two(logs)?;
    let negatives = count - 1;
    let noise = negatives as f64 / samples as f64;
    let beside = |logs: &Tensor| (logs.exp() + (noise + EPS)).log();
    let positive = logs.narrow(1, 0, 1); // [N, 1]
    let right = (&positive - beside(&positive)).sum_all();
    let wrong = (noise.ln() - beside(&logs.narrow(1, 1, negatives))).sum_all();
    Ok(-(right + wrong) / batch as f64)
}

register!(loss Crd);
