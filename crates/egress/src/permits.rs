//! Permits for requests: their number bounds the memory of all connections of sessions.
//!
//! Each session has some permits of its own, so that no other session can keep it from its model. The others
//! are common, and one session has at most a quarter of them.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A session has at most this part of the common permits.
const MOST: usize = 4;

/// The permits of all sessions.
pub(super) struct RequestPermits {
    own: usize,
    common: Arc<Semaphore>,
    most: usize,
}

/// The permits of one session.
pub(super) struct SessionPermits {
    own: Arc<Semaphore>,
    /// For those of the common permits that it may have.
    further: Arc<Semaphore>,
    common: Arc<Semaphore>,
}

/// A permit for one request.
pub(super) struct RequestPermit {
    _permits: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl RequestPermits {
    /// So many permits of each session's own, and so many common ones.
    pub(super) fn new(own: usize, common: usize) -> Self {
        let common = common.min(Semaphore::MAX_PERMITS);
        Self {
            own: own.clamp(1, Semaphore::MAX_PERMITS),
            common: Arc::new(Semaphore::new(common)),
            most: common.div_ceil(MOST),
        }
    }

    /// Common permits that are free.
    #[cfg(test)]
    pub(super) fn count_common(&self) -> usize {
        self.common.available_permits()
    }

    /// The share of a further session.
    pub(super) fn share(&self) -> SessionPermits {
        SessionPermits {
            own: Arc::new(Semaphore::new(self.own)),
            further: Arc::new(Semaphore::new(self.most)),
            common: self.common.clone(),
        }
    }
}

impl SessionPermits {
    /// A permit, as soon as there is one. Cancel-safe.
    pub(super) async fn acquire(&self) -> RequestPermit {
        let common = async {
            let further = acquire(&self.further).await;
            (further, Some(acquire(&self.common).await))
        };
        let permits = tokio::select! {
            biased;
            own = acquire(&self.own) => (own, None),
            common = common => common,
        };
        RequestPermit { _permits: permits }
    }

    /// A permit, if there is one now.
    pub(super) fn try_acquire(&self) -> Option<RequestPermit> {
        let now = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        let own = now(&self.own).map(|own| (own, None));
        let permits = own.or_else(|| Some((now(&self.further)?, Some(now(&self.common)?))))?;
        Some(RequestPermit { _permits: permits })
    }
}

async fn acquire(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn take(share: &SessionPermits) -> Vec<RequestPermit> {
        std::iter::from_fn(|| share.try_acquire()).collect()
    }

    #[test]
    fn a_session_has_its_own_places_whatever_others_hold() {
        let pool = RequestPermits::new(2, 8);
        let shares: Vec<_> = (0..6).map(|_| pool.share()).collect();
        let held: Vec<_> = shares.iter().map(take).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [4, 4, 4, 4, 2, 2]);
    }

    #[test]
    fn a_place_that_was_given_back_goes_to_who_waits() {
        let pool = RequestPermits::new(1, 4);
        let shares: Vec<_> = (0..5).map(|_| pool.share()).collect();
        let mut held: Vec<_> = shares.iter().map(take).collect();
        let mut waiting = Box::pin(shares[4].acquire());
        assert!((&mut waiting).now_or_never().is_none());
        // The common permit of another session, then one of its own.
        drop(held[0].pop());
        let common = waiting.now_or_never().unwrap();
        let mut waiting = Box::pin(shares[4].acquire());
        assert!((&mut waiting).now_or_never().is_none());
        drop(held[4].pop());
        assert!(waiting.now_or_never().is_some());
        drop(common);
    }

    #[test]
    fn who_stops_waiting_holds_no_place() {
        let pool = RequestPermits::new(1, 4);
        let shares: Vec<_> = (0..5).map(|_| pool.share()).collect();
        let held: Vec<_> = shares.iter().map(take).collect();
        assert!(shares[4].acquire().now_or_never().is_none());
        drop(held);
        let counts: Vec<_> = shares.iter().map(|share| take(share).len()).collect();
        assert_eq!(counts, [2, 2, 2, 2, 2]);
    }
}
