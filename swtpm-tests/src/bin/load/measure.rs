//! What a measurement says: rate, latencies, and what the node's processes took meanwhile.

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use sealstone_swtpm_tests::Node;

/// Clock ticks of `/proc/PID/stat` in a second (`USER_HZ`, 100 on every Linux that runs this).
const TICKS_PER_SECOND: f64 = 100.0;

/// The node's processes and the processor time that they had taken when the watch began.
pub(crate) struct Processes {
    agent: u32,
    enclave: u32,
    before: (u64, u64),
}

impl Processes {
    pub(crate) fn watch(node: &Node) -> Self {
        let (agent, enclave) = node.pids();
        Self { agent, enclave, before: (ticks(agent), ticks(enclave)) }
    }

    pub(crate) fn sample(&self, latencies: Histogram<u64>, span: Duration) -> Sample {
        let share = |now: u64, before: u64| percent(now - before, span);
        let (agent, enclave) =
            (share(ticks(self.agent), self.before.0), share(ticks(self.enclave), self.before.1));
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
    agent: f64,
    enclave: f64,
}

impl Sample {
    pub(crate) fn print(&self, name: &str, bare: f64) {
        let rate = rate(self.latencies.len(), self.span);
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        println!(
            "{name:<28}{rate:>9.0}{:>9.2}{:>10}{:>10}{:>10}   {:.0} % / {:.0} %",
            rate / bare,
            at(0.5),
            at(0.99),
            at(0.999),
            self.agent,
            self.enclave
        );
    }
}

/// Two measurements of the bare thing, around one of the whole.
pub(crate) struct Beside {
    pub(crate) before: Histogram<u64>,
    pub(crate) after: Histogram<u64>,
    pub(crate) span: Duration,
}

impl Beside {
    pub(crate) fn heading(what: &str) {
        println!(
            "{what:<28}{:>9}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}   CPU agent/enclave",
            "bare/s", "again/s", "whole/s", "ratio", "p50 us", "p99 us", "bare p50"
        );
    }

    pub(crate) fn print(&self, name: &str, whole: &Sample) {
        let (before, after) = (rate(self.before.len(), self.span), rate(self.after.len(), self.span));
        let reached = rate(whole.latencies.len(), self.span);
        println!(
            "{name:<28}{before:>9.0}{after:>9.0}{reached:>9.0}{:>9.2}{:>10}{:>10}{:>10}   {:.0} % / {:.0} %",
            reached / ((before + after) / 2.0),
            whole.latencies.value_at_quantile(0.5),
            whole.latencies.value_at_quantile(0.99),
            self.before.value_at_quantile(0.5),
            whole.agent,
            whole.enclave
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
    f64::from(u32::try_from(count).unwrap()) / span.as_secs_f64()
}

fn percent(ticks: u64, span: Duration) -> f64 {
    100.0 * f64::from(u32::try_from(ticks).unwrap()) / TICKS_PER_SECOND / span.as_secs_f64()
}

/// User and system time, fields 14 and 15 of `/proc/PID/stat`, which are 12 and 13 behind the name.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
