//! The width multiplier of a network.

use std::fmt;

/// Width multiplier: a factor in `(0, 4]` on the number of channels of every layer between image and logits.
///
/// ```
/// use taper_zoo::Width;
///
/// let half = Width::new(0.5).expect("a width");
/// assert_eq!((half.of(64), half.of(3), half.of(1)), (32, 2, 1));
/// assert_eq!(Width::FULL.of(64), 64);
/// assert_eq!(Width::new(0.0), None);
/// ```
///
/// # References
/// Howard et al., "MobileNets" (arXiv:1704.04861).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Width(f64);

impl Width {
    /// The width of the published network.
    pub const FULL: Self = Self(1.0);

    /// The width `factor`; `None` outside `(0, 4]`.
    pub fn new(factor: f64) -> Option<Self> {
        (factor > 0.0 && factor <= 4.0).then_some(Self(factor))
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }

    /// Channels of a layer with `full` channels at full width: rounded, and at least one.
    pub fn of(self, full: usize) -> usize {
        ((full as f64 * self.0).round() as usize).max(1)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
