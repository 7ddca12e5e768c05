//! The word that was probably meant.

/// A shorter word is part of too many others.
const LEAST_PART_CHARS: usize = 3;

/// The candidate that looks most like `wanted`, if any looks like it at all: the one with the fewest letters wrong, if
/// they are no more than half (more is another word, not a misspelling); else the first that contains it, or that it
/// contains.
pub fn nearest<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let misspelt = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(wanted, candidate), *candidate))
        .filter(|(distance, candidate)| distance * 2 <= candidate.len().max(wanted.len()))
        .min_by_key(|(distance, _)| *distance);
    let is_part = |part: &str, of: &str| LEAST_PART_CHARS <= part.chars().count() && of.contains(part);
    let related = || candidates.iter().copied().find(|it| is_part(wanted, it) || is_part(it, wanted));
    misspelt.map(|(_, candidate)| candidate).or_else(related)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_told_from_another_word() {
        for (wanted, candidates, want) in [
            ("min_mb", &["min_mib", "max_mib"][..], Some("min_mib")),
            ("memroy", &["cpu", "memory"], Some("memory")),
            ("105", &["104", "web"], Some("104")),
            ("assistant", &["plex", "home-assistant"], Some("home-assistant")),
            ("postgresql-server", &["redis", "postgresql"], Some("postgresql")),
            ("xyz", &["104", "web"], None),
            ("w", &["web", "mail"], None),
            ("anything", &[], None),
            ("", &["web"], None),
        ] {
            assert_eq!(nearest(wanted, candidates.iter().copied()), want, "{wanted}");
        }
    }
}
