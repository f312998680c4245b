//! The sections of a run, in order. Each starts servers of its own and fills some rows.

mod answers;
mod claude;
mod isolation;
mod lists;
mod load;
mod start;
mod streams;
mod supervisor;
mod tasks;

use crate::{Bench, Outcome};

/// A section's name on the command line, and what it measures.
type Section = (&'static str, fn(&mut Bench) -> Outcome);

/// All sections, in the order of a whole run.
pub(crate) const ALL: [Section; 15] = [
    ("limit", supervisor::limit),
    ("start", start::start),
    ("idle", start::idle),
    ("one", tasks::one_shot),
    ("rate", tasks::rate),
    ("first", streams::first_event),
    ("lag", streams::lag),
    ("open", streams::open),
    ("answer", answers::large),
    ("stalled", answers::stalled),
    ("prompt", answers::prompt),
    ("supervisor", supervisor::price),
    ("isolation", isolation::price),
    ("lists", lists::lists),
    ("claude", claude::first_word),
];
