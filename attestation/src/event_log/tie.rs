//! How far the digests of an event vouch for its data: by type, which bytes were hashed.
//!
//! For some types the profile says that the digest is that of the data; there, data that does not hash to the digest was
//! changed, and is never shown as a fact. For others the digest is that of something else (an image, a file, a table), and
//! the data only describes it.

use std::ops::Range;

use crate::{
    PcrIndex,
    event_log::{Event, EventType, text, variable::Variable},
};

/// How far the digests of an event vouch for its data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tie {
    /// Every digest is that of all the data.
    Whole,
    /// Every digest is that of this part of the data; what lies outside, such as a prefix that says what the part is, is
    /// not vouched for.
    Part(Range<usize>),
    /// Every digest is that of the data in another form: a name in ASCII that the log has in UTF-16, or a text with the
    /// NUL that the log lacks.
    Derived,
    /// The digests are of something else; the data describes it, and nothing vouches for the description.
    Described,
    /// The digests must be those of the data, and are not: the data was changed, or never measured.
    Broken,
    /// Nothing was extended.
    NotExtended,
}

impl Tie {
    /// Stable, for programs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Part(_) => "part",
            Self::Derived => "derived",
            Self::Described => "described",
            Self::Broken => "broken",
            Self::NotExtended => "not_extended",
        }
    }

    /// Whether the digests vouch for what the event says.
    #[must_use]
    pub const fn vouches(&self) -> bool {
        matches!(self, Self::Whole | Self::Part(_) | Self::Derived)
    }
}

/// What GRUB writes before the text that it measures. Only the text is in the digest.
pub(super) const GRUB_PREFIXES: [&[u8]; 5] =
    [b"grub_cmd: ", b"grub_cmd ", b"kernel_cmdline: ", b"grub_kernel_cmdline ", b"module_cmdline: "];

/// Bytes of the tag and the size before the data of a tagged event (`TCG_PCClientTaggedEvent`).
const TAG_PREFIX: usize = 8;

/// What may have been hashed, and whether one of it must have been.
struct Rule {
    parts: Vec<Range<usize>>,
    /// Also the forms of [`Tie::Derived`].
    derived: bool,
    demanded: bool,
}

/// Finds out what the digests cover.
pub(super) fn tie(event: &Event<'_>) -> Tie {
    if !event.extends() {
        return Tie::NotExtended;
    }
    let rule = rule(event.kind, event.pcr, event.data);
    let whole = 0..event.data.len();
    for part in rule.parts {
        let Some(bytes) = event.data.get(part.clone()) else { continue };
        if event.is_digest_of(&[bytes]) {
            return if part == whole { Tie::Whole } else { Tie::Part(part) };
        }
    }
    if rule.derived && is_derived(event) {
        return Tie::Derived;
    }
    if rule.demanded && event.known_digests().next().is_some() { Tie::Broken } else { Tie::Described }
}

fn rule(kind: EventType, pcr: Option<PcrIndex>, data: &[u8]) -> Rule {
    let length = data.len();
    let whole = 0..length;
    let demanded = |parts| Rule { parts, derived: false, demanded: true };
    match kind {
        EventType::SEPARATOR => {
            // Coreboot pads what it logs with zeros.
            let padded = data.get(4..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0));
            demanded(if padded { vec![whole, 0..4] } else { vec![whole] })
        }
        EventType::ACTION | EventType::EFI_ACTION => demanded(vec![whole, 0..without_nul(data)]),
        EventType::S_CRTM_VERSION => demanded(vec![whole, 0..without_nul(data), 0..without_wide_nul(data)]),
        kind if kind.is_variable() => demanded(variable_parts(kind, data)),
        EventType::IPL => ipl(pcr, data),
        EventType::EVENT_TAG => Rule {
            parts: vec![whole, TAG_PREFIX.min(length)..length],
            derived: false,
            // New tags appear with new releases; their data is shown as a description.
            demanded: false,
        },
        _ => Rule { parts: vec![whole], derived: false, demanded: false },
    }
}

fn variable_parts(kind: EventType, data: &[u8]) -> Vec<Range<usize>> {
    let whole = 0..data.len();
    let Ok(variable) = Variable::parse(data) else { return vec![whole] };
    let content = variable.content_range;
    match kind {
        // Before version 1.05 the profile let firmware hash the content alone, and most does.
        EventType::EFI_VARIABLE_BOOT => vec![content, whole],
        EventType::EFI_VARIABLE_BOOT2 => vec![whole, content],
        // With trailing bytes, shim's digest lacks the last of them.
        _ if variable.trailing > 0 => vec![whole, 0..data.len() - 1, 0..content.end],
        _ => vec![whole],
    }
}

fn ipl(pcr: Option<PcrIndex>, data: &[u8]) -> Rule {
    let length = data.len();
    if let Some(prefix) = GRUB_PREFIXES.into_iter().find(|prefix| data.starts_with(prefix)) {
        let start = prefix.len();
        let end = without_nul(data).max(start);
        return Rule { parts: vec![start..end, start..length], derived: false, demanded: true };
    }
    let whole = 0..length;
    let parts = vec![whole, 0..without_wide_nul(data)];
    // Files (PCR 9) and keys (PCR 14) are measured by content: their name is not what was hashed.
    let named = matches!(pcr.map(PcrIndex::get), Some(9 | 14));
    Rule { parts, derived: !named, demanded: false }
}

/// Whether the digests are those of the data in another form.
fn is_derived(event: &Event<'_>) -> bool {
    // systemd's stub logs the name of a section in UTF-16, and measures it in ASCII with its NUL.
    if text::looks_like_utf16(event.data)
        && let Ok(name) = text::utf16_padded(event.data)
        && event.is_digest_of(&[name.as_bytes(), &[0]])
    {
        return true;
    }
    // Old stubs logged one byte less than they measured.
    event.is_digest_of(&[event.data, &[0]])
}

fn without_nul(data: &[u8]) -> usize {
    data.strip_suffix(&[0]).unwrap_or(data).len()
}

fn without_wide_nul(data: &[u8]) -> usize {
    if data.len().is_multiple_of(2) { data.strip_suffix(&[0, 0]).unwrap_or(data).len() } else { data.len() }
}
