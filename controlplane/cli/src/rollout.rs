//! `rollout`: how far a new version is, and back.

mod history;
mod status;

use anyhow::{Result, bail};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    discovery::{Kind, Kinds},
    json::{is_true_at, text_at},
    output::age,
    select,
    send::{self, Writing},
    session::{JSON, STRATEGIC, Session, now, with_query},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
    #[command(flatten)]
    pub globals: crate::session::Globals,
}

/// What the subcommands name.
#[derive(Debug, clap::Args)]
pub struct Targets {
    /// TYPE NAME or TYPE/NAME
    #[arg(required = true)]
    pub resources: Vec<String>,
}

#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Show the status of the rollout
    Status {
        #[command(flatten)]
        targets: Targets,
        /// Watch the status of the rollout until it's done
        #[arg(short, long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
        watch: bool,
        /// The length of time to wait before ending watch, zero means never
        #[arg(long, default_value = "0s")]
        timeout: String,
    },
    /// View rollout history
    History {
        #[command(flatten)]
        targets: Targets,
        /// See the details, including podTemplate of the revision specified
        #[arg(long, default_value_t = 0)]
        revision: i64,
    },
    /// Undo a previous rollout
    Undo {
        #[command(flatten)]
        targets: Targets,
        /// The revision to rollback to. Default to 0 (last revision)
        #[arg(long, default_value_t = 0)]
        to_revision: i64,
        #[command(flatten)]
        writing: Writing,
    },
    /// Restart a resource
    Restart {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark the provided resource as paused
    Pause {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        writing: Writing,
    },
    /// Resume a paused resource
    Resume {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        writing: Writing,
    },
}

/// Does what the subcommand says to each named object.
///
/// # Errors
/// What the server answers, or when a rollout fails.
pub async fn run(session: &Session, arguments: Arguments) -> Result<()> {
    let kinds = Kinds::discover(session).await?;
    let targets = match &arguments.what {
        What::Status { targets, .. }
        | What::History { targets, .. }
        | What::Undo { targets, .. }
        | What::Restart { targets, .. }
        | What::Pause { targets, .. }
        | What::Resume { targets, .. } => select::parse_named(&kinds, &targets.resources)?,
    };
    for (kind, name) in &targets {
        match &arguments.what {
            What::Status { watch, timeout, .. } => {
                follow(session, kind, name, *watch, timeout).await?;
            }
            What::History { revision, .. } => {
                history::print(session, kind, name, *revision).await?
            }
            What::Undo { to_revision, writing, .. } => {
                history::undo(session, kind, name, *to_revision, writing).await?;
            }
            What::Restart { writing, .. } => restart(session, kind, name, writing).await?,
            What::Pause { writing, .. } => pause(session, kind, name, writing, true).await?,
            What::Resume { writing, .. } => pause(session, kind, name, writing, false).await?,
        }
    }
    Ok(())
}

async fn follow(
    session: &Session,
    kind: &Kind,
    name: &str,
    watch: bool,
    timeout: &str,
) -> Result<()> {
    let Some(limit) = age::parse_duration(timeout) else { bail!("invalid duration \"{timeout}\"") };
    if limit.is_zero() {
        return follow_forever(session, kind, name, watch).await;
    }
    match tokio::time::timeout(limit, follow_forever(session, kind, name, watch)).await {
        Ok(done) => done,
        Err(_) => bail!("timed out waiting for the condition"),
    }
}

async fn follow_forever(session: &Session, kind: &Kind, name: &str, watch: bool) -> Result<()> {
    let path = kind.object(&session.namespace, name);
    let mut last = String::new();
    let mut tell = |object: &Value| -> Result<bool> {
        let (text, done) = status::describe(object)?;
        if text != last {
            println!("{text}");
            last = text;
        }
        Ok(done)
    };
    loop {
        let object = session.get(&path).await?;
        if tell(&object)? || !watch {
            return Ok(());
        }
        let version = text_at(&object, "/metadata/resourceVersion");
        let events =
            with_query(&kind.watch_one(&session.namespace, name), &[("resourceVersion", version)]);
        let mut events = session.watch(&events, JSON).await?;
        while let Some(Ok(event)) = events.next().await {
            match text_at(&event, "/type") {
                "DELETED" => bail!("object has been deleted"),
                "BOOKMARK" => {}
                _ if tell(&event["object"])? => return Ok(()),
                _ => {}
            }
        }
    }
}

async fn restart(session: &Session, kind: &Kind, name: &str, writing: &Writing) -> Result<()> {
    let object = session.get(&kind.object(&session.namespace, name)).await?;
    if is_true_at(&object, "/spec/paused") {
        let word = kind.kind.to_lowercase();
        bail!(
            "{} \"{name}\" can't restart paused {word} (run rollout resume first)",
            kind.resource()
        );
    }
    let at = now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": at });
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    send::patch(
        session,
        (kind, name),
        (STRATEGIC, &patch),
        writing,
        ("kubectl-rollout", "restarted"),
    )
    .await
}

async fn pause(
    session: &Session,
    kind: &Kind,
    name: &str,
    writing: &Writing,
    paused: bool,
) -> Result<()> {
    if kind.kind != "Deployment" {
        bail!("{} \"{name}\" pausing is not supported", kind.resource());
    }
    let object = session.get(&kind.object(&session.namespace, name)).await?;
    if is_true_at(&object, "/spec/paused") == paused {
        bail!(
            "{} \"{name}\" is {} paused",
            kind.resource(),
            if paused { "already" } else { "not" }
        );
    }
    let patch = json!({ "spec": { "paused": paused } });
    let verb = if paused { "paused" } else { "resumed" };
    send::patch(session, (kind, name), (STRATEGIC, &patch), writing, ("kubectl-rollout", verb))
        .await
}
