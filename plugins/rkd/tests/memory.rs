//! How much memory the angles take beside their inputs. Alone in its process: the system keeps the largest use since its start.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use stillhouse_plugin::prelude::*;
use stillhouse_rkd::AngleHuber;

/// Largest memory in use so far.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("reads");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of kB")
}

#[test]
fn angles_of_512_rows_stay_in_memory_of_pairs() {
    const ROWS: usize = 512;
    let numbers = |mut state: u32| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..ROWS * ROWS).map(|_| next()).collect()
    };
    let (own, other, shape) = (numbers(1), numbers(77), [ROWS, ROWS]);
    let inputs = [&own, &other].map(|values| Slice { values, shape: &shape });
    let (mut output, mut grad) = ([0f32], vec![1e-30f32; ROWS * ROWS]);
    let before = peak();
    let angles = AngleHuber { beta: 1.0 };
    angles.forward(&inputs, &mut output).expect("runs");
    angles.backward(&inputs, &output, &[1.0], &mut [Some(&mut grad), None]).expect("runs");
    let more = (peak() - before) as f64 / 1e6;
    println!("{more:.1} MB");
    assert!(output[0] > 0.0 && grad.iter().any(|grad| grad.abs() > 1e-10), "{} {}", output[0], grad[0]);
    // Cosines alone would be 537 MB for each side.
    assert!((1.0..40.0).contains(&more), "{more:.1} MB");
}
