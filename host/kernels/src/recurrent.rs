//! Pointwise parts of recurrent cells, all gates of a row in one pass. The matrix products or convolutions that make the gates
//! are other kernels; a row is one sample of a step, or one pixel of a convolutional cell.

mod remade;

pub use remade::{lstm_cell, lstm_state};

use crate::Float;
use crate::leveled::leveled;
use crate::nhwc::across::{LANES, block, put_block};
use crate::nhwc::{Level, sigmoid};
use crate::parallel::pieces3;

type Block = [f32; LANES];

/// Elements of a task, in whole rows.
const TASK: usize = 1 << 12;

/// Long short-term memory, gates in PyTorch's order `i, f, g, o`: Hochreiter & Schmidhuber 1997 with forget gates.
///
/// ```text
/// i, f, o = sigmoid(gates)     g = tanh(gate)
/// c = f c_before + i g         h = o tanh(c)
/// ```
/// `gates` `[rows, 4 H]` comes in as sums and goes out as `i, f, g, o`, which the backward pass reads; `cell_before`, `cell`,
/// `state` `[rows, H]`.
pub fn lstm_forward(gates: &mut [f32], cell_before: &[f32], hidden: usize, cell: &mut [f32], state: &mut [f32]) {
    check([gates.len(), cell_before.len(), cell.len(), state.len()], [4, 1, 1, 1], hidden);
    let (level, block, work) = (Level::current(), TASK.div_ceil(hidden), gates.len() * 4);
    let sizes = [4, 1, 1].map(|size| size * block * hidden);
    pieces3([gates, cell, state], sizes, work, |index, [gates, cell, state]| {
        let before = &cell_before[index * block * hidden..][..cell.len()];
        lstm_rows(level, gates, before, hidden, cell, state);
    });
}

/// Rows of slices that hold `sizes` times `hidden` elements a row.
fn check<const N: usize>(lengths: [usize; N], sizes: [usize; N], hidden: usize) -> usize {
    assert!(hidden > 0, "recurrent: no hidden units");
    let rows = lengths[0] / (sizes[0] * hidden);
    assert_eq!(lengths, sizes.map(|size| size * rows * hidden), "recurrent: lengths");
    rows
}

leveled! {
    fn lstm_rows(gates: &mut [f32], before: &[f32], hidden: usize, cell: &mut [f32], state: &mut [f32]) {
        let made = cell.chunks_exact_mut(hidden).zip(state.chunks_exact_mut(hidden));
        for ((gates, before), (cell, state)) in
            gates.chunks_exact_mut(4 * hidden).zip(before.chunks_exact(hidden)).zip(made)
        {
            lstm_row(gates, before, cell, state);
        }
    }
}

#[inline(always)]
fn lstm_row(gates: &mut [f32], before: &[f32], cell: &mut [f32], state: &mut [f32]) {
    let hidden = cell.len();
    let (i, rest) = gates.split_at_mut(hidden);
    let (f, rest) = rest.split_at_mut(hidden);
    let (g, o) = rest.split_at_mut(hidden);
    for at in (0..hidden).step_by(LANES) {
        let (mut open, before) = ([block(i, at), block(f, at), block(g, at), block(o, at)], block(before, at));
        let (mut made, mut shown) = ([0.0; LANES], [0.0; LANES]);
        lstm_block(&mut open, &before, &mut made, &mut shown);
        put_block(&open[0], i, at);
        put_block(&open[1], f, at);
        put_block(&open[2], g, at);
        put_block(&open[3], o, at);
        put_block(&made, cell, at);
        put_block(&shown, state, at);
    }
}

#[inline(always)]
fn lstm_block(gates: &mut [Block; 4], before: &Block, cell: &mut Block, state: &mut Block) {
    let [i, f, g, o] = gates;
    for lane in 0..LANES {
        i[lane] = sigmoid(i[lane]);
        f[lane] = sigmoid(f[lane]);
        g[lane] = Float::tanh(g[lane]);
        o[lane] = sigmoid(o[lane]);
        cell[lane] = f[lane] * before[lane] + i[lane] * g[lane];
        state[lane] = o[lane] * Float::tanh(cell[lane]);
    }
}

/// What the forward pass of an LSTM left.
#[derive(Debug, Clone, Copy)]
pub struct LstmKept<'a> {
    /// `i, f, g, o` `[rows, 4 H]`.
    pub gates: &'a [f32],
    /// The cell that came in, `[rows, H]`.
    pub cell_before: &'a [f32],
    /// The cell that was made, `[rows, H]`.
    pub cell: &'a [f32],
}

/// Gradients of [`lstm_forward`].
///
/// ```text
/// dc = grad_cell + grad_state o (1 - tanh(c)^2)
/// grad_gates = dc g i (1 - i), dc c_before f (1 - f), dc i (1 - g^2), grad_state tanh(c) o (1 - o)
/// grad_cell = dc f
/// ```
/// `grad_state` `[rows, H]`; `grad_cell` `[rows, H]` comes in as the gradient for the cell that was made and goes out as that
/// for the cell before; `grad_gates` `[rows, 4 H]`, for the sums.
pub fn lstm_backward(
    kept: LstmKept<'_>,
    grad_state: &[f32],
    hidden: usize,
    grad_cell: &mut [f32],
    grad_gates: &mut [f32],
) {
    let LstmKept { gates, cell_before, cell } = kept;
    let lengths = [gates.len(), grad_gates.len(), cell_before.len(), cell.len(), grad_state.len(), grad_cell.len()];
    check(lengths, [4, 4, 1, 1, 1, 1], hidden);
    let (level, block, work) = (Level::current(), TASK.div_ceil(hidden), gates.len() * 4);
    let sizes = [4, 1].map(|size| size * block * hidden);
    pieces3([grad_gates, grad_cell], sizes, work, |index, [grad_gates, grad_cell]| {
        let (at, len) = (index * block * hidden, grad_cell.len());
        let kept = [cell_before, cell, grad_state].map(|values| &values[at..][..len]);
        lstm_gradients(level, &gates[4 * at..][..4 * len], kept, hidden, grad_cell, grad_gates);
    });
}

leveled! {
    fn lstm_gradients(
        gates: &[f32],
        kept: [&[f32]; 3],
        hidden: usize,
        grad_cell: &mut [f32],
        grad_gates: &mut [f32],
    ) {
        let rows = gates.chunks_exact(4 * hidden).zip(grad_gates.chunks_exact_mut(4 * hidden));
        for (row, ((gates, grad_gates), grad_cell)) in rows.zip(grad_cell.chunks_exact_mut(hidden)).enumerate() {
            let at = row * hidden;
            let kept = [&kept[0][at..][..hidden], &kept[1][at..][..hidden], &kept[2][at..][..hidden]];
            lstm_gradient(gates, kept, grad_cell, grad_gates);
        }
    }
}

#[inline(always)]
fn lstm_gradient(gates: &[f32], kept: [&[f32]; 3], grad_cell: &mut [f32], grad_gates: &mut [f32]) {
    let hidden = grad_cell.len();
    let (i, rest) = gates.split_at(hidden);
    let (f, rest) = rest.split_at(hidden);
    let (g, o) = rest.split_at(hidden);
    let (i, f, g, o) = (&i[..hidden], &f[..hidden], &g[..hidden], &o[..hidden]);
    let (di, rest) = grad_gates.split_at_mut(hidden);
    let (df, rest) = rest.split_at_mut(hidden);
    let (dg, d_o) = rest.split_at_mut(hidden);
    let d_o = &mut d_o[..hidden];
    let [before, cell, grad_state] = kept.map(|values| &values[..hidden]);
    for at in 0..hidden {
        let tanh = Float::tanh(cell[at]);
        let dc = grad_cell[at] + grad_state[at] * o[at] * (1.0 - tanh * tanh);
        di[at] = dc * g[at] * i[at] * (1.0 - i[at]);
        df[at] = dc * before[at] * f[at] * (1.0 - f[at]);
        dg[at] = dc * i[at] * (1.0 - g[at] * g[at]);
        d_o[at] = grad_state[at] * tanh * o[at] * (1.0 - o[at]);
        grad_cell[at] = dc * f[at];
    }
}

/// Gated recurrent unit, gates in PyTorch's order `r, z, n`: Cho et al. 2014 (arXiv:1406.1078), the reset behind the product.
///
/// ```text
/// r, z = sigmoid(input + recurrent)     n = tanh(input + r recurrent)
/// h = (1 - z) n + z h_before
/// ```
/// `gates` `[rows, 3 H]` comes in as the input's sums and goes out as `r, z, n`; `recurrent` `[rows, 3 H]` the state's sums
/// with their bias; `before`, `state` `[rows, H]`.
pub fn gru_forward(gates: &mut [f32], recurrent: &[f32], before: &[f32], hidden: usize, state: &mut [f32]) {
    check([gates.len(), recurrent.len(), before.len(), state.len()], [3, 3, 1, 1], hidden);
    let (level, block, work) = (Level::current(), TASK.div_ceil(hidden), gates.len() * 4);
    let sizes = [3, 1].map(|size| size * block * hidden);
    pieces3([gates, state], sizes, work, |index, [gates, state]| {
        let at = index * block * hidden;
        let (recurrent, before) = (&recurrent[3 * at..][..gates.len()], &before[at..][..state.len()]);
        gru_rows(level, gates, recurrent, before, hidden, state);
    });
}

leveled! {
    fn gru_rows(gates: &mut [f32], recurrent: &[f32], before: &[f32], hidden: usize, state: &mut [f32]) {
        let states = before.chunks_exact(hidden).zip(state.chunks_exact_mut(hidden));
        for ((gates, recurrent), (before, state)) in
            gates.chunks_exact_mut(3 * hidden).zip(recurrent.chunks_exact(3 * hidden)).zip(states)
        {
            gru_row(gates, recurrent, before, state);
        }
    }
}

#[inline(always)]
fn gru_row(gates: &mut [f32], recurrent: &[f32], before: &[f32], state: &mut [f32]) {
    let hidden = state.len();
    let (r, rest) = gates.split_at_mut(hidden);
    let (z, n) = rest.split_at_mut(hidden);
    let (by_r, rest) = recurrent.split_at(hidden);
    let (by_z, by_n) = rest.split_at(hidden);
    for at in (0..hidden).step_by(LANES) {
        let mut open = [block(r, at), block(z, at), block(n, at)];
        let back = [block(by_r, at), block(by_z, at), block(by_n, at)];
        let mut made = block(before, at);
        gru_block(&mut open, &back, &mut made);
        put_block(&open[0], r, at);
        put_block(&open[1], z, at);
        put_block(&open[2], n, at);
        put_block(&made, state, at);
    }
}

/// `state` comes in as the state before.
#[inline(always)]
fn gru_block(gates: &mut [Block; 3], recurrent: &[Block; 3], state: &mut Block) {
    let ([r, z, n], [by_r, by_z, by_n]) = (gates, recurrent);
    for lane in 0..LANES {
        r[lane] = sigmoid(r[lane] + by_r[lane]);
        z[lane] = sigmoid(z[lane] + by_z[lane]);
        n[lane] = Float::tanh(n[lane] + r[lane] * by_n[lane]);
        state[lane] = (1.0 - z[lane]) * n[lane] + z[lane] * state[lane];
    }
}

/// What the forward pass of a GRU left.
#[derive(Debug, Clone, Copy)]
pub struct GruKept<'a> {
    /// `r, z, n` `[rows, 3 H]`.
    pub gates: &'a [f32],
    /// The state's sums that came in, `[rows, 3 H]`.
    pub recurrent: &'a [f32],
    /// The state that came in, `[rows, H]`.
    pub before: &'a [f32],
}

/// Gradients of [`gru_forward`].
///
/// ```text
/// dn = grad_state (1 - z) (1 - n^2)      dz = grad_state (h_before - n) z (1 - z)      dr = dn recurrent_n r (1 - r)
/// grad_gates = dr, dz, dn      grad_recurrent = dr, dz, dn r      grad_state = grad_state z
/// ```
/// `grad_state` `[rows, H]` comes in as the gradient for the state that was made and goes out as the direct part of that for the
/// state before (the other part comes through the recurrent product); `grad_gates`, `grad_recurrent` `[rows, 3 H]`.
pub fn gru_backward(
    kept: GruKept<'_>,
    hidden: usize,
    grad_state: &mut [f32],
    grad_gates: &mut [f32],
    grad_recurrent: &mut [f32],
) {
    let GruKept { gates, recurrent, before } = kept;
    let lengths =
        [gates.len(), recurrent.len(), grad_gates.len(), grad_recurrent.len(), before.len(), grad_state.len()];
    check(lengths, [3, 3, 3, 3, 1, 1], hidden);
    let (level, block, work) = (Level::current(), TASK.div_ceil(hidden), gates.len() * 4);
    let sizes = [1, 3, 3].map(|size| size * block * hidden);
    pieces3([grad_state, grad_gates, grad_recurrent], sizes, work, |index, grads| {
        let (at, len) = (index * block * hidden, grads[0].len());
        let kept = [&gates[3 * at..][..3 * len], &recurrent[3 * at..][..3 * len], &before[at..][..len]];
        gru_gradients(level, kept, hidden, grads);
    });
}

leveled! {
    fn gru_gradients(kept: [&[f32]; 3], hidden: usize, grads: [&mut [f32]; 3]) {
        let [grad_state, grad_gates, grad_recurrent] = grads;
        let gates = grad_gates.chunks_exact_mut(3 * hidden).zip(grad_recurrent.chunks_exact_mut(3 * hidden));
        for (row, (grad_state, (grad_gates, grad_recurrent))) in
            grad_state.chunks_exact_mut(hidden).zip(gates).enumerate()
        {
            let wide = [&kept[0][3 * row * hidden..][..3 * hidden], &kept[1][3 * row * hidden..][..3 * hidden]];
            let before = &kept[2][row * hidden..][..hidden];
            gru_gradient(wide, before, grad_state, grad_gates, grad_recurrent);
        }
    }
}

#[inline(always)]
fn gru_gradient(
    [gates, recurrent]: [&[f32]; 2],
    before: &[f32],
    grad_state: &mut [f32],
    grad_gates: &mut [f32],
    grad_recurrent: &mut [f32],
) {
    let hidden = grad_state.len();
    let (r, rest) = gates.split_at(hidden);
    let (z, n) = rest.split_at(hidden);
    let by_n = &recurrent[2 * hidden..][..hidden];
    let (dr, rest) = grad_gates.split_at_mut(hidden);
    let (dz, dn) = rest.split_at_mut(hidden);
    let (n, dn, before) = (&n[..hidden], &mut dn[..hidden], &before[..hidden]);
    let (back_r, rest) = grad_recurrent.split_at_mut(hidden);
    let (back_z, back_n) = rest.split_at_mut(hidden);
    let back_n = &mut back_n[..hidden];
    for at in 0..hidden {
        let grad = grad_state[at];
        dn[at] = grad * (1.0 - z[at]) * (1.0 - n[at] * n[at]);
        dz[at] = grad * (before[at] - n[at]) * z[at] * (1.0 - z[at]);
        dr[at] = dn[at] * by_n[at] * r[at] * (1.0 - r[at]);
        (back_r[at], back_z[at], back_n[at]) = (dr[at], dz[at], dn[at] * r[at]);
        grad_state[at] = grad * z[at];
    }
}
