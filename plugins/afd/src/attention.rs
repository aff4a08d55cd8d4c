//! How much each student layer counts for each teacher layer, sample by sample.

use stillhouse_plugin::prelude::*;

/// Fully connected layer and batch normalisation: `<name>.linear.*`, `<name>.bn.*`.
#[derive(Debug, Clone)]
struct Projection {
    linear: Linear,
    norm: BatchNorm,
}

impl Projection {
    fn bind(cx: &BindCx, name: &str, inputs: usize, outputs: usize) -> Projection {
        Projection {
            linear: Linear::bind(cx, &format!("{name}.linear"), inputs, outputs, true),
            norm: BatchNorm::bind(cx, &format!("{name}.bn"), outputs),
        }
    }

    fn forward(&self, cx: &Cx, x: &Tensor) -> Tensor {
        self.norm.forward(cx, &self.linear.forward(cx, x))
    }
}

/// Keys of the student's layers, queries of the teacher's, and the positions of both.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    keys: Vec<Projection>,
    bilinear: Projection,
    queries: Vec<Projection>,
    features: usize,
}

impl Attention {
    /// Makes the parameters for layers of these channels; `features` of keys and queries.
    pub(crate) fn bind(cx: &BindCx, students: &[usize], teachers: &[usize], features: usize) -> Attention {
        let all = |name: &str, channels: &[usize]| {
            let one = |(at, inputs): (usize, &usize)| Projection::bind(cx, &format!("{name}.{at}"), *inputs, features);
            channels.iter().enumerate().map(one).collect::<Vec<_>>()
        };
        let xavier = Init::XavierNormal { gain: 1.0 };
        cx.add_param("position_student", &[students.len(), features], &xavier);
        cx.add_param("position_teacher", &[teachers.len(), features], &xavier);
        Attention {
            keys: all("key", students),
            bilinear: Projection::bind(cx, "bilinear", features, features * teachers.len()),
            queries: all("query", teachers),
            features,
        }
    }

    /// Maps `[N, C, H, W]` of both networks to weights `[N, teachers, students]`, which sum to 1 over students.
    pub(crate) fn forward(&self, cx: &Cx, students: &[Tensor], teachers: &[Tensor]) -> Result<Tensor> {
        let (samples, features) = (students[0].dim(0)?, self.features);
        let project = |layers: &[Projection], maps: &[Tensor]| -> Vec<Tensor> {
            layers.iter().zip(maps).map(|(layer, map)| layer.forward(cx, &map.global_avg_pool())).collect()
        };
        let keys: Vec<Tensor> = project(&self.keys, students).iter().map(Tensor::relu).collect(); // [N, q]
        let queries = project(&self.queries, teachers); // [N, q]
        // One normalisation over all samples and student layers.
        let keys = Tensor::stack(&keys.iter().collect::<Vec<_>>(), 1)?; // [N, S, q]
        let rows = keys.reshape(&[samples * students.len(), features]);
        let bilinear = self.bilinear.forward(cx, &rows); // [N S, T q]
        let bilinear = bilinear.reshape(&[samples, students.len(), teachers.len(), features]);
        let queries = Tensor::stack(&queries.iter().collect::<Vec<_>>(), 1)?; // [N, T, q]
        let matches = (bilinear * queries.unsqueeze(1)).sum(&[3]).transpose(1, 2); // [N, T, S]
        let positions = cx.param("position_teacher").matmul(&cx.param("position_student").t()); // [T, S]
        Ok(((matches + positions) / (features as f64).sqrt()).softmax(2))
    }
}
