//! The parameters of a command line that are known to leave measured code alone.
//!
//! Kernel, systemd and initial file systems heed thousands, and each may start other code, mount other file systems or write
//! where nobody looks. So only what is listed here may be on the line, with values that are known where a value matters.

use super::command_line::{CommandLine, Parameter};

/// Names that a refusal repeats; a line may have thousands.
const NAMED_MAX: usize = 12;

/// What a parameter may have for a value.
enum Value {
    /// None at all.
    Bare,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// None, or one of these.
    BareOr(&'static [&'static str]),
    /// Any of these, with commas between them.
    Parts(&'static [&'static str]),
    /// None, or a number, a size, a list of processors or a short word.
    Word,
    /// A device by its path or by what is on it; not by network, and not memory.
    Device,
    /// A console by its name: one by its address would be written to, whatever lies there.
    Console,
    /// Anything; whoever relies on it looks at it.
    Judged,
}

use Value::{Bare, BareOr, Console, Device, Judged, OneOf, Parts, Word};

/// What the first process may be: the verified file system's own.
const INITS: &[&str] =
    &["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init"];

/// File systems that lie on a block device, so that nothing but what is on it is in them.
const BLOCK_FILE_SYSTEMS: &[&str] = &["ext4", "xfs", "btrfs", "squashfs", "erofs"];

/// Options of a mount that bring no other device, directory or journal.
const MOUNT_OPTIONS: &[&str] = &[
    "ro",
    "noatime",
    "nodiratime",
    "relatime",
    "lazytime",
    "nodev",
    "nosuid",
    "errors=remount-ro",
    "errors=panic",
];

/// The list, by what it is about. Names have dashes for underscores.
const HARMLESS: &[(&str, Value)] = &[
    // The kernel's own name, and what is read first.
    ("BOOT-IMAGE", Judged),
    ("init", OneOf(INITS)),
    ("noinitrd", Bare),
    ("noresume", Bare),
    ("nohibernate", Bare),
    ("noswap", Bare),
    // File systems.
    ("ro", Bare),
    ("rw", Bare),
    ("root", Device),
    ("rootfstype", OneOf(BLOCK_FILE_SYSTEMS)),
    ("rootflags", Parts(MOUNT_OPTIONS)),
    ("rootwait", Word),
    ("rootdelay", Word),
    ("mount.usr", OneOf(&["/dev/mapper/usr"])),
    ("fsck.mode", OneOf(&["auto", "force", "skip"])),
    ("systemd.gpt-auto", OneOf(&["0", "no", "false", "off"])),
    // dm-verity.
    ("roothash", Judged),
    ("usrhash", Judged),
    ("systemd.verity", Judged),
    ("systemd.verity-root-data", Judged),
    ("systemd.verity-root-hash", Judged),
    ("systemd.verity-root-options", Judged),
    ("systemd.verity-usr-data", Judged),
    ("systemd.verity-usr-hash", Judged),
    ("systemd.verity-usr-options", Judged),
    ("dm-mod.create", Judged),
    ("dm-mod.waitfor", Judged),
    ("dm-verity.error-behavior", Judged),
    ("dm-verity.max-bios", Word),
    ("dm-verity.dev-wait", Word),
    ("dm-verity.prefetch-cluster", Word),
    ("dm-verity.require-signatures", OneOf(&["1", "y", "Y"])),
    // IMA.
    ("ima-appraise", Judged),
    ("ima-appraise-tcb", Judged),
    ("ima-policy", Judged),
    ("ima-tcb", Bare),
    ("ima-hash", OneOf(&["sha256", "sha384", "sha512"])),
    ("ima-template", OneOf(&["ima-ng", "ima-ngv2", "ima-sig", "ima-sigv2", "ima-modsig"])),
    ("ima-canonical-fmt", Bare),
    // Other means of protection, switched on.
    ("lsm", Judged),
    ("security", OneOf(&["apparmor", "selinux", "smack", "tomoyo"])),
    ("apparmor", OneOf(&["1"])),
    ("selinux", OneOf(&["1"])),
    ("enforcing", OneOf(&["1"])),
    ("audit", Word),
    ("audit-backlog-limit", Word),
    ("lockdown", OneOf(&["integrity", "confidentiality"])),
    ("module.sig-enforce", BareOr(&["1", "y", "Y"])),
    ("fips", OneOf(&["1"])),
    ("mitigations", OneOf(&["auto", "auto,nosmt"])),
    ("pti", OneOf(&["on"])),
    ("vsyscall", OneOf(&["none", "xonly"])),
    ("debugfs", OneOf(&["off", "no-mount"])),
    ("slab-nomerge", Bare),
    ("init-on-alloc", OneOf(&["1"])),
    ("init-on-free", OneOf(&["1"])),
    ("page-alloc.shuffle", OneOf(&["1", "y", "Y"])),
    ("randomize-kstack-offset", OneOf(&["1", "on"])),
    ("mem-encrypt", OneOf(&["on"])),
    ("intel-iommu", Parts(&["on", "strict", "sm_on", "sp_off"])),
    ("amd-iommu", Parts(&["on", "force_isolation", "force_enable"])),
    ("iommu", Parts(&["on", "force", "strict", "pt", "nopt"])),
    ("iommu.strict", OneOf(&["0", "1"])),
    ("iommu.passthrough", OneOf(&["0", "1"])),
    // What is printed, and where.
    ("quiet", Bare),
    ("rhgb", Bare),
    ("splash", BareOr(&["silent", "verbose"])),
    ("loglevel", Word),
    ("ignore-loglevel", Bare),
    ("log-buf-len", Word),
    ("printk.time", Word),
    ("printk.devkmsg", OneOf(&["on", "off", "ratelimit"])),
    ("console", Console),
    ("earlycon", Bare),
    ("consoleblank", Word),
    ("vt.handoff", Word),
    ("nomodeset", Bare),
    ("systemd.show-status", Word),
    ("systemd.log-level", Word),
    ("udev.log-level", Word),
    ("udev.log-priority", Word),
    // What happens when nothing goes on.
    ("panic", Word),
    ("oops", OneOf(&["panic"])),
    ("reboot", Word),
    ("nowatchdog", Bare),
    ("nmi-watchdog", Word),
    ("softlockup-panic", Word),
    ("crashkernel", Word),
    ("systemd.default-timeout-start-sec", Word),
    // Processors, memory and clocks.
    ("nosmt", BareOr(&["force"])),
    ("numa", OneOf(&["off", "on"])),
    ("numa-balancing", OneOf(&["enable", "disable"])),
    ("hugepages", Word),
    ("hugepagesz", Word),
    ("default-hugepagesz", Word),
    ("transparent-hugepage", OneOf(&["always", "madvise", "never"])),
    ("isolcpus", Word),
    ("nohz", Word),
    ("nohz-full", Word),
    ("rcu-nocbs", Word),
    ("intel-pstate", Word),
    ("amd-pstate", Word),
    ("intel-idle.max-cstate", Word),
    ("processor.max-cstate", Word),
    ("cpuidle.off", Word),
    ("cpuidle.governor", Word),
    ("tsc", OneOf(&["reliable", "unstable", "noirqtime", "nowatchdog"])),
    ("clocksource", Word),
    ("kvm-intel.tdx", OneOf(&["on", "off", "0", "1"])),
    ("cgroup-enable", OneOf(&["memory"])),
    ("swapaccount", OneOf(&["0", "1"])),
    ("systemd.unified-cgroup-hierarchy", Word),
    ("systemd.legacy-systemd-cgroup-controller", Word),
    ("psi", OneOf(&["0", "1"])),
    // Devices.
    ("efi", Parts(&["debug", "runtime", "noruntime", "disable_early_pci_dma"])),
    ("pci", Parts(&["noaer", "nomsi", "realloc"])),
    ("pcie-aspm", OneOf(&["off", "force"])),
    ("net.ifnames", OneOf(&["0", "1"])),
    ("biosdevname", OneOf(&["0", "1"])),
    ("nvme-core.io-timeout", Word),
    ("nvme-core.default-ps-max-latency-us", Word),
    ("nvme-core.multipath", Word),
    ("nvme.poll-queues", Word),
    ("nvme.write-queues", Word),
    ("scsi-mod.use-blk-mq", Word),
    ("virtio-net.napi-tx", Word),
    ("i915.modeset", Word),
    ("cros-efi", Bare),
];

/// What may be meant for the initial file system (`rd.`). The kernel ignores it.
const HARMLESS_RD: &[(&str, Value)] = &[
    ("systemd.verity", Judged),
    ("systemd.show-status", Word),
    ("systemd.log-level", Word),
    ("udev.log-level", Word),
    ("udev.log-priority", Word),
];

/// Refuses a line with anything else on it, and names that. Values are not repeated: some are secrets.
pub(super) fn check_harmless(line: &CommandLine<'_>) -> Result<(), String> {
    let mut named = Vec::new();
    for parameter in line.parameters().iter().filter(|parameter| !is_harmless(parameter)) {
        let name = if parameter.rd { format!("rd.{}", parameter.name) } else { parameter.name.clone() };
        if !named.contains(&name) {
            named.push(name);
        }
        if named.len() > NAMED_MAX {
            break;
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    let more = if named.len() > NAMED_MAX { " and more" } else { "" };
    named.truncate(NAMED_MAX);
    let quoted: Vec<String> = named.iter().map(|name| format!("{name:?}")).collect();
    Err(format!(
        "expected only parameters that are known to leave measured code alone, with values that do, found {}{more}; boot \
         without them",
        quoted.join(", ")
    ))
}

fn is_harmless(parameter: &Parameter<'_>) -> bool {
    let list = if parameter.rd { HARMLESS_RD } else { HARMLESS };
    list.iter()
        .find(|(name, _)| *name == parameter.name)
        .is_some_and(|(_, rule)| is_allowed(rule, parameter.value))
}

fn is_allowed(rule: &Value, value: Option<&str>) -> bool {
    match rule {
        Bare => value.is_none(),
        OneOf(known) => value.is_some_and(|value| known.contains(&value)),
        BareOr(known) => value.is_none_or(|value| known.contains(&value)),
        Parts(known) => value.is_some_and(|value| value.split(',').all(|part| known.contains(&part))),
        Word => value.is_none_or(|value| {
            value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ',' | ':' | '.' | '@'))
        }),
        Device => value.is_some_and(is_device),
        Console => value.is_some_and(is_console),
        Judged => true,
    }
}

fn is_device(value: &str) -> bool {
    let plain = value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | ':' | '=' | '+' | '%'));
    // The kernel's and systemd's names for what is no block device.
    let elsewhere = ["/dev/nfs", "/dev/cifs", "/dev/ram", "/dev/zram", "/dev/loop", "/dev/nbd"];
    let by = ["/dev/", "UUID=", "PARTUUID=", "LABEL=", "PARTLABEL="];
    plain
        && !value.contains("..")
        && !value.contains("//")
        && !value.contains("/.")
        && by.iter().any(|prefix| value.starts_with(prefix))
        && !elsewhere.iter().any(|prefix| value.starts_with(prefix))
}

fn is_console(value: &str) -> bool {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || c == ',');
    plain && ["tty", "hvc", "ttyS", "ttyAMA"].iter().any(|prefix| value.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(line: &str) -> Result<(), String> {
        check_harmless(&CommandLine::parse(line).unwrap())
    }

    #[test]
    fn real_lines_of_hardened_machines_are_harmless() {
        for line in [
            "",
            "ro quiet splash root=UUID=10acc826-d074-4915-aede-54e2ed4c6125",
            "root=PARTUUID=8270f3c9-b4e4-4345-80ee-5a62db7ebf3f ro console=ttyS0,115200 panic=-1",
            "root=UUID=f39 ro net.ifnames=0 biosdevname=0 scsi_mod.use_blk_mq=Y crashkernel=auto console=ttyS0,38400n8",
            "root=/dev/mapper/ubuntu--vg-ubuntu--lv ro nohibernate kvm_intel.tdx=on intel_iommu=on",
            "BOOT_IMAGE=/vmlinuz ro rootfstype=erofs rootflags=ro,noatime init=/usr/lib/systemd/systemd",
            "lockdown=confidentiality module.sig_enforce=1 mitigations=auto,nosmt slab_nomerge init_on_alloc=1 \
             lsm=lockdown,integrity enforcing=1",
            "roothash=ab systemd.verity=1 rd.systemd.verity=1 systemd.verity_root_data=/dev/sda2",
            "ima_appraise=enforce ima_policy=tcb|appraise_tcb ima_hash=sha256 ima_template=ima-ng",
            "console=tty1 console=ttyS0 hugepagesz=1G hugepages=4 isolcpus=2-5,7 crashkernel=1G-4G:192M",
            "dm_verity.error_behavior=3 dm_verity.max_bios=-1 dm_verity.dev_wait=1 i915.modeset=1 cros_efi noinitrd",
        ] {
            assert_eq!(checked(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn whatever_is_not_known_is_refused_and_named() {
        for line in [
            "initrd=/evil.img",
            "init=/bin/sh",
            "init",
            "rdinit=/x",
            "rd.break",
            "rd.break=pre-mount",
            "single",
            "S",
            "1",
            "-b",
            "emergency",
            "systemd.unit=rescue.target",
            "rd.systemd.unit=x",
            "systemd.debug_shell=1",
            "systemd.run=/x",
            "systemd.setenv=LD_PRELOAD=/x",
            "LD_PRELOAD=/x",
            "PATH=/x",
            "bootconfig",
            "systemd.volatile=overlay",
            "systemd.set_credential=a:b",
            "systemd.mask=apparmor.service",
            "systemd.gpt_auto=1",
            "luks.name=x",
            "rd.luks.key=/x",
            "sysctl.kernel.modprobe=/x",
            "kgdboc=ttyS0",
            "kgdbwait",
            "memmap=1G$0",
            "acpi_rsdp=0x0",
            "resume=/dev/sda3",
            "netconsole=@/,@/",
            "modules-load=x",
            "module_blacklist=dm_verity",
            "firmware_class.path=/x",
            "loadpin.exclude=kernel-module",
            "ds=nocloud;s=/x",
            "evm=fix",
            "lockdown=none",
            "selinux=0",
            "enforcing=0",
            "apparmor=0",
            "module.sig_enforce=0",
            "mitigations=off",
            "iommu=off",
            "intel_iommu=off",
            "rootfstype=tmpfs",
            "rootfstype=overlay",
            "rootfstype=nfs",
            "rootfstype=ext4,tmpfs",
            "rootflags=subvol=x",
            "rootflags=journal_path=/dev/sdb",
            "mount.usr=/dev/sda2",
            "mount.usrfstype=ext4",
            "mount.usrflags=ro",
            "root=/dev/nfs",
            "root=/dev/ram0",
            "root=/dev/../tmp/x",
            "root=tmpfs",
            "root=live:http://x",
            "root=fstab",
            "root",
            "console=uart8250,mmio,0xfedc9000",
            "earlycon=uart8250,mmio,0xfedc9000",
            "ro=x",
            "oops=continue",
            "rd.ro",
            "rd.ima_appraise=enforce",
            "rd.roothash=x",
            "loglevel=/x",
        ] {
            let name = line.split('=').next().unwrap().replace('_', "-");
            let refusal = checked(&format!("ro {line} quiet")).unwrap_err();
            assert!(refusal.contains(&format!("found {name:?};")), "{line}: {refusal}");
        }
    }

    #[test]
    fn a_refusal_names_all_but_no_values_and_not_without_end() {
        let refusal = checked("password=secret ro initrd=/x password=other").unwrap_err();
        assert!(refusal.contains("found \"password\", \"initrd\";") && !refusal.contains("secret"));
        let many: Vec<String> = (0..100).map(|number| format!("x{number}")).collect();
        let refusal = checked(&many.join(" ")).unwrap_err();
        assert!(refusal.contains("\"x11\" and more") && !refusal.contains("\"x12\""), "{refusal}");
    }

    #[test]
    fn every_name_is_listed_once_and_can_be_met() {
        for list in [HARMLESS, HARMLESS_RD] {
            for (number, (name, _)) in list.iter().enumerate() {
                assert!(!name.contains('_') && !name.starts_with("rd."), "{name}");
                assert!(list[..number].iter().all(|(other, _)| other != name), "{name}");
            }
        }
    }
}
