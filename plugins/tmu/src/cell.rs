//! The recurrent cell.

use stillhouse_plugin::prelude::*;

/// Settings of [`TmuCell`].
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TmuCellConfig {
    /// Networks whose memories it is to say; at least 1.
    #[schemars(range(min = 1))]
    pub sources: usize,
    /// Side of the kernel, odd.
    #[schemars(range(min = 1))]
    pub kernel: usize,
    /// The memory that the output reads.
    pub hidden_from: HiddenFrom,
}

impl Default for TmuCellConfig {
    fn default() -> TmuCellConfig {
        TmuCellConfig { sources: 2, kernel: 5, hidden_from: HiddenFrom::Pre }
    }
}

/// The memory that a cell's output reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HiddenFrom {
    /// Before the sources' memories are taken in, as the released code.
    #[default]
    Pre,
    /// After it, as the figure of the publication can be read.
    Post,
}

/// A transferable memory unit in the place of a layer `[N, C, H, W]` to `[N, K, H, W]`: a convolutional LSTM that says what each
/// source's memory would hold, and takes of that as much as a gate allows.
///
/// Yao et al. 2020 (arXiv:2009.11763), as thuml/transferable-memory: core/layers/AdaptiveCell.py, for any number M of sources.
/// ```text
/// i, f, o, g, s1 .. sM = LN(W * [x, h] + b)              sigmoid for i, f, o; tanh for g
/// u  = f c + i g                                         its own memory
/// qm = LN(Wm u)          am = sigmoid(sm)                what source m would hold; how much of it is taken
/// c' = u + sum_m am qm + (1 - am) u
/// h' = o tanh(u)                                         o tanh(c') with `hidden_from = "post"`
/// ```
/// h = c = 0 at the first frame. LN normalises each sample over channels and pixels, with scale and shift of that shape; Wm is a
/// 1x1 convolution without bias.
///
/// # Shapes and units
/// - input `[N, C, H, W]`, output `h'`, state `hidden` and `cell` (c'), values `q0` .. `q(M - 1)` `[N, K, H, W]`
/// - parameters `conv.*`, `norm.*`, `distiller.<m>.conv.weight`, `distiller.<m>.norm.*`
///
/// # Errors
/// Other than maps of one size, settings out of range.
///
/// # Example
/// The memory of an untrained cell whose convolution is 0: every gate is 1/2, and u = q = 0.
/// ```
/// # use stillhouse_plugin::testing::Bench;
/// # use stillhouse_tmu::TmuCell;
/// # fn main() -> stillhouse_plugin::Result<()> {
/// let run = Bench::module::<TmuCell>(r#"{"sources": 1, "kernel": 1}"#)?
///     .input("input", &[1, 1, 1, 2], &[3.0, -3.0])
///     .input("replaced", &[1, 1, 1, 2], &[0.0, 0.0])
///     .param("conv.weight", &[0.0; 10])
///     .param("conv.bias", &[0.0; 5])
///     .run()?;
/// assert_eq!(run.result("q0").values, [0.0, 0.0]);
/// # Ok(())
/// # }
/// ```
pub struct TmuCell {
    config: TmuCellConfig,
    hidden: usize,
    layers: Option<Layers>,
}

struct Layers {
    convolution: Conv2d,
    norm: LayerNorm,
    projections: Vec<(Conv2d, LayerNorm)>,
}

impl Component for TmuCell {
    type Config = TmuCellConfig;
    const NAME: &'static str = "tmu_cell";
    const DOC: &'static str =
        "Transferable memory unit: a convolutional LSTM that learns from the memories of other networks";
    const CITATION: &'static str = crate::CITATION;

    fn new(config: TmuCellConfig) -> Result<TmuCell> {
        ensure!(config.sources > 0, "`sources` must be at least 1, got 0");
        ensure!(config.kernel % 2 == 1, "`kernel` must be odd, got {}", config.kernel);
        Ok(TmuCell { config, hidden: 0, layers: None })
    }
}

impl Module for TmuCell {
    fn bind(&mut self, cx: &BindCx, x: &Tensor, replaced: &Tensor) -> Result<()> {
        let (from, to) = (x.meta()?, replaced.meta()?);
        let is_map = from.shape.len() == 4 && to.shape.len() == 4 && from.shape[2..] == to.shape[2..];
        ensure!(is_map, "`tmu_cell` wants [N, C, H, W] to [N, K, H, W], got {from} to {to}");
        let [width, height, columns] = [to.shape[1], to.shape[2], to.shape[3]];
        let TmuCellConfig { sources, kernel, .. } = self.config;
        let gates = (4 + sources) * width;
        let channels = [from.shape[1] + width, gates];
        let projection = |m: usize| {
            let conv = Conv2d::bind(cx, &format!("distiller.{m}.conv"), [width; 2], [1; 2], 1, 0, false);
            (conv, LayerNorm::bind(cx, &format!("distiller.{m}.norm"), &[width, height, columns]))
        };
        self.hidden = width;
        self.layers = Some(Layers {
            convolution: Conv2d::bind(cx, "conv", channels, [kernel; 2], 1, kernel / 2, true),
            norm: LayerNorm::bind(cx, "norm", &[gates, height, columns]),
            projections: (0..sources).map(projection).collect(),
        });
        Ok(())
    }

    fn step(&self, cx: &Cx, x: &Tensor, state: &State) -> Result<Stepped> {
        let layers = self.layers.as_ref().ok_or_else(|| Error::new("`tmu_cell` is not bound"))?;
        let start = || Ok(cx.full(0.0, &[x.dim(0)?, self.hidden, x.dim(2)?, x.dim(3)?], x.dtype()?));
        let hidden = state.get("hidden").map_or_else(start, Ok)?; // [N, K, H, W]
        let cell = state.get("cell").map_or_else(start, Ok)?; // [N, K, H, W]
        let sums = layers.convolution.forward(cx, &Tensor::concat(&[x, &hidden], 1)?);
        let gates = layers.norm.forward(cx, &sums); // [N, (4 + M) K, H, W]
        let gate = |at: usize| gates.narrow(1, at * self.hidden, self.hidden); // [N, K, H, W]
        let own = gate(1).sigmoid() * cell + gate(0).sigmoid() * gate(3).tanh(); // [N, K, H, W]
        let (mut whole, mut said) = (own.clone(), vec![]);
        for (m, (projection, norm)) in layers.projections.iter().enumerate() {
            let source = norm.forward(cx, &projection.forward(cx, &own)); // [N, K, H, W]
            let taken = gate(4 + m).sigmoid(); // [N, K, H, W]
            whole = whole + (&taken * &source + (1.0 - &taken) * &own);
            said.push(source);
        }
        let read = match self.config.hidden_from {
            HiddenFrom::Pre => own.tanh(),
            HiddenFrom::Post => whole.tanh(),
        };
        let output = gate(2).sigmoid() * read; // [N, K, H, W]
        let mut stepped = Stepped::new(output.clone()).state("hidden", &output).state("cell", &whole);
        for (m, source) in said.iter().enumerate() {
            stepped = stepped.value(&format!("q{m}"), source);
        }
        Ok(stepped)
    }
}

register!(module TmuCell);
