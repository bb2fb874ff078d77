//! Builds event logs byte by byte, honest or not, and extends PCRs beside them as a TPM would.

// Each test that includes this file uses its own part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;

use sealstone_attestation::event_log::{EventType, Guid, LogAlgorithm};
use sealstone_attestation::{PcrIndex, PcrValues};

/// What begins a header of the crypto-agile format.
pub(crate) const SPEC_ID: &[u8; 16] = b"Spec ID Event03\0";

/// The command line of the honest boot.
pub(crate) const COMMAND_LINE: &str = "/vmlinuz-6.12 root=/dev/mapper/root ro lockdown=confidentiality";

/// Where the honest boot's loader came from.
pub(crate) const LOADER_PATH: &str = "\\EFI\\debian\\shimx64.efi";

/// A log in the making, and the PCRs of the TPM beside it.
#[derive(Clone)]
pub(crate) struct LogBuilder {
    algorithms: Option<Vec<LogAlgorithm>>,
    bytes: Vec<u8>,
    /// Where each event begins.
    pub(crate) offsets: Vec<usize>,
    extended: BTreeMap<(LogAlgorithm, u32), Vec<u8>>,
    locality: u8,
}

impl LogBuilder {
    /// A crypto-agile log with these banks.
    pub(crate) fn agile(algorithms: &[LogAlgorithm]) -> Self {
        let listed: Vec<(u16, usize)> =
            algorithms.iter().map(|algorithm| (algorithm.id(), algorithm.digest_len())).collect();
        Self::with_header(algorithms, &header(&listed))
    }

    /// A crypto-agile log with this header.
    pub(crate) fn with_header(algorithms: &[LogAlgorithm], header: &[u8]) -> Self {
        let mut log = Self::empty(Some(algorithms.to_vec()));
        log.sha1_event(0, EventType::NO_ACTION.code(), &[0; 20], header);
        log
    }

    /// A log in the SHA-1 format.
    pub(crate) fn sha1() -> Self {
        Self::empty(None)
    }

    fn empty(algorithms: Option<Vec<LogAlgorithm>>) -> Self {
        Self { algorithms, bytes: Vec::new(), offsets: Vec::new(), extended: BTreeMap::new(), locality: 0 }
    }

    fn banks(&self) -> Vec<LogAlgorithm> {
        self.algorithms.clone().unwrap_or_else(|| vec![LogAlgorithm::Sha1])
    }

    /// An event whose digests are those of its data.
    pub(crate) fn measure(&mut self, pcr: u32, kind: EventType, data: &[u8]) -> &mut Self {
        self.event(pcr, kind, data, data)
    }

    /// An event whose digests are those of something.
    pub(crate) fn event(&mut self, pcr: u32, kind: EventType, measured: &[u8], data: &[u8]) -> &mut Self {
        let digests: Vec<(u16, Vec<u8>)> =
            self.banks().iter().map(|bank| (bank.id(), bank.digest(&[measured]))).collect();
        self.raw(pcr, kind.code(), &digests, data)
    }

    /// An event that extends nothing.
    pub(crate) fn no_action(&mut self, pcr: u32, data: &[u8]) -> &mut Self {
        if let Some(&[locality]) = data.strip_prefix(b"StartupLocality\0") {
            self.locality = locality;
        }
        let zeros: Vec<(u16, Vec<u8>)> =
            self.banks().iter().map(|bank| (bank.id(), vec![0; bank.digest_len()])).collect();
        self.raw(pcr, EventType::NO_ACTION.code(), &zeros, data)
    }

    /// An event of any type with any digests. The TPM is extended with what is there, unless nothing is.
    pub(crate) fn raw(&mut self, pcr: u32, kind: u32, digests: &[(u16, Vec<u8>)], data: &[u8]) -> &mut Self {
        if kind != EventType::NO_ACTION.code() {
            for (id, digest) in digests {
                if let Some(bank) = LogAlgorithm::from_id(*id) {
                    self.extend(bank, pcr, digest);
                }
            }
        }
        if self.algorithms.is_none() {
            let (_, digest) = digests.first().unwrap();
            let digest = digest.clone();
            self.sha1_event(pcr, kind, &digest, data);
            return self;
        }
        self.offsets.push(self.bytes.len());
        self.number(pcr);
        self.number(kind);
        self.number(u32::try_from(digests.len()).unwrap());
        for (id, digest) in digests {
            self.bytes.extend(id.to_le_bytes());
            self.bytes.extend(digest);
        }
        self.number(u32::try_from(data.len()).unwrap());
        self.bytes.extend(data);
        self
    }

    fn sha1_event(&mut self, pcr: u32, kind: u32, digest: &[u8], data: &[u8]) {
        self.offsets.push(self.bytes.len());
        self.number(pcr);
        self.number(kind);
        self.bytes.extend(digest);
        self.number(u32::try_from(data.len()).unwrap());
        self.bytes.extend(data);
    }

    fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    /// Extends a PCR without a word in the log.
    pub(crate) fn extend(&mut self, bank: LogAlgorithm, pcr: u32, digest: &[u8]) {
        let start = initial(bank, pcr, self.locality);
        let value = self.extended.entry((bank, pcr)).or_insert(start);
        *value = bank.digest(&[value, digest]);
    }

    /// Closes the PCRs 0 to 7.
    pub(crate) fn separators(&mut self) -> &mut Self {
        (0..8).for_each(|pcr| {
            self.measure(pcr, EventType::SEPARATOR, &[0; 4]);
        });
        self
    }

    /// An event of a variable, hashed whole.
    pub(crate) fn variable(
        &mut self,
        pcr: u32,
        kind: EventType,
        vendor: Guid,
        name: &str,
        content: &[u8],
    ) -> &mut Self {
        self.measure(pcr, kind, &variable(vendor, name, content))
    }

    /// A variable of the Secure Boot policy.
    pub(crate) fn policy(&mut self, vendor: Guid, name: &str, content: &[u8]) -> &mut Self {
        self.variable(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, vendor, name, content)
    }

    /// The whole policy, with this value of `SecureBoot`.
    pub(crate) fn secure_boot(&mut self, value: u8) -> &mut Self {
        let list = signature_list(Guid::CERT_X509, &[certificate(1)]);
        self.policy(Guid::GLOBAL_VARIABLE, "SecureBoot", &[value])
            .policy(Guid::GLOBAL_VARIABLE, "PK", &list)
            .policy(Guid::GLOBAL_VARIABLE, "KEK", &list)
            .policy(Guid::IMAGE_SECURITY_DATABASE, "db", &signature_list(Guid::CERT_X509, &[certificate(2)]))
            .policy(
                Guid::IMAGE_SECURITY_DATABASE,
                "dbx",
                &signature_list(Guid::CERT_SHA256, &[vec![7; 32], vec![8; 32]]),
            )
    }

    /// A load of an image that was not measured by its description.
    pub(crate) fn image(&mut self, path: &str, image: &[u8]) -> &mut Self {
        let path = file_path(path);
        let fields = [0x1000_u64, 4096, 0, u64::try_from(path.len()).unwrap()].map(u64::to_le_bytes);
        let data = [&fields.concat()[..], &path].concat();
        self.event(4, EventType::EFI_BOOT_SERVICES_APPLICATION, image, &data)
    }

    /// A text by GRUB in PCR 8.
    pub(crate) fn grub(&mut self, prefix: &str, text: &str) -> &mut Self {
        self.event(8, EventType::IPL, text.as_bytes(), format!("{prefix}{text}\0").as_bytes())
    }

    /// The firmware hands over.
    pub(crate) fn exit_boot_services(&mut self) -> &mut Self {
        self.measure(5, EventType::EFI_ACTION, b"Exit Boot Services Invocation").measure(
            5,
            EventType::EFI_ACTION,
            b"Exit Boot Services Returned with Success",
        )
    }

    /// The log.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// What the TPM has in a PCR.
    pub(crate) fn pcr(&self, bank: LogAlgorithm, pcr: u32) -> Vec<u8> {
        self.extended.get(&(bank, pcr)).cloned().unwrap_or_else(|| initial(bank, pcr, self.locality))
    }

    /// What the TPM quotes of these PCRs, in all banks that a quote can name.
    pub(crate) fn quoted(&self, pcrs: &[u32]) -> PcrValues {
        let mut values = PcrValues::new();
        for bank in self.banks() {
            for pcr in pcrs {
                let index = PcrIndex::new(u8::try_from(*pcr).unwrap()).unwrap();
                if let Some(quoted) = bank.bank() {
                    values.insert(quoted, index, self.pcr(bank, *pcr)).unwrap();
                }
            }
        }
        values
    }
}

fn initial(bank: LogAlgorithm, pcr: u32, locality: u8) -> Vec<u8> {
    let mut value = vec![if (17..23).contains(&pcr) { 0xff } else { 0 }; bank.digest_len()];
    if pcr == 0 {
        *value.last_mut().unwrap() = locality;
    }
    value
}

/// A machine that boots as it should, through GRUB.
pub(crate) fn honest(algorithms: &[LogAlgorithm]) -> LogBuilder {
    let mut log = LogBuilder::agile(algorithms);
    honest_events(&mut log);
    log
}

/// The events of that machine.
pub(crate) fn honest_events(log: &mut LogBuilder) {
    let blob = [0xff00_0000_u64, 65_536].map(u64::to_le_bytes).concat();
    log.measure(0, EventType::S_CRTM_VERSION, &utf16("1.0\0"))
        .event(0, EventType::EFI_PLATFORM_FIRMWARE_BLOB, b"firmware", &blob)
        .secure_boot(1)
        .variable(1, EventType::EFI_VARIABLE_BOOT2, Guid::GLOBAL_VARIABLE, "BootOrder", &[1, 0])
        .separators()
        .variable(
            7,
            EventType::EFI_VARIABLE_AUTHORITY,
            Guid::IMAGE_SECURITY_DATABASE,
            "db",
            &[&[5; 16][..], &certificate(2)].concat(),
        )
        .image(LOADER_PATH, b"shim")
        .event(14, EventType::IPL, b"keys of the machine's owner", b"MokList\0")
        .grub("grub_cmd: ", "set root=hd0,gpt2")
        .event(9, EventType::IPL, b"configuration", b"(hd0,gpt2)/grub/grub.cfg\0")
        .grub("kernel_cmdline: ", COMMAND_LINE)
        .exit_boot_services();
}

/// The data of a header.
pub(crate) fn header(listed: &[(u16, usize)]) -> Vec<u8> {
    let mut data = SPEC_ID.to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    data.extend(u32::try_from(listed.len()).unwrap().to_le_bytes());
    for (id, size) in listed {
        data.extend(id.to_le_bytes());
        data.extend(u16::try_from(*size).unwrap().to_le_bytes());
    }
    data.push(0);
    data
}

/// UTF-16, little-endian.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// `UEFI_VARIABLE_DATA`.
pub(crate) fn variable(vendor: Guid, name: &str, content: &[u8]) -> Vec<u8> {
    let units = utf16(name);
    let mut data = vendor.as_bytes().to_vec();
    data.extend(u64::try_from(units.len() / 2).unwrap().to_le_bytes());
    data.extend(u64::try_from(content.len()).unwrap().to_le_bytes());
    data.extend(units);
    data.extend(content);
    data
}

/// One `EFI_SIGNATURE_LIST` of entries of one size.
pub(crate) fn signature_list(kind: Guid, entries: &[Vec<u8>]) -> Vec<u8> {
    let entry = 16 + entries.first().map_or(32, Vec::len);
    let mut data = kind.as_bytes().to_vec();
    for size in [28 + entry * entries.len(), 0, entry] {
        data.extend(u32::try_from(size).unwrap().to_le_bytes());
    }
    for content in entries {
        data.extend([5; 16]);
        data.extend(content);
    }
    data
}

/// Bytes in the form of a certificate.
pub(crate) fn certificate(seed: u8) -> Vec<u8> {
    let mut der = vec![0x30, 0x82, 1, 4];
    der.extend([seed; 260]);
    der
}

/// A device path of one file.
fn file_path(path: &str) -> Vec<u8> {
    let name = utf16(&format!("{path}\0"));
    let length = u16::try_from(name.len() + 4).unwrap().to_le_bytes();
    [&[4, 4][..], &length, &name, &[0x7f, 0xff, 4, 0]].concat()
}
