//! Which file system a command line puts under dm-verity, and whether it stays there.

use super::command_line::CommandLine;

/// A file system that the kernel reads only as its root hash says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified<'a> {
    /// `root` or `usr`.
    pub(super) what: &'static str,
    /// The root hash, hex.
    pub(super) hash: &'a str,
}

/// Hashes of a table, and the hex digits of their root hash.
const ALGORITHMS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];

/// What systemd may be told of a verity device: where its parts lie and what they are made of, and to react harder.
const OPTIONS: [&str; 15] = [
    "superblock",
    "format",
    "data-block-size",
    "hash-block-size",
    "data-blocks",
    "hash-offset",
    "salt",
    "uuid",
    "fec-device",
    "fec-offset",
    "fec-roots",
    "root-hash-signature",
    "restart-on-corruption",
    "panic-on-corruption",
    "ignore-zero-blocks",
];

/// What the kernel may be told of one.
const TARGET_OPTIONS: [&str; 5] = [
    "restart_on_corruption",
    "panic_on_corruption",
    "ignore_zero_blocks",
    "restart_on_error",
    "panic_on_error",
];

/// Fields of a verity target before its options (Documentation/admin-guide/device-mapper/verity.rst), and the three before them.
const TABLE_FIELDS: usize = 3 + 10;

/// Finds the file system that this command line has verified. Exactly one of the known forms must say so.
pub(super) fn verified<'a>(line: &CommandLine<'a>) -> Result<Verified<'a>, String> {
    check_not_switched_off(line)?;
    let root = line.only("roothash")?;
    let usr = line.only("usrhash")?;
    let table = line.only("dm-mod.create")?;
    check_usr(line, usr.is_some())?;
    match (root, usr, table) {
        // A verified /usr in addition takes nothing away.
        (Some(hash), usr, None) => {
            check_hash("roothash", hash)?;
            usr.map_or(Ok(()), |hash| check_hash("usrhash", hash))?;
            check_mounted(line, "root", "/dev/mapper/root")?;
            Ok(Verified { what: "root", hash })
        }
        (None, Some(hash), None) => {
            check_hash("usrhash", hash)?;
            Ok(Verified { what: "usr", hash })
        }
        (None, None, Some(table)) => {
            let hash = first_device(table)?;
            match line.only("root")? {
                Some("/dev/dm-0") => Ok(Verified { what: "root", hash }),
                other => Err(format!("expected root=/dev/dm-0, the first verified device, found {other:?}")),
            }
        }
        (None, None, None) => {
            Err("expected roothash=, usrhash= or dm-mod.create= on the command line, found none".to_owned())
        }
        _ => {
            Err("expected one way of verifying the root file system, found systemd's and the kernel's"
                .to_owned())
        }
    }
}

fn check_not_switched_off(line: &CommandLine<'_>) -> Result<(), String> {
    for value in line.anywhere("systemd.verity") {
        if !matches!(value, None | Some("1" | "yes" | "y" | "true" | "t" | "on")) {
            return Err("expected dm-verity not to be switched off, found systemd.verity".to_owned());
        }
    }
    for name in ["systemd.verity-root-options", "systemd.verity-usr-options"] {
        for value in line.anywhere(name) {
            let options = value.unwrap_or_default().split(',');
            let names = options.map(|option| option.split_once('=').map_or(option, |(name, _)| name));
            if let Some(other) = names.filter(|name| !name.is_empty()).find(|name| !OPTIONS.contains(name)) {
                return Err(format!("expected options that leave dm-verity whole, found {other:?}"));
            }
        }
    }
    // Of ChromeOS's kernels: 2 is to ignore what does not verify.
    for value in line.anywhere("dm-verity.error-behavior") {
        if !matches!(value, Some("0" | "1" | "3" | "eio" | "panic" | "notify")) {
            return Err("expected dm-verity to act on corruption, found dm_verity.error_behavior".to_owned());
        }
    }
    Ok(())
}

fn check_hash(name: &str, hash: &str) -> Result<(), String> {
    if ALGORITHMS.iter().any(|(_, digits)| *digits == hash.len())
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(());
    }
    Err(format!("expected {name} to have 64, 96 or 128 hex digits, found {} characters", hash.len()))
}

/// Without a word systemd mounts the verified device; any other device is not verified.
fn check_mounted(line: &CommandLine<'_>, name: &str, device: &str) -> Result<(), String> {
    match line.only(name)? {
        None => Ok(()),
        Some(found) if found == device => Ok(()),
        Some(found) => {
            Err(format!("expected {name}={device}, found {found:?}, which is not what is verified"))
        }
    }
}

/// systemd mounts what `mount.usr=` names over `/usr` of any root file system, verified or not.
fn check_usr(line: &CommandLine<'_>, verified: bool) -> Result<(), String> {
    for name in ["mount.usrfstype", "mount.usrflags"] {
        if line.anywhere(name).next().is_some() {
            return Err(format!("expected /usr to be mounted as usual, found {name}"));
        }
    }
    check_mounted(line, "mount.usr", "/dev/mapper/usr")?;
    if !verified && line.anywhere("mount.usr").next().is_some() {
        return Err("expected mount.usr= only together with usrhash=, found it alone".to_owned());
    }
    Ok(())
}

/// The root hash of the first device: `/dev/dm-0`. Every device must be verified, so that no other can take its place.
fn first_device(devices: &str) -> Result<&str, String> {
    let mut first = None;
    for device in devices.split(';') {
        let hash = device_hash(device)?;
        first.get_or_insert(hash);
    }
    first.ok_or_else(|| "expected a device, found none".to_owned())
}

/// `name,uuid,minor,flags,table`, with one verity table.
fn device_hash(device: &str) -> Result<&str, String> {
    let fields: Vec<&str> = device.split(',').collect();
    let [_, _, minor, flags, table] = fields.as_slice() else {
        return Err(format!(
            "expected a device of five fields, one table among them, found {}",
            fields.len()
        ));
    };
    if !minor.trim().is_empty() {
        return Err("expected devices numbered in order, found a number given by hand".to_owned());
    }
    if flags.trim() != "ro" {
        return Err(format!("expected a device that is read-only, found {flags:?}"));
    }
    let words: Vec<&str> = table.split_ascii_whitespace().collect();
    let [start, sectors, target, version, _, _, _, _, _, _, algorithm, digest, salt, options @ ..] =
        words.as_slice()
    else {
        return Err(format!(
            "expected a verity table of at least {TABLE_FIELDS} words, found {}",
            words.len()
        ));
    };
    if (*start, *target) != ("0", "verity")
        || !matches!(*version, "0" | "1")
        || sectors.parse::<u64>().is_err()
    {
        return Err(format!(
            "expected a verity target from sector 0, found {start:?} {target:?} {version:?}"
        ));
    }
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let sound = ALGORITHMS.iter().any(|(name, digits)| name == algorithm && digest.len() == *digits);
    if !sound || !hex(digest) || !(*salt == "-" || hex(salt)) {
        return Err(format!(
            "expected a whole root hash by SHA-2, found one by {algorithm:?} of {} digits",
            digest.len()
        ));
    }
    match options {
        [] => {}
        [count, options @ ..] => {
            if count.parse() != Ok(options.len()) {
                return Err("expected as many options of dm-verity as are counted, found others".to_owned());
            }
            if let Some(other) = options.iter().find(|option| !TARGET_OPTIONS.contains(option)) {
                return Err(format!("expected options that leave dm-verity whole, found {other:?}"));
            }
        }
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "6af0869bb4f7acdc9ec11fc0e363bce77f4972c6da00722ef47bd501da9ec626";

    fn of(line: &str) -> Result<(&'static str, String), String> {
        let line = CommandLine::parse(line).unwrap();
        verified(&line).map(|found| (found.what, found.hash.to_owned()))
    }

    fn table(device: &str) -> String {
        format!("ro root=/dev/dm-0 dm-mod.create=\"{device}\"")
    }

    fn device() -> String {
        format!(
            "vroot,,,ro,0 4077568 verity 1 PARTUUID=a PARTUUID=a 4096 4096 509696 509696 sha256 {HASH} 41199e1b"
        )
    }

    #[test]
    fn the_known_forms_name_a_root_hash() {
        let root = Ok(("root", HASH.to_owned()));
        for line in [
            format!("ro roothash={HASH}"),
            format!("roothash={HASH} root=/dev/mapper/root systemd.verity=yes rd.systemd.verity=1"),
            format!(
                "roothash={HASH} usrhash={HASH} systemd.verity_root_options=restart-on-corruption,hash-offset=4096"
            ),
            format!("roothash={HASH} systemd.verity_root_data=/dev/sda2 systemd.verity_root_hash=/dev/sda3"),
            table(&device()),
            table(&format!("{} 2 restart_on_corruption ignore_zero_blocks", device())),
            table(&format!("{};oem,,,ro,0 8 verity 0 a a 4096 4096 1 1 sha512 {HASH}{HASH} -", device())),
            format!("root=/dev/dm-0 \"dm-mod.create={}\" dm_verity.error_behavior=3", device()),
        ] {
            assert_eq!(of(&line), root, "{line}");
        }
        assert_eq!(of(&format!("usrhash={HASH}")), Ok(("usr", HASH.to_owned())));
        assert_eq!(of(&format!("usrhash={HASH} root=/dev/sda2 mount.usr=/dev/mapper/usr")).unwrap().0, "usr");
        assert_eq!(of(&format!("roothash={HASH} usrhash={HASH} mount.usr=/dev/mapper/usr")), root);
    }

    #[test]
    fn whatever_leaves_the_root_file_system_unverified_is_refused() {
        let short = &HASH[1..];
        for line in [
            "ro root=/dev/sda2".to_owned(),
            format!("roothash={short}"),
            format!("roothash={}", &HASH[..40]),
            format!("roothash={}g", short),
            "roothash=".to_owned(),
            "roothash".to_owned(),
            format!("roothash={HASH} roothash={}", HASH.replace('6', "7")),
            format!("roothash={HASH} root=/dev/sda2"),
            format!("roothash={HASH} root=/dev/mapper/root root=/dev/sda2"),
            format!("usrhash={HASH} mount.usr=/dev/sda2"),
            format!("usrhash={HASH} rd.mount.usr=/dev/mapper/usr"),
            format!("usrhash={HASH} mount.usr=/dev/mapper/usr mount.usrfstype=tmpfs"),
            format!("usrhash={HASH} mount.usrflags=x"),
            // Whatever the root is, systemd mounts this over its /usr.
            format!("roothash={HASH} mount.usr=/dev/sda2"),
            format!("roothash={HASH} mount.usr=/dev/mapper/usr"),
            format!("roothash={HASH} usrhash={HASH} mount.usr=/dev/sda2"),
            format!("roothash={HASH} usrhash=00"),
            format!("roothash={HASH} mount.usrfstype=overlay"),
            format!("roothash={HASH} mount_usr=x mount.usrflags=upperdir=/x"),
            format!("{} mount.usr=/dev/sda2", table(&device())),
            format!("rd.roothash={HASH}"),
            format!("roothash={HASH} rd.root=/dev/mapper/root"),
            format!("roothash={HASH} systemd.verity=0"),
            format!("roothash={HASH} rd.systemd.verity=no"),
            format!("roothash={HASH} systemd.verity=1 systemd.verity=off"),
            format!("roothash={HASH} systemd.verity_root_options=ignore-corruption"),
            format!("roothash={HASH} systemd.verity_root_options=salt=00,ignore-corruption"),
            format!("roothash={HASH} systemd.verity_usr_options=check-at-most-once"),
            format!("roothash={HASH} dm_verity.error_behavior=2"),
            // The device that holds the hashes is no root hash.
            format!("systemd.verity_root_hash={HASH}"),
            format!("xroothash={HASH} quiet"),
            format!("{} roothash={HASH}", table(&device())),
        ] {
            assert!(of(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_table_that_does_not_verify_is_refused() {
        let with = |from: &str, to: &str| table(&device().replace(from, to));
        for line in [
            with(",ro,", ",rw,"),
            with(" verity ", " linear "),
            with("ro,0 ", "ro,8 "),
            with(",,,ro", ",,1,ro"),
            with(" sha256 ", " sha1 "),
            with(" sha256 ", " sha512 "),
            with(HASH, &HASH[2..]),
            with("41199e1b", "41199e1x"),
            with(" 41199e1b", ""),
            table(&format!("{} 1 ignore_corruption", device())),
            table(&format!("{} 1 check_at_most_once", device())),
            table(&format!("{} 2 restart_on_corruption", device())),
            table(&format!("{} restart_on_corruption", device())),
            table(&format!("{},8 8 linear /dev/sda 0", device())),
            table(&format!("other,,,ro,0 8 linear /dev/sda 0;{}", device())),
            table(&format!("{};other,,,rw,0 8 linear /dev/sda 0", device())),
            table(""),
            table(&device()).replace("dm-0", "dm-1"),
            table(&device()).replace("root=/dev/dm-0", "root=/dev/sda2"),
            table(&device()).replace("root=/dev/dm-0", ""),
        ] {
            assert!(of(&line).is_err(), "{line}");
        }
    }
}
