//! A kernel's command line, split so that every reader of it splits it alike.
//!
//! Kernel and systemd do not agree on quotes, backslashes and what follows `--`. A line on which they could differ is refused.

/// Bytes of a command line: the longest of any architecture (`COMMAND_LINE_SIZE`) is 4096, and boot loaders measure a little more.
const BYTES_MAX: usize = 8192;

/// A command line.
#[derive(Debug)]
pub(super) struct CommandLine<'a> {
    parameters: Vec<Parameter<'a>>,
}

/// One word of it.
#[derive(Debug)]
pub(super) struct Parameter<'a> {
    /// With dashes for underscores, which kernel and systemd take for the same, and without the `rd.` that says that it is
    /// meant for the initial file system.
    pub(super) name: String,
    pub(super) value: Option<&'a str>,
}

/// What lets somebody run other code than the approved, by the name of its parameter.
const OPENINGS: [&str; 33] = [
    // Another first process, or a shell in its place.
    "rdinit",
    "break",
    "shell",
    "emergency",
    "rescue",
    "single",
    "s",
    "1",
    "-b",
    "-s",
    "auto-shell",
    // Other units, other environments, other file systems below or above the verified one.
    "systemd.unit",
    "systemd.wants",
    "systemd.debug-shell",
    "systemd.run",
    "systemd.setenv",
    "systemd.volatile",
    "systemd.set-credential",
    "systemd.set-credential-binary",
    "systemd.import-credentials",
    "systemd.mount-extra",
    "systemd.default-debug-tty",
    "systemd.crash-shell",
    "overlayroot",
    "overlay",
    "union",
    "boot",
    "root-overlay",
    "cmdline",
    // Parameters from another place, which are on no command line.
    "bootconfig",
    // A verified file system that is not mounted.
    "netroot",
    "nfsroot",
    "live.image",
];

/// What `init=` may name: the verified file system's own.
const INITS: [&str; 5] =
    ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/init"];

impl<'a> CommandLine<'a> {
    /// Splits a line into its words.
    pub(super) fn parse(line: &'a str) -> Result<Self, String> {
        if line.len() > BYTES_MAX {
            return Err(format!(
                "expected a command line of at most {BYTES_MAX} bytes, found {}",
                line.len()
            ));
        }
        let odd = |c: char| !matches!(c, ' '..='~') || matches!(c, '\'' | '\\');
        if let Some(found) = line.chars().find(|c| odd(*c)) {
            return Err(format!(
                "expected a command line that every reader splits alike, found {found:?} in it"
            ));
        }
        let mut parameters = Vec::new();
        let mut rest = line.trim_start_matches(' ');
        while !rest.is_empty() {
            let (parameter, after) = word(rest)?;
            parameters.push(parameter);
            rest = after.trim_start_matches(' ');
        }
        Ok(Self { parameters })
    }

    /// The values of this parameter, in order; nothing where it has none.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = Option<&'a str>> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.name == name)
            .map(|parameter| parameter.value)
    }

    /// The one value of this parameter. Readers differ in whether the first or the last counts, so all must agree.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.values(name);
        let Some(first) = values.next() else { return Ok(None) };
        let value = first.ok_or_else(|| format!("expected a value of {name}, found none"))?;
        if values.all(|other| other == Some(value)) {
            Ok(Some(value))
        } else {
            Err(format!("expected one value of {name}, found several"))
        }
    }

    /// Refuses what opens a way around any measurement: another first process, a shell, an environment, units by hand.
    pub(super) fn check_closed(&self) -> Result<(), String> {
        for Parameter { name, value } in &self.parameters {
            let opens = OPENINGS.contains(&name.as_str())
                || name.starts_with("systemd.run-")
                || (name == "init" && !value.is_some_and(|path| INITS.contains(&path)))
                || is_environment(name, *value);
            if opens {
                return Err(format!(
                    "expected nothing that starts other code than the approved, found {name:?}"
                ));
            }
        }
        Ok(())
    }
}

/// A word in capitals with a value that no driver takes is put into the environment of the first process.
fn is_environment(name: &str, value: Option<&str>) -> bool {
    let capitals = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')
        && name.chars().any(|c| c.is_ascii_uppercase());
    capitals && value.is_some() && name != "BOOT-IMAGE"
}

/// A word without quotes, one wholly in quotes, or a name with its value wholly in quotes.
fn word(rest: &str) -> Result<(Parameter<'_>, &str), String> {
    let unclear = || "expected quotes around a whole word or value, found others".to_owned();
    let (head, after) = rest.split_at(rest.find([' ', '"']).unwrap_or(rest.len()));
    let (name, value, after) = match after.strip_prefix('"') {
        None => {
            let (name, value) = split(head);
            (name, value, after)
        }
        Some(quoted) => {
            let (inside, after) = quoted.split_once('"').ok_or_else(unclear)?;
            if !after.is_empty() && !after.starts_with(' ') {
                return Err(unclear());
            }
            let (name, value) = match head {
                "" => split(inside),
                named => (named.strip_suffix('=').ok_or_else(unclear)?, Some(inside)),
            };
            (name, value, after)
        }
    };
    if name == "--" || name.is_empty() {
        return Err(format!("expected only parameters, found {name:?}"));
    }
    if name.contains([' ', '=']) {
        return Err(unclear());
    }
    let name = name.replace('_', "-");
    let name = name.strip_prefix("rd.").map_or(name.clone(), str::to_owned);
    Ok((Parameter { name, value }, after))
}

fn split(word: &str) -> (&str, Option<&str>) {
    word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Vec<(String, Option<&str>)> {
        let line = CommandLine::parse(line).unwrap();
        line.parameters.into_iter().map(|parameter| (parameter.name, parameter.value)).collect()
    }

    #[test]
    fn words_are_split_as_every_reader_splits_them() {
        assert_eq!(
            parsed("  ro  root=/dev/dm-0 "),
            [("ro".to_owned(), None), ("root".to_owned(), Some("/dev/dm-0"))]
        );
        for quoted in
            ["dm-mod.create=\"a b=c\" x", "\"dm_mod.create=a b=c\" x", "rd.dm-mod.create=\"a b=c\" x"]
        {
            assert_eq!(parsed(quoted)[0], ("dm-mod.create".to_owned(), Some("a b=c")), "{quoted}");
        }
        assert_eq!(parsed(""), []);
    }

    #[test]
    fn a_line_that_readers_split_differently_is_refused() {
        for line in [
            "a='b c'",
            "a\\ b",
            "a=\"b",
            "a=\"b\"c",
            "a\"b\"",
            "a=b\"c d\"",
            "ro -- init=/x",
            "=x",
            "a\tb",
            "a\nb",
            "a=\u{e9}",
            "\"\"",
            "\"a b=c\"",
            "\"a\"b",
        ] {
            assert!(CommandLine::parse(line).is_err(), "{line:?}");
        }
        assert!(CommandLine::parse(&"a ".repeat(4097)).is_err());
        assert!(CommandLine::parse(&"a ".repeat(4096)).is_ok());
    }

    #[test]
    fn a_way_around_is_found_however_it_is_spelt() {
        for line in [
            "init=/bin/sh",
            "init",
            "rdinit=/x",
            "rd.break",
            "rd.break=pre-mount",
            "single",
            "1",
            "emergency",
            "systemd.unit=rescue.target",
            "rd.systemd.unit=x",
            "systemd.debug-shell",
            "systemd.debug_shell=1",
            "systemd.run=/x",
            "systemd.run_success_action=x",
            "systemd.setenv=LD_PRELOAD=/x",
            "LD_PRELOAD=/x",
            "PATH=/x",
            "bootconfig",
            "systemd.volatile=overlay",
            "systemd.set_credential=a:b",
        ] {
            assert!(
                CommandLine::parse(&format!("ro {line} quiet")).unwrap().check_closed().is_err(),
                "{line}"
            );
        }
        for line in
            ["ro quiet", "init=/usr/lib/systemd/systemd", "BOOT_IMAGE=/vmlinuz", "S3", "console=ttyS0,115200"]
        {
            assert!(CommandLine::parse(line).unwrap().check_closed().is_ok(), "{line}");
        }
    }

    #[test]
    fn a_parameter_given_twice_must_agree() {
        let only = |line: &'static str| {
            CommandLine::parse(line).unwrap().only("roothash").map(|v| v.map(str::to_owned))
        };
        assert_eq!(only("ro"), Ok(None));
        assert_eq!(only("roothash=a rd.roothash=a"), Ok(Some("a".to_owned())));
        assert!(only("roothash=a roothash=b").is_err());
        assert!(only("roothash").is_err());
        assert!(only("roothash=a roothash").is_err());
    }
}
