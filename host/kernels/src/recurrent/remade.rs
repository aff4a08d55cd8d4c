//! Values of an LSTM made again from its gates: bit by bit those of the forward pass, so that they need not be kept.

use super::{Block, TASK, check};
use crate::Float;
use crate::leveled::leveled;
use crate::nhwc::Level;
use crate::nhwc::across::{LANES, block, put_block};
use crate::parallel::pieces;

/// `cell = f cell_before + i g`. `gates` `[rows, 4 H]` as [`lstm_forward`](super::lstm_forward) left them; `cell_before`,
/// `cell` `[rows, H]`.
pub fn lstm_cell(gates: &[f32], cell_before: &[f32], hidden: usize, cell: &mut [f32]) {
    check([gates.len(), cell_before.len(), cell.len()], [4, 1, 1], hidden);
    let (level, size) = (Level::current(), TASK.div_ceil(hidden) * hidden);
    pieces(cell, size, gates.len(), |index, cell| {
        let (at, len) = (index * size, cell.len());
        cell_rows(level, &gates[4 * at..][..4 * len], &cell_before[at..][..len], hidden, cell);
    });
}

/// `state = o tanh(cell)`. `gates` `[rows, 4 H]` as [`lstm_forward`](super::lstm_forward) left them; `cell`, `state`
/// `[rows, H]`.
pub fn lstm_state(gates: &[f32], cell: &[f32], hidden: usize, state: &mut [f32]) {
    check([gates.len(), cell.len(), state.len()], [4, 1, 1], hidden);
    let (level, size) = (Level::current(), TASK.div_ceil(hidden) * hidden);
    pieces(state, size, gates.len() * 2, |index, state| {
        let (at, len) = (index * size, state.len());
        state_rows(level, &gates[4 * at..][..4 * len], &cell[at..][..len], hidden, state);
    });
}

leveled! {
    fn cell_rows(gates: &[f32], before: &[f32], hidden: usize, cell: &mut [f32]) {
        let rows = gates.chunks_exact(4 * hidden).zip(before.chunks_exact(hidden));
        for ((gates, before), cell) in rows.zip(cell.chunks_exact_mut(hidden)) {
            let [i, f, g] = [0, 1, 2].map(|part| &gates[part * hidden..][..hidden]);
            for at in (0..hidden).step_by(LANES) {
                put_block(&made([block(i, at), block(f, at), block(g, at)], &block(before, at)), cell, at);
            }
        }
    }
}

#[inline(always)]
fn made([i, f, g]: [Block; 3], before: &Block) -> Block {
    let mut cell = [0.0; LANES];
    for lane in 0..LANES {
        cell[lane] = f[lane] * before[lane] + i[lane] * g[lane];
    }
    cell
}

leveled! {
    fn state_rows(gates: &[f32], cell: &[f32], hidden: usize, state: &mut [f32]) {
        let rows = gates.chunks_exact(4 * hidden).zip(cell.chunks_exact(hidden));
        for ((gates, cell), state) in rows.zip(state.chunks_exact_mut(hidden)) {
            let o = &gates[3 * hidden..];
            for at in (0..hidden).step_by(LANES) {
                put_block(&shown(&block(o, at), &block(cell, at)), state, at);
            }
        }
    }
}

#[inline(always)]
fn shown(o: &Block, cell: &Block) -> Block {
    let mut state = [0.0; LANES];
    for lane in 0..LANES {
        state[lane] = o[lane] * Float::tanh(cell[lane]);
    }
    state
}
