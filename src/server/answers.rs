//! The memory of answers: what callers have not read yet is counted in one budget, whoever asked and by
//! whichever binding.
//!
//! # How it works
//!
//! Whoever makes an answer first reserves [`Room`] for the largest that it may become, before the store is
//! read. Callers take turns, and one caller has at most half of the budget. Reading and encoding take
//! several times the size of the answer, so only a few answers are made at a time; one caller never makes
//! all of them. When the answer is encoded, its room shrinks to its size and is bound to its bytes ([`Room::hold`]): it comes back when
//! the last of them has left for the socket, or when the connection is gone.
//!
//! Streams that nobody reads hold a piece each. All pieces together have half of the budget at most, and
//! half of what one caller may have: a caller with many such streams still gets its other answers.
//!
//! What changes something is never refused for want of room after it was done: such an answer is
//! shortened ([`Answers::reserve`] says so, `Doors::perform` does it).

use crate::config::Config;
use crate::queue::{FairQueue, Place};
use bytes::Bytes;
use pilothouse_a2a::error::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// An answer up to this size takes no room.
pub(super) const SMALL_ANSWER: usize = 1024;

/// Room for an answer that is made of a small task at hand, and is not read from the store.
pub(super) const AT_HAND: usize = 64 * 1024;

/// Seconds after which an answer for which there was no room is worth another try.
const RETRY_SECONDS: u64 = 5;

/// The budget of all answers.
pub struct Answers {
    /// A place is a byte.
    queue: FairQueue,
    /// The part of it that pieces of streams may take; a place is a byte.
    pieces: FairQueue,
    /// A place is an answer that is read and encoded.
    making: FairQueue,
    /// Requests that may wait; of one caller half as many.
    waiting: usize,
    patience: Duration,
    stop: CancellationToken,
}

/// Room for one answer; what is not bound to its bytes comes back when this is dropped.
#[derive(Default)]
pub(super) struct Room {
    place: Option<Place>,
    piece: Option<Place>,
    making: Option<Place>,
}

/// Bytes of an answer together with their room.
struct HeldAnswer {
    bytes: Vec<u8>,
    _places: [Option<Place>; 2],
}

impl AsRef<[u8]> for HeldAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answers {
    /// The budget that the configuration describes; nothing waits any longer after `stop`.
    pub fn new(config: &Config, stop: CancellationToken) -> Self {
        let limits = &config.limits;
        let (bytes, making) = (limits.responses.as_usize(), limits.store_readers.div_ceil(2));
        let queue =
            |places: usize, own: usize| FairQueue::new(places, own.max(1), &BTreeMap::new());
        Self {
            queue: queue(bytes, bytes / 2),
            pieces: queue(bytes / 2, bytes / 4),
            making: queue(making, making.saturating_sub(1)),
            waiting: limits.responses_waiting,
            patience: config.timeouts.response.get(),
            stop,
        }
    }

    /// Room for an answer of at most so many bytes. A caller who hangs up meanwhile leaves the queue.
    ///
    /// # Errors
    ///
    /// `Unavailable`: too many wait, there was no room in time, or the server stops.
    pub(super) async fn reserve(&self, caller: &Arc<str>, most: usize) -> Result<Room, Error> {
        self.check_waiting(&self.queue, caller)?;
        self.reserve_in_time(self.room(caller, most)).await
    }

    /// Room for the next piece of a stream, of at most so many bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Answers::reserve`].
    pub(super) async fn reserve_piece(
        &self,
        caller: &Arc<str>,
        most: usize,
    ) -> Result<Room, Error> {
        self.check_waiting(&self.pieces, caller)?;
        let room = async {
            let piece = Some(self.pieces.request_many(caller, most).place().await);
            Room { piece, ..self.room(caller, most).await }
        };
        self.reserve_in_time(room).await
    }

    async fn room(&self, caller: &Arc<str>, most: usize) -> Room {
        let place = Some(self.queue.request_many(caller, most).place().await);
        let making = match most <= AT_HAND {
            true => None,
            false => Some(self.making.request(caller).place().await),
        };
        Room { place, piece: None, making }
    }

    fn check_waiting(&self, queue: &FairQueue, caller: &Arc<str>) -> Result<(), Error> {
        let (all, own) = queue.count_waiting(caller);
        if all >= self.waiting || own >= self.waiting.div_ceil(2) {
            return Err(refuse(
                "too many requests wait for room for their answers (`limits.responses_waiting`)",
            ));
        }
        Ok(())
    }

    async fn reserve_in_time(&self, room: impl Future<Output = Room>) -> Result<Room, Error> {
        tokio::select! {
            biased;
            room = tokio::time::timeout(self.patience, room) => room.map_err(|_| refuse(
                "answers that callers have not read yet fill the memory for answers (`limits.responses`)",
            )),
            () = self.stop.cancelled() => Err(refuse("the server is stopping")),
        }
    }

    /// Room for an answer that must be given, whether or not there is any; others wait the longer.
    pub(super) fn overdraw(&self, caller: &Arc<str>, most: usize) -> Room {
        let place = Some(self.queue.overdraw(caller, most));
        Room { place, ..Room::default() }
    }
}

fn refuse(why: &str) -> Error {
    let message = format!(
        "{why}; read the answers that are open and try again; the server's operator can raise this limit"
    );
    Error::new(ErrorKind::Unavailable, message).retry_after(RETRY_SECONDS)
}

impl Room {
    /// Keeps as much as what was read takes until it is encoded, and lets the next answer be made: a
    /// client may leave that encoding for later.
    pub(super) fn shrink(&mut self, size: usize) {
        self.making = None;
        self.places().for_each(|place| place.resize(size));
    }

    /// The bytes of the answer, bound to as much room as they take.
    pub(super) fn hold(mut self, bytes: impl Into<Vec<u8>>) -> Bytes {
        let mut bytes = bytes.into();
        if bytes.len() <= SMALL_ANSWER || self.place.is_none() {
            return Bytes::from(bytes);
        }
        bytes.shrink_to_fit();
        self.places().for_each(|place| place.resize(bytes.len()));
        Bytes::from_owner(HeldAnswer { bytes, _places: [self.place, self.piece] })
    }

    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        self.place.iter_mut().chain(&mut self.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn answers(responses: u64, waiting: usize) -> Answers {
        let mut config = Config::default();
        config.limits.responses = crate::config::Bytes::new(responses);
        config.limits.responses_waiting = waiting;
        Answers::new(&config, CancellationToken::new())
    }

    fn caller(name: &str) -> Arc<str> {
        name.into()
    }

    fn has_room(answers: &Answers, name: &str, most: usize) -> bool {
        matches!(answers.reserve(&caller(name), most).now_or_never(), Some(Ok(_)))
    }

    #[tokio::test]
    async fn room_is_bound_to_the_bytes_until_the_last_of_them_is_dropped() {
        let answers = answers(20_000, 10);
        let room = answers.reserve(&caller("a"), 10_000).await.unwrap();
        assert!(!has_room(&answers, "a", 1));
        let mut bytes = room.hold(vec![0; 4000]);
        assert!(has_room(&answers, "a", 6000));
        let last = bytes.split_off(3999);
        drop(bytes);
        assert_eq!(answers.queue.free(), 16_000);
        drop(last);
        assert_eq!(answers.queue.free(), 20_000);
    }

    #[tokio::test]
    async fn a_small_answer_takes_no_room() {
        let answers = answers(20_000, 10);
        let held = answers.reserve(&caller("a"), 10_000).await.unwrap().hold(vec![0; 1024]);
        assert_eq!((held.len(), answers.queue.free()), (1024, 20_000));
    }

    #[tokio::test]
    async fn one_caller_has_at_most_half_of_the_room_and_half_of_the_queue() {
        let answers = answers(20_000, 4);
        let _half = answers.reserve(&caller("a"), 10_000).await.unwrap();
        let mut waiting: Vec<_> =
            (0..2).map(|_| Box::pin(answers.queue.request_many(&caller("a"), 1).place())).collect();
        assert!(waiting.iter_mut().all(|wait| wait.now_or_never().is_none()));
        let refused = answers.reserve(&caller("a"), 1).await.err().unwrap();
        assert!(refused.message.contains("limits.responses_waiting"), "{}", refused.message);
        assert!(has_room(&answers, "b", 10_000));
    }

    #[tokio::test]
    async fn streams_that_nobody_reads_leave_half_of_their_callers_room_to_its_other_answers() {
        let answers = answers(20_000, 10);
        let _unread: Vec<_> = answers.reserve_piece(&caller("a"), 5000).await.into_iter().collect();
        assert!(answers.reserve_piece(&caller("a"), 1).now_or_never().is_none());
        assert!(has_room(&answers, "a", 5000));
        assert!(matches!(answers.reserve_piece(&caller("b"), 5000).now_or_never(), Some(Ok(_))));
    }

    #[tokio::test]
    async fn the_room_of_a_piece_comes_back_with_its_last_byte() {
        let answers = answers(20_000, 10);
        let bytes = answers.reserve_piece(&caller("a"), 5000).await.unwrap().hold(vec![0; 4000]);
        assert_eq!((answers.pieces.free(), answers.queue.free()), (6000, 16_000));
        drop(bytes);
        assert_eq!((answers.pieces.free(), answers.queue.free()), (10_000, 20_000));
    }

    #[tokio::test]
    async fn one_caller_does_not_make_all_answers_that_are_made_at_a_time() {
        let answers = answers(4_000_000, 10);
        let large = AT_HAND + 1;
        let mut room = answers.reserve(&caller("a"), large).await.unwrap();
        assert!(!has_room(&answers, "a", large));
        assert!(has_room(&answers, "a", AT_HAND));
        assert!(has_room(&answers, "b", large));
        room.shrink(100);
        assert_eq!(answers.queue.free(), 3_999_900);
        assert!(has_room(&answers, "a", large));
    }

    #[tokio::test]
    async fn who_waits_in_vain_is_told_which_key_it_is_and_when_to_come_again() {
        let answers = Answers { patience: Duration::ZERO, ..answers(20_000, 4) };
        let _half = answers.reserve(&caller("a"), 10_000).await.unwrap();
        let refused = answers.reserve(&caller("a"), 1).await.err().unwrap();
        assert!(refused.message.contains("`limits.responses`"), "{}", refused.message);
        assert_eq!((refused.kind, refused.retry_after), (ErrorKind::Unavailable, Some(5)));
        let answers = Answers { patience: Duration::MAX, ..answers };
        answers.stop.cancel();
        let refused = answers.reserve(&caller("a"), 1).await.err().unwrap();
        assert!(refused.message.contains("stopping"), "{}", refused.message);
    }
}
