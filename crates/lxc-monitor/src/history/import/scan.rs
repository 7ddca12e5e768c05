//! Finds the elements of a JSON array of any size, one at a time, and resynchronises after damage.
//!
//! Elements are delimited by brackets and quotes, so any layout can be read. A damaged quote or bracket would swallow
//! everything after it; therefore a line that can only be the beginning of an element ends the one before it: `{"` in
//! the first column (our layout), or a line of four blanks and a brace (the original's, indented by four). No JSON
//! string spans a line break.

use std::io::{self, BufRead, BufReader, Read};

use lxc_autoscale_core::metrics_file::begins_element;

/// A longer element counts as damaged.
const MAX_ELEMENT_BYTES: usize = 16 << 20;
/// Most bytes of a line processed at once; a file may be a single line.
const PIECE_BYTES: u64 = 64 << 10;

/// What comes next in the file.
#[derive(Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// An object, from brace to brace.
    Object {
        /// Where it begins, in bytes.
        offset: u64,
        /// The object.
        text: &'a [u8],
    },
    /// Something that is not a complete object.
    Damaged {
        /// Where it begins, in bytes.
        offset: u64,
    },
}

/// Reads the elements in order.
#[expect(
    clippy::struct_excessive_bools,
    reason = "where a scanner stands in the text is several yes-or-no facts"
)]
#[derive(Debug)]
pub struct Scanner<R> {
    reader: BufReader<R>,
    piece: Vec<u8>,
    /// The used part of `piece`.
    used: usize,
    piece_offset: u64,
    is_line_start: bool,
    element: Vec<u8>,
    element_offset: u64,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// The current element was reported as damaged; the rest is skipped up to the next certain beginning.
    is_lost: bool,
    /// The last byte outside of elements that is not blank; an element begins after a bracket or a comma.
    before: u8,
    /// The last element was handed out and must be cleared.
    is_handed_out: bool,
}

impl<R: Read> Scanner<R> {
    /// Starts at the beginning.
    pub fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(128 << 10, reader),
            piece: Vec::new(),
            used: 0,
            piece_offset: 0,
            is_line_start: true,
            element: Vec::new(),
            element_offset: 0,
            depth: 0,
            in_string: false,
            is_escaped: false,
            is_lost: false,
            before: b'[',
            is_handed_out: false,
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.piece_offset + self.used as u64
    }

    /// The next element or damaged place; `None` at the end.
    ///
    /// # Errors
    /// The reader's.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it holds")]
    pub fn next(&mut self) -> io::Result<Option<Element<'_>>> {
        if std::mem::take(&mut self.is_handed_out) {
            self.element.clear();
        }
        loop {
            if self.used == self.piece.len() && !self.fill()? {
                if self.depth == 0 {
                    return Ok(None);
                }
                self.depth = 0;
                let offset = self.element_offset;
                self.element.clear();
                return Ok((!std::mem::take(&mut self.is_lost)).then_some(Element::Damaged { offset }));
            }
            if self.used == 0 && self.is_line_start {
                self.in_string = false;
                self.is_escaped = false;
                let is_certain = begins_element(&self.piece);
                if is_certain {
                    self.before = b',';
                }
                if 0 < self.depth && is_certain {
                    self.depth = 0;
                    self.element.clear();
                    if !std::mem::take(&mut self.is_lost) {
                        return Ok(Some(Element::Damaged { offset: self.element_offset }));
                    }
                }
            }
            match self.scan_piece() {
                Found::Nothing => {}
                Found::Whole => {
                    self.is_handed_out = true;
                    return Ok(Some(Element::Object { offset: self.element_offset, text: &self.element }));
                }
                Found::TooLong => return Ok(Some(Element::Damaged { offset: self.element_offset })),
            }
        }
    }

    /// Reads the next piece of a line; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        self.piece_offset += self.piece.len() as u64;
        self.is_line_start = self.piece.is_empty() || self.piece.ends_with(b"\n");
        self.piece.clear();
        self.used = 0;
        let length = (&mut self.reader).take(PIECE_BYTES).read_until(b'\n', &mut self.piece)?;
        Ok(0 < length)
    }

    /// Continues to the end of the element or of the piece.
    fn scan_piece(&mut self) -> Found {
        let begin = self.used;
        let mut from = begin;
        for index in begin..self.piece.len() {
            let byte = self.piece[index];
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' if 0 < self.depth => self.in_string = true,
                b'{' => {
                    if self.depth == 0 {
                        self.element.clear();
                        self.element_offset = self.piece_offset + index as u64;
                        // After a colon comes the rest of an element that was reported as damaged.
                        self.is_lost = !matches!(self.before, b'[' | b',');
                        from = index;
                    }
                    self.depth += 1;
                }
                b'}' if 0 < self.depth => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.used = index + 1;
                        self.before = b'}';
                        if std::mem::take(&mut self.is_lost) {
                            return Found::Nothing;
                        }
                        self.element.extend_from_slice(&self.piece[from..=index]);
                        if self.element.len() <= MAX_ELEMENT_BYTES {
                            return Found::Whole;
                        }
                        self.element = Vec::new();
                        return Found::TooLong;
                    }
                }
                _ if self.depth == 0 && !byte.is_ascii_whitespace() => self.before = byte,
                _ => {}
            }
        }
        self.used = self.piece.len();
        if 0 < self.depth && !self.is_lost {
            self.element.extend_from_slice(&self.piece[from..]);
            if MAX_ELEMENT_BYTES < self.element.len() {
                self.element = Vec::new();
                self.is_lost = true;
                return Found::TooLong;
            }
        }
        Found::Nothing
    }
}

enum Found {
    Nothing,
    Whole,
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[Result<&str, u64>]) {
        let mut scanner = Scanner::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(element) = scanner.next().unwrap() {
            found.push(match element {
                Element::Object { offset, text: object } => {
                    let begin = usize::try_from(offset).unwrap();
                    assert_eq!(&text.as_bytes()[begin..begin + object.len()], object);
                    Ok(String::from_utf8(object.to_vec()).unwrap())
                }
                Element::Damaged { offset } => Err(offset),
            });
        }
        let want: Vec<_> = want.iter().map(|want| want.map(str::to_owned)).collect();
        assert_eq!(found, want, "{}", text.get(..200).unwrap_or(text));
    }

    #[test]
    fn elements_are_found_in_any_layout() {
        check("[\n{\"a\":1},\n{\"b\":{}}\n]\n", &[Ok("{\"a\":1}"), Ok("{\"b\":{}}")]);
        check("[{\"a\":\"}{\\\"\"}, {\"b\":2}]", &[Ok("{\"a\":\"}{\\\"\"}"), Ok("{\"b\":2}")]);
        check(
            "[\n    {\n        \"a\": 1\n    },\n    {\n    }\n]",
            &[Ok("{\n        \"a\": 1\n    }"), Ok("{\n    }")],
        );
        check("[\n]\n", &[]);
        check("", &[]);
    }

    #[test]
    fn damage_costs_only_its_own_element() {
        // A missing quote, a missing brace, one too many, a missing end; the last is invalid JSON, which its parser
        // detects.
        check("[\n{\"a:1},\n{\"b\":2}\n]\n", &[Err(2), Ok("{\"b\":2}")]);
        check("[\n{\"a\":{1},\n{\"b\":2}\n]\n", &[Err(2), Ok("{\"b\":2}")]);
        check("[\n{\"a\":1}},\n{\"b\":2}\n]\n", &[Ok("{\"a\":1}"), Ok("{\"b\":2}")]);
        check("[\n{\"a\":1},\n{\"b\":", &[Ok("{\"a\":1}"), Err(11)]);
        check(
            "[\n    {\n        \"a: {\n    },\n    {\n    }\n]",
            &[Ok("{\n        \"a: {\n    }"), Ok("{\n    }")],
        );
    }

    #[test]
    fn an_element_that_is_too_long_is_skipped() {
        let long = format!("[\n{{\"a\":\"{}\"}},\n{{\"b\":2}}\n]\n", "x".repeat(MAX_ELEMENT_BYTES));
        check(&long, &[Err(2), Ok("{\"b\":2}")]);
    }
}
