//! Parses `prune.threshold`, the operator on kept weights.

use super::{PruneSpec, TrainSpec, ranges};
use crate::error::usage;
use std::ops::RangeInclusive;
use taper::{
    core::Step,
    kernels::threshold::{Exponent, Threshold},
    prune::operator::{LearnedThreshold, Operator, PowerPropagation, RescaledSoft, SoftTopK},
};

/// The legal values.
const NAMES: &str = "soft, hard, feather, power:P with P above 1 and up to 16, rescaled-soft, learned:S or learned:S:DECAY with S \
                     up to 10 (thresholds start at σ(S)) and DECAY from 0 to 100, power-propagation:ALPHA with ALPHA \
                     from 1 to 16, soft-top-k:FROM:TO with sharpness above 0 and up to 10000";

/// An operator, before the number of steps is known.
pub(super) enum Operators {
    Threshold(Threshold),
    Rescaled,
    Learned(LearnedThreshold),
    Power(PowerPropagation),
    SoftTopK([f32; 2]),
}

impl Operators {
    /// Parses the name. Learned thresholds use the momentum of the weights and, without DECAY, their weight decay.
    pub(super) fn of(p: &PruneSpec, t: &TrainSpec) -> anyhow::Result<Self> {
        let name = p.threshold.as_deref().unwrap_or_default();
        let unknown = || usage(format!("prune.threshold `{name}` is unknown; it can be {NAMES}"));
        let (kind, numbers) = name.split_once(':').unwrap_or((name, ""));
        let number = |text: &str, legal: RangeInclusive<f32>| {
            ranges::number(text, legal).ok_or_else(unknown)
        };
        let operator = match (kind, numbers) {
            ("soft", "") => Self::Threshold(Threshold::Soft),
            ("hard", "") => Self::Threshold(Threshold::Hard),
            ("feather", "") => Self::Threshold(Threshold::FEATHER),
            ("rescaled-soft", "") => Self::Rescaled,
            ("power", p) => Self::Threshold(Threshold::Power(
                Exponent::new(number(p, 0.0..=16.0)?).map_err(usage)?,
            )),
            ("power-propagation", alpha) => {
                Self::Power(PowerPropagation { alpha: number(alpha, 0.0..=16.0)? })
            }
            ("learned", begin) => {
                let [momentum, decay] =
                    [t.momentum, t.weight_decay].map(|n| n.unwrap_or(0.0) as f32);
                let (begin, decay) = match begin.split_once(':') {
                    Some((begin, decay)) => (begin, number(decay, 0.0..=100.0)?),
                    None => (begin, decay),
                };
                Self::Learned(LearnedThreshold::new(number(begin, -1e6..=10.0)?, momentum, decay))
            }
            ("soft-top-k", ends) => {
                let (from, to) = ends.split_once(':').ok_or_else(unknown)?;
                Self::SoftTopK([number(from, 0.0..=1e4)?, number(to, 0.0..=1e4)?])
            }
            _ => return Err(unknown()),
        };
        let checked = match &operator {
            Self::Learned(learned) => learned.check(),
            Self::Power(power) => power.check(),
            Self::SoftTopK(sharpness) => SoftTopK::new(*sharpness, Step::ZERO).check(),
            Self::Threshold(_) | Self::Rescaled => Ok(()),
        };
        checked.map_err(|reason| usage(format!("prune.threshold `{name}`: {reason}")))?;
        Ok(operator)
    }

    /// The operator for a run; `end` is the step at which a soft mask is frozen.
    pub(super) fn ending(self, end: Step) -> Box<dyn Operator> {
        match self {
            Self::Threshold(threshold) => Box::new(threshold),
            Self::Rescaled => Box::new(RescaledSoft),
            Self::Learned(learned) => Box::new(learned),
            Self::Power(power) => Box::new(power),
            Self::SoftTopK(sharpness) => Box::new(SoftTopK::new(sharpness, end)),
        }
    }
}

/// Whether thresholds with this name are learned, and so decide the sparsity.
pub(super) fn is_learned(name: &str) -> bool {
    name.starts_with("learned:")
}
