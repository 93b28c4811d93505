//! Operators that compute their own values, in a pruner: gates, gradients, state.

use candle_core::{Device, Tensor, Var};
use taper_core::{LayerId, LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_nn::{Gates, ops::threshold_ste};
use taper_prune::{
    Pruner, PrunerBuilder, Remainder,
    allocation::Uniform,
    criterion::{Random, Saliency},
    operator::{Gated, LearnedThreshold, Operator, PowerPropagation, RescaledSoft, SoftTopK},
    renewal::{Hold, Swap, SwapDecay, TopK},
    structure::NOfM,
};
use taper_schedule::{Cadence, Curve, Phases, Ramp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOTAL: u64 = 10;

/// Two layers; the second is a convolution.
struct Two(Vec<(LayerInfo, Var)>);

impl Two {
    fn new() -> Result<Self> {
        let value = |i: usize| ((i * 37 + 11) % 64) as f32 / 64.0 - 0.45;
        let layer = |name: &str, kind, shape: &[usize], first: usize| {
            let n: usize = shape.iter().product();
            let values: Vec<f32> = (first..first + n).map(value).collect();
            let info = LayerInfo { name: name.into(), kind, shape: shape.to_vec() };
            Result::Ok((info, Var::from_vec(values, shape, &Device::Cpu)?))
        };
        Ok(Self(vec![
            layer("fc.weight", LayerKind::Linear, &[4, 6], 0)?,
            layer("conv.weight", LayerKind::Conv, &[3, 2, 2, 2], 24)?,
        ]))
    }

    /// Sparse from step 2 on.
    fn builder(&self, sparsity: f64) -> PrunerBuilder {
        let ramp = Ramp::new(Curve::OneShot, Step(2), Step(2), Sparsity::saturating(sparsity));
        Pruner::builder(self.0.iter().map(|(info, var)| (info.clone(), var)), ramp, TOTAL)
    }

    fn values(&self) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for (_, var) in &self.0 {
            values.extend(var.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(values)
    }

    /// The loss `Σ c·w̃²` of the pruned weights.
    fn loss(&self, pruned: &[Tensor]) -> Result<Tensor> {
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
        for (i, pruned) in pruned.iter().enumerate() {
            loss = (loss + (pruned.sqr()?.sum_all()? * (0.5 + i as f64))?)?;
        }
        Ok(loss)
    }

    /// A step with gates in the forward pass, as layers compute it, or with the pruned weights in the variables.
    fn step(&self, pruner: &mut Pruner, step: u64, is_imposed: bool) -> Result {
        let vars = || self.0.iter().map(|(_, var)| var);
        let grads = match is_imposed {
            true => {
                let pruned = pruner.impose(Step(step))?;
                let tensors: Vec<Tensor> = vars().map(|var| var.as_tensor().clone()).collect();
                let mut grads = self.loss(&tensors)?.backward()?;
                pruned.lift(&mut grads)?;
                grads
            }
            false => {
                let gates = pruner.begin_step(Step(step))?;
                let mut grads = self.loss(&gated(vars(), &gates)?)?.backward()?;
                pruner.after_backward(&mut grads)?;
                grads
            }
        };
        for var in vars() {
            let grad = grads.get(var).ok_or("no gradient")?;
            var.set(&(var.as_tensor() - (grad * 0.1)?)?)?;
        }
        pruner.learn(1.0, 0.1);
        Ok(())
    }
}

fn gated<'a>(vars: impl Iterator<Item = &'a Var>, gates: &Gates) -> Result<Vec<Tensor>> {
    let pruned = vars.enumerate().map(|(i, var)| match gates.get(LayerId(i)) {
        Some(gate) => Ok(threshold_ste(var, gate)?),
        None => Ok(var.as_tensor().clone()),
    });
    pruned.collect()
}

/// Chooses an operator and the parts that fit it.
type Choice = fn(PrunerBuilder) -> PrunerBuilder;

/// Each operator with the treatment of pruned weights of its method.
fn operators() -> Vec<(&'static str, Choice)> {
    vec![
        ("rescaled", |b| b.operator(RescaledSoft).remainder(ste())),
        ("power", |b| b.operator(PowerPropagation { alpha: 2.5 }).remainder(Remainder::resting())),
        ("soft-top-k", |b| b.operator(SoftTopK::new([1.0, 20.0], Step(6))).remainder(ste())),
        ("soft-top-k of layers", |b| {
            let operator = SoftTopK::new([4.0, 20.0], Step(8));
            b.operator(operator).allocation(Uniform).remainder(ste())
        }),
    ]
}

fn ste() -> Remainder {
    Remainder {
        gradient: Box::new(taper_scale::Constant::new(1.0).expect("a share")),
        ..Remainder::default()
    }
}

fn learned() -> LearnedThreshold {
    LearnedThreshold::new(-2.0, 0.9, 0.01)
}

#[test]
fn counts_are_exact_and_layers_agree_with_weights_in_the_variables() -> Result {
    for (name, choose) in operators() {
        let mut ends = Vec::new();
        for is_imposed in [false, true] {
            let two = Two::new()?;
            let mut pruner = choose(two.builder(0.75)).build()?;
            for step in 0..TOTAL {
                two.step(&mut pruner, step, is_imposed)?;
                let wanted = if step < 2 { 48 } else { 12 };
                assert_eq!(pruner.report().n_kept(), wanted, "{name} in step {step}");
            }
            let weights = two.values()?;
            assert_eq!(pruner.bake()?, 36, "{name}");
            ends.push((weights, two.values()?));
        }
        assert_eq!(ends[0], ends[1], "{name}");
    }
    Ok(())
}

#[test]
fn a_restored_pruner_continues_bit_for_bit() -> Result {
    let mut all = operators();
    all.push(("learned", |b| b.operator(learned()).remainder(Remainder::resting())));
    for (name, choose) in all {
        let sparsity = if name == "learned" { 0.0 } else { 0.75 };
        for stop in [0, 1, 4, 7] {
            let (whole, cut) = (Two::new()?, Two::new()?);
            let mut pruner = choose(whole.builder(sparsity)).build()?;
            for step in 0..TOTAL {
                whole.step(&mut pruner, step, false)?;
            }
            let mut first = choose(cut.builder(sparsity)).build()?;
            for step in 0..stop {
                cut.step(&mut first, step, false)?;
            }
            let mut second = choose(cut.builder(sparsity)).build()?;
            second.restore(first.state())?;
            for step in stop..TOTAL {
                cut.step(&mut second, step, false)?;
            }
            assert_eq!(whole.values()?, cut.values()?, "{name} from step {stop} on");
            assert_eq!(pruner.state(), second.state(), "{name} from step {stop} on");
        }
    }
    Ok(())
}

#[test]
fn a_learned_threshold_decides_what_is_kept() -> Result {
    let two = Two::new()?;
    let builder = two.builder(0.0).operator(learned()).remainder(Remainder::resting());
    let mut pruner = builder.build()?;
    pruner.begin_step(Step(0))?;
    // σ(−2) = 0.1192.
    assert!((pruner.cut() - 0.119_202_92).abs() < 1e-7, "{}", pruner.cut());
    let n_above = two.values()?.iter().filter(|w| w.abs() > pruner.cut()).count();
    assert!(n_above < 48 && pruner.report().n_kept() == n_above as u64);
    // The loss falls with the magnitude of kept weights, so the threshold moves.
    two.step(&mut pruner, 0, false)?;
    pruner.begin_step(Step(1))?;
    assert!(pruner.cut() > 0.1193, "{}", pruner.cut());
    Ok(())
}

#[test]
fn a_new_run_begins_with_the_initial_weights() -> Result {
    let two = Two::new()?;
    let before = two.values()?;
    let builder = || {
        let builder = two.builder(0.75).operator(PowerPropagation { alpha: 2.0 });
        builder.remainder(Remainder::resting())
    };
    let mut pruner = builder().build()?;
    assert_eq!(two.values()?, before);
    let gates = pruner.begin_step(Step(0))?;
    let pruned = gated(two.0.iter().map(|(_, var)| var), &gates)?;
    let pruned = pruned.iter().map(|t| Ok(t.flatten_all()?.to_vec1::<f32>()?));
    let pruned = pruned.collect::<Result<Vec<_>>>()?.concat();
    assert!(pruned.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-6));
    let learned = two.values()?;
    assert_ne!(learned, before);
    // The initial weights are set once, also if a pruner continues from a state.
    pruner.begin_step(Step(1))?;
    let mut other = builder().build()?;
    other.restore(pruner.state())?;
    other.begin_step(Step(1))?;
    assert_eq!(two.values()?, learned);
    Ok(())
}

/// Signs times the mean magnitude of a layer's kept weights.
#[derive(Debug)]
struct Binary;

impl Operator for Binary {
    fn values(&self, layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        let of_layer = |layer: &Gated| {
            let sum: f32 = layer.mask.kept().map(|i| layer.weights[i].abs()).sum();
            let mean = sum / layer.mask.n_kept().max(1) as f32;
            Some(layer.weights.iter().map(|w| mean.copysign(*w)).collect())
        };
        layers.iter().map(of_layer).collect()
    }
}

#[test]
fn a_user_defined_operator_fits_masks_without_a_threshold() -> Result {
    let two = Two::new()?;
    let mut pruner = two.builder(0.5).operator(Binary).structure(NOfM { n: 1, m: 2 }).build()?;
    pruner.begin_step(Step(2))?;
    let mut held = two.builder(0.5).operator(Binary).renewal(Hold).build()?;
    held.begin_step(Step(2))?;
    assert_eq!(held.bake()?, 24);
    let mut magnitudes: Vec<u32> =
        two.values()?.iter().filter(|w| **w != 0.0).map(|w| w.abs().to_bits()).collect();
    magnitudes.sort_unstable();
    magnitudes.dedup();
    assert_eq!(magnitudes.len(), 2);
    // An operator that shrinks by a threshold is rejected.
    for shrinking in
        [two.builder(0.5).operator(RescaledSoft), two.builder(0.5).threshold(Threshold::Soft)]
    {
        let error = shrinking.renewal(Hold).build().err().ok_or("it was built")?;
        assert!(
            error.to_string().contains("no magnitude threshold to shrink weights by"),
            "{error}"
        );
    }
    let error = two.builder(0.5).operator(SoftTopK::new([1.0, 0.0], Step(1))).build();
    assert!(error.is_err_and(|error| error.to_string().starts_with("operator on kept weights: ")));
    Ok(())
}

#[test]
fn frozen_factors_leave_pruned_weights_without_gradient() -> Result {
    let two = Two::new()?;
    let (_, choose) = operators()[2];
    let mut pruner = choose(two.builder(0.75)).build()?;
    for (step, n_live) in [(0, 48), (5, 48), (6, 12), (9, 12)] {
        two.step(&mut pruner, step, false)?;
        assert_eq!(pruner.n_live(), n_live, "step {step}");
    }
    // The masks are held, whatever the weights become.
    let kept = pruner.state().masks;
    for (_, var) in &two.0 {
        var.set(&(var.as_tensor() * -3.0)?.sin()?)?;
    }
    pruner.begin_step(Step(9))?;
    assert_eq!(pruner.state().masks, kept);
    Ok(())
}

#[test]
fn final_masks_are_not_regrown() -> Result {
    let two = Two::new()?;
    let grow = Some(Box::new(Random { seed: 1 }) as _);
    let swap = Swap { every: 2, share: 0.5, decay: SwapDecay::Constant, grow, ..Swap::default() };
    let operator = SoftTopK::new([1.0, 20.0], Step(6));
    let mut pruner = two.builder(0.75).operator(operator).remainder(ste()).renewal(swap).build()?;
    let mut masks = Vec::new();
    for step in 0..TOTAL {
        two.step(&mut pruner, step, false)?;
        masks.push(pruner.state().masks);
        if step >= 2 {
            assert_eq!(pruner.report().n_kept(), 12, "step {step}");
        }
    }
    assert_ne!(masks[3], masks[4], "regrowth before the masks are final");
    assert!(masks[6..].iter().all(|mask| *mask == masks[6]));
    Ok(())
}

#[test]
fn gradients_choose_no_masks_once_they_are_final() -> Result {
    let two = Two::new()?;
    let cadence = Cadence::every(2)?;
    let builder = || two.builder(0.75).criterion(Saliency).renewal(TopK { cadence });
    let mut pruner = builder().operator(SoftTopK::new([1.0, 20.0], Step(6))).build()?;
    let mut masks = Vec::new();
    for step in 0..TOTAL {
        let gates = pruner.begin_step(Step(step))?;
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
        for pruned in gated(two.0.iter().map(|(_, var)| var), &gates)? {
            let places = Tensor::arange(0.0f32, pruned.elem_count() as f32, &Device::Cpu)?;
            let slope = (places * (step + 1) as f64)?.sin()?.reshape(pruned.shape())?;
            loss = (loss + (pruned * slope)?.sum_all()?)?;
        }
        pruner.after_backward(&mut loss.backward()?)?;
        masks.push(pruner.state().masks);
    }
    assert_ne!(masks[2], masks[4], "gradients choose masks at step 4");
    assert!(masks[4..].iter().all(|mask| *mask == masks[4]));
    assert_eq!(pruner.bake()?, 36);
    // The masks of step 2 are chosen after it.
    assert!(builder().operator(SoftTopK::new([1.0, 20.0], Step(2))).build().is_err());
    Ok(())
}

#[test]
fn extra_weights_of_a_soft_bound_must_leave_before_masks_are_final() -> Result {
    let two = Two::new()?;
    let until = |end| {
        let grow = Some(Box::new(Random { seed: 1 }) as _);
        let swap = Swap { every: 2, share: 0.5, is_soft: true, end, grow, ..Swap::default() };
        let operator = SoftTopK::new([1.0, 20.0], Step(6));
        two.builder(0.75).operator(operator).remainder(ste()).renewal(swap).build()
    };
    for end in [Step(6), Step(8)] {
        let error = until(end).err().ok_or("it was built")?.to_string();
        assert!(error.contains("before the operator makes them final"), "{error}");
    }
    let mut pruner = until(Step(4))?;
    for step in 0..TOTAL {
        two.step(&mut pruner, step, false)?;
    }
    assert_eq!(pruner.report().n_kept(), 12);
    Ok(())
}

#[test]
fn masks_may_not_be_final_before_the_target() -> Result {
    let two = Two::new()?;
    let phases = Phases {
        target: Sparsity::saturating(0.75),
        begin: Step(1),
        sparse: 2,
        dense: 2,
        last_dense: 2,
        end: Step(8),
    };
    let layers = two.0.iter().map(|(info, var)| (info.clone(), var));
    let operator = SoftTopK::new([1.0, 20.0], Step(2));
    let built = Pruner::builder(layers, phases, TOTAL).operator(operator).renewal(Hold).build();
    let error = built.err().ok_or("it was built")?.to_string();
    assert!(error.contains("masks are final from step 2, but"), "{error}");
    let built = two.builder(0.75).operator(SoftTopK::new([1.0, 20.0], Step(1))).build();
    let error = built.err().ok_or("it was built")?.to_string();
    assert!(error.contains("masks are final from step 1, but"), "{error}");
    assert!(two.builder(0.75).operator(SoftTopK::new([1.0, 20.0], Step(2))).build().is_ok());
    Ok(())
}

/// Returns the wrong number of values.
#[derive(Debug)]
struct Few {
    layers: usize,
    of_each: usize,
}

impl Operator for Few {
    fn values(&self, _layers: &[Gated]) -> Vec<Option<Vec<f32>>> {
        vec![Some(vec![1.0; self.of_each]); self.layers]
    }
}

#[test]
fn values_of_an_operator_must_fit_the_layers() -> Result {
    let two = Two::new()?;
    for (layers, of_each, said) in
        [(1, 24, "values of 1 layers"), (2, 23, "fc.weight has 24 weights, but values of 23")]
    {
        let mut pruner = two.builder(0.5).operator(Few { layers, of_each }).build()?;
        let error = pruner.begin_step(Step(2)).err().ok_or("it was accepted")?.to_string();
        assert!(error.contains(said), "{error}");
    }
    let mut pruner = two.builder(0.5).operator(Few { layers: 2, of_each: 24 }).build()?;
    pruner.begin_step(Step(2))?;
    Ok(())
}
