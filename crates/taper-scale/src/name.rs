//! Policies by name, as in experiment files.

use crate::{
    Constant, Density, Fall, Falling, FeatherRule, GradientScale, OutOfRange, Over, PerLayer,
    Proximity,
};
use std::fmt;
use taper_core::Sparsity;

/// The policy with the name `text`. Pruning of the network begins at sparsity `start`.
///
/// | text | policy |
/// | --- | --- |
/// | `feather` | [`FeatherRule`] |
/// | a number | [`Constant`] |
/// | `linear:END`, `power:END,Q`, `cosine:END`, `exponential:END`, `sigmoid:END,STEEPNESS,CENTRE` | [`Falling`] |
/// | `density:END,Q` | [`Density`] |
/// | `proximity:AT_ZERO,AT_CUT` | [`Proximity`] |
/// | `annealed/…`, a prefix of any falling policy | [`Over::Training`] |
/// | `per-layer/…`, a prefix of any policy | [`PerLayer`] |
///
/// ```
/// use taper_core::Sparsity;
/// assert!(taper_scale::by_name("per-layer/cosine:0.5", Sparsity::DENSE).is_ok());
/// let error = taper_scale::by_name("linear:1.5", Sparsity::DENSE).unwrap_err();
/// assert_eq!(error.to_string(), "the last θ is 1.5, outside [0, 1]");
/// ```
///
/// # Errors
/// [`NameError`] with the known names, or with the legal range of a parameter.
pub fn by_name(text: &str, start: Sparsity) -> Result<Box<dyn GradientScale>, NameError> {
    if let Some(inner) = text.strip_prefix("per-layer/") {
        return Ok(Box::new(PerLayer(by_name(inner, start)?)));
    }
    let (text, over) = match text.strip_prefix("annealed/") {
        Some(inner) => (inner, Over::Training),
        None => (text, Over::Sparsity),
    };
    let unknown = || NameError::Unknown { text: text.into() };
    let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
    let numbers: Vec<f64> = match parameters {
        "" => Vec::new(),
        list => list
            .split(',')
            .map(|n| n.trim().parse().map_err(|_| unknown()))
            .collect::<Result<_, _>>()?,
    };
    let falling = |fall: Fall, end: f64| -> Result<Box<dyn GradientScale>, NameError> {
        Ok(Box::new(Falling::new(fall, end)?.starting_at(start).over(over)))
    };
    match (name, &numbers[..]) {
        ("linear", &[end]) => return falling(Fall::Linear, end),
        ("power", &[end, q]) => return falling(Fall::Power(q), end),
        ("cosine", &[end]) => return falling(Fall::Cosine, end),
        ("exponential", &[end]) => return falling(Fall::Exponential, end),
        ("sigmoid", &[end, steepness, centre]) => {
            return falling(Fall::Sigmoid { steepness, centre }, end);
        }
        _ if over == Over::Training => return Err(unknown()),
        _ => {}
    }
    Ok(match (name, &numbers[..]) {
        ("feather", []) => Box::new(FeatherRule),
        ("density", &[end, q]) => Box::new(Density::new(end, q)?),
        ("proximity", &[at_zero, at_cut]) => {
            Box::new(Proximity::new(at_zero as f32, at_cut as f32)?)
        }
        (number, []) => Box::new(Constant::new(number.parse().map_err(|_| unknown())?)?),
        _ => return Err(unknown()),
    })
}

/// Error: a text that is not a policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// The policy does not exist, or has other parameters.
    Unknown {
        /// The text.
        text: String,
    },
    /// A parameter is outside its range.
    OutOfRange(OutOfRange),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { text } => write!(
                f,
                "`{text}` is unknown; it can be feather, a number in [0, 1], linear:END, power:END,Q, cosine:END, \
                 exponential:END, sigmoid:END,STEEPNESS,CENTRE (with or without the prefix annealed/), density:END,Q or \
                 proximity:AT_ZERO,AT_CUT, each with or without the prefix per-layer/"
            ),
            Self::OutOfRange(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NameError {}

impl From<OutOfRange> for NameError {
    fn from(error: OutOfRange) -> Self {
        Self::OutOfRange(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Now, PrunedGrad};

    fn at(text: &str, achieved: f64, progress: f64) -> PrunedGrad {
        let (achieved, target) = (Sparsity::saturating(achieved), Sparsity::saturating(0.8));
        let policy = by_name(text, Sparsity::DENSE).unwrap();
        policy.at(&Now { achieved, target, progress })
    }

    #[test]
    fn names_give_their_policies() {
        for (text, want) in [
            ("feather", 1.0),
            ("0.3", 0.3),
            ("linear:0.5", 0.75),
            ("power:0.5,2", 0.875),
            ("cosine:0", 0.5),
            ("exponential:0.25", 0.5),
            ("sigmoid:0.5,10,0.5", 0.75),
            ("density:0.1,2", 0.36),
            ("annealed/linear:0.5", 0.95),
            ("per-layer/annealed/linear:0.5", 0.95),
        ] {
            let got = at(text, 0.4, 0.1).at_zero;
            assert!((got - want).abs() < 1e-6, "{text}: {got}");
        }
        assert_eq!(at("proximity:0.1,0.9", 0.4, 0.1), PrunedGrad { at_zero: 0.1, at_cut: 0.9 });
        let start = Sparsity::saturating(0.4);
        for (achieved, want) in [(0.4, 1.0), (0.6, 0.75), (0.8, 0.5)] {
            let achieved = Sparsity::saturating(achieved);
            let now = Now { achieved, target: Sparsity::saturating(0.8), progress: 0.1 };
            let got = by_name("linear:0.5", start).unwrap().at(&now).at_zero;
            assert!((got - want).abs() < 1e-6, "begun at 0.4, now {achieved}: {got}");
        }
        assert!(by_name("per-layer/0.5", Sparsity::DENSE).unwrap().is_per_layer());
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for text in [
            "fether",
            "linear",
            "linear:a",
            "linear:0.1,2",
            "annealed/0.5",
            "annealed/density:0.1,1",
            "",
        ] {
            let error = by_name(text, Sparsity::DENSE).unwrap_err().to_string();
            assert!(error.contains("it can be feather"), "{text}: {error}");
        }
        for (text, wanted) in [("2", "θ is 2, outside [0, 1]"), ("power:0.5,0", "q is 0, outside")]
        {
            let error = by_name(text, Sparsity::DENSE).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
