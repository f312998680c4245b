//! A key that a command of the operator's prints: kept for a while, and read again where the model refuses it.

use hyper::header::HeaderValue;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The shortest time between two runs of a command because of refusals: sessions can have a model refuse them.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(10);

/// How long the failure of a command answers everybody who wants a key, before it is run again.
const FAILURE_AGE: Duration = Duration::from_secs(5);

/// What a command prints, or why it prints no key; never a part of what it has printed.
pub type KeyResult = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where keys come from.
pub trait KeySource: Send + Sync {
    /// A key as it is now.
    fn read(&self) -> KeyResult;
}

/// Who sees whether the keys of routes have changed where they stand.
pub trait KeyWatch: Send + Sync {
    /// Looks at it, and replaces them where they have.
    fn look(&self);
}

/// The key of a route that changes.
pub struct ChangingKey {
    source: Arc<dyn KeySource>,
    /// The key of the configuration that names the source.
    name: String,
    max_age: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    key: Option<(String, Instant)>,
    renewed: Option<Instant>,
    failed: Option<(String, Instant)>,
}

impl ChangingKey {
    /// A key from this source, which is read again when it is as old as this.
    pub fn new(source: Arc<dyn KeySource>, name: String, max_age: Duration) -> Self {
        Self { source, name, max_age, kept: Mutex::default() }
    }

    /// The key to send now. Requests that come while it is read wait for it.
    pub(super) async fn get(&self) -> Result<String, String> {
        let mut kept = self.kept.lock().await;
        if let Some((key, read)) = &kept.key
            && read.elapsed() < self.max_age
        {
            return Ok(key.clone());
        }
        self.read(&mut kept).await
    }

    /// Whether there is another key than this one, which a model has refused.
    pub(super) async fn renew(&self, refused: &str) -> bool {
        let mut kept = self.kept.lock().await;
        if kept.key.as_ref().is_some_and(|(key, _)| key != refused) {
            return true;
        }
        if kept.renewed.is_some_and(|last| last.elapsed() < BETWEEN_RENEWALS) {
            return false;
        }
        kept.renewed = Some(Instant::now());
        // Where that fails, the old key stays: the model's own refusal is told.
        self.read(&mut kept).await.is_ok_and(|key| key != refused)
    }

    /// Runs the command, unless it has just failed. Those who wait meanwhile get the same answer.
    async fn read(&self, kept: &mut Kept) -> Result<String, String> {
        if let Some((why, at)) = &kept.failed
            && at.elapsed() < FAILURE_AGE
        {
            return Err(why.clone());
        }
        let read = self.run().await;
        match &read {
            Ok(key) => {
                kept.key = Some((key.clone(), Instant::now()));
                kept.failed = None;
            }
            Err(why) => kept.failed = Some((why.clone(), Instant::now())),
        }
        read
    }

    async fn run(&self) -> Result<String, String> {
        let fail =
            |why: &str| format!("the server's operator can correct `{}`: it {why}", self.name);
        let printed = self.source.read().await.map_err(|why| fail(&why))?;
        let key = printed.trim();
        if key.is_empty() {
            return Err(fail("printed nothing"));
        }
        if key.chars().any(|c| !matches!(c, '!'..='~')) || HeaderValue::try_from(key).is_err() {
            return Err(fail("printed more than a key, which is one word in a line"));
        }
        Ok(key.to_owned())
    }
}

impl fmt::Debug for ChangingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ChangingKey").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex as Plain;

    /// Prints these, one after the other, and then nothing.
    struct Printed(Plain<Vec<&'static str>>);

    impl KeySource for Printed {
        fn read(&self) -> KeyResult {
            let next = self.0.lock().pop().unwrap_or_default();
            Box::pin(async move { Ok(next.to_owned()) })
        }
    }

    fn key(printed: &[&'static str], max_age: Duration) -> ChangingKey {
        let printed = printed.iter().rev().copied().collect();
        let source = Arc::new(Printed(Plain::new(printed)));
        ChangingKey::new(source, "agents.a.key_command".to_owned(), max_age)
    }

    #[tokio::test]
    async fn a_key_is_kept_until_it_is_old() {
        let kept = key(&["one\n", "two"], Duration::from_secs(60));
        assert_eq!(kept.get().await.unwrap(), "one");
        assert_eq!(kept.get().await.unwrap(), "one");
        let old = key(&["one", "two"], Duration::ZERO);
        assert_eq!(old.get().await.unwrap(), "one");
        assert_eq!(old.get().await.unwrap(), "two");
    }

    #[tokio::test]
    async fn a_refused_key_is_renewed_once_for_all_who_sent_it_and_not_as_often_as_a_session_likes()
    {
        let kept = key(&["one", "two", "three"], Duration::from_secs(60));
        assert_eq!(kept.get().await.unwrap(), "one");
        assert!(kept.renew("one").await);
        assert!(kept.renew("one").await);
        assert_eq!(kept.get().await.unwrap(), "two");
        assert!(!kept.renew("two").await);
        assert_eq!(kept.get().await.unwrap(), "two");
    }

    #[tokio::test]
    async fn a_failure_answers_everybody_for_a_while_without_another_run() {
        let kept = key(&["", "one"], Duration::ZERO);
        let first = kept.get().await.unwrap_err();
        assert_eq!(kept.get().await.unwrap_err(), first);
    }

    #[tokio::test]
    async fn a_renewal_that_fails_leaves_the_old_key() {
        let kept = key(&["one", "", "two"], Duration::from_secs(60));
        assert_eq!(kept.get().await.unwrap(), "one");
        assert!(!kept.renew("one").await);
        assert_eq!(kept.get().await.unwrap(), "one");
    }

    #[tokio::test]
    async fn what_is_no_key_is_not_told_and_names_what_to_correct() {
        for printed in ["", "hidden two", "hidden\nhidden"] {
            let error = key(&[printed], Duration::ZERO).get().await.unwrap_err();
            assert!(error.contains("agents.a.key_command") && !error.contains("hidden"), "{error}");
        }
    }
}
