//! Which container of a pod a request means. Pure; worded as upstream `pkg/registry/core/pod/strategy.go`.

use api::{Status, meta};
use serde_json::Value;

use crate::errors::bad_request;

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// The named container, or the only one.
pub fn choose(pod: &Value, asked: &str) -> Result<String, Status> {
    let name = meta::name(pod);
    if !asked.is_empty() {
        return if LISTS.iter().any(|list| names(pod, list).contains(&asked)) {
            Ok(asked.to_owned())
        } else {
            Err(bad_request(format!("container {asked} is not valid for pod {name}")))
        };
    }
    let containers = names(pod, "containers");
    match containers.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(bad_request(format!("a container name must be specified for pod {name}"))),
        several => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                several.join(" ")
            );
            let init = names(pod, "initContainers");
            if !init.is_empty() {
                text += &format!(" or one of the init containers: [{}]", init.join(" "));
            }
            let debug = names(pod, "ephemeralContainers");
            if !debug.is_empty() {
                text += &format!(" or one of the ephemeral containers: [{}]", debug.join(" "));
            }
            Err(bad_request(text))
        }
    }
}

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod["spec"][list].as_array();
    containers.into_iter().flatten().filter_map(|container| container["name"].as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_chosen_or_asked_for() {
        let one = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        let text = |result: Result<String, Status>| result.unwrap_or_else(|status| status.message);
        assert_eq!(text(choose(&one, "")), "a");
        assert_eq!(text(choose(&one, "i")), "i");
        assert_eq!(text(choose(&one, "x")), "container x is not valid for pod p");
        assert_eq!(
            text(choose(&two, "")),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
    }
}
