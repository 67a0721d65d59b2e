//! `top`: what nodes and pods use, from `metrics.k8s.io`.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{
    discovery::Kind,
    json::{items_at, name, text_at},
    output::tabwriter,
    session::{Session, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Display resource (CPU/memory) usage of nodes
    #[command(visible_aliases = ["nodes", "no"])]
    Node {
        name: Option<String>,
        /// Selector (label query) to filter on
        #[arg(short = 'l', long)]
        selector: Option<String>,
        #[arg(long)]
        no_headers: bool,
    },
    /// Display resource (CPU/memory) usage of pods
    #[command(visible_aliases = ["pods", "po"])]
    Pod {
        name: Option<String>,
        /// Selector (label query) to filter on
        #[arg(short = 'l', long)]
        selector: Option<String>,
        /// If present, list the requested object(s) across all namespaces
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// If present, print usage of containers within a pod
        #[arg(long)]
        containers: bool,
        #[arg(long)]
        no_headers: bool,
    },
}

const GROUP: &str = "metrics.k8s.io";

/// Prints the usage.
///
/// # Errors
/// What the server answers, or when it has no metrics.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    match arguments.what {
        What::Node { name, selector, no_headers } => {
            let kind = Kind::built_in(GROUP, "v1beta1", "NodeMetrics", "nodes", false);
            let metrics = read(session, &kind, name.as_deref(), selector.as_deref(), false).await?;
            let nodes = Kind::built_in("", "v1", "Node", "nodes", false);
            let nodes = session.list(&nodes.collection(None)).await?;
            print(&node_lines(&metrics, &nodes), no_headers);
        }
        What::Pod { name, selector, all_namespaces, containers, no_headers } => {
            let kind = Kind::built_in(GROUP, "v1beta1", "PodMetrics", "pods", true);
            let metrics =
                read(session, &kind, name.as_deref(), selector.as_deref(), all_namespaces).await?;
            if metrics.is_empty() {
                eprintln!("No resources found in {} namespace.", session.namespace);
                return Ok(());
            }
            print(&pod_lines(&metrics, all_namespaces, containers), no_headers);
        }
    }
    Ok(())
}

fn print(lines: &[String], no_headers: bool) {
    let lines = if no_headers { &lines[1..] } else { lines };
    print!("{}", tabwriter::align(&lines.join("\n"), tabwriter::GET));
}

async fn read(
    session: &Session,
    kind: &Kind,
    name: Option<&str>,
    selector: Option<&str>,
    everywhere: bool,
) -> Result<Vec<Value>> {
    let namespace = (!everywhere).then_some(session.namespace.as_str());
    let answer = match name {
        Some(name) => {
            session.get(&kind.object(&session.namespace, name)).await.map(|object| vec![object])
        }
        None => {
            let path = with_query(
                &kind.collection(namespace),
                &[("labelSelector", selector.unwrap_or(""))],
            );
            session.list(&path).await.map(|list| items_at(&list, "/items").cloned().collect())
        }
    };
    match answer {
        Err(error) if client::is_not_found(&error) && name.is_none() => {
            bail!("Metrics API not available")
        }
        answer => Ok(answer?),
    }
}

fn node_lines(metrics: &[Value], nodes: &Value) -> Vec<String> {
    let mut lines = vec!["NAME\tCPU(cores)\tCPU(%)\tMEMORY(bytes)\tMEMORY(%)".to_owned()];
    for metric in metrics {
        let usage = Usage::of(&metric["usage"]);
        let node = items_at(nodes, "/items").find(|node| name(node) == name(metric));
        let room = node.map(|node| Usage::of(&node["status"]["allocatable"])).unwrap_or_default();
        let percent = |used: f64, room: f64| match room > 0.0 {
            true => format!("{}%", (used / room * 100.0) as i64),
            false => "<unknown>".to_owned(),
        };
        lines.push(format!(
            "{}\t{}\t{}\t{}\t{}",
            name(metric),
            usage.cpu_text(),
            percent(usage.cpu_cores, room.cpu_cores),
            usage.memory_text(),
            percent(usage.memory_bytes, room.memory_bytes),
        ));
    }
    lines
}

fn pod_lines(metrics: &[Value], namespaces: bool, containers: bool) -> Vec<String> {
    let row = |namespace: &str, pod: &str, container: &str, cpu: &str, memory: &str| {
        let mut cells = Vec::new();
        cells.extend(namespaces.then_some(namespace));
        cells.push(pod);
        cells.extend(containers.then_some(container));
        cells.extend([cpu, memory]);
        cells.join("\t")
    };
    let pod_header = if containers { "POD" } else { "NAME" };
    let mut lines = vec![row("NAMESPACE", pod_header, "NAME", "CPU(cores)", "MEMORY(bytes)")];
    for metric in metrics {
        let namespace = text_at(metric, "/metadata/namespace");
        let parts: Vec<_> = items_at(metric, "/containers")
            .map(|container| (text_at(container, "/name"), Usage::of(&container["usage"])))
            .collect();
        if containers {
            for (container, usage) in parts {
                lines.push(row(
                    namespace,
                    name(metric),
                    container,
                    &usage.cpu_text(),
                    &usage.memory_text(),
                ));
            }
        } else {
            let whole = parts.iter().fold(Usage::default(), |sum, (_, usage)| Usage {
                cpu_cores: sum.cpu_cores + usage.cpu_cores,
                memory_bytes: sum.memory_bytes + usage.memory_bytes,
            });
            lines.push(row(namespace, name(metric), "", &whole.cpu_text(), &whole.memory_text()));
        }
    }
    lines
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    cpu_cores: f64,
    memory_bytes: f64,
}

impl Usage {
    fn of(resources: &Value) -> Self {
        Self {
            cpu_cores: quantity(text_at(resources, "/cpu")),
            memory_bytes: quantity(text_at(resources, "/memory")),
        }
    }

    fn cpu_text(&self) -> String {
        format!("{}m", (self.cpu_cores * 1000.0).ceil() as i64)
    }

    fn memory_text(&self) -> String {
        format!("{}Mi", (self.memory_bytes / f64::from(1 << 20)) as i64)
    }
}

/// A quantity as a number: `250m`, `1536Ki`, `2G`, `123456n`.
pub(crate) fn quantity(text: &str) -> f64 {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().unwrap_or(0.0);
    let unit = match &text[digits..] {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        exponent => exponent
            .get(1..)
            .and_then(|power| power.parse().ok())
            .map_or(1.0, |power| 10_f64.powi(power)),
    };
    number * unit
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_is_summed_and_compared() {
        let container =
            |name: &str| json!({"name": name, "usage": {"cpu": "1500000n", "memory": "1024Ki"}});
        let pods = [
            json!({"metadata": {"name": "p", "namespace": "x"}, "containers": [container("a"), container("b")]}),
        ];
        assert_eq!(pod_lines(&pods, true, false)[1], "x\tp\t3m\t2Mi");
        assert_eq!(pod_lines(&pods, false, true)[2], "p\tb\t2m\t1Mi");
        let metrics =
            [json!({"metadata": {"name": "n"}, "usage": {"cpu": "500m", "memory": "1Gi"}})];
        let nodes = json!({"items": [{"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "4Gi"}}}]});
        assert_eq!(node_lines(&metrics, &nodes)[1], "n\t500m\t25%\t1024Mi\t25%");
    }

    #[test]
    fn quantities_are_numbers() {
        for (text, number) in [
            ("2", 2.0),
            ("250m", 0.25),
            ("1Ki", 1024.0),
            ("3k", 3000.0),
            ("1e3", 1000.0),
            ("", 0.0),
        ] {
            assert!((quantity(text) - number).abs() < 1e-9, "{text}");
        }
    }
}
