//! Command, arguments and `$(VAR)` expansion (`k8s.io/kubernetes/third_party/forked/golang/expansion`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Container;

use super::ImageConfig;

/// `command` replaces the image's entrypoint and drops its cmd; `args` replaces cmd.
#[must_use]
pub fn command_line(
    container: &Container,
    image: &ImageConfig,
    env: &[(String, String)],
) -> Vec<String> {
    let variables: BTreeMap<&str, &str> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expand_all = |texts: &[String]| -> Vec<String> {
        texts.iter().map(|text| expand(text, &variables)).collect()
    };
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    match (command.is_empty(), args.is_empty()) {
        (true, true) => [image.entrypoint.as_slice(), image.cmd.as_slice()].concat(),
        (true, false) => [image.entrypoint.as_slice(), &expand_all(args)].concat(),
        (false, _) => [expand_all(command), expand_all(args)].concat(),
    }
}

/// Replaces `$(NAME)`; `$$` is a dollar; an unknown name stays as it was written.
#[must_use]
pub fn expand(text: &str, env: &BTreeMap<&str, &str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inner| inner.split_once(')'))
        {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let env = BTreeMap::from([("A", "1"), ("EMPTY", "")]);
        for (text, expect) in [
            ("$(A)", "1"),
            ("x$(A)y$(EMPTY)z", "x1yz"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
        ] {
            assert_eq!(expand(text, &env), expect, "{text}");
        }
    }

    #[test]
    fn command_and_args_against_the_image() {
        let image = ImageConfig {
            entrypoint: vec!["/e".into()],
            cmd: vec!["c".into()],
            ..ImageConfig::default()
        };
        let some = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (command, args, expect) in [
            (None, None, vec!["/e", "c"]),
            (None, some(&["a"]), vec!["/e", "a"]),
            (some(&["/x"]), None, vec!["/x"]),
            (some(&["/x"]), some(&["a"]), vec!["/x", "a"]),
        ] {
            let container = Container { command, args, ..Container::default() };
            assert_eq!(command_line(&container, &image, &[]), expect);
        }
    }
}
