//! What can be wrong with data: one variant per cause.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

/// Why data could not be read or served.
///
/// The text is `headline`, then indented lines (where, got, wanted), then, after an empty line,
/// `hint: ...` where there is one: print it after `error: `. [`DataError::headline`], [`DataError::notes`] and
/// [`DataError::hint`] give its parts.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A data set is in none of the places where it is looked for.
    #[error("data set `{name}` was not found\n{}\n\nhint: {hint}", looked_in(.looked))]
    NotFound {
        /// Its name.
        name: String,
        /// Every place looked at, in order.
        looked: Vec<PathBuf>,
        /// How to get it.
        hint: String,
    },
    /// A file of a data set is absent.
    #[error(
        "a file of the data set is missing\n  folder: `{}`\n  looked for: {wanted}\n\nhint: {hint}",
        .folder.display()
    )]
    MissingFile {
        /// The folder looked into.
        folder: PathBuf,
        /// Every accepted name.
        wanted: String,
        /// What to do.
        hint: String,
    },
    /// The operating system refused a path.
    #[error(
        "`{}` could not be read\n  cause: {cause}\n\n\
         hint: check that it exists and may be read", .path.display()
    )]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file ends before what its header announces.
    #[error(
        "`{}` ends too early\n  {what}, at byte {offset}\n  got: {got} bytes\n  wanted: {wanted} bytes\n\n\
         hint: the file is cut off or its header is wrong; fetch it again",
        .path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The item that was read.
        what: String,
        /// Where the item begins, in bytes of the (decompressed) file.
        offset: u64,
        /// Bytes there are; for a compressed file the most that there can be.
        got: u64,
        /// Bytes that the item needs.
        wanted: u64,
    },
    /// A file goes on after its last item.
    #[error(
        "`{}` is longer than its header says\n  got: more bytes\n  wanted: an end at byte {wanted}\n\n\
         hint: the header is wrong, or this is another format",
        .path.display()
    )]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Where it should end, in bytes of the (decompressed) file.
        wanted: u64,
    },
    /// A file begins with the mark of no known format.
    #[error(
        "`{}` is not {format}\n  got: {got}\n  wanted: {wanted}\n\n\
         hint: check the format named in `use`", .path.display()
    )]
    WrongMagic {
        /// The file.
        path: PathBuf,
        /// The format asked for.
        format: &'static str,
        /// The first bytes.
        got: String,
        /// The bytes that the format begins with.
        wanted: &'static str,
    },
    /// A file breaks its format.
    #[error(
        "`{}` is malformed: {what}\n  at byte: {offset}\n  got: {got}\n\
         \x20 wanted: {wanted}\n\nhint: the file is damaged; fetch or write it again",
        .path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Where, in bytes of the (decompressed) file or archive member.
        offset: u64,
        /// What is there.
        got: String,
        /// What should be there.
        wanted: String,
    },
    /// An archive cannot be opened or unpacked.
    #[error(
        "`{}` is not a readable archive\n  cause: {cause}\n\n\
         hint: an `.npz` is what `numpy.savez` writes", .path.display()
    )]
    Archive {
        /// The file.
        path: PathBuf,
        /// What the unpacker said.
        cause: String,
    },
    /// A picture cannot be decoded.
    #[error(
        "`{}` is not a readable picture\n  cause: {cause}\n\
         \x20 wanted: PNG, JPEG, BMP, GIF or WebP\n\n\
         hint: remove or replace the file",
        .path.display()
    )]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        cause: String,
    },
    /// A picture's size differs from that of the first one.
    #[error(
        "`{}` differs in size from the first picture of the folder\n  got: {} x {} (height x width)\n  wanted: {} x {}\n\n\
         hint: mend the one that is wrong, or ask for one size, for example `folder:DIR?size={}`",
        .path.display(), .got[0], .got[1], .wanted[0], .wanted[1], .wanted[0]
    )]
    PictureSize {
        /// The file.
        path: PathBuf,
        /// Its `[H, W]`.
        got: [usize; 2],
        /// The `[H, W]` of the first picture.
        wanted: [usize; 2],
    },
    /// A folder has a class that the training part lacks.
    #[error(
        "`{}` is a class that the training part lacks\n  wanted: one of {wanted}\n\n\
         hint: rename the folder, or give the training part the class",
        .path.display()
    )]
    UnknownClass {
        /// The class's folder.
        path: PathBuf,
        /// The classes of the training part.
        wanted: String,
    },
    /// An archive's member has a name that means nothing here.
    #[error(
        "`{}` has an array `{array}` of no known part\n  wanted: {wanted}\n\nhint: the prefix names the part",
        .path.display()
    )]
    UnknownArray {
        /// The file.
        path: PathBuf,
        /// The array's name.
        array: String,
        /// Accepted names.
        wanted: &'static str,
    },
    /// Two arrays give the same field of the same part.
    #[error(
        "`{}` gives `{field}` of the {part} part twice\n\n\
         hint: keep one of the two arrays", .path.display()
    )]
    DuplicateField {
        /// The file.
        path: PathBuf,
        /// The part: train, val or test.
        part: &'static str,
        /// The field.
        field: String,
    },
    /// A type of number that is not read, or not for this field.
    #[error(
        "`{subject}` has values of type {got}\n  wanted: {wanted}\n\n\
         hint: convert the array before saving it"
    )]
    UnsupportedDtype {
        /// The file, array or field.
        subject: String,
        /// Its type, as its format names it.
        got: String,
        /// Accepted types.
        wanted: &'static str,
    },
    /// A sample's shape that does not suit its field or use.
    #[error("`{subject}` has samples of shape {got:?}\n  wanted: {wanted}\n\nhint: {hint}")]
    SampleShape {
        /// The field, view or augmentation.
        subject: String,
        /// Shape of one sample.
        got: Vec<usize>,
        /// What suits.
        wanted: String,
        /// What to do.
        hint: &'static str,
    },
    /// Two fields of one part differ in their number of samples.
    #[error(
        "`{field}` and `{other}` differ in their number of samples\n\
         \x20 `{field}`: {got}\n  `{other}`: {wanted}\n\n\
         hint: the two belong to different parts or versions of a data set"
    )]
    CountMismatch {
        /// The field.
        field: String,
        /// Its samples.
        got: usize,
        /// The field it must agree with.
        other: String,
        /// That one's samples.
        wanted: usize,
    },
    /// Two parts of one data set differ in a field's shape.
    #[error(
        "`{field}` differs between the parts\n  {part}: {got}\n  train: {wanted}\n\n\
         hint: give every part the same fields, in one shape"
    )]
    PartMismatch {
        /// The field.
        field: String,
        /// The part that differs from the training part.
        part: &'static str,
        /// Its shape of one sample, or "absent".
        got: String,
        /// The training part's.
        wanted: String,
    },
    /// A label names no class.
    #[error(
        "sample {index} of the {part} part has a label that names no class\n\
         \x20 got: {got}\n  wanted: 0..{classes}\n\n\
         hint: labels are counted from 0"
    )]
    LabelOutOfRange {
        /// The part: train, val or test.
        part: &'static str,
        /// The sample's index.
        index: usize,
        /// Its label.
        got: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A part has no samples.
    #[error("the {part} part of `{name}` has no samples\n\nhint: {hint}")]
    EmptyPart {
        /// The data set.
        name: String,
        /// The part: train, val or test.
        part: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A field's name belongs to the loader.
    #[error(
        "`{name}` is a name that the loader gives itself\n  wanted: neither `index` nor `view.*`\n\n\
         hint: rename it"
    )]
    ReservedName {
        /// The name.
        name: String,
    },
    /// No preset has this name.
    #[error("no data set is called `{got}`\n  wanted: {known}{}", did_you_mean(.nearest))]
    UnknownPreset {
        /// The name given.
        got: String,
        /// The most similar name, when one is similar.
        nearest: Option<String>,
        /// Every preset and format.
        known: String,
    },
    /// No format has this name.
    #[error("no data format is called `{got}`\n  wanted: {known}{}", did_you_mean(.nearest))]
    UnknownFormat {
        /// The name given.
        got: String,
        /// The most similar name, when one is similar.
        nearest: Option<String>,
        /// Every format.
        known: String,
    },
    /// An option behind `?` that the format lacks.
    #[error("`{format}` has no option `{got}`\n  wanted: {known}{}", did_you_mean(.nearest))]
    UnknownOption {
        /// The format.
        format: String,
        /// The option given.
        got: String,
        /// The most similar option, when one is similar.
        nearest: Option<String>,
        /// Every option of the format.
        known: String,
    },
    /// A setting outside its range.
    #[error("`{option}` is out of range\n  got: {got}\n  wanted: {wanted}")]
    InvalidOption {
        /// The setting.
        option: String,
        /// Its value.
        got: String,
        /// Accepted values.
        wanted: String,
    },
    /// A field that the samples lack.
    #[error(
        "`{subject}` asks for a field `{field}` that the samples lack\n\
         \x20 wanted: {known}{}", did_you_mean(.nearest)
    )]
    UnknownField {
        /// Who asks.
        subject: String,
        /// The field asked for.
        field: String,
        /// The most similar field, when one is similar.
        nearest: Option<String>,
        /// Every field.
        known: String,
    },
    /// The data set brings a validation part, and a split asks for another.
    #[error("`{name}` already has a validation part\n\nhint: remove `split`")]
    ValPresent {
        /// The data set.
        name: String,
    },
    /// A sample that cannot be read and is to be left out: whoever serves it goes on without it.
    #[error("sample {row} cannot be read and is left out")]
    LeftOut {
        /// Its row.
        row: usize,
    },
    /// More samples are damaged than may be left out.
    #[error(
        "more samples are damaged than `damaged` allows\n  allowed: {limit}\n  the next: {last}\n\n\
         hint: mend or remove them, or allow more"
    )]
    TooManyDamaged {
        /// How many may be left out.
        limit: u64,
        /// What is wrong with one more.
        last: String,
    },
    /// Nothing is left of a part.
    #[error("none of {samples} samples can be read\n\nhint: mend the data")]
    NothingLeft {
        /// Samples of the part.
        samples: usize,
    },
    /// A thread that makes batches panicked: a bug of the host.
    #[error(
        "batch {batch} could not be made: a loader thread panicked\n  cause: {cause}\n\n\
         hint: this is a bug; please report it"
    )]
    Worker {
        /// The batch, counted from 0 in its epoch.
        batch: usize,
        /// The panic's message.
        cause: String,
    },
}

const HINT: &str = "\n\nhint: ";

impl DataError {
    /// The first line of the text: what failed.
    pub fn headline(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// The lines below it: where, what was got, what was wanted.
    pub fn notes(&self) -> Vec<String> {
        let text = self.to_string();
        let body = text.split(HINT).next().unwrap_or_default();
        body.trim_end().lines().skip(1).map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned()).collect()
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        self.to_string().split_once(HINT).map(|(_, hint)| hint.to_owned())
    }
}

fn looked_in(looked: &[PathBuf]) -> String {
    let mut text = String::from("  looked in:");
    for path in looked {
        let _ = write!(text, "\n    {}", path.display());
    }
    text
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("{HINT}did you mean `{name}`?")).unwrap_or_default()
}

/// The most similar of `known`, when it is similar enough to be what was meant.
pub(crate) fn nearest<'a>(got: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let similarity = |name: &str| strsim::jaro_winkler(&got.to_lowercase(), name);
    let best = known.into_iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) >= 0.75).then(|| best.to_owned())
}

/// Names in one line, each in backticks.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_text_splits_into_headline_notes_and_hint() {
        let error = DataError::NotFound {
            name: "mnist".into(),
            looked: vec!["a/mnist".into(), "b/mnist".into()],
            hint: "get it".into(),
        };
        assert_eq!(
            error.to_string(),
            "data set `mnist` was not found\n  looked in:\n    a/mnist\n    b/mnist\n\nhint: get it"
        );
        assert_eq!(error.headline(), "data set `mnist` was not found");
        assert_eq!(error.notes(), ["looked in:", "  a/mnist", "  b/mnist"]);
        assert_eq!(error.hint().as_deref(), Some("get it"));
    }

    #[test]
    fn nearest_unrelated_name_is_none() {
        assert_eq!(nearest("Fashion-mnst", ["digits", "fashion-mnist"]).as_deref(), Some("fashion-mnist"));
        assert_eq!(nearest("qqq", ["digits", "fashion-mnist"]), None);
    }
}
