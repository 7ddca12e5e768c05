//! Escaping, numbers, headings and histograms.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// An escaped value as a reader of either format decodes it; `None` if it would stop reading.
fn unescape(escaped: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = escaped.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(match characters.next()? {
                '\\' => '\\',
                '"' => '"',
                'n' => '\n',
                _ => return None,
            }),
            '"' | '\n' => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

fn escaped(value: &str) -> String {
    let mut out = String::new();
    push_escaped(&mut out, value);
    out
}

#[test]
fn a_hostile_name_stays_within_its_quotes() {
    assert_eq!(escaped(r#"a"} 1"#), r#"a\"} 1"#);
    assert_eq!(escaped("a\nlxc_fake 1\n"), "a\\nlxc_fake 1\\n");
    assert_eq!(escaped("back\\slash\\"), r"back\\slash\\");
    assert_eq!(escaped("ünïcode ✓"), "ünïcode ✓");
    assert_eq!(escaped("nul\0 return\r"), "nul\u{fffd} return\u{fffd}");
}

#[test]
fn a_long_value_is_cut_between_characters() {
    let long = "é".repeat(MAX_LABEL_BYTES);
    assert_eq!(escaped(&long), "é".repeat(MAX_LABEL_BYTES / 2));
    assert_eq!(escaped(&format!("a{long}")).len(), MAX_LABEL_BYTES - 1);
}

proptest! {
    #[test]
    fn every_text_is_read_back(value in any::<String>()) {
        let want: String = value
            .chars()
            .map(|character| if character.is_control() && character != '\n' { '\u{fffd}' } else { character })
            .collect();
        let got = unescape(&escaped(&value)).unwrap();
        if value.len() <= MAX_LABEL_BYTES {
            prop_assert_eq!(got, want);
        } else {
            prop_assert!(want.starts_with(&got));
        }
    }

    #[test]
    fn every_finite_number_is_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut out = String::new();
        push_number(&mut out, value);
        prop_assert_eq!(out.parse::<f64>().unwrap().to_bits(), value.to_bits());
        prop_assert!(out.len() <= 25, "{}", out);
    }
}

#[track_caller]
fn check(format: Format, description: Description, want: &str) {
    let mut out = String::new();
    let mut samples = Samples::new(&mut out, format, &description, false);
    samples.about(Subject::Container(Vmid::try_from(104).unwrap()));
    samples.real(None);
    samples.real(Some(f64::NAN));
    samples.labelled(&[("device", "sda"), ("none", "")], Some(1.5));
    samples.whole(Some(7));
    assert_eq!(out, want);
}

#[test]
fn headings_follow_each_format_and_come_once_and_only_with_a_sample() {
    let counter = Description::counter("lxc_x_seconds", "X.");
    check(
        Format::Plain,
        counter,
        "# HELP lxc_x_seconds_total X.\n# TYPE lxc_x_seconds_total counter\n\
         lxc_x_seconds_total{id=\"lxc/104\",device=\"sda\"} 1.5\nlxc_x_seconds_total{id=\"lxc/104\"} 7\n",
    );
    check(
        Format::OpenMetrics,
        counter,
        "# HELP lxc_x_seconds X.\n# TYPE lxc_x_seconds counter\n# UNIT lxc_x_seconds seconds\n\
         lxc_x_seconds_total{id=\"lxc/104\",device=\"sda\"} 1.5\nlxc_x_seconds_total{id=\"lxc/104\"} 7\n",
    );
    let info = Description::info("lxc_x", "X.");
    check(
        Format::OpenMetrics,
        info,
        "# HELP lxc_x X.\n# TYPE lxc_x info\nlxc_x_info{id=\"lxc/104\",device=\"sda\"} 1.5\n\
         lxc_x_info{id=\"lxc/104\"} 7\n",
    );
}

#[test]
fn without_a_sample_there_is_no_heading() {
    let description = Description::gauge("lxc_x", "X.");
    let mut out = String::new();
    let mut samples = Samples::new(&mut out, Format::Plain, &description, false);
    samples.real(None);
    samples.whole(None);
    samples.mib(None);
    assert!(!samples.has_heading());
    assert_eq!(out, "");
}

#[test]
fn a_histogram_has_its_buckets_their_sum_and_their_number() {
    let description = Description::histogram("lxc_x_seconds", "X.");
    let mut histogram = Histogram::default();
    for millis in [2, 1500, 7_200_000] {
        histogram.observe(Duration::from_millis(millis));
    }
    let mut out = String::new();
    Samples::new(&mut out, Format::OpenMetrics, &description, false)
        .histogram(&[("call", "set")], &histogram);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "# HELP lxc_x_seconds X.",
            "# TYPE lxc_x_seconds histogram",
            "# UNIT lxc_x_seconds seconds",
            "lxc_x_seconds_bucket{call=\"set\",le=\"0.001\"} 0",
            "lxc_x_seconds_bucket{call=\"set\",le=\"0.0025\"} 1",
        ]
    );
    assert_eq!(
        lines[lines.len() - 4..],
        [
            "lxc_x_seconds_bucket{call=\"set\",le=\"3600.0\"} 2",
            "lxc_x_seconds_bucket{call=\"set\",le=\"+Inf\"} 3",
            "lxc_x_seconds_sum{call=\"set\"} 7201.502",
            "lxc_x_seconds_count{call=\"set\"} 3",
        ]
    );
}
