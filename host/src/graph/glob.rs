//! Patterns over dotted paths.

/// `*` stands for any characters of one name, `**` for any characters at all, everything else for itself.
#[derive(Debug, Clone)]
pub struct Glob {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(char),
    Name,
    Any,
}

impl Glob {
    /// The pattern.
    pub fn new(pattern: &str) -> Glob {
        let (mut pieces, mut rest) = (vec![], pattern);
        while let Some(first) = rest.chars().next() {
            if let Some(tail) = rest.strip_prefix("**") {
                pieces.push(Piece::Any);
                rest = tail;
            } else {
                pieces.push(if first == '*' { Piece::Name } else { Piece::Text(first) });
                rest = &rest[first.len_utf8()..];
            }
        }
        Glob { pieces }
    }

    /// True when the whole of `path` fits.
    pub fn matches(&self, path: &str) -> bool {
        let chars: Vec<char> = path.chars().collect();
        // reached[i]: the pieces so far fit the first i characters.
        let mut reached = vec![false; chars.len() + 1];
        reached[0] = true;
        for piece in &self.pieces {
            let mut next = vec![false; chars.len() + 1];
            for i in 0..=chars.len() {
                let previous = i.checked_sub(1);
                next[i] = match piece {
                    Piece::Text(wanted) => previous.is_some_and(|p| reached[p] && chars[p] == *wanted),
                    Piece::Name => reached[i] || previous.is_some_and(|p| next[p] && chars[p] != '.'),
                    Piece::Any => reached[i] || previous.is_some_and(|p| next[p]),
                };
            }
            reached = next;
        }
        reached[chars.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn glob_star_stays_in_one_name() {
        let hits = |pattern: &str, path: &str| Glob::new(pattern).matches(path);
        assert!(hits("layer*", "layer1") && !hits("layer*", "layer1.0"));
        assert!(hits("layer1.*", "layer1.0") && !hits("layer1.*", "layer1.0.conv1"));
        assert!(hits("layer1.**", "layer1.0.conv1") && hits("**.bias", "fc.bias"));
        assert!(hits("fc.weight", "fc.weight") && !hits("fc", "fc.weight"));
    }
}
