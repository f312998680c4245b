//! The dashboard: the page at `/ui/`, and what it is told.

mod page;
