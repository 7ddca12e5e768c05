//! Numbers in words for people: rounded without a negative zero, and counted things with the right plural.

use std::fmt::Display;

/// `value` with so many digits after the point; what rounds to zero has no sign.
pub fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(size) if size.chars().all(|it| matches!(it, '0' | '.')) => size.to_owned(),
        _ => text,
    }
}

/// The same with its sign: `+5`, `-3`, `0`.
pub fn signed(value: f64, digits: usize) -> String {
    let text = rounded(value, digits);
    let is_zero = text.chars().all(|it| matches!(it, '0' | '.'));
    if is_zero || text.starts_with('-') { text } else { format!("+{text}") }
}

/// `1 container`, `2 containers`.
pub fn counted(count: impl Display, one: &str, more: &str) -> String {
    let count = count.to_string();
    let what = if count == "1" { one } else { more };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_no_sign() {
        for (value, digits, plain, with_sign) in [
            (-0.4, 0, "0", "0"),
            (-0.0, 0, "0", "0"),
            (-0.004, 2, "0.00", "0.00"),
            (0.4, 0, "0", "0"),
            (-0.6, 0, "-1", "-1"),
            (12.34, 1, "12.3", "+12.3"),
            (-100.0, 0, "-100", "-100"),
            (10.0, 0, "10", "+10"),
        ] {
            assert_eq!(
                (rounded(value, digits), signed(value, digits)),
                (plain.to_owned(), with_sign.to_owned())
            );
        }
    }

    #[test]
    fn one_is_not_many() {
        let shown = [0, 1, 2].map(|count| counted(count, "container", "containers"));
        assert_eq!(shown, ["0 containers", "1 container", "2 containers"]);
    }
}
