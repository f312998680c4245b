//! Server-sent events, however the network cuts them.

use pilothouse_a2a::sse::{self, Decoder, Event, TooLarge};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything that a decoder makes of a stream cut at these places.
fn decode(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
    let mut decoder = Decoder::new(1 << 20);
    let mut events = Vec::new();
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for ends in cuts.windows(2) {
        decoder.push(&bytes[ends[0]..ends[1]]);
        while let Some(event) = decoder.next_event().unwrap() {
            events.push(event);
        }
    }
    events
}

fn event(id: Option<&str>, data: &str) -> Event {
    Event { id: id.map(Into::into), event: None, data: data.into() }
}

#[test]
fn a_frame_has_an_id_and_a_data_line_for_each_line() {
    let frame = |id, data: &str| String::from_utf8(sse::frame(id, data)).unwrap();
    assert_eq!(frame(Some(7), "{}"), "id: 7\ndata: {}\n\n");
    assert_eq!(frame(None, "a\nb"), "data: a\ndata: b\n\n");
}

#[test]
fn what_readers_meet_in_the_field_is_read() {
    for (text, expected) in [
        ("data: a\n\ndata: b\n\n", vec![event(None, "a"), event(None, "b")]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", vec![event(None, "a"), event(None, "b")]),
        ("data: a\r\rdata: b\r\r", vec![event(None, "a"), event(None, "b")]),
        ("data: a\r\n\ndata: b\n\r\n", vec![event(None, "a"), event(None, "b")]),
        ("\u{feff}data: a\n\n", vec![event(None, "a")]),
        ("data:a\n\n", vec![event(None, "a")]),
        ("data:  a\n\n", vec![event(None, " a")]),
        ("data: a\ndata\ndata: b\n\n", vec![event(None, "a\n\nb")]),
        (": hello\n\n:\n\ndata: a\n: between\n\n", vec![event(None, "a")]),
        ("id: 1\ndata: a\n\ndata: b\n\n", vec![event(Some("1"), "a"), event(Some("1"), "b")]),
        ("id: 1\n\ndata: a\n\n", vec![event(Some("1"), "a")]),
        ("id: 1\ndata: a\n\nid\ndata: b\n\n", vec![event(Some("1"), "a"), event(None, "b")]),
        ("id: a\0b\nretry: 10\nunknown: 1\ndata: a\n\n", vec![event(None, "a")]),
        ("data: cut off", vec![]),
        ("data: cut off\n", vec![]),
        ("event: x\n\ndata: a\n\n", vec![event(None, "a")]),
    ] {
        assert_eq!(decode(text.as_bytes(), &[]), expected, "{text:?}");
    }
}

#[test]
fn an_event_has_its_type() {
    let events = decode(b"event: error\ndata: a\n\n", &[]);
    assert_eq!(events[0].event.as_deref(), Some("error"));
}

#[test]
fn an_event_larger_than_the_limit_is_refused_before_it_ends() {
    for text in ["data: 0123456789", "data: 01234\ndata: 56789\n", ": 0123456789abcdef"] {
        let mut decoder = Decoder::new(10);
        decoder.push(text.as_bytes());
        assert_eq!(decoder.next_event(), Err(TooLarge { limit: 10 }), "{text:?}");
    }
}

#[test]
fn many_events_within_the_limit_are_read_from_one_chunk() {
    let mut decoder = Decoder::new(32);
    decoder.push("data: 0123456789\n\n".repeat(100).as_bytes());
    let mut count = 0;
    while decoder.next_event().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 100);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_chunking_gives_the_same_events(
        mark in "\u{feff}?",
        lines in vec("(data: ?|id: ?|event: ?|: ?|)[a-zü😀]{0,6}(\n|\r|\r\n)", 0..24),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let text = mark + &lines.concat();
        prop_assert_eq!(decode(text.as_bytes(), &cuts), decode(text.as_bytes(), &[]));
    }

    #[test]
    fn what_is_framed_is_read_back(
        // Without what stands there as escapes of JSON.
        data in vec("[^\r\u{85}\u{2028}\u{2029}]{0,20}", 1..6),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let frames = data.iter().zip(1_u64..).flat_map(|(data, id)| sse::frame(Some(id), data));
        let bytes: Vec<u8> = frames.collect();
        let read = decode(&bytes, &cuts);
        let told: Vec<&String> = read.iter().map(|event| &event.data).collect();
        prop_assert_eq!(told, data.iter().collect::<Vec<_>>());
        prop_assert_eq!(read.last().unwrap().id.clone(), Some(data.len().to_string()));
    }
}
