//! One line about an event, for people. It repeats what the log says; [`Tie`](crate::event_log::Tie) says what that is
//! worth.

use crate::event_log::{
    Event, EventType, Guid, boot_option, cursor::Cursor, image::ImageLoad, text, variable::Variable,
};

/// Characters of a line.
const CHARACTERS_MAX: usize = 512;

/// Bytes that are shown in hex when nothing better is known.
const HEX_BYTES_MAX: usize = 32;

impl Event<'_> {
    /// What the log says about this event, in one line.
    #[must_use]
    pub fn describe(&self) -> String {
        let line = known(self).unwrap_or_else(|| anything(self.data));
        match line.char_indices().nth(CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

fn known(event: &Event<'_>) -> Option<String> {
    let data = event.data;
    match event.kind {
        EventType::NO_ACTION => no_action(data),
        kind if kind.is_variable() => Variable::parse(data).ok().map(|variable| describe_variable(&variable)),
        kind if kind.is_image() => {
            let image = ImageLoad::parse(data).ok()?;
            let path = if image.path.is_empty() { "from where is not said" } else { image.path.as_str() };
            Some(format!("image of {} bytes, {path}", image.length))
        }
        EventType::EVENT_TAG => tagged(data),
        EventType::S_CRTM_VERSION if data.len() == 16 && !text::looks_like_utf16(data) => {
            Guid::from_bytes(data.try_into().ok()?).to_string().into()
        }
        EventType::EFI_PLATFORM_FIRMWARE_BLOB | EventType::POST_CODE if data.len() == 16 => blob(data),
        EventType::EFI_PLATFORM_FIRMWARE_BLOB2 | EventType::POST_CODE2 => {
            let mut cursor = Cursor::new(data);
            let length = usize::from(cursor.u8()?);
            let name = text::ascii(cursor.take(length)?).ok()?;
            Some(format!("{name}, {}", blob(cursor.rest())?))
        }
        _ => None,
    }
}

fn no_action(data: &[u8]) -> Option<String> {
    let (signature, rest) = data.split_at_checked(16)?;
    let name = text::ascii(signature).ok()?;
    Some(match (name, rest) {
        ("StartupLocality", [locality]) => format!("StartupLocality {locality}"),
        _ => format!("{name}, {} bytes", rest.len()),
    })
}

fn describe_variable(variable: &Variable<'_>) -> String {
    let Variable { vendor, name, content, .. } = variable;
    let numbered = name
        .strip_prefix("Boot")
        .is_some_and(|number| number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let shown = match (*vendor, name.as_str()) {
        (Guid::GLOBAL_VARIABLE, "BootOrder") => boot_option::describe_order(content),
        (Guid::GLOBAL_VARIABLE, _) if numbered => boot_option::describe(content),
        _ => None,
    };
    let shown = shown.unwrap_or_else(|| anything(content));
    if *vendor == Guid::GLOBAL_VARIABLE {
        format!("{name} = {shown}")
    } else {
        format!("{name} ({vendor}) = {shown}")
    }
}

fn tagged(data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    let tag = cursor.u32()?;
    let length = cursor.length32()?;
    let content = cursor.take(length)?;
    Some(format!("tag 0x{tag:08x}: {}", anything(content)))
}

fn blob(data: &[u8]) -> Option<String> {
    let mut cursor = Cursor::new(data);
    let (base, length) = (cursor.u64()?, cursor.u64()?);
    Some(format!("{length} bytes at 0x{base:x}"))
}

/// Text if it is text, hex if not.
fn anything(data: &[u8]) -> String {
    if text::looks_like_utf16(data)
        && let Ok(text) = text::utf16_padded(data)
    {
        return format!("{text:?}");
    }
    if let Ok(text) = text::ascii(data) {
        return format!("{text:?}");
    }
    match data.get(..HEX_BYTES_MAX) {
        Some(first) if data.len() > HEX_BYTES_MAX => {
            format!("{}… ({} bytes)", hex::encode(first), data.len())
        }
        _ => hex::encode(data),
    }
}
