//! Processor time, memory, files and threads of this process, under the names that every client of
//! Prometheus uses. Read from `/proc` at each scrape; where there is none, nothing is shown.

use std::fs;
use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge};

/// Ticks a second of the times in `/proc`: fixed for programs, whatever the kernel counts by.
const TICKS_PER_SECOND: f64 = 100.0;

/// The metrics, which hold what was read last.
pub struct Process {
    cpu: Counter,
    /// Held while time is added.
    adding: Mutex<()>,
    resident: IntGauge,
    virtual_size: IntGauge,
    open_files: IntGauge,
    open_files_max: IntGauge,
    threads: IntGauge,
    started: Gauge,
}

/// What `/proc` says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_files: i64,
    open_files_max: i64,
    threads: i64,
    /// Seconds since 1970.
    started: f64,
}

impl Process {
    /// Metrics of this process.
    ///
    /// # Errors
    /// None but a mistake in a name.
    pub fn new() -> Result<Process, prometheus::Error> {
        let cpu = Counter::new(
            "process_cpu_seconds_total",
            "Processor time that the process took, its own and the kernel's for it.",
        )?;
        Ok(Process {
            cpu,
            adding: Mutex::new(()),
            resident: IntGauge::new("process_resident_memory_bytes", "Memory in use.")?,
            virtual_size: IntGauge::new("process_virtual_memory_bytes", "Memory addressed.")?,
            open_files: IntGauge::new("process_open_fds", "Open files and sockets.")?,
            open_files_max: IntGauge::new("process_max_fds", "Files and sockets allowed.")?,
            threads: IntGauge::new("process_threads", "Threads of the process.")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
        })
    }

    fn set(&self, usage: &Usage) {
        // One scrape at a time adds what came since the last.
        let adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        self.cpu.inc_by((usage.cpu_seconds - self.cpu.get()).max(0.0));
        drop(adding);
        self.resident.set(usage.resident_bytes);
        self.virtual_size.set(usage.virtual_bytes);
        self.open_files.set(usage.open_files);
        self.open_files_max.set(usage.open_files_max);
        self.threads.set(usage.threads);
        self.started.set(usage.started);
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.resident,
            &self.virtual_size,
            &self.open_files,
            &self.open_files_max,
            &self.threads,
            &self.started,
        ]
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(usage) = usage() else { return Vec::new() };
        self.set(&usage);
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

fn usage() -> Option<Usage> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).ok();
    let open_files = i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?;
    let (stat, status) = (read("self/stat")?, read("self/status")?);
    parse(&stat, &status, &read("self/limits")?, &read("stat")?, open_files)
}

fn parse(stat: &str, status: &str, limits: &str, machine: &str, open_files: i64) -> Option<Usage> {
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields are counted from 1 in the manual; the third comes first behind the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<i64>().ok();
    let seconds = |field: usize| Some(number(field)? as f64 / TICKS_PER_SECOND);
    let resident_kib = value(status, "VmRSS:")?.parse::<i64>().ok()?;
    let files_max = value(limits, "Max open files")?;
    let booted: f64 = value(machine, "btime")?.parse().ok()?;
    Some(Usage {
        cpu_seconds: seconds(14)? + seconds(15)?,
        resident_bytes: resident_kib.checked_mul(1024)?,
        virtual_bytes: number(23)?,
        open_files,
        open_files_max: files_max.parse().unwrap_or(i64::MAX),
        threads: number(20)?,
        started: booted + seconds(22)?,
    })
}

/// The word behind a name, on the line that begins with it.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::{Arc, Barrier};
    use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_name_may_hold_anything_and_a_limit_may_be_none() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 85 0 0 0 250 50 0 0 20 0 9 0 12345 \
                    1048576 321 18446744073709551615";
        let limits = |max: &str| format!("Limit  Soft Limit\nMax open files   {max}  4096 files\n");
        let read =
            |max: &str| parse(stat, "VmRSS:\t  2 kB\n", &limits(max), "cpu 1\nbtime 100\n", 5);
        let expected = Usage {
            cpu_seconds: 3.0,
            resident_bytes: 2048,
            virtual_bytes: 1_048_576,
            open_files: 5,
            open_files_max: 1024,
            threads: 9,
            started: 223.45,
        };
        assert_eq!(read("1024"), Some(expected));
        let endless = Usage { open_files_max: i64::MAX, ..expected };
        assert_eq!(read("unlimited"), Some(endless));
        assert_eq!(parse("7 (a) S", "VmRSS: 2 kB", &limits("1"), "btime 1", 5), None);
    }

    #[test]
    fn each_figure_moves_with_what_it_counts() {
        let before = usage().unwrap();
        let memory = black_box(vec![7_u8; 128 << 20]);
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let (gate, count) = (Arc::new(Barrier::new(41)), 40);
        let waiting: Vec<_> = (0..count)
            .map(|_| {
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || gate.wait())
            })
            .collect();
        let after = usage().unwrap();
        gate.wait();
        waiting.into_iter().for_each(|thread| drop(thread.join()));
        // Other tests come and go meanwhile: half is enough.
        assert!(after.resident_bytes - before.resident_bytes > 64 << 20, "{before:?} {after:?}");
        assert!(after.virtual_bytes - before.virtual_bytes > 64 << 20, "{before:?} {after:?}");
        assert!(after.open_files - before.open_files > 100, "{before:?} {after:?}");
        assert!(after.threads - before.threads > 20, "{before:?} {after:?}");
        drop((memory, files));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(after.started <= now + 2.0 && after.started > now - 86_400.0, "{after:?}");
    }

    #[test]
    fn the_counter_takes_what_came_since_and_never_falls() {
        let process = Process::new().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let first = usage().unwrap();
        process.set(&first);
        assert_eq!(process.cpu.get(), first.cpu_seconds);
        while usage().unwrap().cpu_seconds == first.cpu_seconds {
            assert!(Instant::now() < deadline);
            black_box((0..1_000_000_u64).sum::<u64>());
        }
        let second = usage().unwrap();
        process.set(&second);
        assert_eq!(process.cpu.get(), second.cpu_seconds);
        process.set(&first);
        assert_eq!(process.cpu.get(), second.cpu_seconds);
    }
}
