//! What was started, and with which words.

use serde::Serialize;

use crate::event_log::{Event, EventType, LogAlgorithm, Tie, image::ImageLoad, text, tie::GRUB_PREFIXES};

/// Tags of tagged events by systemd's boot loader and stub, and by Linux's own stub. Their digests are those of a file or
/// an option; the data only names it.
const TAGS: [(u32, &str); 9] = [
    (0xf5bc_582a, "systemd-boot configuration"),
    (0x6c46_f751, "systemd-stub device tree addon"),
    (0x49df_fe0f, "systemd-stub initrd addon"),
    (0xdac0_8e1a, "systemd-stub microcode addon"),
    (0xd5cb_7cbc, "SMBIOS type 1, by systemd"),
    (0xe0d4_7bc8, "SMBIOS type 2, by systemd"),
    (0xc0b3_bd23, "SMBIOS type 11, by systemd"),
    (0x8f3b_22ec, "Linux initrd"),
    (0x8f3b_22ed, "Linux load options"),
];

/// A text about the boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BootText {
    /// The event that says it.
    pub event: usize,
    /// Who says it, by the form of the event.
    pub source: &'static str,
    /// The text.
    pub text: String,
    /// Whether the digests cover the text. What it is called (`source`) they never cover.
    pub vouched: bool,
}

/// An image that was loaded. Its digest is in the log; its path is only a description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Image {
    /// The event that says it.
    pub event: usize,
    /// Application or driver.
    pub kind: EventType,
    /// Where it came from.
    pub path: Option<String>,
    /// The event of the authority that the log has right before the image. An authority is measured once, however many
    /// images it verifies, and no digest covers the order across PCRs: without one, who verified it is not known.
    pub authority: Option<usize>,
}

/// A variable of shim's in PCR 14. Its digest is that of the content, which is not in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShimVariable {
    /// The event that says it.
    pub event: usize,
    /// `MokList`, `MokListX` or `MokListTrusted`.
    pub name: String,
    /// The SHA-256 digest of its content, if the log has that bank.
    pub sha256: Option<String>,
}

/// Everything in this file.
#[derive(Default)]
pub(super) struct Boot {
    pub(super) images: Vec<Image>,
    pub(super) boot_loader: Option<usize>,
    pub(super) kernels: Vec<BootText>,
    pub(super) command_lines: Vec<BootText>,
    pub(super) stub_sections: Vec<BootText>,
    pub(super) loader: Vec<BootText>,
    pub(super) shim: Vec<ShimVariable>,
}

pub(super) fn collect(events: &[Event<'_>]) -> Boot {
    let mut boot = Boot::default();
    let mut authority = None;
    for (number, event) in events.iter().enumerate() {
        let Some(pcr) = event.pcr.filter(|_| event.tie != Tie::Broken) else { continue };
        match event.kind {
            EventType::EFI_VARIABLE_AUTHORITY => authority = Some(number),
            kind if kind.is_image() => {
                let path =
                    ImageLoad::parse(event.data).ok().map(|load| load.path).filter(|path| !path.is_empty());
                let started = kind == EventType::EFI_BOOT_SERVICES_APPLICATION && event.after_separator;
                if started && pcr.get() == 4 && boot.boot_loader.is_none() {
                    boot.boot_loader = Some(number);
                }
                boot.images.push(Image { event: number, kind, path, authority: authority.take() });
            }
            EventType::IPL => ipl(&mut boot, number, pcr.get(), event),
            EventType::EVENT_TAG => tagged(&mut boot, number, event),
            _ => {}
        }
    }
    boot
}

fn ipl(boot: &mut Boot, number: usize, pcr: u8, event: &Event<'_>) {
    let vouched = event.tie.vouches();
    let fact = |source, text: &str| BootText { event: number, source, text: text.to_owned(), vouched };
    if let Some(prefix) = GRUB_PREFIXES.into_iter().find(|prefix| event.data.starts_with(prefix)) {
        let said = event.covered().and_then(|text| text::utf8(text).ok());
        if let Some(said) =
            said.filter(|_| prefix.ends_with(b"kernel_cmdline: ") || prefix.starts_with(b"grub_kernel"))
        {
            let (kernel, _arguments) = said.split_once(' ').unwrap_or((said, ""));
            boot.kernels.push(fact("GRUB", kernel));
            boot.command_lines.push(fact("GRUB", said));
        }
        return;
    }
    let wide = || {
        let looks = text::looks_like_utf16(event.data);
        looks.then(|| text::utf16_padded(event.data).ok()).flatten()
    };
    match pcr {
        // Old stubs measured the command line into PCR 8.
        8 | 12 => {
            if let Some(text) = wide() {
                let credentials = text == "Credentials initrd" || text == "Global credentials initrd";
                let to = if credentials { &mut boot.loader } else { &mut boot.command_lines };
                to.push(fact("systemd", &text));
            }
        }
        11 => {
            // The name of a section comes twice: once measured itself, once with the content.
            if let Some(text) = wide().filter(|_| event.tie == Tie::Derived) {
                boot.stub_sections.push(fact("systemd-stub", &text));
            }
        }
        13 => {
            if let Some(text) = wide() {
                boot.loader.push(fact("systemd-stub", &text));
            }
        }
        14 => {
            if let Ok(name) = text::ascii(event.data) {
                let sha256 = event.digest(LogAlgorithm::Sha256).map(hex::encode);
                boot.shim.push(ShimVariable { event: number, name: name.to_owned(), sha256 });
            }
        }
        _ => {}
    }
}

fn tagged(boot: &mut Boot, number: usize, event: &Event<'_>) {
    let Some((tag, rest)) = event.data.split_first_chunk::<4>() else { return };
    let tag = u32::from_le_bytes(*tag);
    let Some((_, source)) = TAGS.into_iter().find(|(known, _)| *known == tag) else { return };
    let content = rest.get(4..).unwrap_or_default();
    let text = if text::looks_like_utf16(content) {
        text::utf16_padded(content).ok()
    } else {
        text::utf8(content).ok().map(str::to_owned)
    };
    if let Some(text) = text {
        boot.loader.push(BootText { event: number, source, text, vouched: false });
    }
}
