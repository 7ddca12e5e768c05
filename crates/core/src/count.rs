//! Numbers with nouns.

use std::fmt::Display;

/// Such as `1 container`, `2 containers` or `0.5 cores`; for nouns with a plural in `s`.
pub fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_from_many() {
        assert_eq!([0_usize, 1, 2].map(|number| count(number, "job")), ["0 jobs", "1 job", "2 jobs"]);
        assert_eq!([0.5, 1.0, 1.5].map(|cores| count(cores, "core")), ["0.5 cores", "1 core", "1.5 cores"]);
    }
}
