//! Descriptors: taken by pidfd_getfd, opened again through `/proc/PID/fd` and `/proc/PID/map_files`, read and mapped.

use super::script::reach;
use super::{Bag, Method, Prey};

/// How Linux names the file behind memfd_secret.
pub const SECRET_FILE: &str = "secretmem";

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Descriptors that this process now had as well.
    pub opened: usize,
    /// Those behind which secret memory is.
    pub secret: usize,
}

/// Takes every descriptor and what can be read through it.
///
/// # Panics
/// When the script fails.
pub fn descriptors(prey: Prey, bag: &mut Bag) -> Taken {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = reach(&["descriptors", &prey.pid.to_string(), &folder.path().display().to_string()]);
    let mut taken = Taken::default();
    for entry in answer["taken"].as_array().expect("a list") {
        let target = entry["target"].as_str().unwrap_or_default();
        let place = format!(
            "{}/{} → {target}",
            entry["way"].as_str().unwrap_or_default(),
            entry["name"].as_str().unwrap_or_default()
        );
        if entry["opened"] != true {
            bag.refuse(prey.holder, Method::Descriptor, &place);
            continue;
        }
        taken.opened += 1;
        taken.secret += usize::from(target.contains(SECRET_FILE));
        for file in entry["saved"].as_array().expect("a list") {
            let file = folder.path().join(file.as_str().unwrap_or_default());
            let bytes = std::fs::read(file).expect("the script wrote it");
            bag.put_whole(prey.holder, Method::Descriptor, &place, bytes);
        }
    }
    taken
}
