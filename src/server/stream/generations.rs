//! Generations of a task (version 1.1) for one reader: each event carries how many changes there are with it.

use crate::store::{Event, Kind};
use crate::task::insert_generation;
use std::collections::VecDeque;

/// The generations of events that are on their way to a reader.
#[derive(Debug)]
pub(super) struct Generations {
    is_told: bool,
    /// The last one that was counted; none before the first event.
    last: Option<u64>,
    /// By the numbers of events.
    coming: VecDeque<(u64, u64)>,
}

impl Generations {
    /// For a reader who is told generations or not.
    pub(super) fn of(is_told: bool) -> Self {
        Self { is_told, last: None, coming: VecDeque::new() }
    }

    /// Whether the changes before the first event are still to be counted.
    pub(super) fn needs_beginning(&self) -> bool {
        self.is_told && self.last.is_none()
    }

    /// Begins after so many changes.
    pub(super) fn begin(&mut self, before: i32) {
        self.last = Some(u64::from(before.unsigned_abs()));
    }

    /// Counts these events.
    pub(super) fn count(&mut self, events: &[Event]) {
        let Some(last) = self.last.as_mut().filter(|_| self.is_told) else { return };
        for event in events.iter().filter(|event| event.kind != Kind::Message) {
            *last += 1;
            self.coming.push_back((event.seq, *last));
        }
    }

    /// Writes its generation into an event. Those before it are behind.
    pub(super) fn tell(&mut self, event: &mut Event) {
        if !self.is_told {
            return;
        }
        while let Some((seq, generation)) = self.coming.front().copied() {
            if seq > event.seq {
                return;
            }
            if seq == event.seq {
                event.body = insert_generation(&event.body, generation);
                return;
            }
            self.coming.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event(seq: u64, kind: Kind) -> Event {
        let body = Bytes::from_static(b"{\"statusUpdate\":{\"taskId\":\"t\"}}");
        Event { seq, kind, body }
    }

    #[test]
    fn each_change_has_the_next_generation_also_where_events_before_it_are_not_shown() {
        let mut generations = Generations::of(true);
        assert!(generations.needs_beginning());
        generations.begin(4);
        let events = [
            event(7, Kind::Status),
            event(8, Kind::Message),
            event(9, Kind::Artifact),
            event(20, Kind::Status),
        ];
        generations.count(&events);
        let mut last = event(20, Kind::Status);
        generations.tell(&mut last);
        assert_eq!(last.body, "{\"statusUpdate\":{\"generation\":7,\"taskId\":\"t\"}}");
    }

    #[test]
    fn nobody_is_told_a_generation_who_did_not_ask_for_that() {
        let mut generations = Generations::of(false);
        assert!(!generations.needs_beginning());
        let mut shown = event(1, Kind::Task);
        generations.count(std::slice::from_ref(&shown));
        generations.tell(&mut shown);
        assert_eq!(shown.body, event(1, Kind::Task).body);
    }
}
