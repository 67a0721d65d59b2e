//! Which objects a command line names: `TYPE NAME...`, `TYPE/NAME...`, `TYPE1,TYPE2`, selectors.

use anyhow::{Result, bail};

use crate::{
    discovery::{Kind, Kinds},
    session::{Session, with_query},
};

/// A kind and the names asked for; none means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    pub kind: Kind,
    pub names: Vec<String>,
}

/// Flags that choose among all objects.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Filter {
    /// Selector (label query) to filter on, supports '=', '==', '!=', 'in', 'notin'
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
    /// Selector (field query) to filter on, supports '=', '==' and '!='
    #[arg(long)]
    pub field_selector: Option<String>,
    /// If present, list the requested object(s) across all namespaces
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

impl Filter {
    /// Whether anything was asked for that a name cannot fulfil.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// The path of the chosen objects.
    #[must_use]
    pub fn path(&self, session: &Session, kind: &Kind) -> String {
        let namespace = (!self.all_namespaces).then_some(session.namespace.as_str());
        with_query(
            &kind.collection(namespace),
            &[
                ("labelSelector", self.selector.as_deref().unwrap_or("")),
                ("fieldSelector", self.field_selector.as_deref().unwrap_or("")),
            ],
        )
    }
}

/// Parses the words of a command line into selections, one per kind, in order.
///
/// # Errors
/// With kubectl's words when forms are mixed or a type is unknown.
pub fn parse(kinds: &Kinds, words: &[String]) -> Result<Vec<Selection>> {
    let Some(first) = words.first() else {
        bail!(
            "You must specify the type of resource to get. Use \"api-resources\" for a complete list of supported resources."
        );
    };
    if words.iter().any(|word| word.contains('/')) {
        return parse_pairs(kinds, words);
    }
    let names = &words[1..];
    let mut selections = Vec::new();
    for word in first.split(',').filter(|word| !word.is_empty()) {
        let category = kinds.in_category(word);
        let chosen = if category.is_empty() { vec![kinds.find(word)?] } else { category };
        let select = |kind: &Kind| Selection { kind: kind.clone(), names: names.to_vec() };
        selections.extend(chosen.into_iter().map(select));
    }
    Ok(selections)
}

fn parse_pairs(kinds: &Kinds, words: &[String]) -> Result<Vec<Selection>> {
    let mut selections: Vec<Selection> = Vec::new();
    for word in words {
        let Some((kind, name)) = word.split_once('/') else {
            bail!(
                "there is no need to specify a resource type as a separate argument when passing arguments in \
                 resource/name form (e.g. 'get resource/<resource_name>' instead of 'get resource \
                 resource/<resource_name>'"
            );
        };
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            bail!("arguments in resource/name form must have a single resource and name");
        }
        let kind = kinds.find(kind)?;
        match selections.iter_mut().find(|selection| selection.kind == *kind) {
            Some(selection) => selection.names.push(name.to_owned()),
            None => {
                selections.push(Selection { kind: kind.clone(), names: vec![name.to_owned()] });
            }
        }
    }
    Ok(selections)
}

/// Parses words that must name objects, not whole kinds.
///
/// # Errors
/// As [`parse`], and when a name is missing.
pub fn parse_named(kinds: &Kinds, words: &[String]) -> Result<Vec<(Kind, String)>> {
    let selections = parse(kinds, words)?;
    if selections.iter().any(|selection| selection.names.is_empty()) {
        bail!("resource(s) were provided, but no name was specified");
    }
    let pairs = selections.into_iter().flat_map(|selection| {
        let Selection { kind, names } = selection;
        names.into_iter().map(move |name| (kind.clone(), name))
    });
    Ok(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::tests::some_kinds;

    fn parsed(line: &str) -> Result<Vec<String>> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let selections = parse(&some_kinds(), &words)?;
        Ok(selections
            .into_iter()
            .map(|selection| format!("{}:{}", selection.kind.plural, selection.names.join("+")))
            .collect())
    }

    #[test]
    fn words_become_selections() {
        for (line, expected) in [
            ("pods", vec!["pods:"]),
            ("po a b", vec!["pods:a+b"]),
            ("po,deploy", vec!["pods:", "deployments:"]),
            ("po,deploy a", vec!["pods:a", "deployments:a"]),
            ("pod/a deploy/b pod/c", vec!["pods:a+c", "deployments:b"]),
            ("all", vec!["pods:", "deployments:"]),
        ] {
            assert_eq!(parsed(line).unwrap(), expected, "{line}");
        }
        for line in ["", "foo", "pods pod/a", "pod/", "pod/a/b"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn names_can_be_demanded() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert!(parse_named(&some_kinds(), &words("pods")).is_err());
        assert_eq!(parse_named(&some_kinds(), &words("po a b")).unwrap().len(), 2);
    }
}
