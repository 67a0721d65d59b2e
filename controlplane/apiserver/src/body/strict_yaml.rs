//! YAML to a tree, noting keys that are set twice (the last one counts) by line, as Go's yaml package words it.

use serde_json::Value;

use super::strict_json;

/// The tree, and `line 10: key "foo" already set in map` for each key that is set again.
pub fn parse(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_yaml_ng::Error> {
    let (value, duplicates) = strict_json::read(serde_yaml_ng::Deserializer::from_slice(bytes))?;
    if duplicates.is_empty() {
        return Ok((value, Vec::new()));
    }
    let text = String::from_utf8_lossy(bytes);
    let names: Vec<&str> =
        duplicates.iter().map(|path| path.rsplit('.').next().unwrap_or(path)).collect();
    let lines = repeated(&text).into_iter().filter(|(_, key)| names.contains(&key.as_str()));
    let mut found: Vec<String> =
        lines.map(|(line, key)| format!("line {line}: key {key:?} already set in map")).collect();
    if found.is_empty() {
        // Flow style: the place is not known.
        found = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    }
    Ok((value, found))
}

/// Keys of block mappings that are set again, with their lines from 1.
fn repeated(text: &str) -> Vec<(usize, String)> {
    let mut scopes: Vec<(usize, Vec<String>)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') {
            continue;
        }
        while let Some(item) = rest.strip_prefix("- ") {
            let inner = item.trim_start();
            indent += rest.len() - inner.len();
            rest = inner;
            // A new item is a new mapping.
            scopes.retain(|(depth, _)| *depth < indent);
        }
        scopes.retain(|(depth, _)| *depth <= indent);
        let Some(key) = key_of(rest) else { continue };
        match scopes.last_mut() {
            Some((depth, keys)) if *depth == indent => {
                if keys.contains(&key) {
                    found.push((number + 1, key));
                } else {
                    keys.push(key);
                }
            }
            _ => scopes.push((indent, vec![key])),
        }
    }
    found
}

fn key_of(line: &str) -> Option<String> {
    for quote in ['"', '\''] {
        if let Some(rest) = line.strip_prefix(quote) {
            let (key, after) = rest.split_once(quote)?;
            return after.trim_start().starts_with(':').then(|| key.to_owned());
        }
    }
    let key = match line.split_once(": ") {
        Some((key, _)) => key,
        None => line.trim_end().strip_suffix(':')?,
    };
    Some(key.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_named_by_line() {
        let text =
            b"a: 1\nspec:\n  foo: 1\n  list:\n  - x: 1\n    y: 2\n  - x: 3\n  foo: 2\n  'q': 1\n";
        let (value, duplicates) = parse(text).unwrap();
        assert_eq!(duplicates, ["line 8: key \"foo\" already set in map"]);
        assert_eq!(value["spec"]["foo"], 2);
        assert_eq!(parse(b"a: {b: 1, b: 2}").unwrap().1, ["duplicate field \"a.b\""]);
        assert!(parse(b"a: 1\nb: [1, 2]\n").unwrap().1.is_empty());
        assert!(parse(b"a: [").is_err());
    }
}
