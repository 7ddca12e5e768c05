//! A load of known size, which runs inside a container of the truth test and is controlled line by line.
//!
//! Each line on standard input is one order. The answer is one line on standard output, sent when the load is
//! established. So the test knows what the container is doing without waiting, and the figures it compares with come
//! from the load itself, not from the monitor.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "a load that cannot do as it was told must end loudly; standard output is how it answers"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Advice, fadvise};
use rustix::time::{ClockId, clock_gettime};

const MIB: usize = 1 << 20;
/// How often a burner checks whether it is ahead, and records its usage.
const STEP: Duration = Duration::from_millis(10);
/// A delay beyond this is not made up for.
const GIVEN_UP_USEC: f64 = 50_000.0;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, option, mebibytes] = arguments.as_slice()
        && option == "--eat"
    {
        // This exceeds the container's limit; nobody expects an answer.
        std::hint::black_box(filled(mebibytes.parse().expect("a number")));
        return;
    }
    let mut loads = Loads::default();
    for line in io::stdin().lock().lines() {
        let line = line.expect("orders can be read");
        let words: Vec<&str> = line.split(' ').collect();
        let answer = loads.obey(&words);
        println!("{answer}");
        io::stdout().flush().expect("answers are read");
    }
}

/// What the container is currently made to do.
#[derive(Default)]
struct Loads {
    burner: Option<Burner>,
    memory: Vec<Vec<u8>>,
    sleepers: Vec<Child>,
    receiver: Option<JoinHandle<usize>>,
}

impl Loads {
    fn obey(&mut self, words: &[&str]) -> String {
        match words {
            ["burn", cores] => {
                let cores: f64 = cores.parse().expect("a number");
                self.burner = Some(Burner::start(cores));
                "ok".to_owned()
            }
            ["burned", from_usec, to_usec] => {
                let burner = self.burner.as_ref().expect("it burns");
                let at = |text: &str| burner.used_usec_at(text.parse().expect("a number"));
                format!("{}", at(to_usec) - at(from_usec))
            }
            ["rest"] => {
                self.burner = None;
                "ok".to_owned()
            }
            ["fill", mebibytes] => {
                self.memory.push(filled(mebibytes.parse().expect("a number")));
                "ok".to_owned()
            }
            // Reads every page, from swap if necessary.
            ["touch"] => {
                let pages = self.memory.iter().flat_map(|memory| memory.iter().step_by(4096));
                format!("{}", pages.map(|byte| u64::from(*byte)).sum::<u64>())
            }
            ["empty"] => {
                self.memory.clear();
                "ok".to_owned()
            }
            ["eat", mebibytes] => {
                let eater = Command::new("/proc/self/exe").args(["--eat", mebibytes]).status();
                let status = eater.expect("it can start itself");
                format!("{}", status.signal().unwrap_or(0))
            }
            ["write", path, mebibytes, how] => {
                write(path, mebibytes.parse().expect("a number"), *how == "sync");
                "ok".to_owned()
            }
            ["read", path] => {
                let mut file = File::open(path).expect("the file is there");
                format!("{}", io::copy(&mut file, &mut io::sink()).expect("the file can be read"))
            }
            // Drops its clean pages from the page cache, so that the next read comes from the disk.
            ["uncache", path] => {
                let file = File::open(path).expect("the file is there");
                file.sync_all().expect("the file can be written out");
                fadvise(&file, 0, None, Advice::DontNeed).expect("the advice is taken");
                "ok".to_owned()
            }
            ["remove", path] => {
                std::fs::remove_file(path).expect("the file is there");
                "ok".to_owned()
            }
            // Answers how many were started.
            ["processes", n] => {
                let n: usize = n.parse().expect("a number");
                let sleeper = || Command::new("/bin/busybox").args(["sleep", "100000"]).spawn();
                self.sleepers = (0..n).map_while(|_| sleeper().ok()).collect();
                format!("{}", self.sleepers.len())
            }
            ["reap"] => {
                for mut sleeper in self.sleepers.drain(..) {
                    sleeper.kill().expect("our own child can be ended");
                    sleeper.wait().expect("our own child can be waited for");
                }
                "ok".to_owned()
            }
            ["listen", address] => {
                let listener = TcpListener::bind(address).expect("the address is ours");
                self.receiver = Some(std::thread::spawn(move || {
                    let (mut stream, _) = listener.accept().expect("somebody connects");
                    let mut buffer = vec![0; MIB];
                    let mut received = 0;
                    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
                        received += bytes;
                    }
                    received
                }));
                "ok".to_owned()
            }
            ["received"] => {
                let receiver = self.receiver.take().expect("it listens");
                format!("{}", receiver.join().expect("the receiver ends"))
            }
            ["send", address, mebibytes] => {
                let mut stream = TcpStream::connect(address).expect("somebody listens");
                let block = vec![7; MIB];
                for _ in 0..mebibytes.parse::<usize>().expect("a number") {
                    stream.write_all(&block).expect("the other end takes it");
                }
                "ok".to_owned()
            }
            other => panic!("not an order: {other:?}"),
        }
    }
}

/// Memory in which every page was written, and not with zeros.
fn filled(mebibytes: usize) -> Vec<u8> {
    vec![7; mebibytes * MIB]
}

fn write(path: &str, mebibytes: usize, sync: bool) {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
    let block = filled(1);
    for _ in 0..mebibytes {
        file.write_all(&block).expect("there is room");
    }
    if sync {
        file.sync_all().expect("it can be written out");
    }
}

/// Threads that together use a given number of cores, and a record of their usage over time.
///
/// Each thread compares the CPU time it has used with the time that has passed, and sleeps while it is ahead. It
/// makes up for short delays; longer ones, when the machine was busy otherwise, are given up.
struct Burner {
    stop: Arc<AtomicBool>,
    /// Wall clock time and CPU time of this process, both in microseconds.
    notes: Arc<Mutex<Vec<(f64, f64)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Burner {
    fn start(cores: f64) -> Self {
        let (stop, notes) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let n_threads = cores.ceil() as usize;
        let share = cores / n_threads as f64;
        let mut threads = Vec::new();
        for _ in 0..n_threads {
            let stop = Arc::clone(&stop);
            threads.push(std::thread::spawn(move || burn(share, &stop)));
        }
        let (stop_notes, taken) = (Arc::clone(&stop), Arc::clone(&notes));
        threads.push(std::thread::spawn(move || {
            while !stop_notes.load(Ordering::Relaxed) {
                taken.lock().unwrap().push((now_usec(), cpu_usec(ClockId::ProcessCPUTime)));
                std::thread::sleep(STEP);
            }
        }));
        Self { stop, notes, threads }
    }

    /// The CPU time used up to a point in wall clock time, interpolated between two records.
    fn used_usec_at(&self, at_usec: f64) -> f64 {
        // The next record may not exist yet.
        while self.notes.lock().unwrap().last().is_none_or(|(noted, _)| *noted < at_usec) {
            std::thread::sleep(STEP);
        }
        let notes = self.notes.lock().unwrap();
        let after = notes.partition_point(|(noted, _)| *noted < at_usec);
        let ((t1, used1), (t0, used0)) = (notes[after], notes[after.checked_sub(1).expect("it burned")]);
        used0 + (used1 - used0) * (at_usec - t0) / (t1 - t0)
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a burner ends");
        }
    }
}

fn burn(share: f64, stop: &AtomicBool) {
    let (mut begun, mut used_before) = (Instant::now(), cpu_usec(ClockId::ThreadCPUTime));
    while !stop.load(Ordering::Relaxed) {
        let due = share * begun.elapsed().as_micros() as f64;
        let ahead = cpu_usec(ClockId::ThreadCPUTime) - used_before - due;
        if ahead < -GIVEN_UP_USEC {
            (begun, used_before) = (Instant::now(), cpu_usec(ClockId::ThreadCPUTime));
        } else if 0.0 < ahead && share < 1.0 {
            std::thread::sleep(STEP);
        } else {
            for n in 0..20_000_u64 {
                std::hint::black_box(n);
            }
        }
    }
}

fn cpu_usec(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn now_usec() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
    since.as_secs_f64() * 1e6
}
