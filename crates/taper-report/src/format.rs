//! Formats numbers for readers, the same way for console, Markdown and HTML.

use crate::stats::{Difference, Summary};

/// Stands for a missing number.
pub const NOTHING: &str = "–";

/// A fraction as a percentage with this number of decimals: `95.00 %`.
pub fn percent(fraction: f64, digits: usize) -> String {
    format!("{:.digits$} %", fraction * 100.0)
}

/// A percentage without trailing zeros: `95 %`, `99.5 %`.
pub fn percent_short(fraction: f64) -> String {
    let text = format!("{:.3}", fraction * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number with at most two decimals and no trailing zeros: `0.5`, `12`.
pub fn rounded(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Accuracy as `97.12 ± 0.34 %`; a single run has no standard deviation.
pub fn accuracy(summary: &Summary) -> String {
    match summary.deviation {
        Some(d) => format!("{:.2} ± {:.2} %", summary.mean * 100.0, d * 100.0),
        None => format!("{:.2} %", summary.mean * 100.0),
    }
}

/// A difference of fractions in percentage points, with the half-width of its interval, if any: `+1.23 ± 0.45`,
/// `−0.20`.
pub fn gain(difference: &Difference) -> String {
    let mean = signed(100.0 * difference.mean);
    match difference.half_width {
        Some(half) => format!("{mean} ± {:.2}", 100.0 * half),
        None => mean,
    }
}

/// A number with its sign and two decimals; `0.00` has no sign.
pub fn signed(v: f64) -> String {
    let text = format!("{v:+.2}");
    match text.trim_start_matches(['+', '-']) {
        zero @ "0.00" => zero.to_owned(),
        _ => text.replace('-', "−"),
    }
}

/// A kept fraction in percent, in at most four characters: `100`, `47`, `5.0`, `0.27`; `>0` below 0.005 %, and `0` for
/// zero.
pub fn kept(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0".to_owned(),
        p if p < 0.005 => ">0".to_owned(),
        p if p < 0.995 => format!("{p:.2}"),
        p if p < 9.95 => format!("{p:.1}"),
        p => format!("{p:.0}"),
    }
}

/// A whole number with thousands separated: `12,345`.
pub fn count(n: f64) -> String {
    let digits = format!("{:.0}", n.max(0.0));
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count scaled to k, M or G with three significant digits: `1.23 M`.
pub fn scaled(n: f64) -> String {
    with_prefix(n, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes in powers of 1024: `87.5 KiB`.
pub fn bytes(n: f64) -> String {
    with_prefix(n, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn with_prefix(n: f64, base: f64, units: &[&str]) -> String {
    let mut value = n;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", units[unit])
}

/// A duration: `7.3 s`, `4 min 05 s`, `2 h 03 min`.
pub fn seconds(s: f64) -> String {
    let whole = s.round() as u64;
    match whole {
        0..60 => format!("{s:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.95, 2), "95.00 %");
        assert_eq!(percent_short(0.95), "95 %");
        assert_eq!(percent_short(0.995), "99.5 %");
        assert_eq!(percent_short(0.0), "0 %");
        assert_eq!(count(0.0), "0");
        assert_eq!(count(999.0), "999");
        assert_eq!(count(1_234_567.0), "1,234,567");
        assert_eq!(scaled(999.0), "999");
        assert_eq!(scaled(81_200_000.0), "81.2 M");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(89_600.0), "87.5 KiB");
        assert_eq!(seconds(7.26), "7.3 s");
        assert_eq!(seconds(59.96), "1 min 00 s");
        assert_eq!(seconds(245.0), "4 min 05 s");
        assert_eq!(seconds(7380.0), "2 h 03 min");
    }

    #[test]
    fn a_gain_has_its_sign_and_the_interval_it_has() {
        let gain = |mean, half_width| gain(&Difference { mean, half_width });
        assert_eq!(gain(0.0123, Some(0.0045)), "+1.23 ± 0.45");
        assert_eq!(gain(-0.002, None), "−0.20");
        assert_eq!(gain(-0.000_01, Some(0.0)), "0.00 ± 0.00");
    }

    #[test]
    fn a_kept_fraction_is_short_and_only_zero_is_0() {
        for (share, text) in [
            (1.0, "100"),
            (0.474, "47"),
            (0.0996, "10"),
            (0.0994, "9.9"),
            (0.05, "5.0"),
            (0.009_96, "1.0"),
            (0.0027, "0.27"),
            (0.000_05, "0.01"),
            (0.000_01, ">0"),
            (0.0, "0"),
        ] {
            assert_eq!(kept(share), text, "{share}");
        }
    }

    #[test]
    fn accuracy_shows_the_deviation_it_has() {
        let many = Summary { n: 3, mean: 0.9712, deviation: Some(0.0034) };
        assert_eq!(accuracy(&many), "97.12 ± 0.34 %");
        assert_eq!(accuracy(&Summary { n: 1, deviation: None, ..many }), "97.12 %");
    }
}
