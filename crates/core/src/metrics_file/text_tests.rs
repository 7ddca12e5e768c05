use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::snapshot::Snapshot;

#[track_caller]
fn check(value: &impl Serialize) {
    let mut text = Vec::new();
    write(&mut text, value).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), serde_json::to_string(value).unwrap());
}

#[test]
fn a_snapshot_with_every_field_is_as_serde_json_writes_it() {
    let full = include_str!("../../../lxc-monitor/src/exporter/testdata/full.json");
    check(&full.parse::<Snapshot>().unwrap());
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    OnlyAName,
    With(u8),
}

#[derive(Serialize)]
struct Odd<'a> {
    text: &'a str,
    letter: char,
    numbers: (i64, u64, f64, f32, bool),
    none: Option<u8>,
    nothing: (),
    kinds: [Kind; 2],
    by_number: BTreeMap<i32, Vec<u8>>,
    by_text: BTreeMap<&'a str, BTreeMap<&'a str, u8>>,
    bytes: Bytes<'a>,
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

proptest! {
    #[test]
    fn whatever_a_snapshot_may_hold_is_as_serde_json_writes_it(
        text in "[ -~\\PC\u{0}-\u{1f}]{0,40}", letter: char, numbers: (i64, u64, f64, f32, bool), by_number: BTreeMap<i32, Vec<u8>>,
        length in 0_usize..10_000
    ) {
        let by_text = BTreeMap::from([(text.as_str(), BTreeMap::from([(text.as_str(), 1), ("b", 2)])), ("empty", BTreeMap::new())]);
        let kinds = [Kind::OnlyAName, Kind::With(3)];
        let odd = Odd { text: &text, letter, numbers, none: None, nothing: (), kinds, by_number, by_text, bytes: Bytes(b"\x00\xff") };
        check(&odd);
        // Longer than what is written at once.
        check(&[odd.text.repeat(length / 20).as_str(); 3]);
    }
}

#[test]
fn an_error_of_the_writer_is_passed_on_as_it_is() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for length in [1, 3 * PIECE_BYTES] {
        let error = write(&mut Full, &[vec![0_u8; length], vec![1]]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{length}");
    }
}

#[test]
fn a_name_that_is_neither_text_nor_number_is_an_error() {
    assert!(write(&mut io::sink(), &BTreeMap::from([((), 1)])).is_err());
}
