//! Images of a pod's containers: policy, pull secrets, stop signal.

use std::collections::BTreeSet;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use podloop::container::ImageState;
use podloop::event::{PullFailure, PulledImage};
use podloop::{ContainerPlan, Machine, PullPolicy};
use volume::ObjectRef;

use crate::ports::{Images, LocalImage, Login};
use crate::shared::Shared;

/// SIGTERM, when neither pod nor image says otherwise.
const DEFAULT_SIGNAL: i32 = 15;

/// The image, if policy allows to use what is on the node.
pub fn present(images: &dyn Images, plan: &ContainerPlan) -> Option<LocalImage> {
    match plan.pull_policy {
        PullPolicy::Always => None,
        PullPolicy::IfNotPresent | PullPolicy::Never => images.lookup(&plan.image),
    }
}

/// The image from the node or from its registry.
pub async fn obtain(
    shared: &Shared,
    pod: &Pod,
    plan: &ContainerPlan,
    present: Option<LocalImage>,
    references: &BTreeSet<ObjectRef>,
) -> Result<(LocalImage, PulledImage), PullFailure> {
    let began = Instant::now();
    let (image, pulled) = match present {
        Some(image) => (image, false),
        None if plan.pull_policy == PullPolicy::Never => {
            let message = format!(
                "Container image \"{}\" is not present with pull policy of Never",
                plan.image
            );
            return Err(PullFailure { reason: "ErrImageNeverPull".into(), message });
        }
        None => {
            let login = login(shared, pod, &plan.image, references).await;
            (shared.images.pull(&plan.image, login).await?, true)
        }
    };
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let record = PulledImage {
        id: image.id.clone(),
        digest: image.digest.clone(),
        pull_millis: pulled.then_some(millis),
        size_bytes: image.size_bytes,
        stop_signal: image.stop_signal.clone(),
    };
    Ok((image, record))
}

async fn login(
    shared: &Shared,
    pod: &Pod,
    image: &str,
    references: &BTreeSet<ObjectRef>,
) -> Option<Login> {
    let names = pod.spec.as_ref()?.image_pull_secrets.as_ref()?;
    let objects = shared.objects.resolve(references).await;
    let secrets: Vec<_> =
        names.iter().filter_map(|name| objects.secrets.get(&name.name).cloned()).collect();
    let auth = volume::objects::registry_auth(&secrets, registry_of(image))?;
    let text = |key: &str| auth.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    if let (Some(username), Some(password)) = (text("username"), text("password")) {
        return Some(Login { username, password });
    }
    let decoded = STANDARD.decode(text("auth")?).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some(Login { username: username.to_owned(), password: password.to_owned() })
}

/// The registry of a reference: its first part when that looks like a host.
fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        Some(_) | None => "index.docker.io",
    }
}

/// `lifecycle.stopSignal`, the image's STOPSIGNAL, or SIGTERM.
pub fn stop_signal(pod: &Pod, machine: &Machine, index: usize) -> i32 {
    let name = &machine.plan.containers[index].name;
    let container = super::actions::find_container(pod, name);
    let of_pod = container.and_then(|container| container.lifecycle?.stop_signal);
    let of_image = match &machine.state.containers[index].image {
        ImageState::Ready(image) => image.stop_signal.clone(),
        ImageState::Needed | ImageState::Pulling | ImageState::Failed { .. } => None,
    };
    of_pod.or(of_image).and_then(|text| parse_signal(&text)).unwrap_or(DEFAULT_SIGNAL)
}

fn parse_signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let name = if text.starts_with("SIG") { text.to_owned() } else { format!("SIG{text}") };
    name.parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_and_registries() {
        for (text, expect) in
            [("SIGQUIT", Some(3)), ("QUIT", Some(3)), ("9", Some(9)), ("nonsense", None)]
        {
            assert_eq!(parse_signal(text), expect, "{text}");
        }
        for (image, expect) in [
            ("nginx", "index.docker.io"),
            ("library/nginx", "index.docker.io"),
            ("10.88.0.1:5000/nginx:1", "10.88.0.1:5000"),
            ("localhost/x", "localhost"),
        ] {
            assert_eq!(registry_of(image), expect);
        }
    }
}
