//! Which answers of the server mean "try again", and trying again.

use std::time::Duration;

use kube::runtime::utils::Backoff;

/// Attempts of one update before its conflict is given to the caller (client-go's `retry.DefaultRetry`).
const ATTEMPTS: u32 = 5;
/// Pause between attempts; jitter of half of it keeps racing writers apart.
const PAUSE: Duration = Duration::from_millis(10);

/// Someone else wrote the object first.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict")
}

/// The object is not there.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// An object of that name is there already.
#[must_use]
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// The namespace is being deleted and takes nothing new (`HasStatusCause(NamespaceTerminatingCause)` in client-go).
#[must_use]
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Runs `attempt` (read, change, write) again while its write conflicts.
///
/// # Errors
/// The last attempt's error.
pub async fn retry_on_conflict<T, F, Fut>(mut attempt: F) -> Result<T, kube::Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, kube::Error>>,
{
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if is_conflict(&error) => {
                // interval: only after a conflict, so that two writers do not meet again.
                tokio::time::sleep(PAUSE + PAUSE.mul_f64(rand::random::<f64>() / 2.0)).await;
            }
            done => return done,
        }
    }
    attempt().await
}

/// Pauses between failed watches: short first, so that a restarted server is found at once.
#[derive(Debug, Clone)]
pub struct WatchBackoff {
    next: Duration,
}

impl WatchBackoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(10);
}

impl Default for WatchBackoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LAST);
        // A quarter up or down, so that many clients do not come back in one moment.
        Some(pause.mul_f64(0.75 + rand::random::<f64>() / 2.0))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str) -> kube::Error {
        let status = kube::core::Status { code, reason: reason.to_owned(), ..Default::default() };
        kube::Error::Api(status.boxed())
    }

    #[tokio::test]
    async fn only_conflicts_are_tried_again() {
        for (error, attempts) in [("Conflict", 5), ("AlreadyExists", 1)] {
            let mut count = 0;
            let result: Result<(), _> = retry_on_conflict(|| {
                count += 1;
                async move { Err(status(409, error)) }
            })
            .await;
            assert!(result.is_err());
            assert_eq!(count, attempts, "{error}");
        }
        let mut count = 0;
        let result = retry_on_conflict(|| {
            count += 1;
            let done = count == 3;
            async move { if done { Ok(7) } else { Err(status(409, "Conflict")) } }
        })
        .await;
        assert_eq!(result.unwrap(), 7);
    }

    #[test]
    fn watch_pauses_grow_and_start_over() {
        let mut backoff = WatchBackoff::default();
        let first = backoff.next().unwrap();
        assert!(first <= Duration::from_millis(125));
        assert!(backoff.by_ref().take(20).all(|pause| pause <= Duration::from_millis(12_500)));
        assert!(backoff.next().unwrap() >= Duration::from_millis(7_500));
        backoff.reset();
        assert!(backoff.next().unwrap() <= Duration::from_millis(125));
    }
}
