use jiff::Timestamp;

use super::*;
use crate::backtest::recording::Sample;
use crate::backtest::report::Title;
use crate::backtest::run::{Change, Forecast};
use crate::backtest::score::{Prices, Rules, judge};
use crate::classes::Class;
use crate::decide::{Action, Decision, NodeSituation, Obstacles, Reason, Resource};
use crate::policy::Pool;
use crate::recommend::RecommendConfig;
use crate::replay::{CpuClass, Size};

/// A container of so many days with a sample every five minutes and a change at every `every`th of them.
fn container(id: u64, name: &str, days: i64, every: usize) -> (Recording, Outcome) {
    let samples: Vec<Sample> = (1..=days * 288)
        .map(|step| {
            let wave = f64::from(u8::try_from(step % 100).unwrap()) / 100.0;
            Sample {
                at: step * 300,
                cpu_cores: Some(wave),
                memory_mib: Some(200.0 + 100.0 * wave),
                is_disturbed: false,
            }
        })
        .collect();
    let change = |sample: &Sample| {
        let decision = Decision {
            resource: Resource::Cpu,
            action: Action::Shrink,
            from: Some(2.0),
            to: Some(0.5),
            apply: true,
            reason: Reason::Locked { lock: "<script>alert('lock')</script>".to_owned() },
            confidence_percent: 80.0,
        };
        let size = Size { cores: 0.5, memory_mib: 512.0 };
        Change { at: sample.at, size, cpu: Some(decision), memory: None }
    };
    let changes: Vec<Change> = samples.iter().step_by(every).map(change).collect();
    let hourly = |sample: &Sample| Forecast { at: sample.at, cpu: Some((0.2, 0.9)), memory: None };
    let forecasts = samples.iter().step_by(12).map(hourly).collect();
    let provisioned = Size { cores: 2.0, memory_mib: 1024.0 };
    let recording = Recording {
        id,
        pool: Pool::Unknown,
        name: Some(name.to_owned()),
        provisioned,
        cpu_class: None,
        obstacles: Obstacles::default(),
        node: NodeSituation::default(),
        samples,
    };
    let decisions: Vec<_> = changes.iter().map(|change| (change.at, change.size)).collect();
    let rules = Rules { warm_up_seconds: 0.0, ..Rules::benchmark(CpuClass::Fractional) };
    let sums = judge(rules, &recording, &decisions);
    let name = recording.name.clone();
    let prices = Prices::from(&RecommendConfig::default());
    let days = days as f64;
    (recording, Outcome { id, name, begin: provisioned, changes, forecasts, sums, prices, days, class: None })
}

fn page_of(containers: &[(Recording, Outcome)]) -> String {
    let (recordings, outcomes): (Vec<_>, Vec<_>) = containers.iter().cloned().unzip();
    let title = Title {
        source: "a<b.csv".to_owned(),
        from: "1970-01-01".to_owned(),
        to: "1970-01-08".to_owned(),
        policy: "x&y.toml".to_owned(),
        cpu: "CPU in hundredths of a core",
        warm_up_days: 3.0,
        container_days: 7.0,
        too_short: None,
    };
    let prices = Prices {
        core_hour: 1.0,
        gib_hour: 0.11,
        unserved_core_hour: 20.0,
        memory_shortage: 10.0,
        resize: 0.02,
    };
    page(&Report::new(title, prices, &outcomes), &recordings, &outcomes)
}

/// The tags of a page, in order: `<h1>`, `</h1>` …; without attributes.
fn tags(page: &str) -> Vec<String> {
    let body = page.split("<style>").next().unwrap().to_owned() + page.split("</style>").nth(1).unwrap();
    let body = body.split("<script>").next().unwrap().to_owned();
    body.split('<')
        .skip(1)
        .map(|tag| tag.split(['>', ' ']).next().unwrap().trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn every_tag_is_closed_and_nothing_comes_from_elsewhere() {
    let page = page_of(&[container(101, "web", 7, 40), container(102, "db", 7, 400)]);
    let void = ["!DOCTYPE", "meta", "path", "rect"];
    let mut open: Vec<String> = Vec::new();
    for tag in tags(&page) {
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if void.contains(&tag.as_str()) => {}
            None => open.push(tag),
        }
    }
    assert_eq!(open, ["html", "body"], "the script and what follows it are cut off");
    for outside in ["http:", "https:", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn the_page_has_the_total_a_line_and_two_charts_a_container() {
    let page = page_of(&[container(101, "web", 7, 40), container(102, "db", 7, 400)]);
    let count = |part: &str| page.matches(part).count();
    assert_eq!((count("<h1>"), count("<h2>"), count("<svg"), count("<tr class=\"total\">")), (1, 2, 4, 1));
    assert_eq!((count("href=\"#ct101\""), count("<section id=\"ct101\">")), (1, 1));
    for class in ["band", "use", "size", "before", "short"] {
        let charts = count(&format!("<path class=\"{class}\""));
        assert!(2 <= charts, "{class}: {charts}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    let first = Timestamp::from_second(300).unwrap().strftime("%Y-%m-%d %H:%M UTC").to_string();
    assert!(page.contains(&format!("aria-label=\"{first}: shrink from 2 cores to 0.5 cores: ")), "{first}");
}

#[test]
fn the_kind_of_load_is_told_where_it_is_known() {
    let (recording, mut outcome) = container(101, "web", 7, 40);
    outcome.class = Some(Class::Bursty);
    let page = page_of(&[(recording, outcome), container(102, "db", 7, 400)]);
    let (first, second) = page.split_once("<section id=\"ct102\">").unwrap();
    assert!(first.contains("Kind of load: bursty (uses much more now and then than usually)"));
    assert!(!second.contains("Kind of load"));
}

#[test]
fn names_and_reasons_from_outside_are_text() {
    let hostile = "</title></h2><script>alert(1)</script><img src=x onerror='alert(\"2\")'>";
    let page = page_of(&[container(101, hostile, 7, 40)]);
    assert!(!page.contains("<img") && !page.contains("<script>alert") && !page.contains("onerror='"));
    assert_eq!(page.matches("<script>").count(), 1);
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;";
    assert_eq!(page.matches(escaped).count(), 2, "in the table and above the charts");
    assert!(page.contains("&lt;script&gt;alert(&#39;lock&#39;)"));
    assert!(page.contains("a&lt;b.csv") && page.contains("x&amp;y.toml"));
}

#[test]
fn a_long_past_does_not_make_a_large_page() {
    let short = page_of(&[container(101, "web", 7, 1)]).len();
    let long = page_of(&[container(101, "web", 12 * 30, 1)]).len();
    assert!(long < 100_000 && long < 2 * short, "{short} {long}");
    let many: Vec<_> = (0..130).map(|id| container(id, "web", 1, 100)).collect();
    let page = page_of(&many);
    assert_eq!(page.matches("<section").count(), MOST_CHARTED);
    assert!(page.contains("Charts of the 100 containers that cost most"));
    assert_eq!(page.matches("<tr class=\"\">").count(), 130);
}
