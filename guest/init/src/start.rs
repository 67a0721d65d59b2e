//! Turns the agent's words about a container into a specification, and failures into what users read.

use std::path::{Path, PathBuf};

use container::capabilities::CapabilitySet;
use container::{
    Bind, Failure, FailureKind, Limits, Namespace, Namespaces, Process, Root, Seccomp, Spec,
};
use proto::guest::{Container, StartFailure};
use tonic::Status;

use crate::layers;
use crate::pod::Pod;

/// Exit codes as shells and container engines use them.
const EXIT_NOT_STARTED: i32 = 128;
const EXIT_NOT_FOUND: i32 = 127;
const EXIT_NOT_EXECUTABLE: i32 = 126;

/// Directories of one container.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Mount point and termination message.
    pub own: PathBuf,
    /// Writable layer.
    pub writable: PathBuf,
}

impl Folders {
    pub fn of(base: &Path, id: &str) -> Self {
        Self {
            own: base.join("containers").join(id),
            writable: base.join("scratch/containers").join(id),
        }
    }

    pub fn termination_message(&self) -> PathBuf {
        self.own.join("termination-log")
    }
}

/// The process part of a request.
pub fn plan_process(request: &Container) -> Result<Process, Status> {
    let capabilities = if request.privileged {
        CapabilitySet::ALL
    } else {
        CapabilitySet::from_names(&request.capabilities)
            .map_err(|error| Status::invalid_argument(error.to_string()))?
    };
    let unconfined = request.privileged || request.seccomp == "unconfined";
    Ok(Process {
        args: request.args.clone(),
        env: request.env.clone(),
        cwd: request.cwd.clone(),
        user: request.user.clone(),
        supplementary_gids: request.supplementary_gids.clone(),
        capabilities,
        no_new_privileges: request.no_new_privileges,
        seccomp: if unconfined { Seccomp::Unconfined } else { Seccomp::Default },
        run_as_non_root: request.run_as_non_root,
    })
}

pub fn plan_limits(request: &Container) -> Limits {
    let limits = request.limits.unwrap_or_default();
    Limits {
        memory_bytes: limits.memory_bytes,
        cpu_quota_micros: limits.cpu_quota_us,
        cpu_weight: limits.cpu_weight,
        pids_max: limits.pids_max,
    }
}

impl Pod {
    /// Mounts the layers and names everything the container sees.
    pub fn make_spec(&self, request: &Container, folders: &Folders) -> Result<Spec, Status> {
        let base = &self.paths.base;
        let layers = request
            .layer_devices
            .iter()
            .map(|device| layers::mount_once(&base.join("layers"), device))
            .collect::<anyhow::Result<Vec<PathBuf>>>()
            .map_err(|error| Status::internal(format!("{error:#}")))?;
        let root = Root {
            layers,
            upper: folders.writable.join("upper"),
            work: folders.writable.join("work"),
            mount_point: folders.own.join("root"),
            read_only: request.read_only_root,
        };
        Ok(Spec {
            root,
            process: plan_process(request)?,
            binds: self.plan_binds(request, folders)?,
            privileged: request.privileged,
            namespaces: Namespaces { pid: self.pid_namespace()?, ..Namespaces::default() },
        })
    }

    fn pid_namespace(&self) -> Result<Namespace, Status> {
        let Some(shared) = &self.state().pid_namespace else {
            return Ok(Namespace::New);
        };
        let copy = shared.try_clone().map_err(|error| Status::internal(error.to_string()))?;
        Ok(Namespace::Join(copy))
    }

    fn plan_binds(&self, request: &Container, folders: &Folders) -> Result<Vec<Bind>, Status> {
        let base = &self.paths.base;
        let mut binds = Vec::new();
        let state = self.state();
        for mount in &request.mounts {
            let source = state.volumes.get(&mount.volume).cloned().ok_or_else(|| {
                Status::failed_precondition(format!("there is no volume {:?}", mount.volume))
            })?;
            binds.push(Bind {
                source,
                sub_path: mount.sub_path.clone(),
                destination: mount.destination.clone(),
                read_only: mount.read_only,
            });
        }
        let mut own = vec![
            (base.join("etc/hosts"), "/etc/hosts"),
            (base.join("etc/hostname"), "/etc/hostname"),
            (base.join("etc/resolv.conf"), "/etc/resolv.conf"),
            (base.join("shm"), "/dev/shm"),
        ];
        if !request.termination_message_path.is_empty() {
            own.push((folders.termination_message(), &request.termination_message_path));
        }
        for (source, destination) in own {
            // What the pod mounts itself wins.
            if !binds.iter().any(|b| b.destination.trim_end_matches('/') == destination) {
                let (sub_path, destination) = (String::new(), destination.to_owned());
                binds.push(Bind { source, sub_path, destination, read_only: false });
            }
        }
        Ok(binds)
    }
}

/// What the agent reports of a container that did not start.
pub fn explain_start(failure: &Failure) -> StartFailure {
    let reason = match failure.kind {
        FailureKind::RootForbidden => "CreateContainerConfigError",
        FailureKind::Refused => "CreateContainerError",
        FailureKind::NotFound | FailureKind::PermissionDenied | FailureKind::Setup => "StartError",
    };
    StartFailure {
        reason: reason.into(),
        message: failure.message.clone(),
        exit_code: EXIT_NOT_STARTED,
    }
}

/// What a client that wanted to execute something gets.
pub fn explain_exec(failure: &Failure) -> StartFailure {
    let exit_code = match failure.kind {
        FailureKind::NotFound => EXIT_NOT_FOUND,
        FailureKind::PermissionDenied => EXIT_NOT_EXECUTABLE,
        FailureKind::RootForbidden | FailureKind::Refused | FailureKind::Setup => EXIT_NOT_STARTED,
    };
    StartFailure { reason: "StartError".into(), message: failure.message.clone(), exit_code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_get_their_reasons_and_codes() {
        for (kind, reason, exec_code) in [
            (FailureKind::NotFound, "StartError", 127),
            (FailureKind::PermissionDenied, "StartError", 126),
            (FailureKind::Setup, "StartError", 128),
            (FailureKind::Refused, "CreateContainerError", 128),
            (FailureKind::RootForbidden, "CreateContainerConfigError", 128),
        ] {
            let failure = Failure { kind, message: "m".into() };
            let start = explain_start(&failure);
            assert_eq!((start.reason.as_str(), start.exit_code), (reason, 128));
            assert_eq!(explain_exec(&failure).exit_code, exec_code);
        }
    }

    #[test]
    fn privileged_means_everything() {
        let request = Container { privileged: true, ..Container::default() };
        let process = plan_process(&request).unwrap();
        assert_eq!(process.capabilities, CapabilitySet::ALL);
        assert_eq!(process.seccomp, Seccomp::Unconfined);
        let wrong = Container { capabilities: vec!["CAP_FLY".into()], ..Container::default() };
        assert!(plan_process(&wrong).is_err());
    }
}
