//! The table as Markdown, and the chart.

use std::fmt::Write;

use crate::figures::Figures;

/// One set of traces, with the figures of both CPU classes.
#[derive(serde::Serialize)]
pub(crate) struct Set {
    /// Its title.
    pub(crate) title: String,
    /// CPU in hundredths of a core.
    pub(crate) fractional: Vec<Figures>,
    /// CPU in whole cores.
    pub(crate) integer: Vec<Figures>,
}

const HEAD: &str = "| policy | J [95 %] | J CPU | J memory | geometric mean | cost / provisioned | CPU slack | CPU work unserved | CPU resizes a day | memory slack | short of memory a month | memory resizes a day |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";

/// The tables of a set, the default way to set CPU first.
pub(crate) fn markdown(set: &Set) -> String {
    let mut text = format!("### {}\n", set.title);
    for (class, figures) in [("whole cores", &set.integer), ("hundredths of a core", &set.fractional)] {
        let _ = write!(text, "\nCPU in {class}:\n\n{HEAD}");
        for row in figures {
            let (low, high) = row.j_interval;
            let _ = writeln!(
                text,
                "| {} | {:.2} [{low:.2}, {high:.2}] | {:.2} | {:.2} | {:.2} | {:.0} % | {:.0} % | {:.2} % | {:.1} | {:.0} % | {:.1} | {:.1} |",
                row.policy,
                row.j,
                row.j_cpu,
                row.j_memory,
                row.geometric_mean,
                100.0 * row.of_provisioned,
                100.0 * row.cpu_slack,
                100.0 * row.cpu_shortfall,
                row.cpu_resizes,
                100.0 * row.memory_slack,
                row.shortages,
                row.memory_resizes
            );
        }
    }
    text
}

const WIDTH: f64 = 860.0;
const NAMES: f64 = 320.0;
const BAR: f64 = 18.0;
const ROW: f64 = 26.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1c2330}.dim{fill:#667085}.title{font-weight:600;font-size:15px}\
.ours{fill:#1663c7}.peer{fill:#9aa7bb}.oracle{fill:#d9b25f}.ideal{stroke:#d92d20;stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){text{fill:#e6eaf0}.dim{fill:#98a2b3}.ours{fill:#5ba4ff}.peer{fill:#596579}.oracle{fill:#a98638}}";

/// The chart: J of each policy, one bar each, for the sets in whole cores.
pub(crate) fn picture(sets: &[Set]) -> String {
    let rows: usize = sets.iter().map(|set| set.integer.len()).sum();
    let height = rows as f64 * ROW + sets.len() as f64 * 64.0 + 28.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"Cost of each policy over the ideal\">\n<style>{STYLE}</style>\n"
    );
    let mut y = 24.0;
    for set in sets {
        let most = set.integer.iter().map(|row| row.j).fold(1.0, f64::max);
        let scale = (WIDTH - NAMES - 70.0) / most;
        let _ = writeln!(svg, "<text class=\"title\" x=\"0\" y=\"{y:.0}\">{}</text>", set.title);
        y += 16.0;
        let top = y;
        for row in &set.integer {
            let is_ours = row.policy.starts_with("**");
            let class = match () {
                () if is_ours => "ours",
                () if row.policy.starts_with("oracle") => "oracle",
                () => "peer",
            };
            let name = row.policy.replace("**", "");
            let (middle, length) = (y + BAR - 4.5, row.j * scale);
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>",
                NAMES - 8.0
            );
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{NAMES}\" y=\"{y:.0}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>"
            );
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{middle:.1}\">{:.2}</text>",
                NAMES + length + 6.0,
                row.j
            );
            y += ROW;
        }
        let ideal = NAMES + scale;
        let _ = writeln!(svg, "<path class=\"ideal\" d=\"M{ideal:.1} {top:.0}V{:.0}\"/>", y - 4.0);
        y += 48.0;
    }
    let _ = writeln!(
        svg,
        "<text class=\"dim\" x=\"0\" y=\"{:.0}\">J: cost of the sizes over the cost of the ideal (dashed), CPU in whole cores (the default); less is better.</text>\n</svg>",
        height - 8.0
    );
    svg
}
