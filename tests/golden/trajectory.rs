//! Golden tests of whole training runs, step by step.
//!
//! Runs with a name that starts with `smooth` have a small learning rate and agree closely. In the other runs, f32 and
//! f64 diverge chaotically; only their first steps and averages are compared.

mod set;

use crate::check::{Check, l2, max_difference, relative_l2};
use crate::fill::{fill, flat, state};
use crate::reader::{Fields, device};
use candle_core::backprop::GradStore;
use serde_json::Value;
use set::{Set, sets};
use taper::core::{LayerId, Sparsity, Step};
use taper::nn::{Gates, KernelContext, Model, Pass, ops::choice::Choice};
use taper::prune::{Pruner, Quantile};
use taper::scale::{FeatherRule, PrunedGrad};
use taper::schedule::{Curve, Ramp};
use taper::train::{Cosine, GradNorm, LearningRate, Optimizer, Sgd, clip_factor, cross_entropy};

/// Tolerance of a count of zeros, in weights: rounding of the threshold can move it past neighbouring magnitudes.
const ZEROS: f64 = 3.0;

fn compare(test: &'static str, choice: Choice, is_chosen: impl Fn(&str) -> bool) {
    let mut check = Check::new(test);
    for set in sets() {
        set.check_settings(&mut check);
        for json in set.json.list("runs").iter().filter(|run| is_chosen(run.text("name"))) {
            Run::new(&set, json, choice).compare(&mut check);
        }
    }
    check.finish();
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long without --release")]
fn golden_trajectories_with_small_steps() {
    compare("smooth runs", Choice::Measured, is_smooth);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long without --release")]
fn golden_trajectories_with_the_reference_hyper_parameters() {
    compare("chaotic runs", Choice::Measured, |name| !is_smooth(name));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long without --release")]
fn golden_trajectories_for_every_choice_of_dense_or_sparse() {
    for (choice, test) in [
        (Choice::Dense, "all runs, dense"),
        (Choice::Sparse, "all runs, sparse"),
        (Choice::ByRule, "all runs, by rule"),
    ] {
        compare(test, choice, |_| true);
    }
}

fn is_smooth(name: &str) -> bool {
    name.starts_with("smooth")
}

/// One run.
struct Run<'a> {
    set: &'a Set,
    json: &'a Value,
    place: String,
    name: &'a str,
    network: Box<dyn Model>,
    kernels: KernelContext,
}

impl<'a> Run<'a> {
    fn new(set: &'a Set, json: &'a Value, choice: Choice) -> Self {
        let name = json.text("name");
        let (model, classes) = (set.json.text("model"), set.json.count("num_classes") as usize);
        let network = taper::zoo::build(model, classes, 0, &device()).expect("a network");
        fill(network.params(), set.json.count("fill_seed"));
        let (place, kernels) = (format!("{}{name}", set.place), KernelContext::new(choice));
        Self { set, json, place, name, network, kernels }
    }

    fn is_smooth(&self) -> bool {
        is_smooth(self.name)
    }

    /// The reference run in f64.
    fn want(&self) -> &'a Value {
        self.json.field("f64")
    }

    /// The training loop of the reference, built from the library's parts.
    fn compare(&self, check: &mut Check) {
        let (json, set, params) = (self.json, &self.set.json, self.network.params());
        let (per_epoch, epochs) = (json.count("nbatches"), json.count("epochs"));
        let total = per_epoch * epochs;
        let steps = self.want().list("steps");
        check.equal("steps", format_args!("{}", self.place), total, steps.len() as u64);
        let target = Sparsity::new(json.real("final_rate")).expect("a sparsity");
        let ramp =
            Ramp::new(Curve::Cubic, Step(json.count("t1") * per_epoch), Step(total / 2), target);
        let mut pruner = Pruner::builder(params.prunable(), ramp, total)
            .quantile(Quantile::Interpolated)
            .gradient(FeatherRule)
            .build()
            .expect("a pruner");
        let lr = Cosine { lr: json.real("lr"), total_steps: total };
        let mut sgd = Sgd::new(set.real("momentum"), json.real("wd"));
        let size = json.count("batch") as usize;
        let batches = self.set.batches("train", per_epoch as usize * size, size);

        let mut losses = Vec::new();
        for (step, want) in (0..total).zip(steps) {
            let place = format!("{} step {step}", self.place);
            let (images, labels) = &batches[(step % per_epoch) as usize];
            let gates = pruner.begin_step(Step(step)).expect("gates");
            self.check_cut(check, &place, &pruner, &gates, n_zeros(&pruner.report()), want);
            let theta = PrunedGrad::uniform(json.real("theta") as f32);
            check.equal("theta", format_args!("{place}"), pruner.pruned_grad(), theta);

            let pass = Pass::train(&gates).with_kernels(&self.kernels);
            let logits = self.network.forward(images, &pass).expect("logits");
            let loss = cross_entropy(&logits, labels, 0.0).expect("a loss");
            let grads = loss.backward().expect("gradients");
            let norm = GradNorm::of(params, &grads, &[]).expect("a norm").all;
            losses.push(f64::from(loss.to_scalar::<f32>().expect("a number")));
            self.check_loss_and_norm(check, &place, step, losses[step as usize], norm, want);
            self.check_gradients(check, &place, step, &grads);

            check.within("rate", format_args!("{place}"), lr.at(step), want.real("lr"), 1e-12);
            let factor = clip_factor(norm, set.real("clip_norm"));
            sgd.step(params, &grads, factor, lr.at(step)).expect("a step");
            self.check_state(check, &place, step, total);

            if (step + 1) % per_epoch == 0 {
                let epoch = step / per_epoch;
                let place = format!("{} end of epoch {epoch}", self.place);
                let (gates, report) = pruner.refresh_counted().expect("gates and counts");
                let want = &self.want().list("epoch_end")[epoch as usize];
                self.check_cut(check, &place, &pruner, &gates, n_zeros(&report), want);
            }
        }
        self.check_last_losses(check, &losses);
        self.check_baked(check, pruner);
    }

    /// Ratio, threshold and zeros of a mask update.
    fn check_cut(
        &self,
        check: &mut Check,
        place: &str,
        pruner: &Pruner,
        gates: &Gates,
        zeros: u64,
        want: &Value,
    ) {
        let ratio = want.real("ratio");
        check.within("ratio", format_args!("{place}"), pruner.sparsity().get(), ratio, 1e-12);
        let cut = gates.get(LayerId(0)).map_or(0.0, |gate| f64::from(gate.cut));
        let tolerance = if self.is_smooth() { 1e-4 } else { 5e-3 };
        check.relative(
            "threshold",
            format_args!("{place}"),
            cut,
            want.real("threshold"),
            tolerance,
        );
        let n = self.json.count("prunable_params");
        let formula = if ratio == 0.0 { 0.0 } else { ((n - 1) as f64 * ratio).floor() + 1.0 };
        let tolerance = if ratio == 0.0 { 0.0 } else { ZEROS };
        check.within("zeros", format_args!("{place}"), zeros as f64, formula, tolerance);
        check.within("zeros", format_args!("{place}"), zeros as f64, want.real("zeros"), tolerance);
    }

    fn check_loss_and_norm(
        &self,
        check: &mut Check,
        place: &str,
        step: u64,
        loss: f64,
        norm: f64,
        want: &Value,
    ) {
        let (of_loss, of_norm) = match (self.is_smooth(), step) {
            (true, _) => (1e-3, Some(2e-2)),
            (false, 0) => (1e-5, Some(1e-3)),
            (false, 1) => (3e-4, None),
            (false, _) => (0.15, None),
        };
        check.relative("loss", format_args!("{place}"), loss, want.real("loss"), of_loss);
        if let Some(tolerance) = of_norm {
            let want = want.real("grad_norm_before_clip");
            check.relative("norm of the gradient", format_args!("{place}"), norm, want, tolerance);
        }
    }

    /// The gradient norms of all parameters, as one vector: its L2 distance from the reference, relative to the norm of
    /// the reference. The tolerances are a few times the distance of the reference's own f32 runs.
    fn check_gradients(&self, check: &mut Check, place: &str, step: u64, grads: &GradStore) {
        let wanted = self.want().object("grad_l2").get(&step.to_string());
        let Some(wanted) = wanted.and_then(Value::as_object).filter(|_| self.is_smooth()) else {
            return;
        };
        let (mut distance, mut whole) = (0.0, 0.0);
        let trained: Vec<_> = self.network.params().trained().collect();
        check.equal("gradients", format_args!("{place}"), trained.len(), wanted.len());
        for (entry, _) in trained {
            let want = wanted.get(&entry.name).and_then(Value::as_f64);
            let want = want.unwrap_or_else(|| panic!("no gradient norm of {}", entry.name));
            let got = l2(&flat(grads.get(&entry.var).expect("a gradient")));
            distance += (got - want).powi(2);
            whole += want.powi(2);
        }
        let tolerance = if step <= 1 { 2e-2 } else { 6e-2 };
        let share = (distance / whole).sqrt();
        check.within("gradients by parameter", format_args!("{place}"), share, 0.0, tolerance);
    }

    /// Norms of parameters and running statistics after the optimizer's step, and all values of some of them.
    fn check_state(&self, check: &mut Check, place: &str, step: u64, total: u64) {
        if !self.is_smooth() {
            return;
        }
        let tolerance = match step {
            0 => 5e-6,
            1 => 3e-5,
            step if step <= 5 && step + 1 < total => 5e-4,
            _ => 1e-3,
        };
        let quantity = match step {
            0 => "state after step 0",
            1 => "state after step 1",
            _ => "state after later steps",
        };
        if let Some(norms) = self.want().object("state_l2_after_step").get(&step.to_string()) {
            self.check_norms(check, quantity, place, norms, tolerance);
        }
        for (key, name) in
            self.set.tensors.below(&format!("{}.after_step{step}_f64run.", self.name))
        {
            let entry = self.network.params().get(name).unwrap_or_else(|| panic!("no {name}"));
            let error = relative_l2(&flat(&entry.var), self.set.tensors.f32(key));
            check.within(quantity, format_args!("{place}, {name}, whole"), error, 0.0, tolerance);
        }
    }

    fn check_norms(
        &self,
        check: &mut Check,
        quantity: &'static str,
        place: &str,
        norms: &Value,
        tolerance: f64,
    ) {
        let state = state(self.network.params());
        check.equal(
            "tensors",
            format_args!("{place}"),
            state.len(),
            norms.as_object().map_or(0, |n| n.len()),
        );
        for (name, values) in state {
            check.relative(
                quantity,
                format_args!("{place}, {name}"),
                l2(&values),
                norms.real(name),
                tolerance,
            );
        }
    }

    fn check_last_losses(&self, check: &mut Check, losses: &[f64]) {
        if !self.is_smooth() {
            let wanted: Vec<f64> =
                self.want().list("steps").iter().map(|s| s.real("loss")).collect();
            let mean = |values: &[f64]| {
                let last = &values[values.len().saturating_sub(8)..];
                last.iter().sum::<f64>() / last.len() as f64
            };
            let place = format_args!("{}", self.place);
            check.relative("mean loss of the last steps", place, mean(losses), mean(&wanted), 0.05);
        }
    }

    /// The network after baking: pruned weights are 0.
    fn check_baked(&self, check: &mut Check, pruner: Pruner) {
        let (place, want) = (&self.place, self.want());
        let last = want.list("epoch_end").last().expect("an epoch");
        let n_zeros = pruner.bake().expect("zeros");
        check.within(
            "zeros when baked",
            format_args!("{place}"),
            n_zeros as f64,
            last.real("zeros"),
            ZEROS,
        );
        if !self.is_smooth() {
            return;
        }
        let norms = want.field("state_l2_after_desparsify");
        self.check_norms(check, "state when baked", place, norms, 1e-3);
        let zeros = want.object("final_zeros_per_layer");
        for (info, var) in self.network.params().prunable() {
            let name = info.name.strip_suffix(".weight").unwrap_or(&info.name);
            let want = zeros
                .get(name)
                .and_then(Value::as_f64)
                .unwrap_or_else(|| panic!("no zeros of {name}"));
            let got = flat(var).iter().filter(|&&w| w == 0.0).count() as f64;
            // The README states a tolerance for the sum only. In a layer, the number of weights near the threshold
            // grows with its size.
            let tolerance = ZEROS + 1e-4 * info.n_weights() as f64;
            check.within(
                "zeros of a layer when baked",
                format_args!("{place}, {name}"),
                got,
                want,
                tolerance,
            );
        }
        let (images, _) = self.set.batches("test", self.set.n_test(), self.set.n_test()).remove(0);
        let pass = Pass::eval().with_kernels(&self.kernels);
        let logits = self.network.forward(&images, &pass).expect("logits");
        let wanted = self.set.tensors.f32(&format!("{}.final_logits_f64run", self.name));
        let (error, _) = max_difference(&flat(&logits), wanted);
        check.within("final logits", format_args!("{place}"), error, 0.0, 2e-2);
    }
}

fn n_zeros(report: &taper::prune::Report) -> u64 {
    report.n_weights() - report.n_kept()
}
