//! Settings of the API server that are named as kube-apiserver names them: audit, OpenID Connect, shutdown.

use std::{path::PathBuf, time::Duration};

use access::authn::{Anonymous, AuthenticationConfig, Claim, OidcConfig};
use anyhow::{Context, Result, ensure};
use apiserver::audit;
use clap::Args;

/// Who is let in, and what is recorded.
#[derive(Debug, Args)]
pub struct ServingArguments {
    /// audit.k8s.io/v1 Policy; without it nothing is recorded.
    #[arg(long)]
    pub audit_policy_file: Option<PathBuf>,
    /// File for audit events, one JSON object a line; `-` is standard output.
    #[arg(long, requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,
    /// Days that replaced audit logs are kept; 0: for ever.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// Replaced audit logs that are kept; 0: all.
    #[arg(long, default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Size in MiB at which the audit log is replaced; 0: never.
    #[arg(long, default_value_t = 100)]
    pub audit_log_maxsize: u64,
    /// kubeconfig of the server that audit events are sent to.
    #[arg(long, requires = "audit_policy_file")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// AuthenticationConfiguration of apiserver.config.k8s.io/v1; instead of the flags `--oidc-*`.
    #[arg(long, conflicts_with = "oidc_issuer_url")]
    pub authentication_config: Option<PathBuf>,
    /// Whether requests without credentials are let through as system:anonymous.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Issuer of OpenID Connect tokens (https).
    #[arg(long, requires = "oidc_client_id")]
    pub oidc_issuer_url: Option<String>,
    /// The audience that its tokens must be for.
    #[arg(long)]
    pub oidc_client_id: Option<String>,
    #[arg(long, default_value = "sub")]
    pub oidc_username_claim: String,
    /// Put before user names; `-`: nothing. Default: the issuer and `#`, and nothing for the claim `email`.
    #[arg(long)]
    pub oidc_username_prefix: Option<String>,
    #[arg(long)]
    pub oidc_groups_claim: Option<String>,
    #[arg(long, default_value = "")]
    pub oidc_groups_prefix: String,
    /// PEM of the authority of the issuer's certificate.
    #[arg(long)]
    pub oidc_ca_file: Option<PathBuf>,
    /// A claim and the value it must have (`name=value`); may be given several times.
    #[arg(long, value_parser = parse_pair)]
    pub oidc_required_claim: Vec<(String, String)>,
    #[arg(long, value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// Seconds for which the server goes on serving after it was told to stop, with /readyz failing.
    #[arg(long, default_value_t = 0)]
    pub shutdown_delay_duration: u64,
}

fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl ServingArguments {
    /// Puts the settings into the server's configuration; reads the files they name.
    pub fn apply(&self, config: &mut apiserver::Config) -> Result<()> {
        config.audit = audit::Config {
            policy_file: self.audit_policy_file.clone(),
            log_path: self.audit_log_path.clone(),
            log_max_size_mib: self.audit_log_maxsize,
            log_max_backups: self.audit_log_maxbackup,
            log_max_age_days: self.audit_log_maxage,
            webhook_config_file: self.audit_webhook_config_file.clone(),
        };
        config.shutdown_delay = Duration::from_secs(self.shutdown_delay_duration);
        config.anonymous = Anonymous { enabled: self.anonymous_auth, paths: Vec::new() };
        config.oidc = self.flags()?.into_iter().collect();
        if let Some(path) = &self.authentication_config {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("failed to read {}", path.display()))?;
            let value = serde_yaml_ng::from_str(&text)
                .with_context(|| format!("failed to parse {}", path.display()))?;
            let file = AuthenticationConfig::parse(&value)
                .with_context(|| format!("{} is invalid", path.display()))?;
            config.oidc = file.jwt;
            config.anonymous = file.anonymous;
        }
        Ok(())
    }

    /// The issuer that the flags describe.
    fn flags(&self) -> Result<Option<OidcConfig>> {
        let Some(issuer) = &self.oidc_issuer_url else { return Ok(None) };
        let ca_pem = match &self.oidc_ca_file {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("failed to read {}", path.display()))?,
            ),
        };
        ensure!(!self.oidc_username_claim.is_empty(), "--oidc-username-claim is empty");
        let config = OidcConfig {
            issuer: issuer.clone(),
            ca_pem,
            audiences: self.oidc_client_id.iter().cloned().collect(),
            username: Claim {
                claim: self.oidc_username_claim.clone(),
                prefix: self.username_prefix(issuer),
            },
            groups: self.oidc_groups_claim.as_ref().map(|claim| Claim {
                claim: claim.clone(),
                prefix: self.oidc_groups_prefix.clone(),
            }),
            required: self.oidc_required_claim.clone(),
            algorithms: self.oidc_signing_algs.clone(),
            ..OidcConfig::default()
        };
        config.check().context("the --oidc flags are invalid")?;
        Ok(Some(config))
    }

    /// Upstream's default keeps names of different issuers apart.
    fn username_prefix(&self, issuer: &str) -> String {
        match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if self.oidc_username_claim == "email" => String::new(),
            None => format!("{issuer}#"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serving: ServingArguments,
    }

    #[test]
    fn user_names_of_an_issuer_are_prefixed() {
        let parse = |more: &[&str]| {
            let mut arguments =
                vec!["x", "--oidc-issuer-url", "https://i", "--oidc-client-id", "me"];
            arguments.extend_from_slice(more);
            Only::parse_from(arguments).serving.flags().unwrap().unwrap().username
        };
        for (more, claim, prefix) in [
            (vec![], "sub", "https://i#"),
            (vec!["--oidc-username-claim", "email"], "email", ""),
            (vec!["--oidc-username-prefix", "-"], "sub", ""),
            (vec!["--oidc-username-prefix", "o:"], "sub", "o:"),
        ] {
            assert_eq!(parse(&more), Claim { claim: claim.into(), prefix: prefix.into() });
        }
    }
}
