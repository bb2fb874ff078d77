//! Measured-boot logs: one honest, and the forms that real ones have.

use sealstone_attestation::event_log::{EventType, Guid, LogAlgorithm};

use crate::builder::{LogBuilder, honest, honest_events, utf16, variable};
use crate::save;

pub(crate) fn save_all() {
    let bank = [LogAlgorithm::Sha256];
    save("event_log", "honest", honest(&bank).bytes());
    save("event_log", "two_banks", honest(&[LogAlgorithm::Sha1, LogAlgorithm::Sha384]).bytes());
    let mut older = LogBuilder::sha1();
    honest_events(&mut older);
    save("event_log", "older", older.bytes());
    save("event_log", "padded", [honest(&bank).bytes(), vec![0xff; 64]].concat());

    let mut started = LogBuilder::agile(&bank);
    started
        .no_action(0, b"StartupLocality\0\x04")
        .event(0, EventType::EFI_HCRTM_EVENT, b"hardware", b"HCRTM")
        .separators()
        .event(11, EventType::IPL, b".linux\0", &utf16(".linux\0"))
        .measure(12, EventType::IPL, &utf16("root=/dev/vda ro\0"))
        .exit_boot_services();
    save("event_log", "stub", started.bytes());

    let mut odd = LogBuilder::agile(&bank);
    let order = variable(Guid::GLOBAL_VARIABLE, "BootOrder", &[1, 0]);
    odd.event(1, EventType::EFI_VARIABLE_BOOT, &[1, 0], &order)
        .event(7, EventType::SEPARATOR, &[0; 4], &[0; 50])
        .measure(7, EventType::SEPARATOR, &1_u32.to_le_bytes())
        .event(7, EventType::UNUSED, b"a", b"b")
        .secure_boot(0)
        .no_action(u32::MAX, b"WBCL");
    save("event_log", "odd", odd.bytes());
}
