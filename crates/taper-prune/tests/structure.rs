//! Masks of structures, computed by hand.

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use taper_core::{LayerInfo, LayerKind, Sparsity, Step, rng::Rng};
use taper_kernels::{mask::Mask, threshold::Threshold};
use taper_prune::{
    PruneError, Pruner, Remainder,
    allocation::{Allocation, Global, Pin, Pinned, Uniform},
    criterion::Random,
    renewal::Swap,
    structure::{Blocks, Channels, FanIn, FilterUnits, NOfM, OutputNOfM, Structure},
};
use taper_schedule::{Curve, Ramp, SparsitySchedule};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn layer(
    name: &str,
    kind: LayerKind,
    shape: &[usize],
    weights: &[f32],
) -> Result<(LayerInfo, Var)> {
    let info = LayerInfo { name: name.into(), kind, shape: shape.to_vec() };
    Ok((info, Var::from_tensor(&Tensor::from_slice(weights, shape, &Device::Cpu)?)?))
}

fn build(
    layers: Vec<(LayerInfo, Var)>,
    sparsity: f64,
    structure: impl Structure + 'static,
) -> std::result::Result<Pruner, PruneError> {
    let ramp = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::saturating(sparsity));
    Pruner::builder(layers, ramp, 100).threshold(Threshold::Hard).structure(structure).build()
}

fn kept(pruner: &Pruner, sizes: &[usize]) -> Vec<Vec<usize>> {
    let masks = pruner.state().masks.into_iter().zip(sizes);
    masks.map(|(words, &n)| Mask::from_words(words, n).expect("a mask").kept().collect()).collect()
}

#[test]
fn two_of_four_are_kept_along_the_inputs() -> Result {
    // Two outputs, four inputs, two positions of the kernel.
    let weights = [
        0.1, 0.9, -0.4, 0.1, 0.3, 0.2, 0.2,
        -0.8, // inputs of the first output, position by position
        0.5, 0.5, 0.5, 0.4, 0.5, 0.5, 0.5, 0.6,
    ];
    let layers = vec![layer("conv.weight", LayerKind::Conv, &[2, 4, 1, 2], &weights)?];
    let mut pruner = build(layers, 0.5, NOfM { n: 2, m: 4 })?;
    pruner.begin_step(Step(0))?;
    // First position: 0.1, 0.4, 0.3, 0.2; second: 0.9, 0.1, 0.2, 0.8. Ties go to the lower index.
    assert_eq!(kept(&pruner, &[16]), [[1, 2, 4, 7, 8, 9, 10, 15]]);
    assert_eq!(pruner.report().n_kept(), 8);
    Ok(())
}

proptest! {
    #[test]
    fn each_group_along_the_inputs_keeps_its_largest_and_ties_go_by_index(
        (outputs, groups, kernel, m) in (1usize..4, 1usize..4, 1usize..4, 2usize..6),
        n in 1usize..5,
        seed in any::<u64>(),
    ) {
        let n = n.min(m - 1);
        let inputs = groups * m;
        let mut rng = Rng::for_key([seed]);
        // Few distinct values: most groups have ties.
        let weights: Vec<f32> =
            (0..outputs * inputs * kernel).map(|_| rng.below(7) as f32 - 3.0).collect();
        let shape = [outputs, inputs, kernel, 1];
        let layers = vec![layer("conv.weight", LayerKind::Conv, &shape, &weights).unwrap()];
        let pattern = NOfM { n, m };
        let mut pruner = build(layers, pattern.sparsity().get(), pattern).unwrap();
        pruner.begin_step(Step(0)).unwrap();
        let kept = &kept(&pruner, &[weights.len()])[0];
        for (output, group, place) in
            (0..outputs).flat_map(|o| (0..groups).flat_map(move |g| (0..kernel).map(move |k| (o, g, k))))
        {
            let index = |i: usize| (output * inputs + group * m + i) * kernel + place;
            let larger = |i: usize, j: usize| {
                let (a, b) = (weights[index(i)].abs(), weights[index(j)].abs());
                b > a || (b == a && j < i)
            };
            for i in 0..m {
                let rank = (0..m).filter(|&j| larger(i, j)).count();
                prop_assert_eq!(kept.contains(&index(i)), rank < n);
            }
        }
    }
}

#[test]
fn a_layer_that_the_pattern_does_not_fit_is_refused_unless_it_is_pinned() -> Result {
    let weights: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    let layers = || -> Result<Vec<(LayerInfo, Var)>> {
        Ok(vec![
            layer("first.weight", LayerKind::Conv, &[2, 3, 1, 1], &weights[..6])?,
            layer("fc.weight", LayerKind::Linear, &[3, 4], &weights)?,
        ])
    };
    let error = build(layers()?, 0.5, NOfM { n: 2, m: 4 }).unwrap_err().to_string();
    assert!(error.contains("first.weight") && error.contains("no multiple of 4"), "{error}");
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(2), Sparsity::new(0.5)?);
    let pins = vec![Pin { pattern: "first.*".into(), at_most: Sparsity::DENSE }];
    let mut pruner = Pruner::builder(layers()?, ramp, 100)
        .threshold(Threshold::Hard)
        .structure(NOfM { n: 2, m: 4 })
        .allocation(Pinned { inner: Box::new(Global), pins })
        .build()?;
    // Half-way, three of four are kept.
    for (step, n_kept) in [(0, 18), (1, 6 + 9), (2, 6 + 6)] {
        pruner.begin_step(Step(step))?;
        assert_eq!(pruner.report().n_kept(), n_kept, "{step}");
    }
    assert_eq!(kept(&pruner, &[6, 12])[1], [2, 3, 6, 7, 10, 11]);
    Ok(())
}

#[test]
fn filters_and_blocks_are_ranked_by_their_mean() -> Result {
    // Means of filters: 2 and 1, and in a layer of larger filters 1.5 and 3.
    let first = layer("a.weight", LayerKind::Conv, &[2, 1, 1, 2], &[1.0, -3.0, 1.0, 1.0])?;
    let second = [1.5, 1.5, -1.5, 1.5, 3.0, 3.0, 3.0, 3.0];
    let second = layer("b.weight", LayerKind::Conv, &[2, 2, 1, 2], &second)?;
    let mut pruner = build(vec![first, second], 0.5, FilterUnits)?;
    pruner.begin_step(Step(0))?;
    // Six weights: the filters with means 3 and 2.
    assert_eq!(kept(&pruner, &[4, 8]), [vec![0, 1], vec![4, 5, 6, 7]]);
    assert_eq!(pruner.report().n_dead_filters(), 2);
    let weights = [1.0, 1.0, 0.0, 9.0, 0.1, 1.0, 1.0, 0.0, 0.0, 0.1, 2.0, 2.0, 0.0, 0.0, 5.0];
    let mut pruner = build(
        vec![layer("fc.weight", LayerKind::Linear, &[3, 5], &weights)?],
        0.6,
        Blocks { rows: 2, columns: 2 },
    )?;
    pruner.begin_step(Step(0))?;
    // Means of blocks: 1, 2.25 and 0.1 above, 2, 0 and 5 below. The corner and a block of four are kept, five of nine
    // weights; the next block does not fit.
    assert_eq!(kept(&pruner, &[15]), [[2, 3, 7, 8, 14]]);
    Ok(())
}

#[test]
fn choices_that_a_structure_excludes_are_refused() -> Result {
    let fc = || layer("fc.weight", LayerKind::Linear, &[2, 4], &[1.0; 8]);
    let refusal = |error: PruneError| error.to_string();
    let error = refusal(build(vec![fc()?], 0.5, FilterUnits).unwrap_err());
    assert!(error.contains("fc.weight") && error.contains("no filters"), "{error}");
    let error = refusal(build(vec![fc()?], 0.75, NOfM { n: 2, m: 4 }).unwrap_err());
    assert!(error.contains("0.75") && error.contains("0.5"), "{error}");
    let ramp = || Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::saturating(0.5));
    let builder = || Ok::<_, Box<dyn std::error::Error>>(Pruner::builder(vec![fc()?], ramp(), 9));
    let error = refusal(builder()?.structure(NOfM { n: 2, m: 4 }).build().unwrap_err());
    assert!(error.contains("hard"), "{error}");
    let swap = Swap { every: 2, end: Step(9), ..Swap::default() };
    let builder = builder()?.threshold(Threshold::Hard).remainder(Remainder::zero());
    let builder = builder.structure(NOfM { n: 2, m: 4 }).renewal(swap);
    let error = refusal(builder.build().unwrap_err());
    assert!(error.contains("prune-and-regrow"), "{error}");
    Ok(())
}

#[test]
fn each_output_keeps_as_many_weights_while_the_sparsity_rises() -> Result {
    let values = |n: usize| (0..n).map(|i| ((i * 7919) % 97) as f32 - 48.5).collect::<Vec<f32>>();
    let layers = || {
        let first = layer("a.weight", LayerKind::Linear, &[4, 10], &values(40))?;
        let second = layer("b.weight", LayerKind::Conv, &[6, 2, 3, 1], &values(36))?;
        Ok::<_, Box<dyn std::error::Error>>(vec![first, second])
    };
    for allocation in [Box::new(Global) as Box<dyn Allocation>, Box::new(Uniform)] {
        let ramp = Ramp::new(Curve::Cubic, Step(0), Step(8), Sparsity::saturating(0.8));
        let builder = Pruner::builder(layers()?, ramp, 20).threshold(Threshold::Hard);
        let mut pruner = builder.structure(FanIn).allocation(allocation).build()?;
        for step in 0..10 {
            pruner.begin_step(Step(step))?;
            let n_kept = ramp.sparsity(Step(step)).n_kept(76);
            assert_eq!(pruner.report().n_kept(), n_kept, "step {step}");
            for (kept, each) in kept(&pruner, &[40, 36]).iter().zip([10, 6]) {
                let of = |output| kept.iter().filter(|&&index| index / each == output).count();
                let counts: Vec<usize> = (0..if each == 10 { 4 } else { 6 }).map(of).collect();
                let (least, most) = (counts.iter().min(), counts.iter().max());
                assert!(most.zip(least).is_some_and(|(m, l)| m - l <= 1), "{step}: {counts:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn patterns_lie_along_outputs_and_channels_along_any_axis() -> Result {
    let weights = [1.0, 4.0, 3.0, -5.0, -0.2, 0.1, 0.4, 0.3];
    let fc = || layer("fc.weight", LayerKind::Linear, &[4, 2], &weights);
    let mut pruner = build(vec![fc()?], 0.5, OutputNOfM(NOfM { n: 1, m: 2 }))?;
    pruner.begin_step(Step(0))?;
    // One of each two rows, column by column.
    assert_eq!(kept(&pruner, &[8]), [[2, 3, 6, 7]]);
    let mut pruner = build(vec![fc()?], 0.5, Channels { axis: 1 })?;
    pruner.begin_step(Step(0))?;
    assert_eq!(kept(&pruner, &[8]), [[1, 3, 5, 7]], "the second input has the larger mean");
    let error = build(vec![fc()?], 0.5, Channels { axis: 2 }).unwrap_err().to_string();
    assert!(error.contains("fc.weight") && error.contains("2 axes"), "{error}");
    let error = build(vec![fc()?], 0.5, OutputNOfM(NOfM { n: 4, m: 8 })).unwrap_err().to_string();
    assert!(error.contains("output axis has 4 weights"), "{error}");
    Ok(())
}

#[test]
fn updates_with_blocks_of_several_sizes_do_not_lose_weights() -> Result {
    // Blocks of 3×7 do not tile a layer of 16×16: blocks at its edges are smaller.
    let mut rng = Rng::for_key([5]);
    let weights: Vec<f32> = (0..256).map(|_| rng.normal() as f32).collect();
    let (info, var) = layer("fc.weight", LayerKind::Linear, &[16, 16], &weights)?;
    let ramp = Ramp::new(Curve::OneShot, Step(0), Step(0), Sparsity::saturating(0.5));
    let grow = Some(Box::new(Random { seed: 3 }) as _);
    let mut pruner = Pruner::builder([(info, var.clone())], ramp, 1000)
        .threshold(Threshold::Hard)
        .structure(Blocks { rows: 3, columns: 7 })
        .renewal(Swap { every: 1, grow, ..Swap::default() })
        .build()?;
    let mut first = None;
    for step in 0..200 {
        let pruned = pruner.impose(Step(step))?;
        let mut grads = var.sqr()?.sum_all()?.backward()?;
        pruned.lift(&mut grads)?;
        let n_kept = pruner.report().n_kept();
        // The number of the first masks, or less than a block below it.
        let first = *first.get_or_insert(n_kept);
        assert!(first > 107 && (first - 20..=first).contains(&n_kept), "step {step}: {n_kept}");
        if step == 100 {
            // The number is a part of the state.
            let state = pruner.state();
            pruner.restore(state)?;
        }
    }
    Ok(())
}

#[test]
fn patterns_that_are_none_are_refused() -> Result {
    for pattern in [NOfM { n: 1, m: 0 }, NOfM { n: 4, m: 2 }, NOfM { n: 0, m: 4 }] {
        let fc = layer("fc.weight", LayerKind::Linear, &[4, 4], &[1.0; 16])?;
        let error = build(vec![fc], 0.5, pattern).unwrap_err().to_string();
        assert!(error.contains("it must keep at least 1"), "{error}");
    }
    Ok(())
}
