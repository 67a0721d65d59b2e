//! Percentiles and how they are printed.

/// The smallest value that so many percent of all are not above (nearest rank).
#[must_use]
pub fn percentile(values: &[f64], percent: u32) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// `name  p50  p99  min  max` in milliseconds.
pub fn print_row(name: &str, seconds: &[f64]) {
    let show = |value: Option<f64>| {
        value.map_or_else(|| "-".into(), |seconds| format!("{:.1}", seconds * 1000.0))
    };
    println!(
        "{name:<44} {:>10} {:>10} {:>10} {:>10}",
        show(percentile(seconds, 50)),
        show(percentile(seconds, 99)),
        show(percentile(seconds, 0)),
        show(percentile(seconds, 100)),
    );
}

/// Above rows.
pub fn print_head() {
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>10}",
        "stage (milliseconds)", "p50", "p99", "min", "max"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        for (percent, expected) in [(0, 1.0), (50, 10.0), (99, 20.0), (100, 20.0)] {
            assert_eq!(percentile(&twenty, percent), Some(expected), "p{percent}");
        }
        assert_eq!(percentile(&[7.0], 50), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
