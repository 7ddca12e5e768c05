//! Proxmox's percent encoding of descriptions.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What is encoded in addition to what is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b':').add(b'%');

/// Encodes everything except printable ASCII, and also the colon and the percent sign.
pub fn encode_text(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Decodes [`encode_text`]; invalid escapes are kept.
pub fn decode_text(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_recorded() {
        assert_eq!(encode_text("a comment: line 1\nline 2\n"), "a comment%3A line 1%0Aline 2%0A");
        assert_eq!(decode_text("web tier%3A 100%25 %zz %2"), "web tier: 100% %zz %2");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in ".{0,40}") {
            prop_assert_eq!(decode_text(&encode_text(&text)), text);
        }
    }
}
