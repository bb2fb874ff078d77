//! What a measurement says: rate, latencies, and what the node's processes took meanwhile. Rates suffer from whatever
//! else the machine does; processor time and waits for each operation do much less.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use sealstone_swtpm_tests::Node;

/// The node's processes and what they had taken when the watch began.
pub(crate) struct Processes {
    agent: u32,
    enclave: u32,
    before: (Taken, Taken),
}

/// What a process took.
#[derive(Clone, Copy, Default)]
struct Taken {
    /// Nanoseconds on a processor.
    nanos: u64,
    /// Times that a thread went to sleep: each is a hand-over or a wait for the disk.
    sleeps: u64,
}

impl Processes {
    pub(crate) fn watch(node: &Node) -> Self {
        let (agent, enclave) = node.pids();
        Self { agent, enclave, before: (Taken::by(agent), Taken::by(enclave)) }
    }

    pub(crate) fn sample(&self, latencies: Histogram<u64>, span: Duration) -> Sample {
        let agent = Taken::by(self.agent).since(self.before.0);
        let enclave = Taken::by(self.enclave).since(self.before.1);
        Sample { latencies, span, agent, enclave }
    }

    pub(crate) fn peaks(&self) -> String {
        let (agent, enclave) = (peak_kib(self.agent), peak_kib(self.enclave));
        format!("agent {agent} KiB, enclave {enclave} KiB, together {} KiB", agent + enclave)
    }
}

/// One measurement.
pub(crate) struct Sample {
    latencies: Histogram<u64>,
    span: Duration,
    agent: Taken,
    enclave: Taken,
}

impl Sample {
    pub(crate) fn print(&self, name: &str, bare: f64) {
        let rate = rate(self.latencies.len(), self.span);
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        println!(
            "{name:<28}{rate:>9.0}{:>9.2}{:>10}{:>10}{:>10}   {}",
            rate / bare,
            at(0.5),
            at(0.99),
            at(0.999),
            self.taken()
        );
    }

    /// For each operation: microseconds on a processor and sleeps, of the agent and of the enclave.
    fn taken(&self) -> String {
        let each = |number: u64| float(number) / float(self.latencies.len().max(1));
        let of = |taken: Taken| format!("{:.0} us, {:.1}", each(taken.nanos) / 1000.0, each(taken.sleeps));
        format!("{} / {}", of(self.agent), of(self.enclave))
    }
}

/// What the columns of [`Beside`] say.
pub(crate) const EXPLANATION: &str = "sql: the same SQL alone, each call of the store in a transaction of its own, as a script runs it; target: 0.7 of it
store: the same calls, those that wait together in one transaction, as the node commits them; measured before and after";

/// Measurements of the bare thing, around one of the whole, because machines are noisy.
pub(crate) struct Beside {
    pub(crate) sql: Histogram<u64>,
    pub(crate) before: Histogram<u64>,
    pub(crate) after: Histogram<u64>,
    pub(crate) span: Duration,
}

impl Beside {
    pub(crate) fn heading(what: &str) {
        println!(
            "{what:<26}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}   CPU and sleeps of one: agent / enclave",
            "sql/s", "store/s", "again/s", "whole/s", "of sql", "of store", "p50 us", "p99 us"
        );
    }

    pub(crate) fn print(&self, name: &str, whole: &Sample) {
        let [sql, before, after, reached] = [&self.sql, &self.before, &self.after, &whole.latencies]
            .map(|latencies| rate(latencies.len(), self.span));
        println!(
            "{name:<26}{sql:>8.0}{before:>8.0}{after:>8.0}{reached:>8.0}{:>8.2}{:>9.2}{:>9}{:>9}   {}",
            reached / sql,
            reached / ((before + after) / 2.0),
            whole.latencies.value_at_quantile(0.5),
            whole.latencies.value_at_quantile(0.99),
            whole.taken()
        );
    }
}

/// A histogram of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap()
}

/// Events per second.
pub(crate) fn rate(count: u64, span: Duration) -> f64 {
    float(count) / span.as_secs_f64()
}

impl Taken {
    /// By all threads that live.
    fn by(pid: u32) -> Self {
        let mut taken = Self::default();
        for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let folder = thread.unwrap().path();
            // A thread may have ended in between.
            let Ok(times) = fs::read_to_string(folder.join("schedstat")) else { continue };
            let Ok(status) = fs::read_to_string(folder.join("status")) else { continue };
            taken.nanos += times.split(' ').next().unwrap().parse::<u64>().unwrap();
            taken.sleeps += field(&status, "voluntary_ctxt_switches:");
        }
        taken
    }

    fn since(self, before: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(before.nanos),
            sleeps: self.sleeps.saturating_sub(before.sleeps),
        }
    }
}

fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    field(&status, "VmHWM:")
}

/// A number of `/proc/PID/status`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn float(number: u64) -> f64 {
    // Counts of one measurement are far below 2^53.
    number as f64
}
