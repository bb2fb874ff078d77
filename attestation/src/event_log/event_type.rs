//! The types of events (TCG PC Client Platform Firmware Profile). A type is not in the digest that was
//! extended: it says how to read an event, never that the event is what it says.

use std::fmt;

use serde::{Serialize, Serializer};

/// The type of an event, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(u32);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The profile's name; `None` for what no profile names.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// Reserved.
    PREBOOT_CERT = 0x0, "EV_PREBOOT_CERT";
    /// Firmware code, described.
    POST_CODE = 0x1, "EV_POST_CODE";
    /// Reserved.
    UNUSED = 0x2, "EV_UNUSED";
    /// Information; never extended.
    NO_ACTION = 0x3, "EV_NO_ACTION";
    /// The border between the firmware and what it starts.
    SEPARATOR = 0x4, "EV_SEPARATOR";
    /// A string.
    ACTION = 0x5, "EV_ACTION";
    /// Data with a tag, by the operating system.
    EVENT_TAG = 0x6, "EV_EVENT_TAG";
    /// The root of trust's code, described.
    S_CRTM_CONTENTS = 0x7, "EV_S_CRTM_CONTENTS";
    /// The root of trust's version.
    S_CRTM_VERSION = 0x8, "EV_S_CRTM_VERSION";
    /// Microcode, described.
    CPU_MICROCODE = 0x9, "EV_CPU_MICROCODE";
    /// Configuration, described or whole.
    PLATFORM_CONFIG_FLAGS = 0xa, "EV_PLATFORM_CONFIG_FLAGS";
    /// A table of devices, described or whole.
    TABLE_OF_DEVICES = 0xb, "EV_TABLE_OF_DEVICES";
    /// Whatever the caller hashed.
    COMPACT_HASH = 0xc, "EV_COMPACT_HASH";
    /// What a boot loader measures.
    IPL = 0xd, "EV_IPL";
    /// A partition table (BIOS).
    IPL_PARTITION_DATA = 0xe, "EV_IPL_PARTITION_DATA";
    /// Code of other processors.
    NONHOST_CODE = 0xf, "EV_NONHOST_CODE";
    /// Configuration of other processors.
    NONHOST_CONFIG = 0x10, "EV_NONHOST_CONFIG";
    /// Information about other processors.
    NONHOST_INFO = 0x11, "EV_NONHOST_INFO";
    /// Boot attempts are not measured.
    OMIT_BOOT_DEVICE_EVENTS = 0x12, "EV_OMIT_BOOT_DEVICE_EVENTS";
    /// Firmware code, described, with a name.
    POST_CODE2 = 0x13, "EV_POST_CODE2";
    /// A variable that configures the firmware.
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG";
    /// A boot variable; of which only the content may be in the digest.
    EFI_VARIABLE_BOOT = 0x8000_0002, "EV_EFI_VARIABLE_BOOT";
    /// An application that was loaded.
    EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION";
    /// A driver that was loaded.
    EFI_BOOT_SERVICES_DRIVER = 0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER";
    /// A driver that stays.
    EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER";
    /// A partition table.
    EFI_GPT_EVENT = 0x8000_0006, "EV_EFI_GPT_EVENT";
    /// A string.
    EFI_ACTION = 0x8000_0007, "EV_EFI_ACTION";
    /// Firmware code, described.
    EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    /// Tables, described.
    EFI_HANDOFF_TABLES = 0x8000_0009, "EV_EFI_HANDOFF_TABLES";
    /// Firmware code, described, with a name.
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    /// Tables, described, with a name.
    EFI_HANDOFF_TABLES2 = 0x8000_000b, "EV_EFI_HANDOFF_TABLES2";
    /// A boot variable, whole.
    EFI_VARIABLE_BOOT2 = 0x8000_000c, "EV_EFI_VARIABLE_BOOT2";
    /// A partition table, without what changes.
    EFI_GPT_EVENT2 = 0x8000_000d, "EV_EFI_GPT_EVENT2";
    /// What ran before the firmware, by locality 4.
    EFI_HCRTM_EVENT = 0x8000_0010, "EV_EFI_HCRTM_EVENT";
    /// What verified an image.
    EFI_VARIABLE_AUTHORITY = 0x8000_00e0, "EV_EFI_VARIABLE_AUTHORITY";
    /// A device's firmware.
    EFI_SPDM_FIRMWARE_BLOB = 0x8000_00e1, "EV_EFI_SPDM_FIRMWARE_BLOB";
    /// A device's configuration.
    EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00e2, "EV_EFI_SPDM_FIRMWARE_CONFIG";
    /// What devices are accepted.
    EFI_SPDM_DEVICE_POLICY = 0x8000_00e3, "EV_EFI_SPDM_DEVICE_POLICY";
    /// What verified a device.
    EFI_SPDM_DEVICE_AUTHORITY = 0x8000_00e4, "EV_EFI_SPDM_DEVICE_AUTHORITY";
}

impl EventType {
    pub(super) const fn new(code: u32) -> Self {
        Self(code)
    }

    /// The number.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0
    }

    /// Whether a log may hold it: neither unknown nor reserved. Retyping what was measured to something that a reader
    /// skips is how a log is made to lie.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        self.name().is_some() && !matches!(self, Self::PREBOOT_CERT | Self::UNUSED)
    }

    /// Whether its data is a `UEFI_VARIABLE_DATA`.
    #[must_use]
    pub const fn is_variable(self) -> bool {
        matches!(
            self,
            Self::EFI_VARIABLE_DRIVER_CONFIG
                | Self::EFI_VARIABLE_BOOT
                | Self::EFI_VARIABLE_BOOT2
                | Self::EFI_VARIABLE_AUTHORITY
        )
    }

    /// Whether its data is a `UEFI_IMAGE_LOAD_EVENT`.
    #[must_use]
    pub const fn is_image(self) -> bool {
        matches!(
            self,
            Self::EFI_BOOT_SERVICES_APPLICATION
                | Self::EFI_BOOT_SERVICES_DRIVER
                | Self::EFI_RUNTIME_SERVICES_DRIVER
        )
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&format!("type 0x{:08x}", self.0)),
        }
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
