//! What is compared: where maps respond, at the size of a teacher's map.

use stillhouse_plugin::prelude::*;

/// Where a map responds: mean of the squares over channels, brought to `size`, as a vector of length 1 (at least 1e-12 is
/// divided by), `[N, h w]`.
pub(crate) fn value(map: &Tensor, size: [usize; 2]) -> Result<Tensor> {
    let response = map.square().mean_keep(&[1]); // [N, 1, H, W]
    let own = [response.dim(2)?, response.dim(3)?];
    let pooled = if own == size { response } else { response.adaptive_avg_pool2d(size) }; // [N, 1, h, w]
    Ok(pooled.flatten_from(1).normalize(&[1], 1e-12))
}

/// Squared distances, mean over places, of all student maps from each teacher map: `[N, S]` for every teacher map.
pub(crate) fn distances(students: &[Tensor], teachers: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut by_size: Vec<([usize; 2], Tensor)> = vec![];
    let mut all = vec![];
    for teacher in teachers {
        let size = [teacher.dim(2)?, teacher.dim(3)?];
        let ours = match by_size.iter().find(|(known, _)| *known == size) {
            Some((_, ours)) => ours.clone(),
            None => {
                let values = students.iter().map(|map| value(map, size)).collect::<Result<Vec<_>>>()?;
                let ours = Tensor::stack(&values.iter().collect::<Vec<_>>(), 1)?; // [N, S, h w]
                by_size.push((size, ours.clone()));
                ours
            }
        };
        let theirs = value(teacher, size)?.unsqueeze(1); // [N, 1, h w]
        all.push((ours - theirs).square().mean(&[2]));
    }
    Ok(all)
}
