//! Text from outside in HTML.

use std::borrow::Cow;

/// The text escaped for an element or a quoted attribute.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    let harmless =
        |character: char| !matches!(character, '&' | '<' | '>' | '"' | '\'') && !character.is_control();
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(' '),
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_html_is_escaped() {
        assert_eq!(escape("<b a='1' b=\"2\">&\u{0}"), "&lt;b a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;\u{fffd}");
        assert_eq!(escape("wählen-01.example"), "wählen-01.example");
    }
}
