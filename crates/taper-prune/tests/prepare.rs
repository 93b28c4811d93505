//! Masks by criteria that measure the network, on linear networks with known derivatives.
#![allow(clippy::disallowed_methods, reason = "test inputs need no fixed bits")]

use candle_core::{DType, Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_prune::{
    GradientOracle, Measure, Measured, PruneError, Pruner, PrunerBuilder, Remainder, Sample,
    criterion::{Criterion, Gradient, Grasp, Magnitude, Random, Saliency, SynFlow},
    renewal::{Hold, Swap, SwapDecay, TopK},
};
use taper_schedule::{Cadence, Curve, Points, Ramp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Two linear layers with nothing between them: 3 → 4 → 2.
struct Net {
    vars: Vec<Var>,
    /// The result of the product with the Hessian.
    curvature: Vec<Vec<f32>>,
    /// Number of non-zero weights at each computation of the flow.
    seen: Vec<usize>,
    /// The flow along all paths, at its last computation.
    flow: f64,
    fails_at: usize,
}

const SHAPES: [(usize, usize); 2] = [(4, 3), (2, 4)];

impl Net {
    fn of(weights: &[f32]) -> Result<Self> {
        let (first, second) = weights.split_at(12);
        let vars = vec![
            Var::from_slice(first, SHAPES[0], &Device::Cpu)?,
            Var::from_slice(second, SHAPES[1], &Device::Cpu)?,
        ];
        Ok(Self { vars, curvature: Vec::new(), seen: Vec::new(), flow: 0.0, fails_at: usize::MAX })
    }

    fn builder(&self, sparsity: f64, begin: u64) -> PrunerBuilder {
        let layers = self.vars.iter().enumerate().map(|(i, var)| {
            let (name, shape) = (format!("fc{i}.weight"), var.dims().to_vec());
            (LayerInfo { name, kind: LayerKind::Linear, shape }, var.clone())
        });
        let target = Sparsity::saturating(sparsity);
        let once = Ramp::new(Curve::OneShot, Step(begin), Step(begin), target);
        Pruner::builder(layers, once, 100)
            .threshold(Threshold::Hard)
            .renewal(Hold)
            .remainder(Remainder::zero())
    }

    fn weights(&self) -> Vec<u32> {
        let values = self.vars.iter().map(|var| var.flatten_all()?.to_vec1::<f32>());
        let values: candle_core::Result<Vec<Vec<f32>>> = values.collect();
        values.expect("weights").concat().into_iter().map(f32::to_bits).collect()
    }
}

impl GradientOracle for Net {
    fn gradient(&mut self, sample: &Sample) -> candle_core::Result<Vec<Tensor>> {
        assert_eq!(*sample, Sample { per_class: 3, temperature: 7.0 });
        self.vars.iter().map(|var| var.ones_like()).collect()
    }

    fn curvature(
        &mut self,
        sample: &Sample,
        direction: &[Tensor],
    ) -> candle_core::Result<Vec<Tensor>> {
        assert_eq!((sample.per_class, direction[1].sum_all()?.to_scalar::<f32>()?), (3, 8.0));
        let layers = self.curvature.iter().zip(&self.vars);
        layers.map(|(c, var)| Tensor::from_slice(c, var.dims(), &Device::Cpu)).collect()
    }

    fn flow(&mut self, weights: &[Tensor]) -> candle_core::Result<Vec<Tensor>> {
        let vars = [Var::from_tensor(&weights[0])?, Var::from_tensor(&weights[1])?];
        let mut n_kept = 0;
        for var in &vars {
            n_kept += var.flatten_all()?.to_vec1::<f64>()?.iter().filter(|w| **w > 0.0).count();
        }
        self.seen.push(n_kept);
        if self.seen.len() > self.fails_at {
            candle_core::bail!("the device is gone")
        }
        let ones = Tensor::ones((1, 3), DType::F64, &Device::Cpu)?;
        let flow = ones.matmul(&vars[0].t()?)?.matmul(&vars[1].t()?)?.sum_all()?;
        self.flow = flow.to_scalar()?;
        let grads = flow.backward()?;
        Ok(vars.iter().map(|var| grads.get(var).cloned().expect("a gradient")).collect())
    }
}

const WEIGHTS: [f32; 20] = [
    0.5, -0.25, 1.0, 0.75, -2.0, 0.125, 0.3, 0.6, -0.9, 0.05, 0.01, -0.02, // 4×3
    1.0, -0.45, 0.25, 2.0, 0.1, 0.2, -0.3, 0.4, // 2×4
];

fn kept(pruner: &Pruner) -> Vec<usize> {
    let sizes = [12, 8];
    let masks = pruner.state().masks.into_iter().zip(sizes);
    let masks = masks.map(|(words, n)| Mask::from_words(words, n).expect("a mask"));
    let kept = masks.zip([0, 12]).map(|(mask, at)| mask.kept().map(|i| at + i).collect::<Vec<_>>());
    kept.collect::<Vec<_>>().concat()
}

#[test]
fn synaptic_flow_in_one_round_by_hand() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    let mut pruner = net.builder(0.75, 0).criterion(SynFlow { rounds: 1 }).build()?;
    let before = net.weights();
    pruner.prepare(Step(0), &mut net)?;
    assert_eq!((net.weights(), &net.seen), (before, &vec![20]));
    pruner.begin_step(Step(0))?;
    // Outgoing sums of the hidden units: 1.1, 0.65, 0.55, 2.4; incoming sums: 1.75, 2.875, 1.8, 0.08. The largest
    // products are 1·1.1 and 2·0.65 in the first layer, and 1·1.75, 0.45·2.875 and 0.2·2.875 in the second.
    assert_eq!(kept(&pruner), [2, 4, 12, 13, 17]);
    Ok(())
}

#[test]
fn the_density_falls_by_the_same_factor_in_each_round() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    let mut pruner = net.builder(0.9, 0).criterion(SynFlow { rounds: 4 }).build()?;
    pruner.prepare(Step(0), &mut net)?;
    // 20·0.1^(k/4): 11.2, 6.3, 3.6, 2.
    assert_eq!(net.seen, [20, 11, 6, 4]);
    pruner.begin_step(Step(0))?;
    assert_eq!(pruner.report().n_kept(), 2);
    // One path remains.
    let kept = kept(&pruner);
    assert!(kept[0] < 12 && kept[1] >= 12 && kept[0] / 3 == (kept[1] - 12) % 4, "{kept:?}");
    Ok(())
}

#[test]
fn the_network_is_measured_in_the_step_that_chooses_and_in_no_other() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    let build = |net: &Net| net.builder(0.5, 3).criterion(SynFlow { rounds: 2 }).build();
    let mut pruner = build(&net)?;
    for step in 0..3 {
        pruner.prepare(Step(step), &mut net)?;
        pruner.begin_step(Step(step))?;
        assert!(net.seen.is_empty() && pruner.sparsity().is_dense());
    }
    // A step without its measurement is rejected, and nothing has changed.
    let error = pruner.begin_step(Step(3)).unwrap_err();
    assert!(matches!(error, PruneError::Preparation { .. }), "{error}");
    assert!(error.to_string().contains("step 3 chooses masks by SynFlow"), "{error}");
    assert_eq!((pruner.report().n_kept(), pruner.state().step), (20, 2));
    pruner.prepare(Step(3), &mut net)?;
    pruner.begin_step(Step(3))?;
    assert_eq!((net.seen.len(), pruner.report().n_kept()), (2, 10));
    let error = pruner.prepare(Step(2), &mut net).unwrap_err();
    assert!(matches!(error, PruneError::Step { step: 2, last: 3 }), "{error}");
    // A step that is begun again, and a resumed run, hold the masks.
    pruner.begin_step(Step(3))?;
    let masks = kept(&pruner);
    let mut resumed = build(&net)?;
    resumed.restore(pruner.state())?;
    for pruner in [&mut pruner, &mut resumed] {
        for step in 3..6 {
            pruner.prepare(Step(step), &mut net)?;
            pruner.begin_step(Step(step))?;
        }
        assert_eq!((net.seen.len(), kept(pruner)), (2, masks.clone()));
    }
    Ok(())
}

#[test]
fn pruned_weights_rank_below_kept_weights_without_any_flow() -> Result {
    // The second layer has zeros for the third hidden unit.
    let mut weights = WEIGHTS;
    (weights[14], weights[18]) = (0.0, 0.0);
    let mut net = Net::of(&weights)?;
    let infos = [0, 1].map(|i| LayerInfo {
        name: format!("fc{i}.weight"),
        kind: LayerKind::Linear,
        shape: vec![SHAPES[i].0, SHAPES[i].1],
    });
    let mut masks = [Mask::full(12), Mask::full(8)];
    masks[0].set(4, false);
    let layer = |i: usize, weights| Measured { info: &infos[i], weights, mask: &masks[i] };
    let layers = [layer(0, &weights[..12]), layer(1, &weights[12..])];
    let scores = SynFlow::default().score_all(&mut net, &layers)?.concat();
    assert_eq!((scores[4], scores.iter().copied().fold(0.0, f32::max)), (0.0, 1.0));
    // Weights into that unit, and the zeros after it.
    for i in [6, 7, 8, 14, 18] {
        assert_eq!(scores[i], f32::MIN_POSITIVE, "{i}");
    }
    assert_eq!(scores.iter().filter(|score| **score > f32::MIN_POSITIVE).count(), 14);
    Ok(())
}

#[test]
fn the_sign_of_the_scores_of_grasp_counts() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    let score = |i: usize| ((i * 7 + 3) % 20) as f32 - 12.0;
    let product: Vec<f32> = WEIGHTS.iter().enumerate().map(|(i, w)| score(i) / w).collect();
    net.curvature = vec![product[..12].to_vec(), product[12..].to_vec()];
    let grasp = Grasp { per_class: 3, temperature: 7.0 };
    let mut pruner = net.builder(0.8, 0).criterion(grasp).build()?;
    let before = net.weights();
    pruner.prepare(Step(0), &mut net)?;
    assert_eq!(net.weights(), before);
    pruner.begin_step(Step(0))?;
    let mut wanted: Vec<usize> = (0..20).filter(|&i| score(i) > 3.5).collect();
    // Scores are 7, 6, 5 and 4.
    wanted.sort_unstable();
    assert_eq!((wanted.len(), kept(&pruner)), (4, wanted));
    Ok(())
}

#[test]
fn a_network_that_fails_leaves_weights_and_masks() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    net.fails_at = 1;
    let mut pruner = net.builder(0.5, 0).criterion(SynFlow::default()).build()?;
    let before = net.weights();
    let error = pruner.prepare(Step(0), &mut net).unwrap_err().to_string();
    assert!(error.contains("the device is gone"), "{error}");
    assert_eq!((net.weights(), pruner.report().n_kept()), (before, 20));
    assert!(pruner.begin_step(Step(0)).is_err());
    net.fails_at = usize::MAX;
    pruner.prepare(Step(0), &mut net)?;
    pruner.begin_step(Step(0))?;
    assert_eq!(pruner.report().n_kept(), 10);
    Ok(())
}

#[test]
fn scores_that_are_not_finite_or_all_equal_are_refused() -> Result {
    let grasp = Grasp { per_class: 3, temperature: 7.0 };
    let refused = |product: Vec<Vec<f32>>| -> Result<String> {
        let mut net = Net::of(&WEIGHTS)?;
        net.curvature = product;
        let mut pruner = net.builder(0.5, 0).criterion(grasp).build()?;
        Ok(pruner.prepare(Step(0), &mut net).expect_err("a refusal").to_string())
    };
    let nan = refused(vec![vec![1.0; 12], vec![f32::NAN; 8]])?;
    assert!(nan.contains("the result of the oracle for fc1.weight has a value of NaN"), "{nan}");
    let short = refused(vec![vec![1.0; 12]])?;
    assert!(short.contains("the oracle returned 1 tensors for 2 layers"), "{short}");
    let flat = refused(vec![vec![0.0; 12], vec![0.0; 8]])?;
    assert!(flat.contains("do not rank weights"), "{flat}");

    let mut net = Net::of(&[0.0; 20])?;
    let mut pruner = net.builder(0.5, 0).criterion(SynFlow::default()).build()?;
    let error = pruner.prepare(Step(0), &mut net).unwrap_err().to_string();
    assert!(error.contains("the largest synaptic flow of a weight is 0"), "{error}");

    struct Nothing;
    impl GradientOracle for Nothing {}
    for (criterion, wanted) in [
        (Box::new(grasp) as Box<dyn Criterion>, "does not implement the gradient of a sample"),
        (Box::new(SynFlow::default()), "does not implement the synaptic flow"),
    ] {
        let mut pruner = net.builder(0.5, 0).criterion(criterion).build()?;
        let error = pruner.prepare(Step(0), &mut Nothing).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
    Ok(())
}

#[test]
fn masks_that_cannot_wait_are_refused() -> Result {
    let net = Net::of(&WEIGHTS)?;
    let swap = |grow: Box<dyn Criterion>, begin: Option<Box<dyn Criterion>>| Swap {
        every: 2,
        decay: SwapDecay::Constant,
        end: Step(9),
        grow: Some(grow),
        begin,
        ..Swap::default()
    };
    let build = |change: &dyn Fn(PrunerBuilder) -> PrunerBuilder| {
        change(net.builder(0.5, 0)).build().map(drop).map_err(|error| error.to_string())
    };
    let flow = SynFlow::default;
    for refused in [
        build(&|b| b.criterion(flow()).renewal(swap(Box::new(Gradient), None))),
        build(&|b| b.criterion(Magnitude).renewal(swap(Box::new(flow()), None))),
    ] {
        assert!(refused.unwrap_err().contains("prune-and-regrow uses scores of the current step"));
    }
    for refused in [
        build(&|b| b.criterion(flow()).renewal(TopK::EVERY_STEP)),
        build(&|b| {
            let cadence = Cadence::every(9).unwrap();
            b.criterion(flow()).renewal(TopK { cadence }).threshold(Threshold::Soft)
        }),
    ] {
        let refused = refused.unwrap_err();
        assert!(refused.contains("choose masks that are held") || refused.contains("choose hard"));
    }
    let begins = || Some(Box::new(flow()) as Box<dyn Criterion>);
    assert_eq!(build(&|b| b.renewal(swap(Box::new(Random { seed: 0 }), begins()))), Ok(()));
    assert_eq!(build(&|b| b.criterion(Saliency)), Ok(()));

    // The first masks of prune-and-regrow may be measured; later updates are not.
    let mut net = Net::of(&WEIGHTS)?;
    let renewal = swap(Box::new(Random { seed: 0 }), begins());
    let mut pruner = net.builder(0.5, 0).renewal(renewal).build()?;
    for step in 0..2 {
        pruner.prepare(Step(step), &mut net)?;
        pruner.begin_step(Step(step))?;
    }
    assert_eq!((net.seen.len(), pruner.report().n_kept()), (100, 10));
    Ok(())
}

proptest! {
    #[test]
    fn counts_are_exact_and_masks_nested(
        weights in prop::collection::vec(-1.0f32..1.0, 20), sparsity in 0.05..0.95f64, rounds in 1u32..8,
    ) {
        prop_assume!(weights.iter().all(|w| *w != 0.0));
        let mut net = Net::of(&weights).unwrap();
        let mut pruner = net.builder(sparsity, 0).criterion(SynFlow { rounds }).build().unwrap();
        // With few weights there may be no path.
        if let Err(error) = pruner.prepare(Step(0), &mut net) {
            prop_assert!(error.to_string().contains("no path of kept weights"), "{}", error);
            prop_assert!(net.flow == 0.0 && net.seen.len() > 1, "{:?}", net.seen);
            return Ok(());
        }
        pruner.begin_step(Step(0)).unwrap();
        prop_assert_eq!(pruner.report().n_kept(), Sparsity::new(sparsity).unwrap().n_kept(20));
        // The number of non-zero weights falls from round to round.
        prop_assert!(net.seen.len() == rounds as usize && net.seen.is_sorted_by(|a, b| a >= b));
        let of = |round: i32| 20.0 * libm::pow(1.0 - sparsity, f64::from(round) / f64::from(rounds));
        for (round, &n) in net.seen.iter().enumerate() {
            prop_assert!((n as f64 - of(round as i32)).abs() <= 0.5 + 1e-9);
        }
    }
}

#[test]
fn rounds_continue_from_the_present_density() -> Result {
    let mut net = Net::of(&WEIGHTS)?;
    let layers = net.vars.iter().enumerate().map(|(i, var)| {
        let (name, shape) = (format!("fc{i}.weight"), var.dims().to_vec());
        (LayerInfo { name, kind: LayerKind::Linear, shape }, var.clone())
    });
    let points = [(Step(0), 0.5), (Step(9), 0.5), (Step(10), 0.9)];
    let points = points.map(|(step, sparsity)| (step, Sparsity::saturating(sparsity)));
    let mut pruner = Pruner::builder(layers, Points::new(points.to_vec())?, 100)
        .threshold(Threshold::Hard)
        .renewal(Hold)
        .remainder(Remainder::resting())
        .criterion(SynFlow { rounds: 2 })
        .build()?;
    for step in [0, 10] {
        pruner.prepare(Step(step), &mut net)?;
        pruner.begin_step(Step(step))?;
    }
    // 20·0.5^(k/2) from all weights: 14.1; 10·0.2^(k/2) from ten: 4.5.
    assert_eq!(net.seen, [20, 14, 10, 4]);
    assert_eq!(pruner.report().n_kept(), 2);
    Ok(())
}
