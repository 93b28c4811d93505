//! Criteria that remember gradients: each step passes them the gradient of every weight, and the optimizer receives the
//! usual gradients.

use candle_core::{Device, Tensor, Var};
use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_prune::{
    DeadFilters, DropPolicy, DropRule, Pruner, PrunerBuilder, Remainder,
    criterion::{Criterion, Fisher, GradientEma, Inverted, Movement, Random},
    renewal::{Swap, SwapDecay},
};
use taper_scale::Constant;
use taper_schedule::{Curve, Ramp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const N: usize = 8;

/// A convolution of four filters.
struct One {
    var: Var,
}

impl One {
    fn new(weights: [f32; N]) -> Result<Self> {
        Ok(Self { var: Var::from_slice(&weights, (4, 2), &Device::Cpu)? })
    }

    /// Half of the weights are pruned at a step.
    fn builder(&self, at: u64) -> Result<PrunerBuilder> {
        let info =
            LayerInfo { name: "conv.weight".into(), kind: LayerKind::Conv, shape: vec![4, 2] };
        let half = Ramp::new(Curve::OneShot, Step(at), Step(at), Sparsity::new(0.5)?);
        let builder = Pruner::builder([(info, self.var.clone())], half, 100);
        Ok(builder.threshold(Threshold::Hard))
    }

    /// The gradient for the optimizer in a step, if the gradient with respect to the pruned weights is `slope`.
    fn step(&self, pruner: &mut Pruner, step: u64, slope: [f32; N]) -> Result<Vec<f32>> {
        let pruned = pruner.impose(Step(step))?;
        let slope = Tensor::from_slice(&slope, (4, 2), &Device::Cpu)?;
        let mut grads = (self.var.as_tensor() * slope)?.sum_all()?.backward()?;
        pruned.lift(&mut grads)?;
        Ok(grads.get(&self.var).ok_or("no gradient")?.flatten_all()?.to_vec1()?)
    }
}

fn kept(pruner: &Pruner) -> Vec<usize> {
    let words = pruner.state().masks.remove(0);
    Mask::from_words(words, N).expect("a mask of eight").kept().collect()
}

#[test]
fn gradients_of_pruned_weights_are_remembered_but_scaled_for_the_optimizer() -> Result {
    type Build = fn(PrunerBuilder) -> PrunerBuilder;
    let drop = |builder: PrunerBuilder| {
        let policy = DropPolicy {
            rule: DropRule::Random { seed: 1 },
            share: 1.0,
            curve: Curve::Linear,
            begin: Step::ZERO,
            end: Step::ZERO,
            from: Sparsity::DENSE,
        };
        builder.remainder(Remainder { drop: Some(policy), ..half_learning() })
    };
    // At the second step, weights 0, 1, 4 and 6 are kept, and the second filter is dead.
    let alive = [7.0, 6.0, -2.0, -3.0, 5.0, -4.0, 4.0, -5.0];
    let cases: [(Build, [f32; N], [f32; N], u64); 4] = [
        (|b| b.remainder(half_learning()), [1.0, 1.0, 0.5, 0.5, 1.0, 0.5, 1.0, 0.5], alive, 8),
        (
            |b| b.remainder(half_learning()).dead_filters(DeadFilters::Silent),
            [1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 1.0, 0.5],
            alive,
            6,
        ),
        (|b| b.remainder(Remainder::resting()), [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0], alive, 8),
        // Dropped weights are 0, and do not move.
        (
            drop,
            [1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0],
            [7.0, 6.0, -1.0, -2.0, 5.0, -3.0, 4.0, -4.0],
            4,
        ),
    ];
    for (case, (build, gradient, sums, n_live)) in cases.into_iter().enumerate() {
        let one = One::new([1.0; N])?;
        let mut pruner = build(one.builder(1)?.criterion(Movement)).build()?;
        let slope = [-8.0, -7.0, 1.0, 2.0, -6.0, 3.0, -5.0, 4.0];
        assert_eq!(one.step(&mut pruner, 0, slope)?, slope, "case {case}");
        assert_eq!(pruner.state().memory, slope.map(|g| -g), "case {case}");
        assert_eq!(one.step(&mut pruner, 1, [1.0; N])?, gradient, "case {case}");
        assert_eq!(kept(&pruner), [0, 1, 4, 6], "case {case}");
        assert_eq!(pruner.state().memory, sums, "case {case}");
        assert_eq!(pruner.n_live(), n_live, "case {case}");
    }
    Ok(())
}

/// Pruned weights learn with half of their gradient.
fn half_learning() -> Remainder {
    Remainder::alive(Constant::new(0.5).expect("a share"))
}

fn number(step: u64, index: usize) -> f32 {
    ((index as u64 * 7 + step * 5 + index as u64 * step * 3) % 13) as f32 / 2.0 - 3.0
}

#[test]
fn accumulated_values_continue_from_a_saved_state() -> Result {
    type Build = fn(&One) -> Result<PrunerBuilder>;
    let swapping: Build = |one| {
        let swap = Swap {
            every: 2,
            share: 0.5,
            decay: SwapDecay::Constant,
            from: Step::ZERO,
            end: Step(50),
            grow: Some(Box::new(GradientEma { beta: 0.75 })),
            begin: Some(Box::new(Random { seed: 2 }) as Box<dyn Criterion>),
            ..Swap::default()
        };
        let builder = one.builder(0)?.criterion(Fisher::default()).remainder(Remainder::zero());
        Ok(builder.renewal(swap))
    };
    let builds: [Build; 4] = [
        |one| Ok(one.builder(3)?.criterion(Movement).remainder(half_learning())),
        |one| Ok(one.builder(3)?.criterion(Fisher { beta: 0.5 }).remainder(Remainder::resting())),
        |one| {
            let inverted = Inverted { of: Box::new(Movement) };
            Ok(one.builder(3)?.criterion(inverted).remainder(half_learning()))
        },
        swapping,
    ];
    for (case, build) in builds.into_iter().enumerate() {
        let run = |restart: Option<u64>| -> Result<_> {
            let one = One::new(std::array::from_fn(|i| number(31, i) + 0.125))?;
            let mut pruner = build(&one)?.build()?;
            let mut masks = Vec::new();
            for step in 0..14 {
                let slope = std::array::from_fn(|i| number(step, i));
                let gradient = one.step(&mut pruner, step, slope)?;
                let gradient = Tensor::from_vec(gradient, (4, 2), &Device::Cpu)?;
                one.var.set(&(one.var.as_tensor() - (gradient * 0.125)?)?)?;
                masks.push(kept(&pruner));
                if restart == Some(step) {
                    let state = pruner.state();
                    pruner = build(&one)?.build()?;
                    pruner.restore(state)?;
                }
            }
            Ok((one.var.flatten_all()?.to_vec1::<f32>()?, masks, pruner.state()))
        };
        let whole = run(None)?;
        let mut seen = whole.1.clone();
        seen.dedup();
        assert!(seen.len() > 2, "case {case}: {seen:?}");
        for restart in 0..13 {
            assert_eq!(run(Some(restart))?, whole, "case {case}, saved after step {restart}");
        }
    }
    Ok(())
}

#[test]
fn the_memory_of_other_criteria_is_refused() -> Result {
    let one = One::new([1.0; N])?;
    let mut pruner = one.builder(1)?.criterion(Movement).remainder(half_learning()).build()?;
    one.step(&mut pruner, 0, [1.0; N])?;
    let before = pruner.state();
    for memory in [vec![], vec![0.0; N - 1], vec![0.0; 2 * N]] {
        let other = taper_prune::PrunerState { memory, ..before.clone() };
        let refused = pruner.restore(other).unwrap_err().to_string();
        assert!(refused.contains("use the criteria that it was saved with"), "{refused}");
        assert_eq!(pruner.state(), before);
    }
    Ok(())
}
