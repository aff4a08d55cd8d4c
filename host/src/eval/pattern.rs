//! Names with wildcards: `*` stands for one or more letters within a segment, `**` for any letters, dots and none included.

/// What a wildcard stands for: whether it is a `**`, and the letters.
pub(super) type Capture<'a> = (bool, &'a str);

/// What the wildcards of a pattern stand for in a name, in order; `None` when the name does not fit.
pub(super) fn captures<'a>(pattern: &str, name: &'a str) -> Option<Vec<Capture<'a>>> {
    let Some((before, across, after)) = split(pattern) else { return (pattern == name).then(Vec::new) };
    let rest = name.strip_prefix(before)?;
    let letters = rest.char_indices().take_while(|(_, letter)| across || *letter != '.');
    let mut ends: Vec<usize> = letters.map(|(at, letter)| at + letter.len_utf8()).collect();
    if across {
        ends.insert(0, 0);
    }
    // A wildcard stands for as much as it can.
    ends.into_iter().rev().find_map(|end| {
        let mut more = captures(after, &rest[end..])?;
        more.insert(0, (across, &rest[..end]));
        Some(more)
    })
}

/// What stands before the first wildcard, whether that is a `**`, and what stands after it.
fn split(pattern: &str) -> Option<(&str, bool, &str)> {
    let (before, after) = pattern.split_once('*')?;
    Some(match after.strip_prefix('*') {
        Some(after) => (before, true, after),
        None => (before, false, after),
    })
}

/// The pattern with each wildcard replaced by the next capture of its own sort. One for which there is none left stays.
pub(super) fn filled(pattern: &str, captures: &[Capture<'_>]) -> String {
    let Some((before, across, after)) = split(pattern) else { return pattern.to_owned() };
    let next = captures.iter().position(|(of_two, _)| *of_two == across);
    let (text, left) = match next {
        Some(at) => (captures[at].1, [&captures[..at], &captures[at + 1..]].concat()),
        None => (if across { "**" } else { "*" }, captures.to_vec()),
    };
    format!("{before}{text}{}", filled(after, &left))
}

/// True when the name fits.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    captures(pattern, name).is_some()
}

/// Names that fit, those with numbers in the order of the numbers.
pub(super) fn matching<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<&str> = names.filter(|name| fits(pattern, name)).collect();
    let key = |name: &&str| -> Vec<(u64, String)> {
        name.split('.').map(|segment| (segment.parse().unwrap_or(u64::MAX), segment.to_owned())).collect()
    };
    found.sort_by_cached_key(key);
    found
}

#[cfg(test)]
mod tests {
    use super::{captures, filled, fits, matching};

    #[test]
    fn captures_stay_within_a_segment_or_go_across() {
        assert_eq!(captures("key.*.weight", "key.12.weight"), Some(vec![(false, "12")]));
        assert_eq!(captures("*.weight", "a.b.weight"), None);
        assert_eq!(captures("**.weight", "a.b.weight"), Some(vec![(true, "a.b")]));
        assert_eq!(captures("*.*", "conv.bias"), Some(vec![(false, "conv"), (false, "bias")]));
        assert!(fits("**bias", "bias") && fits("**bias", "a.b.bias") && fits("conv.weight", "conv.weight"));
        assert!(!fits("conv.*", "conv.") && !fits("a", "ab"));
    }

    #[test]
    fn filled_puts_captures_where_their_sort_is() {
        let of = |pattern, name| captures(pattern, name).expect("fits");
        assert_eq!(filled("layer.*.linear.*", &of("*.*", "0.bias")), "layer.0.linear.bias");
        assert_eq!(filled("regressor.**", &of("**", "conv.weight")), "regressor.conv.weight");
        assert_eq!(filled("**conv.*", &of("conv.*", "conv.bias")), "**conv.bias");
    }

    #[test]
    fn matching_counts_numbers() {
        let names = ["input.student.10", "input.student.9", "input.teacher.0"];
        assert_eq!(matching("input.student.*", names.into_iter()), ["input.student.9", "input.student.10"]);
    }
}
