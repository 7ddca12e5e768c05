//! A metric with the function that writes its samples.

use super::text::{Description, Format, Samples};

/// A metric read from an `S`. A table of these is the exposition: families are written in this order.
#[derive(Debug)]
pub struct Family<S> {
    /// Its name and meaning.
    pub description: Description,
    /// Writes its samples.
    pub read: fn(&S, &mut Samples<'_>),
}

impl<S> Family<S> {
    /// Combines a description with its samples.
    pub const fn new(description: Description, read: fn(&S, &mut Samples<'_>)) -> Self {
        Self { description, read }
    }
}

/// Writes all families, read from `source`, as one text.
pub fn write_all<'a, S: 'a>(
    families: impl IntoIterator<Item = &'a Family<S>>,
    source: &S,
    format: Format,
) -> String {
    let mut out = String::new();
    for family in families {
        (family.read)(source, &mut Samples::new(&mut out, format, &family.description, false));
    }
    out.push_str(format.end());
    out
}
