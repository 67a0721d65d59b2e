//! What the server is told at start.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::Ipv4Net;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// `<data dir>/store.redb`.
    Embedded,
    Etcd {
        endpoints: Vec<String>,
    },
}

/// The server's settings; [`Config::new`] gives the cluster's fixed values.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: Vec<SocketAddr>,
    /// The address in the `kubernetes` Service's endpoints and in kubeconfigs.
    pub advertise_address: IpAddr,
    /// Further names and addresses of the serving certificate.
    pub sans: Vec<String>,
    pub store: StoreKind,
    pub service_cidr: Ipv4Net,
    /// Admission plugins to turn on that are off by default: `DenyServiceExternalIPs`, `EventRateLimit`,
    /// `ExtendedResourceToleration`, `OwnerReferencesPermissionEnforcement`.
    pub admission_plugins: Vec<String>,
    /// What `EventRateLimit` allows.
    pub event_limits: crate::admission::EventLimits,
    /// The Pod Security Standards where namespaces say nothing, and what they do not judge.
    pub pod_security: crate::admission::PodSecurity,
    /// First and last NodePort.
    pub node_ports: (u16, u16),
    /// How often history older than this is forgotten (upstream's `--etcd-compaction-interval`).
    pub compaction_interval: std::time::Duration,
    pub audit: crate::audit::Config,
    pub oidc: Vec<access::authn::OidcConfig>,
    /// How long the server goes on serving after it was told to stop, with `/readyz` failing.
    pub shutdown_delay: std::time::Duration,
    /// Appends the metrics of what else runs in this process to `/metrics`.
    pub further_metrics: Option<fn(&mut String)>,
    /// Whether requests without credentials are let through as `system:anonymous` (RBAC still decides).
    pub anonymous: access::authn::Anonymous,
}

impl Config {
    #[must_use]
    pub fn new(data_dir: PathBuf, listen: Vec<SocketAddr>, advertise_address: IpAddr) -> Self {
        Self {
            data_dir,
            listen,
            advertise_address,
            sans: Vec::new(),
            store: StoreKind::Embedded,
            service_cidr: Ipv4Net::new(Ipv4Addr::new(10, 96, 0, 0), 16).expect("16 is a prefix"),
            admission_plugins: Vec::new(),
            event_limits: crate::admission::EventLimits::default(),
            pod_security: crate::admission::PodSecurity::default(),
            node_ports: (30000, 32767),
            compaction_interval: std::time::Duration::from_secs(300),
            audit: crate::audit::Config::default(),
            oidc: Vec::new(),
            shutdown_delay: std::time::Duration::ZERO,
            further_metrics: None,
            anonymous: access::authn::Anonymous::default(),
        }
    }

    /// The ClusterIP of the `kubernetes` Service: the first address of the service range.
    #[must_use]
    pub fn kubernetes_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + 1)
    }
}
