//! Parses `prune.renewal` and its keys.

use super::{PruneSpec, TrainSpec, ranges};
use crate::error::usage;
use taper::{
    core::Step,
    prune::{
        criterion::Criterion,
        renewal::{Factor, GrowInit, Hold, InitialValue, Renewal, Swap, SwapDecay, TopK, TopKHold},
    },
    schedule::Cadence,
};

/// How masks change, before the steps and learning rates of the run are known.
pub(super) enum Renewals {
    TopK(Cadence),
    TopKHold(Cadence),
    Swap(Swap, Decays),
    Hold,
}

/// The decay of the fraction that an update replaces.
pub(super) enum Decays {
    Known(SwapDecay),
    /// Milestones are fractions of the run.
    Steps {
        factor: f64,
        milestones: Vec<f64>,
    },
    LearningRate,
}

impl Renewals {
    /// The rule for a run. `last` is its last step; prune-and-regrow updates begin at `from` and end at `end`. `at`
    /// converts a fraction of the run to a step, and `rate` is the learning rate relative to `train.lr`.
    pub(super) fn between(
        self,
        [from, end]: [Step; 2],
        last: Step,
        at: impl Fn(f64) -> Step,
        rate: Factor,
    ) -> Box<dyn Renewal> {
        match self {
            Self::TopK(cadence) => Box::new(TopK { cadence }),
            Self::TopKHold(cadence) => Box::new(TopKHold { cadence }),
            Self::Hold => Box::new(Hold),
            Self::Swap(swap, decay) => {
                let decay = match decay {
                    Decays::Known(decay) => decay,
                    Decays::LearningRate => SwapDecay::Along(rate),
                    Decays::Steps { factor, milestones } => {
                        let milestones = milestones.into_iter().map(at).collect();
                        SwapDecay::Steps { factor, milestones }
                    }
                };
                Box::new(Swap { from, end, last, decay, ..swap })
            }
        }
    }
}

fn unknown(key: &str, value: &str, names: &str) -> anyhow::Error {
    usage(format!("prune.{key} `{value}` is unknown; it can be {names}"))
}

/// Parses every name. `criterion` parses the value of a key; `seed` is the seed of the run.
pub(super) fn of(
    p: &PruneSpec,
    t: &TrainSpec,
    seed: u64,
    criterion: impl Fn(&str, &str) -> anyhow::Result<Box<dyn Criterion>>,
) -> anyhow::Result<Renewals> {
    let name = p.renewal.as_deref().unwrap_or("top-k");
    let every = p.refresh_every.unwrap_or(1);
    Ok(match name {
        "top-k" => Renewals::TopK(Cadence::every(every).map_err(usage)?),
        "top-k-hold" => Renewals::TopKHold(Cadence::every(every).map_err(usage)?),
        "hold" => Renewals::Hold,
        "swap" => {
            let grow = match p.grow.as_deref().unwrap_or("gradient") {
                "same" => None,
                name => Some(criterion("grow", name)?),
            };
            let begin =
                p.begin_by.as_deref().map(|name| criterion("begin_by", name)).transpose()?;
            let (share, grow_init) = (p.swap_share.unwrap_or(0.3), grow_init(p, t, seed)?);
            let is_soft = bound(p)?;
            let swap = Swap { every, share, grow, begin, grow_init, is_soft, ..Swap::default() };
            Renewals::Swap(swap, decay(p)?)
        }
        other => return Err(unknown("renewal", other, "top-k, top-k-hold, swap, hold")),
    })
}

/// Parses `prune.swap_bound`: whether it is soft.
fn bound(p: &PruneSpec) -> anyhow::Result<bool> {
    match p.swap_bound.as_deref().unwrap_or("hard") {
        "hard" => Ok(false),
        "soft" => Ok(true),
        other => Err(unknown("swap_bound", other, "hard, soft")),
    }
}

/// Parses `prune.swap_decay`.
fn decay(p: &PruneSpec) -> anyhow::Result<Decays> {
    let text = p.swap_decay.as_deref().unwrap_or("cosine");
    let number = |prefix: &str| ranges::number(text.strip_prefix(prefix)?, 0.0..=100.0);
    let power = number("power:").filter(|n| *n > 0.0);
    let factor = number("step:").filter(|factor| *factor < 1.0);
    let milestones = p.swap_milestones.clone().unwrap_or_default();
    if factor.is_some() && milestones.is_empty() {
        return Err(usage(format!(
            "prune.swap_decay is {text}, but prune.swap_milestones is not set; set where the fraction falls, such as [0.5] for half of \
             the run"
        )));
    }
    match (text, power, factor) {
        ("cosine", ..) => Ok(Decays::Known(SwapDecay::Cosine)),
        ("constant", ..) => Ok(Decays::Known(SwapDecay::Constant)),
        ("learning-rate", ..) => Ok(Decays::LearningRate),
        (_, Some(n), _) => Ok(Decays::Known(SwapDecay::Power(n))),
        (_, _, Some(factor)) => Ok(Decays::Steps { factor, milestones }),
        _ => Err(unknown(
            "swap_decay",
            text,
            "cosine, constant, learning-rate, power:N with N above 0 and up to 100, step:FACTOR with a factor in [0, 1)",
        )),
    }
}

/// Parses the initial values of regrown weights, if they are set.
fn grow_init(p: &PruneSpec, t: &TrainSpec, seed: u64) -> anyhow::Result<Option<GrowInit>> {
    if p.grow_init.is_none() && p.grow_momentum.is_none() {
        return Ok(None);
    }
    let momentum = p.grow_momentum.unwrap_or(0.0) as f32;
    let said = format!("prune.grow_momentum is {momentum}");
    let (optimizer, of_sgd) =
        (t.optimizer.as_deref().unwrap_or_default(), t.momentum.unwrap_or(0.0));
    if momentum > 0.0 && optimizer != "sgd" {
        return Err(usage(format!(
            "{said}, but train.optimizer is {optimizer}, which has no momentum buffer; leave grow_momentum out, or choose sgd"
        )));
    }
    if momentum > 0.0 && of_sgd == 0.0 {
        return Err(usage(format!(
            "{said}, but train.momentum is 0; leave grow_momentum out, or set a momentum above 0"
        )));
    }
    let text = p.grow_init.as_deref().unwrap_or("zero");
    let (name, divisor) = text.split_once(':').unwrap_or((text, "1"));
    let found = InitialValue::ALL.iter().find(|(known, _)| *known == name);
    let divisor = ranges::number(divisor, 0.01f32..=1e6);
    let value = found.map(|&(_, value)| value);
    match value.zip(divisor) {
        Some((value, divisor)) => Ok(Some(GrowInit { value, divisor, momentum, seed })),
        None => {
            let names = InitialValue::ALL.map(|(name, _)| name).join(", ");
            let names = format!(
                "{names}, each but zero also with a divisor from 0.01 to 1000000, as in normal:10"
            );
            Err(unknown("grow_init", text, &names))
        }
    }
}
