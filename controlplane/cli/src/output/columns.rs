//! `-o custom-columns=NAME:.metadata.name,...`.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{jsonpath::Template, tabwriter};

/// Turns a file of two lines (headers, paths) into the flag's form.
///
/// # Errors
/// When the lines do not match.
pub fn from_file(text: &str) -> Result<String> {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
        bail!("invalid template, missing spec line. Expected 2 lines of space-separated tokens");
    };
    if headers.len() != paths.len() {
        bail!(
            "number of headers ({}) and field specifications ({}) don't match",
            headers.len(),
            paths.len()
        );
    }
    let pairs = headers.iter().zip(&paths).map(|(header, path)| format!("{header}:{path}"));
    Ok(pairs.collect::<Vec<_>>().join(","))
}

/// Prints the columns of an object or of a list's items.
///
/// # Errors
/// When the specification or one of its paths is broken.
pub fn print(spec: &str, object: &Value, headers: bool) -> Result<String> {
    let columns = parse(spec)?;
    let mut lines = Vec::new();
    if headers {
        lines.push(columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join("\t"));
    }
    let one = std::slice::from_ref(object);
    let objects = object.get("items").and_then(Value::as_array).map_or(one, Vec::as_slice);
    for object in objects {
        let cells =
            columns.iter().map(|(_, path)| cell(path, object)).collect::<Result<Vec<_>>>()?;
        lines.push(cells.join("\t"));
    }
    Ok(tabwriter::align(&lines.join("\n"), tabwriter::GET))
}

fn parse(spec: &str) -> Result<Vec<(String, Template)>> {
    let mut columns = Vec::new();
    for part in spec.split(',') {
        let Some((name, path)) = part.split_once(':') else {
            bail!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>");
        };
        let path = path.trim_start_matches('{').trim_end_matches('}');
        let path = if path.starts_with('.') { path.to_owned() } else { format!(".{path}") };
        columns.push((name.to_owned(), Template::parse(&format!("{{{path}}}"))?));
    }
    Ok(columns)
}

fn cell(path: &Template, object: &Value) -> Result<String> {
    let found: Vec<_> = path.find(object)?.into_iter().map(super::jsonpath::value_text).collect();
    Ok(if found.is_empty() { "<none>".to_owned() } else { found.join(",") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_one_row_per_object() {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "spec": {"containers": [{"image": "x"}, {"image": "y"}]}},
            {"metadata": {"name": "b"}},
        ]});
        let spec = "NAME:.metadata.name,IMAGES:.spec.containers[*].image,N:metadata.name";
        let text = "NAME   IMAGES   N\na      x,y      a\nb      <none>   b\n";
        assert_eq!(print(spec, &list, true).unwrap(), text);
        assert!(print("NAME", &list, true).is_err());
    }

    #[test]
    fn files_hold_two_lines() {
        assert_eq!(from_file("A B\n.a .b\n").unwrap(), "A:.a,B:.b");
        assert!(from_file("A B\n.a\n").is_err());
    }
}
