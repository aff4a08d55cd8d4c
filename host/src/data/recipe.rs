//! How one batch is made: fields fetched, augmented once, rendered once for every view.

use indexmap::IndexMap;

use super::augment::{Augment, Drawn, apply, draw, for_field};
use super::batch::{Array, ArrayValues, Batch};
use super::error::DataError;
use super::field::{Field, Values};
use super::layout::Layout;
use super::loader::LoaderSpec;
use super::rng::RngKey;
use super::samples::{FIXATIONS, FRAMES, IMAGE, INDEX, MAP, STILL, Samples, VIEW_PREFIX, unit};
use super::view::{View, ViewSpec};

/// A field that views are made of.
struct Source {
    field: String,
    layout: Layout,
    main: bool,
    views: Vec<SourceView>,
}

struct SourceView {
    name: String,
    view: View,
    augment: bool,
}

impl SourceView {
    /// Room for the view of `rows` samples.
    fn empty(&self, rows: usize) -> Array {
        let mut shape = vec![rows];
        shape.extend(self.view.shape());
        let values = Vec::with_capacity(shape.iter().product());
        Array { shape, values: ArrayValues::F32(values) }
    }
}

/// Everything that a batch follows from; shared by the threads that make them.
pub(crate) struct Recipe {
    samples: Samples,
    order: Vec<usize>,
    batch: usize,
    augment: Vec<Augment>,
    key: RngKey,
    seed: u64,
    variants: Option<usize>,
    main: Option<Layout>,
    sources: Vec<Source>,
    raw: Vec<String>,
}

impl Recipe {
    /// Works the views out and checks that every field, view and augmentation fits.
    pub(crate) fn new(samples: Samples, spec: LoaderSpec, order: Vec<usize>) -> Result<Self, DataError> {
        let main = samples.main_field().map(|(name, field)| Layout::of(name, field.shape())).transpose()?;
        let mut sources = sources(&samples, &spec)?;
        let mut raw = raw_fields(&samples, spec.fields)?;
        // Maps follow the pictures, as long as one of these is moved.
        let moved = spec.views.iter().any(|view| view.augment);
        for name in raw.extract_if(.., |name| matches!(name.as_str(), MAP | FIXATIONS | STILL)) {
            add_map(&samples, name, moved, &mut sources)?;
        }
        for source in &sources {
            check_augments(source, &spec.augment, main.as_ref())?;
        }
        let key = RngKey::new(spec.seed, &format!("augment.{}", spec.epoch));
        let LoaderSpec { batch, augment, seed, variants, .. } = spec;
        Ok(Self { samples, order, batch, augment, key, seed, variants, main, sources, raw })
    }

    /// Batch `number`, counted from 0. Without a sample where each of its samples is left out.
    pub(crate) fn batch(&self, number: usize) -> Result<Batch, DataError> {
        let mut rows: Vec<usize> = self
            .order
            .chunks(self.batch)
            .nth(number)
            .unwrap_or_default()
            .iter()
            .map(|&position| self.samples.indices()[position])
            .collect();
        loop {
            match self.of_rows(&rows) {
                // Begun again without it.
                Err(DataError::LeftOut { row }) => rows.retain(|other| *other != row),
                made => return made,
            }
        }
    }

    fn of_rows(&self, rows: &[usize]) -> Result<Batch, DataError> {
        let mut fields = IndexMap::new();
        for source in &self.sources {
            self.render(source, rows, &mut fields)?;
        }
        for name in &self.raw {
            fields.insert(name.clone(), raw(name, self.samples.require("loader", name)?, rows)?);
        }
        let index = ArrayValues::I64(rows.iter().map(|&row| row as i64).collect());
        fields.insert(INDEX.to_owned(), Array { shape: vec![rows.len()], values: index });
        Ok(Batch { index: rows.to_vec(), fields })
    }

    /// Adds the views of one source.
    fn render(&self, source: &Source, rows: &[usize], fields: &mut IndexMap<String, Array>) -> Result<(), DataError> {
        let field = self.samples.require("loader", &source.field)?;
        let augmenting = source.views.iter().any(|view| view.augment) && !self.augment.is_empty();
        let mut outs: Vec<Array> = source.views.iter().map(|view| view.empty(rows.len())).collect();
        let (mut clean, mut augmented) = (Vec::new(), Vec::new());
        for &row in rows {
            clean.clear();
            field.push_f32(row, unit(&source.field), &mut clean)?;
            if augmenting {
                augmented.clone_from(&clean);
                apply(&self.draw(row), source.main, &mut augmented, &source.layout);
            }
            for (view, out) in source.views.iter().zip(&mut outs) {
                let sample = if view.augment && augmenting { &augmented } else { &clean };
                if let ArrayValues::F32(values) = &mut out.values {
                    view.view.render(sample, values);
                }
            }
        }
        fields.extend(source.views.iter().map(|view| view.name.clone()).zip(outs));
        Ok(())
    }

    /// The draw of one sample, the same for every field and view of it.
    fn draw(&self, row: usize) -> Vec<Drawn> {
        let layout = self.main.as_ref().or(self.sources.first().map(|source| &source.layout));
        let mut rng = self.key.at(row as u64);
        if let Some(variants) = self.variants {
            let variant = rng.below(variants.max(1));
            rng = RngKey::new(self.seed, &format!("augment.variant.{variant}")).at(row as u64);
        }
        layout.map(|layout| draw(&self.augment, &mut rng, layout)).unwrap_or_default()
    }
}

/// The fields asked for, or all but the pictures and clips.
fn raw_fields(samples: &Samples, asked: Option<Vec<String>>) -> Result<Vec<String>, DataError> {
    let served = |name: &&String| !matches!(name.as_str(), IMAGE | FRAMES);
    let names = asked.unwrap_or_else(|| samples.fields().keys().filter(served).cloned().collect());
    for name in &names {
        samples.require("loader", name)?;
    }
    Ok(names)
}

fn sources(samples: &Samples, spec: &LoaderSpec) -> Result<Vec<Source>, DataError> {
    let mut sources: Vec<Source> = Vec::new();
    let default = samples.main_field().map_or(IMAGE, |(name, _)| name);
    for view in &spec.views {
        let name = format!("{VIEW_PREFIX}{}", view.name);
        if sources.iter().flat_map(|source| &source.views).any(|other| other.name == name) {
            return Err(DataError::ReservedName { name });
        }
        let field = view.field.as_deref().unwrap_or(default);
        let layout = Layout::of(field, samples.require(&name, field)?.shape())?;
        let made = SourceView { name, view: View::new(view, layout.clone())?, augment: view.augment };
        match sources.iter_mut().find(|source| source.field == field) {
            Some(source) => source.views.push(made),
            None => {
                sources.push(Source { field: field.to_owned(), layout, main: field == default, views: vec![made] });
            }
        }
    }
    Ok(sources)
}

/// Adds a field that is served as it is, but for moves.
fn add_map(samples: &Samples, name: String, augment: bool, sources: &mut Vec<Source>) -> Result<(), DataError> {
    let layout = Layout::of(&name, samples.require("loader", &name)?.shape())?;
    let spec = ViewSpec { augment, ..ViewSpec::new(&name) };
    let made = SourceView { name: name.clone(), view: View::new(&spec, layout.clone())?, augment };
    match sources.iter_mut().find(|source| source.field == name) {
        Some(source) => source.views.push(made),
        None => sources.push(Source { field: name, layout, main: false, views: vec![made] }),
    }
    Ok(())
}

fn check_augments(source: &Source, augments: &[Augment], main: Option<&Layout>) -> Result<(), DataError> {
    if !source.views.iter().any(|view| view.augment) {
        return Ok(());
    }
    let augments = for_field(augments, source.main);
    for augment in &augments {
        augment.check(&source.layout)?;
    }
    match main {
        Some(main)
            if !augments.is_empty() && [main.height, main.width] != [source.layout.height, source.layout.width] =>
        {
            Err(DataError::SampleShape {
                subject: source.field.clone(),
                got: source.layout.shape(),
                wanted: format!("[.., C, {}, {}], as the pictures that it is moved with", main.height, main.width),
                hint: "bring both to one size, or set `augment = false` for its view",
            })
        }
        _ => Ok(()),
    }
}

/// A field as it is: bytes and floats as floats, integers as integers.
fn raw(name: &str, field: &Field, rows: &[usize]) -> Result<Array, DataError> {
    let mut shape = vec![rows.len()];
    shape.extend(field.shape());
    let size = field.size();
    let values = match field.values() {
        Values::I64(values) => {
            ArrayValues::I64(rows.iter().flat_map(|&row| &values[row * size..(row + 1) * size]).copied().collect())
        }
        _ => {
            let mut out = Vec::with_capacity(rows.len() * size);
            rows.iter().try_for_each(|&row| field.push_f32(row, unit(name), &mut out))?;
            ArrayValues::F32(out)
        }
    };
    Ok(Array { shape, values })
}
