//! One value of a configuration is changed; its comments, order and everything else stay.

use toml::{Table, Value};

/// Where a value is: a table's name, or none for the top, and its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) table: Option<&'static str>,
    pub(super) key: &'static str,
}

impl Place {
    /// The value there.
    pub(super) fn of<'a>(&self, config: &'a Table) -> Option<&'a Value> {
        let table = match self.table {
            Some(name) => config.get(name)?.as_table()?,
            None => config,
        };
        table.get(self.key)
    }

    /// The line that gives it this value.
    pub(super) fn line(&self, value: &Value) -> String {
        format!("{} = {value}", self.key)
    }

    /// As it is told to people.
    pub(super) fn name(&self) -> String {
        self.table.map_or_else(|| self.key.to_owned(), |table| format!("{table}.{}", self.key))
    }
}

/// The text with this value at this place, behind the line of `anchor` if it is new; with none, without its line.
/// `None` if it is not written in one line of its own, or not where it is looked for: then nobody but its author can
/// tell what to change.
pub(super) fn set(text: &str, at: Place, anchor: Place, value: Option<&Value>) -> Option<String> {
    let config: Table = text.parse().ok()?;
    let existing = line_of(text, at);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    match (existing, value) {
        (Some(number), Some(value)) => lines[number] = at.line(value),
        (Some(number), None) => drop(lines.remove(number)),
        (None, Some(value)) => lines.insert(line_of(text, anchor)? + 1, at.line(value)),
        (None, None) => {}
    }
    let edited = lines.join("\n") + "\n";
    let is_as_wanted = edited.parse::<Table>().is_ok_and(|found| found == wanted(config, at, value));
    is_as_wanted.then_some(edited)
}

fn wanted(mut config: Table, at: Place, value: Option<&Value>) -> Table {
    let table = match at.table {
        Some(name) => config.get_mut(name).and_then(Value::as_table_mut),
        None => Some(&mut config),
    };
    if let Some(table) = table {
        match value {
            Some(value) => drop(table.insert(at.key.to_owned(), value.clone())),
            None => drop(table.remove(at.key)),
        }
    }
    config
}

/// The number of the line that begins with the key, in its table.
fn line_of(text: &str, at: Place) -> Option<usize> {
    let mut table = None;
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            table = header.split(']').next().map(str::trim);
        } else if table == at.table
            && line.strip_prefix(at.key).is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# top\nnode = \"n\"\nkey_file = \"other\"\n\n[enclave]\n# ours\nkey_file = \"agent.key\"\npublic_keys = [\"a\"]\n[log]\nlevel = \"info\"\n";
    const KEY: Place = Place { table: Some("enclave"), key: "key_file" };
    const NEXT: Place = Place { table: Some("enclave"), key: "next_key_file" };
    const KEYS: Place = Place { table: Some("enclave"), key: "public_keys" };

    #[test]
    fn one_line_changes_and_the_rest_stays() {
        let next = Value::from("agent-2.key");
        let with = set(TEXT, NEXT, KEY, Some(&next)).unwrap();
        assert_eq!(with, TEXT.replace("agent.key\"\n", "agent.key\"\nnext_key_file = \"agent-2.key\"\n"));
        assert_eq!(set(&with, NEXT, KEY, None).unwrap(), TEXT);
        assert_eq!(set(TEXT, KEY, KEY, Some(&next)).unwrap(), TEXT.replace("agent.key", "agent-2.key"));
        let keys = Value::from(vec!["b", "a"]);
        assert_eq!(set(TEXT, KEYS, KEYS, Some(&keys)).unwrap(), TEXT.replace("[\"a\"]", "[\"b\", \"a\"]"));
        let top = Place { table: None, key: "key_file" };
        assert_eq!(set(TEXT, top, top, Some(&next)).unwrap(), TEXT.replace("\"other\"", "\"agent-2.key\""));
    }

    #[test]
    fn what_is_written_in_another_way_is_left_to_its_author() {
        let value = Value::from("x");
        for (what, text) in [
            ("several lines", TEXT.replace("[\"a\"]", "[\n\"a\",\n]")),
            ("a dotted key", TEXT.replace("[enclave]\n# ours\nkey_file", "enclave.key_file")),
            ("an inline table", "enclave = { key_file = \"agent.key\", public_keys = [\"a\"] }\n".to_owned()),
            ("no such table", TEXT.replace("[enclave]", "[other]")),
            ("a text that looks like it", TEXT.replace("# ours", "x = '''\nkey_file = 1\n'''")),
            ("no TOML", "[enclave\nkey_file = \"agent.key\"".to_owned()),
        ] {
            let at = if what == "several lines" { KEYS } else { KEY };
            assert_eq!(set(&text, at, at, Some(&value)), None, "{what}");
        }
        assert_eq!(set(TEXT, NEXT, NEXT, Some(&value)), None, "no line to put it behind");
        assert_eq!(set(TEXT, NEXT, KEY, None).as_deref(), Some(TEXT), "nothing to take away");
    }
}
