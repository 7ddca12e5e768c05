//! A metric and where its samples come from.

use super::text::{Description, Format, Samples};

/// A metric of what is known in `S`. The table of them is the exposition: families are written in their order.
#[derive(Debug)]
pub struct Family<S> {
    /// Its name and meaning.
    pub description: Description,
    /// Writes its samples.
    pub read: fn(&S, &mut Samples<'_>),
}

impl<S> Family<S> {
    /// A metric.
    pub const fn new(description: Description, read: fn(&S, &mut Samples<'_>)) -> Self {
        Self { description, read }
    }
}

/// All families of what `source` knows, as one text.
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
