//! What the search found, as a failing story says it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::thread;

use super::collect::{Bag, Method};
use super::quarry::{Holder, Quarry};
use super::search::Searcher;

/// Lines of the report; hits of one kind at one kind of place are one line.
const LINES_MAX: usize = 80;

/// A secret at a place where root can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// What it is.
    pub kind: &'static str,
    /// Of which key.
    pub of: String,
    /// How it was written.
    pub encoding: String,
    /// In whose process.
    pub holder: Holder,
    /// By which way.
    pub method: Method,
    /// In which mapping or file.
    pub place: String,
    /// Where in it.
    pub address: u64,
}

/// Searches everything that was collected.
#[must_use]
pub fn hunt(bag: &Bag, quarry: &Quarry) -> Vec<Hit> {
    thread::scope(|scope| {
        [Holder::Enclave, Holder::Agent]
            .map(|holder| scope.spawn(move || hunt_one(bag, quarry, holder)))
            .into_iter()
            .flat_map(|search| search.join().expect("a search does not panic"))
            .collect()
    })
}

fn hunt_one(bag: &Bag, quarry: &Quarry, holder: Holder) -> Vec<Hit> {
    let searcher = Searcher::new(quarry, holder);
    let mut hits = Vec::new();
    for piece in bag.pieces.iter().filter(|piece| piece.holder == holder) {
        searcher.search(&piece.bytes, |found| {
            let secret = &quarry.secrets()[found.secret];
            hits.push(Hit {
                kind: secret.kind,
                of: secret.of.clone(),
                encoding: found.encoding.to_string(),
                holder,
                method: piece.method,
                place: piece.place.clone(),
                address: piece.address + found.at as u64,
            });
        });
    }
    hits
}

/// The hits, grouped, for people.
#[must_use]
pub fn describe(hits: &[Hit]) -> String {
    let mut groups: BTreeMap<_, Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        let place = (hit.holder, hit.method, &hit.place);
        groups.entry((place, hit.kind, &hit.encoding)).or_default().push(hit);
    }
    let mut text = format!("{} parts of secrets within root's reach:\n", hits.len());
    for (((holder, method, place), kind, encoding), of_group) in groups.iter().take(LINES_MAX) {
        let Hit { of, address, .. } = of_group[0];
        let count = of_group.len();
        writeln!(
            text,
            "{holder:?}, {method}, {place}, {address:#x}: {kind} as {encoding} ({count} times, first: {of})"
        )
        .expect("a text grows");
    }
    if groups.len() > LINES_MAX {
        writeln!(text, "and {} more kinds", groups.len() - LINES_MAX).expect("a text grows");
    }
    text
}
