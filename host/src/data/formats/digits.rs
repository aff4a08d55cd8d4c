//! The UCI handwritten digits, embedded in the binary.

use std::path::Path;

use indexmap::IndexMap;

use super::idx;
use super::stream::Stream;
use crate::data::dataset::DataSet;
use crate::data::error::DataError;
use crate::data::field::{Field, Values};
use crate::data::samples::Samples;

const PACKED: &[u8] = include_bytes!("../../../assets/digits.idx.gz");
/// Samples of the test part: the last ones of the source.
const TEST: usize = 360;
/// The pictures' largest value, which becomes 1.0.
const LARGEST: f32 = 16.0;

/// 1797 pictures of digits, `[1, 8, 8]`, values k/16 in 0..=1, in the order of UCI: the first 1437
/// train, the last 360 test.
///
/// The writers of the samples are not recorded, so both parts may hold digits by the same hand.
pub(super) fn load() -> Result<DataSet, DataError> {
    let mut stream = Stream::gzip(Path::new("digits (embedded)"), PACKED);
    let images = idx::read(&mut stream)?;
    let labels = idx::read(&mut stream)?;
    stream.end()?;
    let all = idx::samples(images, labels)?;
    let cut = all.len().saturating_sub(TEST);
    let train = part(&all, 0, cut)?;
    let test = part(&all, cut, all.len())?;
    DataSet::new("digits", (train, None, test), Some((0..10).map(|digit| digit.to_string()).collect()))
}

fn part(all: &Samples, from: usize, to: usize) -> Result<Samples, DataError> {
    let mut fields = IndexMap::new();
    for (name, field) in all.fields() {
        let range = from * field.size()..to * field.size();
        let values = match field.values() {
            Values::U8(values) => Values::F32(values[range].iter().map(|&value| f32::from(value) / LARGEST).collect()),
            Values::F32(values) => Values::F32(values[range].to_vec()),
            Values::I64(values) => Values::I64(values[range].to_vec()),
            Values::Made(made) => Values::Made(made.clone()),
        };
        fields.insert(name.clone(), Field::new(field.shape().to_vec(), values)?);
    }
    Samples::new(fields)
}
