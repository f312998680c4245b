//! Figures from many measurements, and how they are written.

use std::time::Duration;

/// Measured times in milliseconds, in order.
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// Sorts what was measured.
    pub(crate) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of_millis(times.into_iter().map(|time| time.as_secs_f64() * 1e3))
    }

    /// The same for figures that are milliseconds already.
    pub(crate) fn of_millis(times: impl IntoIterator<Item = f64>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    /// The value that this part (0 to 1) of all does not exceed; not a number when there is none.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        if self.0.is_empty() {
            return f64::NAN;
        }
        let place = (self.0.len() as f64 * part).ceil() as usize;
        self.0[place.clamp(1, self.0.len()) - 1]
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The largest.
    pub(crate) fn worst(&self) -> f64 {
        self.quantile(1.0)
    }

    /// "p50 / p95 / p99" in milliseconds.
    pub(crate) fn spread(&self) -> String {
        format!("{:.3} / {:.3} / {:.3} ms", self.median(), self.quantile(0.95), self.quantile(0.99))
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes in KiB.
pub(crate) fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// A value with its unit, with as many digits as it deserves.
pub(crate) fn show(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        large if large >= 1000.0 => return format!("{} {unit}", thousands(value)),
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        large if large >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$} {unit}")
}

/// A whole number in groups of three.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_that_so_many_do_not_exceed() {
        let times = Times::of_millis((1..=100).rev().map(f64::from));
        assert_eq!([times.median(), times.quantile(0.99), times.worst()], [50.0, 99.0, 100.0]);
    }

    #[test]
    fn a_large_value_is_written_in_groups() {
        assert_eq!(show(1_234_567.0, "B"), "1,234,567 B");
        assert_eq!(show(0.1234, "ms"), "0.123 ms");
    }
}
