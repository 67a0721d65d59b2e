//! What each volume of a pod holds, given the objects it refers to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIVolumeFile, KeyToPath, Pod, SecretProjection,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use podloop::spec::{NodeFacts, Objects, env, fields};
use proto::guest::{File, VolumeContents};

use crate::objects::{Kind, ObjectRef};

/// Mode of files when nothing else is said (API default).
const DEFAULT_MODE: i32 = 0o644;
/// Lifetime of a projected token when nothing else is said (API default), in seconds.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;
/// Group permission that `fsGroup` adds to files.
const GROUP_READ: u32 = 0o040;

/// All file volumes of a pod.
pub type Contents = Vec<VolumeContents>;

/// A token that a pod's volumes need.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRef {
    pub audience: Option<String>,
    pub expiration_seconds: i64,
}

/// Why a volume cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {problem}")]
pub struct Error {
    pub volume: String,
    pub problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("references non-existent {kind} key: {key}")]
    MissingKey { kind: &'static str, key: String },
    #[error("failed to fetch token: {message}")]
    Token { message: String },
    #[error("{0}")]
    Field(String),
    #[error("path \"{0}\" must be relative and hold no \"..\"")]
    Path(String),
    #[error("volume projection of this kind is not supported")]
    Unsupported,
}

/// Every configMap and secret that the pod's volumes, environment and image pulls refer to.
#[must_use]
pub fn references(pod: &Pod) -> BTreeSet<ObjectRef> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let (config_maps, secrets) = env::references(pod);
    let mut names: Vec<(Kind, String)> = Vec::new();
    names.extend(config_maps.into_iter().map(|name| (Kind::ConfigMap, name)));
    names.extend(secrets.into_iter().map(|name| (Kind::Secret, name)));
    let spec = pod.spec.clone().unwrap_or_default();
    for volume in spec.volumes.iter().flatten() {
        names.extend(volume.config_map.iter().map(|source| (Kind::ConfigMap, source.name.clone())));
        let secret = volume.secret.iter().filter_map(|source| source.secret_name.clone());
        names.extend(secret.map(|name| (Kind::Secret, name)));
        for source in projections(volume) {
            names.extend(source.config_map.iter().map(|s| (Kind::ConfigMap, s.name.clone())));
            names.extend(source.secret.iter().map(|s| (Kind::Secret, s.name.clone())));
        }
    }
    let pulls = spec.image_pull_secrets.into_iter().flatten();
    names.extend(pulls.map(|reference| (Kind::Secret, reference.name)));
    names
        .into_iter()
        .map(|(kind, name)| ObjectRef { kind, namespace: namespace.clone(), name })
        .collect()
}

/// The tokens that the pod's volumes need.
#[must_use]
pub fn token_references(pod: &Pod) -> BTreeSet<TokenRef> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .flat_map(|volume| projections(volume).iter())
        .filter_map(|source| source.service_account_token.as_ref().map(token_ref))
        .collect()
}

fn token_ref(source: &ServiceAccountTokenProjection) -> TokenRef {
    TokenRef {
        audience: source.audience.clone().filter(|audience| !audience.is_empty()),
        expiration_seconds: source.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS),
    }
}

fn projections(volume: &Volume) -> &[VolumeProjection] {
    let projected = volume.projected.as_ref();
    projected.and_then(|projected| projected.sources.as_deref()).unwrap_or_default()
}

/// The files of every configMap, secret, projected and downwardAPI volume.
///
/// # Errors
/// The first volume that lacks something required.
pub fn contents(
    pod: &Pod,
    facts: &NodeFacts,
    objects: &Objects,
    tokens: &BTreeMap<TokenRef, String>,
) -> Result<Contents, Error> {
    let maker = Maker { pod, facts, objects, tokens, gid: fs_group(pod) };
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.empty_dir.is_none()).map(|volume| maker.volume(volume)).collect()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let gid = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(gid).ok()
}

struct Maker<'a> {
    pod: &'a Pod,
    facts: &'a NodeFacts,
    objects: &'a Objects,
    tokens: &'a BTreeMap<TokenRef, String>,
    gid: Option<u32>,
}

impl Maker<'_> {
    fn volume(&self, volume: &Volume) -> Result<VolumeContents, Error> {
        let files =
            self.files(volume).map_err(|problem| Error { volume: volume.name.clone(), problem })?;
        Ok(VolumeContents { name: volume.name.clone(), files })
    }

    fn files(&self, volume: &Volume) -> Result<Vec<File>, Problem> {
        if let Some(source) = &volume.config_map {
            let projection = ConfigMapProjection {
                name: source.name.clone(),
                items: source.items.clone(),
                optional: source.optional,
            };
            return self.config_map(&projection, mode(source.default_mode));
        }
        if let Some(source) = &volume.secret {
            let projection = SecretProjection {
                name: source.secret_name.clone().unwrap_or_default(),
                items: source.items.clone(),
                optional: source.optional,
            };
            return self.secret(&projection, mode(source.default_mode));
        }
        if let Some(source) = &volume.downward_api {
            return self.downward(source.items.as_deref(), mode(source.default_mode));
        }
        let default = mode(volume.projected.as_ref().and_then(|p| p.default_mode));
        // A later source wins where two name the same path.
        let mut files: BTreeMap<String, File> = BTreeMap::new();
        for source in projections(volume) {
            let made = self.projection(source, default)?;
            files.extend(made.into_iter().map(|file| (file.path.clone(), file)));
        }
        Ok(files.into_values().collect())
    }

    fn projection(&self, source: &VolumeProjection, mode: u32) -> Result<Vec<File>, Problem> {
        if let Some(source) = &source.config_map {
            return self.config_map(source, mode);
        }
        if let Some(source) = &source.secret {
            return self.secret(source, mode);
        }
        if let Some(source) = &source.downward_api {
            return self.downward(source.items.as_deref(), mode);
        }
        let Some(source) = &source.service_account_token else { return Err(Problem::Unsupported) };
        let token = self.tokens.get(&token_ref(source)).ok_or_else(|| Problem::Token {
            message: "the API server has not issued it yet".into(),
        })?;
        // As upstream: only its owner may read a token, unless fsGroup shares it.
        let mode = if self.gid.is_some() { 0o600 } else { mode };
        Ok(vec![self.file(&source.path, token.clone().into_bytes(), mode)?])
    }

    fn config_map(&self, source: &ConfigMapProjection, mode: u32) -> Result<Vec<File>, Problem> {
        let data = self.objects.config_maps.get(&source.name);
        self.keys("configmap", &source.name, data, source.items.as_deref(), source.optional, mode)
    }

    fn secret(&self, source: &SecretProjection, mode: u32) -> Result<Vec<File>, Problem> {
        let data = self.objects.secrets.get(&source.name);
        self.keys("secret", &source.name, data, source.items.as_deref(), source.optional, mode)
    }

    fn keys(
        &self,
        kind: &'static str,
        name: &str,
        data: Option<&env::Data>,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: u32,
    ) -> Result<Vec<File>, Problem> {
        let optional = optional == Some(true);
        let Some(data) = data else {
            let missing = Problem::Missing { kind, name: name.to_owned() };
            return if optional { Ok(Vec::new()) } else { Err(missing) };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return data.iter().map(|(key, value)| self.file(key, value.clone(), mode)).collect();
        };
        let mut files = Vec::new();
        for item in items {
            match data.get(&item.key) {
                Some(value) => {
                    let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(mode);
                    files.push(self.file(&item.path, value.clone(), mode)?);
                }
                None if optional => {}
                None => return Err(Problem::MissingKey { kind, key: item.key.clone() }),
            }
        }
        Ok(files)
    }

    fn downward(
        &self,
        items: Option<&[DownwardAPIVolumeFile]>,
        default: u32,
    ) -> Result<Vec<File>, Problem> {
        let mut files = Vec::new();
        for item in items.unwrap_or_default() {
            let value = if let Some(field) = &item.field_ref {
                fields::field(self.pod, &field.field_path, self.facts)
            } else if let Some(resource) = &item.resource_field_ref {
                fields::resource(self.pod, resource, "", self.facts)
            } else {
                continue;
            };
            let value = value.map_err(|rejection| Problem::Field(rejection.message))?;
            let mode = item.mode.and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default);
            files.push(self.file(&item.path, value.into_bytes(), mode)?);
        }
        Ok(files)
    }

    fn file(&self, path: &str, data: Vec<u8>, mode: u32) -> Result<File, Problem> {
        let outside = path.is_empty() || path.starts_with('/');
        if outside || path.split('/').any(|part| part == "..") {
            return Err(Problem::Path(path.to_owned()));
        }
        let (gid, mode) = match self.gid {
            Some(gid) => (gid, mode | GROUP_READ),
            None => (0, mode),
        };
        Ok(File { path: path.to_owned(), data: data.into(), mode, uid: 0, gid })
    }
}

fn mode(default: Option<i32>) -> u32 {
    u32::try_from(default.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn pod(volume: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "1"}},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [volume]},
        }))
        .unwrap()
    }

    fn objects() -> Objects {
        let data = |pairs: &[(&str, &str)]| {
            Arc::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect())
        };
        Objects {
            config_maps: BTreeMap::from([("cm".into(), data(&[("k1", "v1"), ("k2", "v2")]))]),
            secrets: BTreeMap::from([("s".into(), data(&[("pw", "x")]))]),
        }
    }

    fn tokens() -> BTreeMap<TokenRef, String> {
        let reference = TokenRef { audience: None, expiration_seconds: 3607 };
        BTreeMap::from([(reference, "jwt".to_owned())])
    }

    /// Renders `path=data:mode` for each file, or the error.
    fn check(volume: serde_json::Value, expect: &str) {
        let facts = NodeFacts::default();
        let made = match contents(&pod(volume), &facts, &objects(), &tokens()) {
            Ok(volumes) => volumes[0]
                .files
                .iter()
                .map(|f| format!("{}={}:{:o}", f.path, String::from_utf8_lossy(&f.data), f.mode))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(made, expect);
    }

    #[test]
    fn volumes() {
        check(json!({"name": "v", "configMap": {"name": "cm"}}), "k1=v1:644 k2=v2:644");
        check(
            json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 0o400, "items": [{"key": "k2", "path": "d/x", "mode": 0o755}]}}),
            "d/x=v2:755",
        );
        check(
            json!({"name": "v", "secret": {"secretName": "s", "defaultMode": 0o400}}),
            "pw=x:400",
        );
        check(json!({"name": "v", "configMap": {"name": "no", "optional": true}}), "");
        check(
            json!({"name": "v", "configMap": {"name": "no"}}),
            "MountVolume.SetUp failed for volume \"v\" : configmap \"no\" not found",
        );
        check(
            json!({"name": "v", "secret": {"secretName": "s", "items": [{"key": "no", "path": "p"}]}}),
            "MountVolume.SetUp failed for volume \"v\" : references non-existent secret key: no",
        );
        check(
            json!({"name": "v", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
            "labels=a=\"1\":644",
        );
        check(
            json!({"name": "v", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "cm", "items": [{"key": "k1", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ]}}),
            "ca.crt=v1:644 namespace=n:644 token=jwt:644",
        );
        check(
            json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "k1", "path": "../x"}]}}),
            "MountVolume.SetUp failed for volume \"v\" : path \"../x\" must be relative and hold no \"..\"",
        );
    }

    #[test]
    fn references_are_found() {
        let pod = pod(json!({"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}}, {"secret": {"name": "s"}}, {"configMap": {"name": "cm"}},
        ]}}));
        let names: Vec<String> = references(&pod)
            .into_iter()
            .map(|r| format!("{:?}/{}/{}", r.kind, r.namespace, r.name))
            .collect();
        assert_eq!(names, ["ConfigMap/n/cm", "Secret/n/s"]);
        assert_eq!(token_references(&pod).len(), 1);
    }
}
