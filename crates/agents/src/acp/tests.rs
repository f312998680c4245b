//! The driver as a whole, line by line.
