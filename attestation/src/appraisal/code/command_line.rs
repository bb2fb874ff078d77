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
    /// With dashes for underscores, which kernel and systemd take for the same, and without `rd.`.
    pub(super) name: String,
    /// Whether it began with `rd.`: meant for the initial file system, and ignored by the kernel.
    pub(super) rd: bool,
    pub(super) value: Option<&'a str>,
}

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

    /// Every word, in order.
    pub(super) fn parameters(&self) -> &[Parameter<'a>] {
        &self.parameters
    }

    /// The values of this parameter, in order, whoever it is meant for: to find what must not be there.
    pub(super) fn anywhere(&self, name: &str) -> impl Iterator<Item = Option<&'a str>> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.name == name)
            .map(|parameter| parameter.value)
    }

    /// The values of this parameter, in order, as the kernel and what it starts take them: to find what must be there. With
    /// `rd.` the kernel ignores it, and others do not, so nobody can say what is in force.
    pub(super) fn values(&self, name: &str) -> Result<impl Iterator<Item = Option<&'a str>>, String> {
        if self.parameters.iter().any(|parameter| parameter.rd && parameter.name == name) {
            return Err(format!(
                "expected {name} without \"rd.\", which not everybody heeds, found it with that"
            ));
        }
        Ok(self.anywhere(name))
    }

    /// The one value of this parameter. Readers differ in whether the first or the last counts, so all must agree.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.values(name)?;
        let Some(first) = values.next() else { return Ok(None) };
        let value = first.ok_or_else(|| format!("expected a value of {name}, found none"))?;
        if values.all(|other| other == Some(value)) {
            Ok(Some(value))
        } else {
            Err(format!("expected one value of {name}, found several"))
        }
    }
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
    let (name, rd) = name.strip_prefix("rd.").map_or((name.clone(), false), |rest| (rest.to_owned(), true));
    Ok((Parameter { name, rd, value }, after))
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
    fn a_parameter_given_twice_must_agree() {
        let only = |line: &'static str| {
            CommandLine::parse(line).unwrap().only("roothash").map(|v| v.map(str::to_owned))
        };
        assert_eq!(only("ro"), Ok(None));
        assert_eq!(only("roothash=a roothash=a"), Ok(Some("a".to_owned())));
        assert!(only("roothash=a roothash=b").is_err());
        assert!(only("roothash").is_err());
        assert!(only("roothash=a roothash").is_err());
    }

    #[test]
    fn what_only_some_heed_shows_nothing_and_is_found_all_the_same() {
        for line in ["rd.roothash=a", "roothash=a rd.roothash=a", "rd.roothash"] {
            let line = CommandLine::parse(line).unwrap();
            assert!(line.only("roothash").is_err() && line.values("roothash").is_err());
            assert!(line.anywhere("roothash").next().is_some());
        }
    }
}
