//! Sets of completion indexes as text (`1,3-5,7`): `status.completedIndexes`, `succeededIndexes` of a success policy.

use std::collections::BTreeSet;

/// Reads a text; indexes from `limit` on are left out, and so is what cannot be read.
pub(super) fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) {
            all.extend(first.max(0)..=last.min(limit.saturating_sub(1)));
        }
    }
    all
}

/// Writes a text; `None` for an empty set. Two neighbours are written apart, as upstream does.
pub(super) fn format(all: &BTreeSet<i32>) -> Option<String> {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let texts = runs.iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    let text = texts.collect::<Vec<_>>().join(",");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for text in ["0", "1,3-5,7", "0,1", "2-9"] {
            assert_eq!(format(&parse(text, 10)).as_deref(), Some(text));
        }
        assert_eq!(format(&parse("", 10)), None);
        assert_eq!(format(&parse("1-20,x,30", 4)).as_deref(), Some("1-3"));
    }
}
