//! The options behind `?` of `folder:DIR?size=32&seed=1`.

use std::path::PathBuf;

use crate::data::error::{DataError, list, nearest};

const KNOWN: [&str; 4] = ["size", "channels", "test", "seed"];
/// Longest side that may be asked for, in pixels.
const LONGEST_SIDE: usize = 16_384;

/// Settings of a folder of pictures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FolderOptions {
    /// `[H, W]` that every picture is brought to.
    pub(super) size: Option<[usize; 2]>,
    /// 1 for grey, 3 for colour.
    pub(super) channels: Option<usize>,
    /// Share of every class that is held out when there is no test folder.
    pub(super) test: f64,
    /// Seed of that draw.
    pub(super) seed: u64,
}

/// Splits `DIR?key=value&..` into the folder and its options: `size=32` or `size=32x48` (H x W),
/// `channels=1|3`, `test=0.2`, `seed=0`.
pub(super) fn parse(text: &str) -> Result<(PathBuf, FolderOptions), DataError> {
    let mut options = FolderOptions { size: None, channels: None, test: 0.2, seed: 0 };
    let (folder, query) = text.split_once('?').unwrap_or((text, ""));
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        options.set(key, value)?;
    }
    Ok((folder.into(), options))
}

impl FolderOptions {
    fn set(&mut self, key: &str, value: &str) -> Result<(), DataError> {
        let invalid = |wanted: &str| DataError::InvalidOption {
            option: key.to_owned(),
            got: value.to_owned(),
            wanted: wanted.to_owned(),
        };
        let whole = value.parse::<u64>().ok();
        let share = value.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
        match key {
            "size" => {
                let size = size(value).ok_or_else(|| invalid("32 or 32x48, up to 16384"))?;
                self.size = Some(size);
            }
            "channels" if whole == Some(1) => self.channels = Some(1),
            "channels" if whole == Some(3) => self.channels = Some(3),
            "channels" => return Err(invalid("1 or 3")),
            "test" => self.test = share.ok_or_else(|| invalid("a share between 0 and 1"))?,
            "seed" => self.seed = whole.ok_or_else(|| invalid("a whole number from 0"))?,
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn size(text: &str) -> Option<[usize; 2]> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |text: &str| text.parse().ok().filter(|side| (1..=LONGEST_SIDE).contains(side));
    Some([side(height)?, side(width)?])
}

fn unknown(key: &str) -> DataError {
    DataError::UnknownOption {
        format: "folder".into(),
        got: key.to_owned(),
        nearest: nearest(key, KNOWN),
        known: list(KNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_options_are_read() {
        let (folder, options) = parse("a/b?size=32x48&channels=1&test=0.25&seed=9").unwrap();
        assert_eq!(folder, PathBuf::from("a/b"));
        assert_eq!(options, FolderOptions { size: Some([32, 48]), channels: Some(1), test: 0.25, seed: 9 });
        assert_eq!(parse("a?size=8").unwrap().1.size, Some([8, 8]));
    }

    #[test]
    fn folder_bad_options_are_errors() {
        for text in ["a?size=0", "a?size=99999", "a?size", "a?channels=2", "a?test=1", "a?test=nan", "a?seed=-1"] {
            assert!(matches!(parse(text), Err(DataError::InvalidOption { .. })), "{text}");
        }
        let unknown = parse("a?sise=3").unwrap_err();
        assert_eq!(unknown.hint().as_deref(), Some("did you mean `size`?"));
    }
}
