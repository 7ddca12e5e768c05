//! Writes a snapshot as JSON, byte for byte as `serde_json` does, with less work.
//!
//! Much of a record is names of fields, which are constants without anything to escape. `serde_json` looks at each byte of
//! them all the same, and hands over each quotation mark by itself. Here a name is copied as a whole. Values are left to `serde_json`.

use std::fmt::Display;
use std::io::{self, Write};

use serde::ser::{self, Impossible, Serialize, Serializer};

/// What is written at once: the writer behind this one gathers more.
const PIECE_BYTES: usize = 4 << 10;

/// Writes a value.
///
/// # Errors
/// Those of the writer, and whatever `serde_json` cannot write.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut text = Text { text: Vec::with_capacity(2 * PIECE_BYTES), out };
    value.serialize(&mut text)?;
    text.out.write_all(&text.text)
}

/// Why something is not written.
#[derive(Debug, thiserror::Error)]
enum TextError {
    #[error(transparent)]
    Write(#[from] io::Error),
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
}

impl ser::Error for TextError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Encode(ser::Error::custom(message))
    }
}

impl From<TextError> for io::Error {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Write(error) => error,
            TextError::Encode(error) => error.into(),
        }
    }
}

type Result<T = (), E = TextError> = std::result::Result<T, E>;

struct Text<'w, W> {
    text: Vec<u8>,
    out: &'w mut W,
}

impl<W: Write> Text<'_, W> {
    /// A value without parts.
    fn scalar(&mut self, value: &(impl Serialize + ?Sized)) -> Result {
        Ok(serde_json::to_writer(&mut self.text, value)?)
    }

    /// The name of a field or a variant, and what separates it from its value.
    fn name(&mut self, name: &'static str) {
        debug_assert!(name.bytes().all(|byte| b' ' <= byte && !b"\"\\".contains(&byte)), "{name}");
        self.text.reserve(name.len() + 3);
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
    }
}

/// A list or a map of which the first parts are written.
struct Parts<'a, 'w, W> {
    whole: &'a mut Text<'w, W>,
    is_first: bool,
    end: u8,
}

impl<'a, 'w, W: Write> Parts<'a, 'w, W> {
    fn begin(whole: &'a mut Text<'w, W>, begin: u8, end: u8) -> Self {
        whole.text.push(begin);
        Self { whole, is_first: true, end }
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.whole.text.push(b',');
        }
    }

    fn finish(self) -> Result {
        let Text { text, out } = self.whole;
        text.push(self.end);
        if PIECE_BYTES <= text.len() {
            out.write_all(text)?;
            text.clear();
        }
        Ok(())
    }
}

/// What is displayed, as `serde_json` escapes it.
struct Shown<'a, T: ?Sized>(&'a T);

impl<T: Display + ?Sized> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

macro_rules! scalars {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result {
            self.scalar(&value)
        })*
    };
}

impl<'a, 'w, W: Write> Serializer for &'a mut Text<'w, W> {
    type Ok = ();
    type Error = TextError;
    type SerializeSeq = Parts<'a, 'w, W>;
    type SerializeTuple = Parts<'a, 'w, W>;
    type SerializeMap = Parts<'a, 'w, W>;
    type SerializeStruct = Parts<'a, 'w, W>;
    type SerializeTupleStruct = Impossible<(), TextError>;
    type SerializeTupleVariant = Impossible<(), TextError>;
    type SerializeStructVariant = Impossible<(), TextError>;

    scalars!(
        serialize_bool: bool, serialize_char: char, serialize_str: &str, serialize_f32: f32, serialize_f64: f64,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_bytes(self, bytes: &[u8]) -> Result {
        self.scalar(bytes)
    }

    fn serialize_none(self) -> Result {
        self.scalar(&())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result {
        self.scalar(&())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result {
        self.scalar(&())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result {
        self.scalar(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        self.text.push(b'{');
        self.name(variant);
        value.serialize(&mut *self)?;
        self.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        Ok(Parts::begin(self, b'[', b']'))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        Ok(Parts::begin(self, b'[', b']'))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap> {
        Ok(Parts::begin(self, b'{', b'}'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct> {
        Ok(Parts::begin(self, b'{', b'}'))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Self::SerializeTupleStruct> {
        Err(unknown(name))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        Err(unknown(name))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        Err(unknown(name))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result {
        self.scalar(&Shown(value))
    }
}

/// No type of a snapshot is of such a kind.
fn unknown(name: &str) -> TextError {
    ser::Error::custom(format!("`{name}` is of a kind that no snapshot has"))
}

impl<W: Write> ser::SerializeSeq for Parts<'_, '_, W> {
    type Ok = ();
    type Error = TextError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.separate();
        value.serialize(&mut *self.whole)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

impl<W: Write> ser::SerializeTuple for Parts<'_, '_, W> {
    type Ok = ();
    type Error = TextError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

impl<W: Write> ser::SerializeMap for Parts<'_, '_, W> {
    type Ok = ();
    type Error = TextError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.separate();
        let begin = self.whole.text.len();
        self.whole.scalar(key)?;
        let text = &mut self.whole.text;
        match text.get(begin) {
            Some(b'"') => {}
            // A number is a text there.
            Some(b'0'..=b'9' | b'-') => {
                text.insert(begin, b'"');
                text.push(b'"');
            }
            _ => return Err(ser::Error::custom("a name in a snapshot is a text or a number")),
        }
        text.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(&mut *self.whole)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

impl<W: Write> ser::SerializeStruct for Parts<'_, '_, W> {
    type Ok = ();
    type Error = TextError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result {
        self.separate();
        self.whole.name(name);
        value.serialize(&mut *self.whole)
    }

    fn end(self) -> Result {
        self.finish()
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
