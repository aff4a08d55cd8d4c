//! Folders of pictures: one folder a class, with or without folders for the parts above them.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};
use indexmap::IndexMap;
use rayon::prelude::*;

use super::options::FolderOptions;
use super::stream::{entries, file_name};
use super::streamed::{Pictures, Room};
use crate::data::dataset::DataSet;
use crate::data::error::{DataError, list};
use crate::data::field::{Field, Values};
use crate::data::reading::Reading;
use crate::data::resize::{Filter, Resize};
use crate::data::samples::{IMAGE, LABEL, Samples};
use crate::data::split::stratified;

const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "bmp", "gif", "webp"];
/// Longest side of a picture, in pixels.
const LONGEST_SIDE: u32 = 16_384;
/// Pictures that are decoded at once, beside those that are kept.
const AT_ONCE: usize = 64;
/// Most memory for decoding one picture, in bytes.
const MOST_MEMORY: u64 = 1 << 28;

type Listing = Vec<(PathBuf, i64)>;

/// Reads `train/CLASS/*`, `test/CLASS/*` and `val/CLASS/*`; `val` alone serves as test part.
/// Without `train`, reads `CLASS/*` and holds out the same share of every class as test part.
/// Classes and pictures are taken in the order of their names.
///
/// Pictures are `[1, H, W]` when all are stored as grey (a palette counts as colour), `[3, H, W]`
/// otherwise; transparent ones are laid on white. Streamed, the files are listed and their headers read; pixels are decoded when
/// they are asked for.
pub(super) fn load(
    name: &str,
    folder: &Path,
    options: &FolderOptions,
    reading: &Reading,
) -> Result<DataSet, DataError> {
    let train_folder = folder.join("train");
    let root = if train_folder.is_dir() { train_folder.as_path() } else { folder };
    let classes = class_names(root)?;
    if root == folder {
        return split_classes(name, folder, classes, options, reading);
    }
    let part = |name: &str| -> Result<Option<Listing>, DataError> {
        let path = folder.join(name);
        if path.is_dir() { listing(&path, &classes).map(Some) } else { Ok(None) }
    };
    let train = listing(root, &classes)?;
    let (val, test) = match (part("val")?, part("test")?) {
        (Some(val), None) => (None, val),
        (val, test) => (val, test.unwrap_or_default()),
    };
    let reader = Reader::new(options, [Some(&train), val.as_ref(), Some(&test)], reading)?;
    let train = reader.samples(&train)?;
    let val = val.map(|val| reader.samples(&val)).transpose()?;
    let test = reader.samples(&test)?;
    DataSet::new(name, (train, val, test), Some(classes))
}

fn split_classes(
    name: &str,
    folder: &Path,
    classes: Vec<String>,
    options: &FolderOptions,
    reading: &Reading,
) -> Result<DataSet, DataError> {
    let all = listing(folder, &classes)?;
    if all.is_empty() {
        let hint = "a folder of pictures is DIR/CLASS/*.png or DIR/train/CLASS/*.png";
        return Err(DataError::EmptyPart { name: name.to_owned(), part: "train", hint });
    }
    let labels: Vec<i64> = all.iter().map(|(_, label)| *label).collect();
    let (train, test) = stratified(Some(&labels), all.len(), options.test, options.seed)?;
    let pick = |positions: Vec<usize>| -> Listing { positions.into_iter().map(|i| all[i].clone()).collect() };
    let (train, test) = (pick(train), pick(test));
    let reader = Reader::new(options, [Some(&train), None, Some(&test)], reading)?;
    DataSet::new(name, (reader.samples(&train)?, None, reader.samples(&test)?), Some(classes))
}

fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let folders = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(folders.map(|path| file_name(&path).to_owned()).filter(|name| !name.starts_with('.')).collect())
}

/// Every picture of a part with its label.
fn listing(folder: &Path, classes: &[String]) -> Result<Listing, DataError> {
    let mut files = Vec::new();
    for class in class_names(folder)? {
        let path = folder.join(&class);
        let Some(label) = classes.iter().position(|known| *known == class) else {
            return Err(DataError::UnknownClass { path, wanted: list(classes.iter().map(String::as_str)) });
        };
        files.extend(entries(&path)?.into_iter().filter(|path| is_picture(path)).map(|path| (path, label as i64)));
    }
    Ok(files)
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    path.is_file() && !file_name(path).starts_with('.') && ENDINGS.contains(&ending.to_lowercase().as_str())
}

/// What the header of a picture says: `[H, W]`, and whether there is colour.
type Header = ([usize; 2], bool);

/// Decodes pictures to one size and one number of channels.
#[derive(Clone, Copy)]
struct Form {
    channels: usize,
    size: [usize; 2],
    resize: bool,
}

/// Brings pictures of a folder into one form, now or when they are asked for.
struct Reader<'r> {
    form: Form,
    reading: &'r Reading,
    streams: bool,
    room: Room,
}

impl<'r> Reader<'r> {
    /// Without a size asked for, the first picture's is every picture's; without channels, grey
    /// only when all are grey.
    fn new(options: &FolderOptions, parts: [Option<&Listing>; 3], reading: &'r Reading) -> Result<Self, DataError> {
        let paths: Vec<&Path> =
            parts.iter().flatten().flat_map(|part| part.iter().map(|(path, _)| path.as_path())).collect();
        let mut size = options.size;
        for path in &paths {
            if size.is_some() {
                break;
            }
            match probe(path) {
                Ok((first, _)) => size = Some(first),
                Err(error) => reading.damage.note(path.display().to_string(), error)?,
            }
        }
        let grey = || -> Result<bool, DataError> {
            let headers: Vec<_> = paths.par_iter().map(|path| probe(path)).collect();
            paths.iter().zip(headers).try_fold(true, |grey, (path, header)| match header {
                Ok((_, colour)) => Ok(grey && !colour),
                Err(error) => reading.damage.note(path.display().to_string(), error).map(|()| grey),
            })
        };
        let channels = match options.channels {
            Some(channels) => channels,
            None if grey()? => 1,
            None => 3,
        };
        let form = Form { channels, size: size.unwrap_or([1, 1]), resize: options.size.is_some() };
        let streams = reading.streams(paths.len() as u64 * form.bytes() as u64);
        Ok(Self { form, reading, streams, room: Room::new(reading.cache) })
    }

    fn samples(&self, listing: &Listing) -> Result<Samples, DataError> {
        let [height, width] = self.form.size;
        let shape = vec![self.form.channels, height, width];
        let (image, labels) = if self.streams { self.listed(listing, shape)? } else { self.decoded(listing, shape)? };
        Samples::new(IndexMap::from([
            (IMAGE.to_owned(), image),
            (LABEL.to_owned(), Field::new(vec![], Values::I64(labels))?),
        ]))
    }

    /// All pictures in memory.
    fn decoded(&self, listing: &Listing, shape: Vec<usize>) -> Result<(Field, Vec<i64>), DataError> {
        let (mut pixels, mut labels) = (Vec::with_capacity(listing.len() * self.form.bytes()), Vec::new());
        for some in listing.chunks(AT_ONCE) {
            let pictures: Vec<_> = some.par_iter().map(|(path, _)| self.form.picture(path)).collect();
            for ((path, label), picture) in some.iter().zip(pictures) {
                match picture {
                    Ok(picture) => {
                        pixels.extend(picture);
                        labels.push(*label);
                    }
                    Err(error) => self.reading.damage.note(path.display().to_string(), error)?,
                }
            }
        }
        Ok((Field::new(shape, Values::U8(pixels))?, labels))
    }

    /// Pictures whose headers are sound, to be decoded later.
    fn listed(&self, listing: &Listing, shape: Vec<usize>) -> Result<(Field, Vec<i64>), DataError> {
        let headers: Vec<_> = listing.par_iter().map(|(path, _)| self.form.check(path)).collect();
        let (mut paths, mut labels) = (Vec::new(), Vec::new());
        for ((path, label), header) in listing.iter().zip(headers) {
            match header {
                Ok(()) => {
                    paths.push(path.clone());
                    labels.push(*label);
                }
                Err(error) => self.reading.damage.note(path.display().to_string(), error)?,
            }
        }
        let form = self.form;
        let decode = Box::new(move |path: &Path| form.picture(path));
        let pictures = Pictures::new(paths, decode, self.room.clone(), self.reading.damage.clone());
        Ok((Field::made(shape, Arc::new(pictures))?, labels))
    }
}

impl Form {
    fn bytes(&self) -> usize {
        self.size.iter().product::<usize>() * self.channels
    }

    /// Whether a picture's header fits.
    fn check(&self, path: &Path) -> Result<(), DataError> {
        let (got, _) = probe(path)?;
        if got != self.size && !self.resize {
            return Err(DataError::PictureSize { path: path.to_owned(), got, wanted: self.size });
        }
        Ok(())
    }

    /// One picture, `[C, H, W]`.
    fn picture(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let picture = on_white(decode(path)?);
        let got = size_of(&picture);
        if got != self.size && !self.resize {
            return Err(DataError::PictureSize { path: path.to_owned(), got, wanted: self.size });
        }
        let pixels = if self.channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
        let planes = (0..self.channels).map(|channel| pixels.iter().skip(channel).step_by(self.channels).copied());
        if got == self.size {
            let mut out = Vec::with_capacity(pixels.len());
            out.extend(planes.flatten());
            return Ok(out);
        }
        let resize = Resize::new("folder", got, self.size, Filter::Area)?;
        let mut out = Vec::new();
        for plane in planes {
            let plane: Vec<f32> = plane.map(f32::from).collect();
            out.extend(resize.plane(&plane).into_iter().map(|value| value.round().clamp(0.0, 255.0) as u8));
        }
        Ok(out)
    }
}

fn size_of(picture: &DynamicImage) -> [usize; 2] {
    [picture.height() as usize, picture.width() as usize]
}

fn open(path: &Path) -> Result<ImageReader<BufReader<File>>, DataError> {
    let failed = |cause| DataError::Read { path: path.to_owned(), cause };
    let mut reader = ImageReader::open(path).map_err(failed)?.with_guessed_format().map_err(failed)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    Ok(reader)
}

fn undecodable(path: &Path, cause: &ImageError) -> DataError {
    DataError::Picture { path: path.to_owned(), cause: cause.to_string() }
}

/// `[H, W]` and whether there is colour, from the header alone.
fn probe(path: &Path) -> Result<Header, DataError> {
    let decoder = open(path)?.into_decoder().map_err(|cause| undecodable(path, &cause))?;
    let (width, height) = decoder.dimensions();
    Ok(([height as usize, width as usize], decoder.color_type().has_color()))
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    open(path)?.decode().map_err(|cause| undecodable(path, &cause))
}

fn on_white(picture: DynamicImage) -> DynamicImage {
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut rgba = picture.into_rgba8();
    for pixel in rgba.pixels_mut() {
        let alpha = u32::from(pixel.0[3]);
        for value in &mut pixel.0[..3] {
            *value = ((u32::from(*value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
        pixel.0[3] = 255;
    }
    DynamicImage::ImageRgba8(rgba)
}
