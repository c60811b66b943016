//! Figures as a person says them.

/// Milliseconds as a person says them.
pub fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        10_000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// Microseconds in milliseconds, with two decimals below 10 ms.
pub fn micros(us: u64) -> String {
    if us < 10_000 {
        format!("{}.{:02} ms", us / 1000, us % 1000 / 10)
    } else {
        format!("{}.{} ms", us / 1000, us % 1000 / 100)
    }
}

/// A share of 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_a_person_says_them() {
        for (ms, text) in [
            (0, "0 ms"),
            (9_999, "9999 ms"),
            (12_345, "12.3 s"),
            (600_000, "10 min"),
            (10_800_000, "3 h"),
            (864_000_000, "10 days"),
        ] {
            assert_eq!(span(ms), text);
        }
        assert_eq!((micros(270), micros(17_250)), ("0.27 ms".into(), "17.2 ms".into()));
        assert_eq!(percent(0.125), "12.5 %");
    }
}
