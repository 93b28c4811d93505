//! Pruning of variables in a user's training loop, for any type, name and layer: counts are of non-zeros, and the dense
//! weights are restored.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, Optimizer, RNN, VarBuilder, VarMap};
use taper_core::{LayerId, LayerInfo, LayerKind, Sparsity, Step, rng::Rng};
use taper_kernels::threshold::Threshold;
use taper_prune::{DropPolicy, DropRule, Pruner, prunable_vars};
use taper_scale::Constant;
use taper_schedule::{Cadence, Curve, Ramp};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const TOTAL: u64 = 40;

/// A variable as a layer.
fn layer(name: &str, var: &Var) -> (LayerInfo, Var) {
    let shape = var.dims().to_vec();
    (LayerInfo { name: name.into(), kind: LayerKind::Linear, shape }, var.clone())
}

fn constant(sparsity: f64) -> Ramp {
    Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::saturating(sparsity))
}

#[test]
fn one_variable_under_two_names_is_refused_by_both() -> Result {
    let tied = Var::from_slice(&[0.1f32, -0.2, 0.3, -0.4], (2, 2), &Device::Cpu)?;
    let other = Var::from_tensor(&tied.as_detached_tensor())?;
    let build = |second: &Var| {
        let layers = [layer("encoder.weight", &tied), layer("decoder.weight", second)];
        Pruner::builder(layers, constant(0.5), TOTAL).build()
    };
    assert!(build(&other).is_ok(), "equal values are not one variable");
    let error = build(&tied).unwrap_err().to_string();
    assert!(error.contains("encoder.weight and decoder.weight are one variable"), "{error}");
    Ok(())
}

#[test]
fn weights_that_are_not_as_described_are_refused_by_name() -> Result {
    let refusal = |change: &dyn Fn(&mut LayerInfo), dtype| -> Result<String> {
        let (mut info, var) = layer("a.weight", &Var::zeros((4, 3, 2), dtype, &Device::Cpu)?);
        change(&mut info);
        let built = Pruner::builder([(info, var)], constant(0.5), TOTAL).build();
        Ok(built.map_or_else(|error| error.to_string(), |_| "none".into()))
    };
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        assert_eq!(refusal(&|_| (), dtype)?, "none", "{dtype:?}");
    }
    let refused = refusal(&|_| (), DType::I64)?;
    assert!(refused.contains("a.weight cannot be pruned: its type is i64"), "{refused}");
    let refused = refusal(&|info| info.shape = vec![4, 6], DType::F32)?;
    assert!(refused.contains("shape [4, 6], but its variable has shape [4, 3, 2]"), "{refused}");
    for (groups, is_refused) in [(0, true), (1, false), (2, false), (3, true)] {
        let kind = LayerKind::ConvTranspose { groups };
        let refused = refusal(&|info| info.kind = kind, DType::F32)?;
        assert_eq!(refused.contains("groups do not divide its 4 input channels"), is_refused);
    }
    Ok(())
}

/// Values in f64, to the bit.
fn values(var: &Var) -> Result<Vec<f64>> {
    Ok(var.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

const OPERATORS: [Threshold; 3] = [Threshold::Soft, Threshold::FEATHER, Threshold::Hard];

#[test]
fn counts_are_of_non_zeros_with_ties_at_the_threshold() -> Result {
    // Few distinct magnitudes: most thresholds are tied, and many weights of the narrow types are equal.
    let mut rng = Rng::for_key([9]);
    let normal: Vec<f32> = (0..20_000).map(|_| rng.normal() as f32).collect();
    let coarse: Vec<f32> = normal.iter().map(|w| (w * 4.0).round_ties_even() / 4.0).collect();
    let coarse: Vec<f32> = coarse.iter().map(|w| if *w == 0.0 { 0.25 } else { *w }).collect();
    for (weights, dtype) in [
        (&normal, DType::BF16),
        (&normal, DType::F16),
        (&coarse, DType::F32),
        (&coarse, DType::F64),
    ] {
        let dense = Tensor::from_slice(weights, (100, 200), &Device::Cpu)?.to_dtype(dtype)?;
        for threshold in OPERATORS {
            for sparsity in [0.1, 0.5, 0.9, 0.999] {
                let var = Var::from_tensor(&dense)?;
                let mut pruner = Pruner::builder([layer("w", &var)], constant(sparsity), TOTAL)
                    .threshold(threshold)
                    .build()?;
                let wanted = Sparsity::saturating(sparsity).n_kept(20_000);
                let imposed = pruner.impose(Step(0))?;
                let n_kept = values(&var)?.iter().filter(|w| **w != 0.0).count() as u64;
                assert_eq!(n_kept, wanted, "{dtype:?} {threshold:?} {sparsity}");
                drop(imposed);
                assert_eq!(pruner.report().n_kept(), wanted);
                assert_eq!(pruner.refresh_counted()?.1.n_kept(), wanted);
                assert_eq!(pruner.bake()?, 20_000 - wanted);
            }
        }
    }
    Ok(())
}

#[test]
fn weights_that_are_zero_themselves_do_not_count_as_kept() -> Result {
    let start: Vec<f32> = (0..12).map(|i| if i < 8 { 0.0 } else { i as f32 }).collect();
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let dense = Tensor::from_slice(&start, (3, 4), &Device::Cpu)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&dense)?;
        let mut pruner = Pruner::builder(
            [layer("w", &var)],
            Ramp::new(Curve::OneShot, Step(1), Step(1), Sparsity::new(0.5)?),
            TOTAL,
        )
        .build()?;
        pruner.begin_step(Step(0))?;
        assert_eq!(pruner.report().n_kept(), 4, "dense, with eight zeros");
        let gates = pruner.begin_step(Step(1))?;
        assert_eq!(pruner.report().n_kept(), 4);
        let mask = &gates.get(LayerId(0)).expect("a gate").mask;
        assert_eq!(mask.n_kept(), 6, "two of the zeros have their full gradient");
        assert_eq!(pruner.bake()?, 8);
    }
    Ok(())
}

#[test]
fn held_masks_count_weights_that_fell_to_the_threshold_as_pruned() -> Result {
    let var = Var::from_slice(&[1.0f32, -2.0, 3.0, -4.0], (2, 2), &Device::Cpu)?;
    for (threshold, want) in [(Threshold::FEATHER, 1), (Threshold::Hard, 2)] {
        var.set(&Tensor::new(&[[1.0f32, -2.0], [3.0, -4.0]], &Device::Cpu)?)?;
        let mut pruner = Pruner::builder([layer("w", &var)], constant(0.5), TOTAL)
            .threshold(threshold)
            .cadence(Cadence::every(10)?)
            .build()?;
        pruner.begin_step(Step(0))?;
        assert_eq!(pruner.report().n_kept(), 2);
        var.set(&Tensor::new(&[[1.0f32, -2.0], [1.5, -4.0]], &Device::Cpu)?)?;
        pruner.begin_step(Step(1))?;
        assert_eq!(pruner.report().n_kept(), want, "{threshold:?}");
    }
    Ok(())
}

#[test]
fn dense_weights_come_back_to_the_bit_in_every_type() -> Result {
    let fine: Vec<f64> = (0..12).map(|i| f64::from(i - 6) * 0.3 + 0.1 + 1e-10).collect();
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let dense = Tensor::from_slice(&fine, (3, 4), &Device::Cpu)?.to_dtype(dtype)?;
        let var = Var::from_tensor(&dense)?;
        let before = values(&var)?;
        let policy = DropPolicy::constant(DropRule::Smallest, 0.5);
        let build = || Pruner::builder([layer("w", &var)], constant(0.5), TOTAL);
        for mut pruner in [build().build()?, build().drop(policy).build()?] {
            let imposed = pruner.impose(Step(0))?;
            assert_ne!(values(&var)?, before);
            let mut grads = var.sqr()?.sum_all()?.backward()?;
            imposed.lift(&mut grads)?;
            assert_eq!(grads.get(&var).expect("a gradient").dtype(), dtype);
            let n_dropped = pruner.report().n_dropped() as usize;
            let is_as_before =
                values(&var)?.iter().zip(&before).filter(|(now, before)| now == before).count();
            assert_eq!(is_as_before, 12 - n_dropped, "{dtype:?}");
        }
    }
    Ok(())
}

#[test]
fn a_dropped_f64_weight_is_set_back_to_zero_from_any_value() -> Result {
    let var = Var::from_slice(&[1.0f64, 2.0, 3.0, 4.0], (2, 2), &Device::Cpu)?;
    let policy = DropPolicy::constant(DropRule::Smallest, 1.0);
    let build = Pruner::builder([layer("w", &var)], constant(0.5), TOTAL);
    let mut pruner = build.drop(policy).build()?;
    pruner.begin_step(Step(0))?;
    // In f32, the first value rounds to 0, and the third is not exact.
    let moved = [1e-60, 0.0, 3.0 + 1e-12, 4.0];
    var.set(&Tensor::from_slice(&moved, (2, 2), &Device::Cpu)?)?;
    pruner.begin_step(Step(1))?;
    assert_eq!(values(&var)?, [0.0, 0.0, 3.0 + 1e-12, 4.0]);
    Ok(())
}

#[test]
fn the_smallest_steps_of_an_f64_weight_add_up() -> Result {
    let var = Var::from_slice(&[1.0f64, 1.0, 1.0, 1.0], (2, 2), &Device::Cpu)?;
    let mut sgd = candle_nn::SGD::new(vec![var.clone()], 1e-8)?;
    let mut pruner = Pruner::builder([layer("w", &var)], constant(0.25), 1000).build()?;
    for step in 0..1000 {
        let imposed = pruner.impose(Step(step))?;
        let mut grads = var.sum_all()?.backward()?;
        imposed.lift(&mut grads)?;
        sgd.step(&grads)?;
    }
    for weight in values(&var)? {
        assert!((weight - (1.0 - 1e-5)).abs() < 1e-12, "{weight}");
    }
    // `bake` with hard thresholding writes kept weights unchanged.
    let kept = values(&var)?[0];
    let mut pruner = Pruner::builder([layer("w", &var)], constant(0.25), 1000)
        .threshold(Threshold::Hard)
        .build()?;
    pruner.begin_step(Step(0))?;
    assert_eq!(pruner.bake()?, 1);
    assert_eq!(values(&var)?.iter().filter(|w| **w == kept).count(), 3);
    Ok(())
}

#[test]
fn recurrent_transposed_and_one_dimensional_layers_are_pruned() -> Result {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    let conv = candle_nn::conv1d(2, 4, 3, Default::default(), vb.pp("conv"))?;
    let lstm = candle_nn::lstm(4, 5, Default::default(), vb.pp("lstm"))?;
    let up = candle_nn::conv_transpose2d(5, 3, 2, Default::default(), vb.pp("up"))?;
    let layers = prunable_vars(varmap.data().lock().expect("one user").clone());
    let n: u64 = layers.iter().map(|(info, _)| info.n_weights()).sum();
    assert_eq!(n, 4 * 2 * 3 + 20 * 4 + 20 * 5 + 5 * 3 * 2 * 2);
    let x = Tensor::randn(0f32, 1.0, (3, 2, 8), &Device::Cpu)?;
    let mut pruner = Pruner::feather(layers, Sparsity::new(0.9)?, 4)?;
    let mut sgd = candle_nn::SGD::new(varmap.all_vars(), 0.1)?;
    for step in 0..4 {
        let imposed = pruner.impose(Step(step))?;
        let states = lstm.seq(&conv.forward(&x)?.transpose(1, 2)?.contiguous()?)?;
        let y = lstm.states_to_tensor(&states)?.transpose(1, 2)?.unsqueeze(3)?.contiguous()?;
        let y = up.forward(&y)?;
        let mut grads = y.sqr()?.sum_all()?.backward()?;
        imposed.lift(&mut grads)?;
        for (info, var) in prunable_vars(varmap.data().lock().expect("one user").clone()) {
            assert!(grads.get(&var).is_some(), "no gradient for {}", info.name);
        }
        sgd.step(&grads)?;
    }
    assert_eq!(pruner.report().n_filters(), 4 + 3);
    assert_eq!(pruner.bake()?, n - Sparsity::new(0.9)?.n_kept(n));
    Ok(())
}

#[test]
fn tied_weights_of_a_candle_model_are_pruned_once() -> Result {
    let varmap = VarMap::new();
    let vb = VarBuilder::from_varmap(&varmap, DType::F32, &Device::Cpu);
    candle_nn::linear_no_bias(4, 4, vb.pp("encoder"))?;
    let mut named = varmap.data().lock().expect("one user").clone();
    let tied = named["encoder.weight"].clone();
    named.insert("decoder.weight".into(), tied.clone());
    let mut pruner = Pruner::builder(prunable_vars(named), constant(0.5), TOTAL)
        .gradient(Constant::new(0.5)?)
        .build()?;
    assert_eq!(pruner.layers().map(|info| &info.name[..]).collect::<Vec<_>>(), ["decoder.weight"]);
    let before = values(&tied)?;
    let imposed = pruner.impose(Step(0))?;
    let mut grads = tied.sum_all()?.backward()?;
    imposed.lift(&mut grads)?;
    let grads: Vec<f32> = grads.get(&tied).expect("a gradient").flatten_all()?.to_vec1()?;
    assert_eq!(grads.iter().filter(|g| **g == 0.5).count(), 8, "the scale, not its square");
    drop(pruner.impose_refreshed()?);
    assert_eq!(values(&tied)?, before);
    assert_eq!(pruner.bake()?, 8);
    Ok(())
}
