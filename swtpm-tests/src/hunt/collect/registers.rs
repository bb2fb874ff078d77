//! Registers of every thread, sampled by ptrace.

use super::script::reach;
use super::{Bag, Method, Prey, tracer_of};

/// How often every thread is stopped. A thread that signs is stopped at as many places of its work.
const ROUNDS: &str = "200";

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Register sets are in the bag.
    Sampled {
        /// How often a thread was stopped.
        stops: u64,
    },
    /// Somebody else traces the process already, so nobody can attach.
    Guarded {
        /// Who.
        tracer: u32,
    },
}

/// Samples general, floating-point and extended registers of all threads.
///
/// # Panics
/// When attaching fails for another reason than a tracer that is there before.
pub fn registers(prey: Prey, bag: &mut Bag) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().display().to_string();
    let answer = reach(&["registers", &prey.pid.to_string(), ROUNDS, &place]);
    if answer["outcome"] == "refused" {
        let tracer = tracer_of(prey.pid);
        assert_ne!(
            tracer, 0,
            "ptrace was refused, and nobody traces {prey:?}: is ptrace_scope 3 or lockdown set?"
        );
        bag.refuse(prey.holder, Method::Registers, "all threads");
        return Outcome::Guarded { tracer };
    }
    for name in ["NT_PRSTATUS", "NT_PRFPREG", "NT_X86_XSTATE"] {
        let bytes = std::fs::read(folder.path().join(name));
        let bytes = bytes.unwrap_or_else(|error| panic!("no {name} was sampled ({error}): {answer}"));
        bag.put_whole(prey.holder, Method::Registers, name, bytes);
    }
    Outcome::Sampled { stops: answer["stops"].as_u64().unwrap_or(0) }
}
