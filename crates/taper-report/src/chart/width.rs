//! Width of text. Labels are placed while a chart is drawn, before a browser can measure them.

use std::ops::RangeInclusive;

/// The characters in [`ADVANCES`].
const ASCII: RangeInclusive<char> = ' '..='~';

/// Advance width of each printable ASCII character, in thousandths of the font size: the larger of DejaVu Sans and
/// Liberation Sans (which has the widths of Arial and Helvetica), because the reader's font is unknown.
#[rustfmt::skip]
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 637, 951, 780, 275, 391, 391, 500, 838, 318, 361, 318, 337,
    637, 637, 637, 637, 637, 637, 637, 637, 637, 637, 337, 337, 838, 838, 838, 557,
    1016, 685, 687, 723, 771, 667, 611, 778, 752, 295, 500, 667, 558, 863, 749, 788,
    667, 788, 723, 667, 611, 732, 685, 989, 686, 667, 686, 391, 337, 391, 838, 557,
    500, 613, 635, 550, 635, 616, 353, 635, 634, 278, 278, 580, 278, 975, 634, 612,
    635, 635, 412, 521, 393, 634, 592, 818, 592, 592, 525, 637, 337, 637, 838,
];

/// The same for other characters in labels; any further character counts as wide as the font size.
const OTHERS: [(char, u16); 11] = [
    ('±', 838),
    ('×', 838),
    ('·', 334),
    ('–', 556),
    ('−', 838),
    ('θ', 612),
    ('φ', 660),
    ('σ', 634),
    ('τ', 602),
    ('β', 638),
    ('²', 401),
];

/// Width of a text in CSS pixels, in a sans-serif font of `size` CSS pixels. A browser needs at most this width, unless
/// its font is unusually wide.
///
/// ```
/// use taper_report::chart::width;
///
/// assert_eq!(width("", 12.0), 0.0);
/// assert!(width("mm", 12.0) > width("ii", 12.0));
/// assert_eq!(width("mm", 24.0), 2.0 * width("mm", 12.0));
/// ```
pub fn width(text: &str, size: f64) -> f64 {
    let thousandths: u64 = text.chars().map(|c| u64::from(advance(c))).sum();
    thousandths as f64 * size / 1000.0
}

fn advance(c: char) -> u16 {
    let of_ascii = ASCII.contains(&c).then(|| ADVANCES.get(c as usize - ' ' as usize)).flatten();
    let other = || OTHERS.iter().find(|(other, _)| *other == c).map(|(_, advance)| advance);
    of_ascii.or_else(other).copied().unwrap_or(1000)
}

/// Shortens a text to at most `room` CSS pixels: keeps its start and its end, with an ellipsis between, because names
/// of layers and rows differ at their ends. Empty if not even the ellipsis fits.
///
/// ```
/// use taper_report::chart::fitted;
///
/// assert_eq!(fitted("conv1", 12.0, 100.0), "conv1");
/// assert_eq!(fitted("layer3.0.shortcut.0.weight", 12.0, 90.0), "layer3…eight");
/// assert_eq!(fitted("conv1", 12.0, 5.0), "");
/// ```
pub fn fitted(text: &str, size: f64, room: f64) -> String {
    if width(text, size) <= room {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let cut = |n: usize| -> String {
        let (begin, end) = (n.div_ceil(2), n / 2);
        chars[..begin].iter().chain(&['…']).chain(&chars[chars.len() - end..]).collect()
    };
    let lengths: Vec<usize> = (0..chars.len()).collect();
    let n_fit = lengths.partition_point(|&n| width(&cut(n), size) <= room);
    n_fit.checked_sub(1).map(cut).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_printable_character_has_the_width_of_the_table() {
        assert_eq!(ASCII.count(), ADVANCES.len());
        assert_eq!((advance(' '), advance('A'), advance('~')), (318, 685, 838));
        assert_eq!((advance('θ'), advance('漢'), advance('\n')), (612, 1000, 1000));
        assert!((width("99.5 %", 10.0) - 34.98).abs() < 1e-9, "{}", width("99.5 %", 10.0));
    }

    /// Whether an ellipsis separates the start and the end of the text; the text itself may contain others.
    fn is_of_ends(fitted: &str, text: &str) -> bool {
        fitted.match_indices('…').any(|(at, ellipsis)| {
            text.starts_with(&fitted[..at]) && text.ends_with(&fitted[at + ellipsis.len()..])
        })
    }

    #[test]
    fn a_text_with_an_ellipsis_is_fitted_as_others_are() {
        let fitted = fitted("…conv1 of the first block", 12.0, 60.0);
        assert!(fitted.starts_with("…c") && is_of_ends(&fitted, "…conv1 of the first block"));
    }

    proptest! {
        #[test]
        fn what_is_fitted_fits_and_keeps_both_ends(text in "\\PC{0,40}", room in -5.0..300.0) {
            let fitted = fitted(&text, 12.0, room);
            prop_assert!(width(&fitted, 12.0) <= room.max(0.0));
            if fitted != text && !fitted.is_empty() {
                prop_assert!(is_of_ends(&fitted, &text));
                prop_assert!(width(&text, 12.0) > room);
            }
        }
    }
}
