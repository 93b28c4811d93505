//! Alternating sparse and dense phases, computed by hand on one small layer.

use candle_core::{Device, Tensor, Var};
use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_prune::{Changed, Pruner, Remainder, renewal::Hold};
use taper_schedule::Phases;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn build(var: &Var) -> Result<Pruner> {
    let info = LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![1, 4] };
    // .xx..x: one dense step, two sparse, two dense, and sparse from step 5 on.
    let schedule = Phases {
        target: Sparsity::new(0.5)?,
        begin: Step(1),
        sparse: 2,
        dense: 2,
        last_dense: 2,
        end: Step(5),
    };
    let builder = Pruner::builder([(info, var.clone())], schedule, 8);
    Ok(builder.threshold(Threshold::Hard).renewal(Hold).remainder(Remainder::zero()).build()?)
}

/// A step of gradient descent with a learning rate of 1. Returns what changed, the kept weights, and the weights after
/// the step.
fn step(
    pruner: &mut Pruner,
    var: &Var,
    at: u64,
    slope: [f32; 4],
) -> Result<(Changed, Vec<usize>, Vec<f32>)> {
    let pruned = pruner.impose(Step(at))?;
    let slope = Tensor::from_slice(&slope, (1, 4), &Device::Cpu)?;
    let mut grads = (var.as_tensor() * slope)?.sum_all()?.backward()?;
    let changed = pruned.lift(&mut grads)?;
    var.set(&(var.as_tensor() - grads.get(var).ok_or("no gradient")?)?)?;
    let mask = Mask::from_words(pruner.state().masks.remove(0), 4).ok_or("no mask")?;
    Ok((changed, mask.kept().collect(), var.flatten_all()?.to_vec1()?))
}

fn forgotten(changed: &Changed) -> Vec<usize> {
    changed.forgotten.iter().flatten().flat_map(|mask| mask.kept().collect::<Vec<_>>()).collect()
}

#[test]
fn masks_follow_the_phases_and_weights_come_back_from_zero() -> Result {
    let var = Var::new(&[[4.0f32, -3.0, 2.0, -1.0]], &Device::Cpu)?;
    let mut pruner = build(&var)?;
    let slope = [1.0, 0.0, 0.0, 3.0];
    // Dense: all learn.
    let (changed, kept, weights) = step(&mut pruner, &var, 0, slope)?;
    assert_eq!((changed, kept), (Changed::default(), vec![0, 1, 2, 3]));
    assert_eq!(weights, [3.0, -3.0, 2.0, -4.0]);
    // Sparse: two weights are kept by magnitude at the start of the phase; ties go to the lower index. The others are
    // 0, and the optimizer resets its state for them.
    let (changed, kept, weights) = step(&mut pruner, &var, 1, slope)?;
    assert_eq!((forgotten(&changed), kept), (vec![1, 2], vec![0, 3]));
    assert_eq!(weights, [2.0, 0.0, 0.0, -7.0]);
    // The mask is held, whatever the weights do.
    let (changed, kept, weights) = step(&mut pruner, &var, 2, [2.0, 5.0, 5.0, 0.0])?;
    assert_eq!((changed, kept), (Changed::default(), vec![0, 3]));
    assert_eq!(weights, [0.0, 0.0, 0.0, -7.0]);
    // Dense: all weights learn from their current values, and the momentum of all is reset once.
    let (changed, kept, weights) = step(&mut pruner, &var, 3, [0.0, 8.0, -9.0, 0.0])?;
    assert_eq!((forgotten(&changed), kept), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    assert_eq!(weights, [0.0, -8.0, 9.0, -7.0]);
    assert!(pruner.sparsity().is_dense());
    let (changed, ..) = step(&mut pruner, &var, 4, [0.0; 4])?;
    assert_eq!(changed, Changed::default());
    // The last sparse phase keeps other weights than the first.
    for at in 5..8 {
        let (changed, kept, weights) = step(&mut pruner, &var, at, [1.0, 1.0, 1.0, 1.0])?;
        assert_eq!(kept, [1, 2]);
        assert_eq!(forgotten(&changed), if at == 5 { vec![0, 3] } else { Vec::new() });
        let moved = (at - 4) as f32;
        assert_eq!(weights, [0.0, -8.0 - moved, 9.0 - moved, 0.0]);
    }
    assert_eq!(pruner.bake()?, 2);
    Ok(())
}

#[test]
fn a_run_resumed_between_any_two_steps_continues_the_same() -> Result {
    let whole = Var::new(&[[4.0f32, -3.0, 2.0, -1.0]], &Device::Cpu)?;
    let slope = |at: u64| [1.0, -2.0, 0.5, 3.0].map(|g: f32| g * (at as f32 - 3.5));
    for cut in 0..8 {
        let var = Var::from_tensor(&whole.as_tensor().copy()?)?;
        let mut pruner = build(&var)?;
        for at in 0..=cut {
            step(&mut pruner, &var, at, slope(at))?;
        }
        let mut resumed = build(&var)?;
        resumed.restore(pruner.state())?;
        let other = Var::from_tensor(&whole.as_tensor().copy()?)?;
        let mut straight = build(&other)?;
        let mut last = None;
        for at in 0..8 {
            let wanted = step(&mut straight, &other, at, slope(at))?;
            if at > cut {
                let found = step(&mut resumed, &var, at, slope(at))?;
                assert_eq!(found, wanted, "resumed after step {cut}, at {at}");
            }
            last = Some(wanted.2);
        }
        assert_eq!(Some(var.flatten_all()?.to_vec1::<f32>()?), last);
    }
    Ok(())
}
