//! `/etc/resolv.conf` and `/etc/hosts` of a pod.

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use super::NodeFacts;

/// Whole text of the pod's resolv.conf, by `dnsPolicy` and `dnsConfig`.
#[must_use]
pub fn resolv_conf(pod: &Pod, facts: &NodeFacts) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let node = parse(&facts.resolv_conf);
    let mut out = match spec.dns_policy.as_deref() {
        Some("None") => Resolver::default(),
        Some("Default") => node,
        Some(_) | None => Resolver {
            nameservers: vec![facts.cluster_dns.clone()],
            searches: cluster_searches(namespace, &facts.cluster_domain, node.searches),
            options: vec!["ndots:5".into()],
        },
    };
    if let Some(config) = &spec.dns_config {
        out.merge(config);
    }
    out.text()
}

#[derive(Debug, Default)]
struct Resolver {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn merge(&mut self, config: &PodDNSConfig) {
        extend_new(&mut self.nameservers, config.nameservers.iter().flatten());
        extend_new(&mut self.searches, config.searches.iter().flatten());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|known| known.split(':').next() != Some(name));
            let text = option.value.as_ref().map(|value| format!("{name}:{value}"));
            self.options.push(text.unwrap_or_else(|| name.clone()));
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.nameservers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

fn extend_new<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn cluster_searches(namespace: &str, domain: &str, node: Vec<String>) -> Vec<String> {
    let mut searches =
        vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    extend_new(&mut searches, node.iter());
    searches
}

fn parse(text: &str) -> Resolver {
    let mut out = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => out.nameservers.extend(words.next()),
            Some("search") => out.searches = words.collect(),
            Some("options") => out.options.extend(words),
            Some(_) | None => {}
        }
    }
    out
}

/// Whole text of the pod's hosts file (`managedHostsFileContent`).
#[must_use]
pub fn hosts(pod: &Pod, hostname: &str, fqdn: Option<&str>, pod_ip: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    match fqdn {
        Some(fqdn) => text.push_str(&format!("{pod_ip}\t{fqdn}\t{hostname}\n")),
        None => text.push_str(&format!("{pod_ip}\t{hostname}\n")),
    }
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref());
    let aliases = aliases.unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default();
        text.push_str(&format!("{}\t{}\n", alias.ip, names.join("\t")));
    }
    text
}
