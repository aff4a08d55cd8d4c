//! Random numbers against their definition.

mod common;

use common::{assert_close, double};
use stillhouse_kernels::rng::{Stream, philox};

#[test]
fn words_are_philox_of_block_and_purpose_under_the_seed() {
    let stream = Stream::new(0x1234_5678_9abc_def0, "foobar");
    for position in (0..130).chain([1 << 33, (1 << 34) + 5, u64::MAX - 70]) {
        let block = position / 4;
        // FNV-1a of "foobar" in 64 bits, by its authors' test vectors: 85944171f73967e8.
        let counter = [block as u32, (block >> 32) as u32, 0xf739_67e8, 0x8594_4171];
        let word = philox(counter, [0x9abc_def0, 0x1234_5678])[(position % 4) as usize];
        assert_eq!(stream.word(position), word, "{position}");
        let mut uniform = [7.0];
        stream.fill_uniform(position, &mut uniform);
        assert_eq!(uniform, [(word >> 8) as f32 / (1 << 24) as f32], "{position}");
    }
}

#[test]
fn normal_numbers_are_pairs_of_box_and_muller() {
    let stream = Stream::new(3, "weights");
    let mut got = vec![7.0; 500];
    stream.fill_normal(0, &mut got);
    let part = |position: u64| f64::from(stream.word(position) >> 8);
    let pair = |at: u64| {
        let (u, v) = ((part(2 * at) + 1.0) / (1 << 24) as f64, part(2 * at + 1) / (1 << 24) as f64);
        let (sin, cos) = (v * std::f64::consts::TAU).sin_cos();
        [cos, sin].map(|share| (-2.0 * u.ln()).sqrt() * share)
    };
    let want: Vec<f64> = (0..250).flat_map(pair).collect();
    assert_close(&double(&got), &want, 2e-6, "normal");
}

#[test]
fn normal_number_of_a_word_of_zero_is_finite() {
    // Found by search: one word in 2^24 has no high bits.
    let (stream, position) = (Stream::new(15, "zero"), 2_589_172);
    assert_eq!(stream.word(position) >> 8, 0);
    let mut pair = [7.0; 2];
    stream.fill_normal(position, &mut pair);
    assert!(pair.iter().all(|x| x.is_finite()), "{pair:?}");
}

#[test]
fn shuffle_gives_each_order_as_often() {
    let mut seen = [0; 27];
    for seed in 0..6000 {
        let mut order = [0, 1, 2];
        Stream::new(seed, "order").shuffle(0, &mut order);
        seen[order[0] * 9 + order[1] * 3 + order[2]] += 1;
    }
    let often: Vec<i32> = seen.into_iter().filter(|count| *count > 0).collect();
    assert!(often.len() == 6 && often.iter().all(|count| (900..1100).contains(count)), "{often:?}");
}
