//! Rules, times and the end of what is asked.
