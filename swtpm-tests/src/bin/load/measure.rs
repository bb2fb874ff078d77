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

/// How often each is measured in turn: a machine that slows down for some seconds then slows all of them.
const ROUNDS: u32 = 10;

/// What the columns of [`Beside`] say.
pub(crate) const EXPLANATION: &str = "sql: the same SQL alone, each call of the store in a transaction of its own, as a script runs it; target: 0.7 of it
store: the same calls, those that wait together in one transaction, as the node commits them
of sql, of store: of all rounds, and in brackets the quarter and three quarters of the rounds by themselves";

/// The bare thing twice and the whole, in turn.
pub(crate) struct Beside<'a> {
    pub(crate) node: &'a Node,
    pub(crate) span: Duration,
    pub(crate) sql: &'a dyn Fn(Duration) -> Histogram<u64>,
    pub(crate) store: &'a dyn Fn(Duration) -> Histogram<u64>,
    pub(crate) whole: &'a dyn Fn(Duration) -> Histogram<u64>,
}

impl Beside<'_> {
    pub(crate) fn heading(what: &str) {
        println!(
            "{what:<24}{:>8}{:>8}{:>8}{:>18}{:>18}{:>9}{:>9}   CPU and sleeps of one: agent / enclave",
            "sql/s", "store/s", "whole/s", "of sql", "of store", "p50 us", "p99 us"
        );
    }

    pub(crate) fn print(&self, name: &str) {
        let round = self.span / ROUNDS;
        let (mut sql, mut store, mut whole) = (Turns::new(), Turns::new(), Turns::new());
        let (mut agent, mut enclave) = (Taken::default(), Taken::default());
        for _ in 0..ROUNDS {
            sql.add((self.sql)(round));
            store.add((self.store)(round));
            let processes = Processes::watch(self.node);
            let sample = processes.sample((self.whole)(round), round);
            agent = agent.and(sample.agent);
            enclave = enclave.and(sample.enclave);
            whole.add(sample.latencies);
        }
        let rates = [&sql, &store, &whole].map(|turns| rate(turns.all.len(), self.span));
        let (of_sql, of_store) = (whole.beside(&sql), whole.beside(&store));
        let whole = Sample { latencies: whole.all, span: self.span, agent, enclave };
        println!(
            "{name:<24}{:>8.0}{:>8.0}{:>8.0}{of_sql:>18}{of_store:>18}{:>9}{:>9}   {}",
            rates[0],
            rates[1],
            rates[2],
            whole.latencies.value_at_quantile(0.5),
            whole.latencies.value_at_quantile(0.99),
            whole.taken()
        );
    }
}

/// One thing's rounds.
struct Turns {
    all: Histogram<u64>,
    counts: Vec<u64>,
}

impl Turns {
    fn new() -> Self {
        Self { all: histogram(), counts: Vec::new() }
    }

    fn add(&mut self, round: Histogram<u64>) {
        self.counts.push(round.len());
        self.all.add(round).unwrap();
    }

    /// As a part of what another reached.
    fn beside(&self, other: &Self) -> String {
        let part = |one: u64, of: u64| float(one) / float(of.max(1));
        let mut parts: Vec<f64> =
            self.counts.iter().zip(&other.counts).map(|(one, of)| part(*one, *of)).collect();
        parts.sort_by(f64::total_cmp);
        let at = |quarter: usize| parts[(parts.len() - 1) * quarter / 4];
        format!("{:.2} ({:.2}-{:.2})", part(self.all.len(), other.all.len()), at(1), at(3))
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

    fn and(self, more: Self) -> Self {
        Self { nanos: self.nanos + more.nanos, sleeps: self.sleeps + more.sleeps }
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
