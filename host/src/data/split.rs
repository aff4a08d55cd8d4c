//! Stratified splits: the same share of every class on both sides.

use std::collections::BTreeMap;

use super::error::DataError;
use super::rng::RngKey;

/// Positions to keep and to hold out, each ascending; each class gives its share, by largest
/// remainder.
///
/// Without labels all samples count as one class. The number held out is `fraction * len`, rounded.
pub(crate) fn stratified(
    labels: Option<&[i64]>,
    len: usize,
    fraction: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), DataError> {
    let total = (fraction * len as f64).round();
    if !(fraction > 0.0 && fraction < 1.0 && total >= 1.0 && total < len as f64) {
        return Err(DataError::InvalidOption {
            option: "split".into(),
            got: format!("{fraction} of {len} samples"),
            wanted: "a fraction between 0 and 1 that leaves samples on both sides".into(),
        });
    }
    let mut groups: BTreeMap<i64, Vec<usize>> = Default::default();
    for position in 0..len {
        groups.entry(labels.map_or(0, |labels| labels[position])).or_default().push(position);
    }
    let sizes: Vec<usize> = groups.values().map(Vec::len).collect();
    let shares = shares(&sizes, fraction, total as usize);
    let key = RngKey::new(seed, "split");
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for ((label, mut positions), share) in groups.into_iter().zip(shares) {
        key.at(label as u64).shuffle(&mut positions);
        held.extend(positions.drain(..share));
        kept.extend(positions);
    }
    kept.sort_unstable();
    held.sort_unstable();
    Ok((kept, held))
}

fn shares(sizes: &[usize], fraction: f64, total: usize) -> Vec<usize> {
    let exact: Vec<f64> = sizes.iter().map(|&size| size as f64 * fraction).collect();
    let mut shares: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let mut missing: usize = total.saturating_sub(shares.iter().sum());
    // A class loses its last sample only when there is no other way to the total.
    for kept in [1, 0] {
        for &class in &order {
            if missing > 0 && shares[class] + kept < sizes[class] {
                shares[class] += 1;
                missing -= 1;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_remainders_fill_the_total() {
        assert_eq!(shares(&[3, 3, 3], 0.5, 5), [2, 2, 1]);
        assert_eq!(shares(&[1, 11], 0.5, 6), [0, 6]);
        assert_eq!(shares(&[1, 1], 0.5, 1), [1, 0]);
    }

    #[test]
    fn split_impossible_fraction_is_error() {
        for fraction in [0.0, 1.0, -0.1, f64::NAN, 0.001, 0.999] {
            let split = stratified(None, 10, fraction, 0);
            assert!(matches!(split, Err(DataError::InvalidOption { .. })), "{fraction}");
        }
    }
}
