//! Finds the word that was probably meant.

/// Shorter words are part of too many others.
const LEAST_PART_CHARS: usize = 3;

/// The candidate most similar to `wanted`, if there is one: the one with the fewest wrong letters, if those are at
/// most half of them (more would be a different word, not a misspelling); otherwise the first one that contains it,
/// or is contained in it.
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
