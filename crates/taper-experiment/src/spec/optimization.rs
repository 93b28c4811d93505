//! The optimizer and the learning rate of a resolved experiment.

use super::{Resolved, library::share_of};
use crate::error::usage;
use taper::train::{
    AdamW, ConstantRate, Cosine, Ham, LearningRate, Optimizer, Sgd, StepDecay, Warmup,
};

impl Resolved {
    /// Creates the optimizer.
    ///
    /// # Errors
    /// If the optimizer is unknown, or keys exclude each other.
    pub fn optimizer(&self) -> anyhow::Result<Box<dyn Optimizer>> {
        let t = self.train();
        let number = |value: Option<f64>| value.unwrap_or(0.0);
        let (momentum, dampening, decay) =
            (number(t.momentum), number(t.dampening), number(t.weight_decay));
        let nesterov = t.nesterov.unwrap_or(false);
        let inner: Box<dyn Optimizer> = match t.optimizer.as_deref().unwrap_or_default() {
            "sgd" => {
                check_sgd(momentum, dampening, nesterov)?;
                Box::new(Sgd::new(momentum, decay).dampening(dampening).nesterov(nesterov))
            }
            "adamw" => {
                let (beta1, beta2) = (number(t.beta1), number(t.beta2));
                Box::new(AdamW::new(decay).betas(beta1, beta2).eps(number(t.eps)))
            }
            other => {
                return Err(usage(format!(
                    "train.optimizer `{other}` is unknown; it can be sgd, adamw"
                )));
            }
        };
        Ok(match t.ham.unwrap_or(false) {
            true => Box::new(Ham::new(inner).alpha(number(t.ham_alpha)).beta(number(t.ham_beta))),
            false => inner,
        })
    }

    /// The learning rate of a run of `total` steps, including `warmup` warm-up steps.
    ///
    /// # Errors
    /// If the schedule is unknown, or milestones do not increase.
    pub fn learning_rate(&self, total: u64, warmup: u64) -> anyhow::Result<Box<dyn LearningRate>> {
        let t = self.train();
        let milestones = t.milestones.as_deref().unwrap_or_default();
        check_milestones(milestones)?;
        let (lr, schedule) = (t.lr.unwrap_or(0.0), t.schedule.as_deref().unwrap_or_default());
        match schedule {
            "cosine" => return Ok(warm(warmup, Cosine { lr, total_steps: total })),
            "constant" => return Ok(warm(warmup, ConstantRate { lr })),
            _ => {}
        }
        let factor = schedule.strip_prefix("step:").and_then(|factor| factor.parse().ok());
        let factor = factor.filter(|&factor: &f64| factor > 0.0 && factor < 1.0).ok_or_else(|| {
            usage(format!(
                "train.schedule `{schedule}` is unknown; it can be cosine, constant, or step:FACTOR with a factor in (0, 1)"
            ))
        })?;
        let milestones = milestones.iter().map(|&share| share_of(total, Some(share)).0).collect();
        Ok(warm(warmup, StepDecay { lr, milestones, factor }))
    }
}

fn warm(steps: u64, then: impl LearningRate + 'static) -> Box<dyn LearningRate> {
    Box::new(Warmup { steps, then })
}

/// Rejects what PyTorch rejects, and a dampening without effect.
fn check_sgd(momentum: f64, dampening: f64, nesterov: bool) -> anyhow::Result<()> {
    let both = |first: &str, second: &str, remedy: &str| {
        Err(usage(format!("train.{first}, but train.{second}; {remedy}")))
    };
    let (momentum_is, dampening_is) =
        (format!("momentum is {momentum}"), format!("dampening is {dampening}"));
    if nesterov && momentum == 0.0 {
        return both(
            "nesterov is true",
            &momentum_is,
            "set a momentum above 0, or leave nesterov out",
        );
    }
    if nesterov && dampening > 0.0 {
        return both("nesterov is true", &dampening_is, "leave one of them out");
    }
    if dampening > 0.0 && momentum == 0.0 {
        return both(&dampening_is, &momentum_is, "set a momentum above 0, or leave dampening out");
    }
    Ok(())
}

fn check_milestones(milestones: &[f64]) -> anyhow::Result<()> {
    if let Some(share) = milestones.iter().find(|&&share| !(share > 0.0 && share < 1.0)) {
        return Err(usage(format!(
            "train.milestones has {share}, outside (0, 1); give fractions of the run"
        )));
    }
    match milestones.windows(2).find(|pair| pair[1] <= pair[0]) {
        None => Ok(()),
        Some(pair) => Err(usage(format!(
            "train.milestones has {} after {}; they must increase",
            pair[1], pair[0]
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;
    use candle_core::Device;
    use std::collections::BTreeSet;
    use taper::nn::{Init, ParamKind, Scope};
    use taper_compose::Setting;

    fn resolve(sets: &[&str]) -> Resolved {
        let overrides: Vec<_> = sets.iter().map(|s| Setting::parse(s).unwrap()).collect();
        Resolved::new(load(None, &[], &overrides).unwrap()).unwrap()
    }

    #[test]
    fn schedules_are_scaled_to_the_run_and_begin_after_the_warm_up() {
        let at = |sets: &[&str], warmup, steps: [u64; 3]| {
            let set = [sets, &["train.lr=1"]].concat();
            let lr = resolve(&set).learning_rate(100, warmup).unwrap();
            steps.map(|step| lr.at(step))
        };
        assert_eq!(at(&["train.schedule=constant"], 0, [0, 50, 99]), [1.0; 3]);
        assert_eq!(at(&["train.schedule=constant"], 4, [0, 1, 3]), [0.25, 0.5, 1.0]);
        assert_eq!(at(&["train.schedule=step:0.5"], 0, [49, 50, 75]), [1.0, 0.5, 0.25]);
        let own = ["train.schedule=\"step:0.1\"", "train.milestones=[0.25]"];
        assert_eq!(at(&own, 0, [24, 25, 99]), [1.0, 0.1, 0.1]);
        let halfway = at(&[], 0, [0, 51, 99])[1];
        assert!((halfway - 0.5).abs() < 1e-12, "one cosine: {halfway}");
    }

    #[test]
    fn names_choose_the_optimizer_and_what_is_left_out() {
        let of = |sets: &[&str]| {
            let resolved = resolve(sets);
            let (lr, decay) = (resolved.train().lr, resolved.train().weight_decay);
            (resolved.optimizer().unwrap().name(), lr, decay)
        };
        assert_eq!(of(&[]), ("sgd".into(), Some(0.05), Some(5e-4)));
        let adamw = "train.optimizer=adamw";
        assert_eq!(of(&[adamw]), ("adamw".into(), Some(1e-3), Some(0.01)));
        assert_eq!(of(&[adamw, "train.lr=0.1"]).1, Some(0.1));
        assert_eq!(of(&["train.ham=true"]).0, "sgd with ham");
        assert_eq!(of(&[adamw, "train.ham=true"]).0, "adamw with ham");
    }

    /// A weight after three steps.
    fn moved(sets: &[&str]) -> f32 {
        let scope = Scope::new(0, &Device::Cpu);
        let one = Init::Constant(1.0);
        let weight = scope.param("weight", (1, 1), ParamKind::LinearWeight, one).unwrap();
        let (params, mut optimizer) = (scope.finish(), resolve(sets).optimizer().unwrap());
        for slope in [0.01, 0.03, 0.02] {
            let loss = (weight.sum_all().unwrap() * slope).unwrap();
            optimizer.step(&params, &loss.backward().unwrap(), 1.0, 0.1).unwrap();
        }
        weight.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
    }

    #[test]
    fn every_key_of_an_optimizer_reaches_it() {
        let each = [
            &["train.momentum=0.5"][..],
            &["train.dampening=0.5"],
            &["train.nesterov=true"],
            &["train.weight_decay=0.1"],
            &["train.ham=true"],
            &["train.ham=true", "train.ham_alpha=100"],
            &["train.ham=true", "train.ham_beta=0.1"],
            &["train.optimizer=adamw"],
            &["train.optimizer=adamw", "train.beta1=0.5"],
            &["train.optimizer=adamw", "train.beta2=0.5"],
            &["train.optimizer=adamw", "train.eps=0.01"],
            &["train.optimizer=adamw", "train.weight_decay=0.1"],
            &["train.optimizer=adamw", "train.ham=true"],
        ];
        let found: BTreeSet<u32> = each.iter().map(|sets| moved(sets).to_bits()).collect();
        assert_eq!(found.len(), each.len(), "{:?}", each.map(moved));
        assert!(!found.contains(&moved(&[]).to_bits()));
    }
}
