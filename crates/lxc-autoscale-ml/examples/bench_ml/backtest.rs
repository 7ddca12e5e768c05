//! The speed of `lxc-autoscale-ml backtest`, from the file to the table.

use std::error::Error;
use std::fmt::Write;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use lxc_autoscale_ml::backtest::recording::Recording;

const CONTAINERS: usize = 50;
const DAYS: u32 = 30;

/// Its duration, in seconds.
#[derive(serde::Serialize)]
pub(crate) struct Figures {
    container_days: f64,
    table_seconds: f64,
    page_seconds: f64,
}

/// Measures the program on synthetic traces.
pub(crate) fn measure(program: &Path, directory: &Path) -> Result<Figures, Box<dyn Error>> {
    let recordings = crate::generate::traces(CONTAINERS, DAYS);
    let traces = directory.join("traces.csv");
    write(&recordings, &traces)?;
    let run = |more: &[&str]| -> Result<f64, Box<dyn Error>> {
        let mut command = Command::new(program);
        command.arg("backtest").arg("--traces").arg(&traces).args(more).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.stderr(Stdio::null()).status()?;
        if status.success() {
            Ok(begun.elapsed().as_secs_f64())
        } else {
            Err(format!("backtest: {status}").into())
        }
    };
    let page = directory.join("page.html");
    Ok(Figures {
        container_days: CONTAINERS as f64 * f64::from(DAYS),
        table_seconds: run(&[])?,
        page_seconds: run(&["--html", &page.to_string_lossy()])?,
    })
}

fn write(recordings: &[Recording], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let columns =
        "timestamp,container_id,provisioned_cores,provisioned_memory_mb,cpu_cores_used,memory_mb_used";
    writeln!(out, "{columns}")?;
    for recording in recordings {
        let (id, built) = (recording.id, recording.provisioned);
        for sample in &recording.samples {
            let (cpu, memory) = (sample.cpu_cores.unwrap_or_default(), sample.memory_mib.unwrap_or_default());
            writeln!(out, "{},{id},{},{},{cpu:.4},{memory:.2}", sample.at, built.cores, built.memory_mib)?;
        }
    }
    Ok(out.flush()?)
}

/// The figures as a table.
pub(crate) fn markdown(figures: &Figures) -> String {
    let mut text = format!(
        "| `backtest`, {CONTAINERS} containers × {DAYS} days | time | container-days a second |\n| --- | ---: | ---: |\n"
    );
    for (what, seconds) in
        [("table", figures.table_seconds), ("table and page of charts", figures.page_seconds)]
    {
        let _ = writeln!(text, "| {what} | {seconds:.2} s | {:.0} |", figures.container_days / seconds);
    }
    text
}
