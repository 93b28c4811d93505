//! Each pair of choices that exclude each other is rejected for its own reason.

use candle_core::{DType, Device, Var};
use taper_core::{LayerInfo, LayerKind, Sparsity, Step};
use taper_kernels::threshold::Threshold;
use taper_prune::{
    DropPolicy, DropRule, Part, PruneError, PrunedUpdate, Pruner, PrunerBuilder, Quantile,
    Remainder,
    criterion::{Criterion, Gradient, Mest, Movement, Random, Saliency, SynFlow},
    operator::PowerPropagation,
    renewal::{Hold, Swap, SwapDecay, TopK},
    structure::{Blocks, NOfM},
};
use taper_scale::{Constant, Proximity};
use taper_schedule::{Adaptation, Adaptive, Cadence, Curve, Phases, Ramp, SparsitySchedule};

const PAIRS: NOfM = NOfM { n: 1, m: 2 };
const BLOCKS: Blocks = Blocks { rows: 1, columns: 2 };
const RANDOM: Random = Random { seed: 0 };

fn half() -> Sparsity {
    Sparsity::new(0.5).expect("a sparsity")
}

/// Masks by magnitude every two steps, with the hard thresholding.
fn builder(schedule: impl SparsitySchedule + 'static) -> PrunerBuilder {
    let var = Var::zeros((2, 4), DType::F32, &Device::Cpu).expect("a weight");
    let kind = LayerKind::Linear;
    let info = LayerInfo { name: "fc.weight".into(), kind, shape: vec![2, 4] };
    let builder = Pruner::builder([(info, var)], schedule, 40).threshold(Threshold::Hard);
    builder.cadence(Cadence::every(2).expect("a cadence"))
}

fn plain() -> PrunerBuilder {
    builder(Ramp::new(Curve::OneShot, Step(0), Step(0), half()))
}

/// With an adaptive schedule.
fn clocked() -> PrunerBuilder {
    let ramp = Ramp::new(Curve::Linear, Step(0), Step(20), half());
    builder(Adaptive::new(ramp, Adaptation::by(Step(30))).expect("a schedule"))
}

fn swap(every: u64, grow: impl Criterion + 'static) -> Swap {
    let (decay, grow) = (SwapDecay::Constant, Some(Box::new(grow) as _));
    Swap { every, share: 0.5, decay, end: Step(30), grow, ..Swap::default() }
}

fn flow() -> SynFlow {
    SynFlow { rounds: 2 }
}

fn near() -> Proximity {
    Proximity::new(0.25, 0.5).expect("factors")
}

fn drop(rule: DropRule) -> DropPolicy {
    DropPolicy::constant(rule, 0.5)
}

#[test]
fn choices_that_exclude_each_other_are_refused_with_both_names() {
    let begun = || Swap { begin: Some(Box::new(flow())), ..swap(2, RANDOM) };
    let zero = || plain().remainder(Remainder::zero());
    let by_power = || plain().operator(PowerPropagation { alpha: 2.0 });
    let by = |criterion: Box<dyn Criterion>| {
        let cadence = Cadence::every(3).expect("a cadence");
        zero().criterion(criterion).renewal(TopK { cadence })
    };
    let phases = Phases {
        target: half(),
        begin: Step(4),
        sparse: 4,
        dense: 4,
        last_dense: 4,
        end: Step(28),
    };
    let alternating = builder(phases).operator(PowerPropagation { alpha: 2.0 }).renewal(Hold);
    let cases: [(PrunerBuilder, Part, Part); 27] = [
        (by(Box::new(Gradient)), Part::Criterion, Part::Remainder),
        (by(Box::new(Movement)), Part::Criterion, Part::Remainder),
        (plain().renewal(swap(2, flow())), Part::Growth, Part::Renewal),
        (plain().criterion(flow()).renewal(swap(2, RANDOM)), Part::Criterion, Part::Renewal),
        (plain().criterion(flow()).renewal(TopK::EVERY_STEP), Part::Criterion, Part::Renewal),
        (by_power().criterion(flow()).renewal(Hold), Part::Threshold, Part::Criterion),
        (by_power().renewal(begun()), Part::Threshold, Part::Criterion),
        (plain().threshold(Threshold::Soft).renewal(Hold), Part::Threshold, Part::Renewal),
        (plain().threshold(Threshold::Soft).structure(PAIRS), Part::Threshold, Part::Structure),
        (plain().threshold(Threshold::Soft).criterion(RANDOM), Part::Threshold, Part::Criterion),
        (plain().structure(PAIRS).renewal(swap(2, RANDOM)), Part::Structure, Part::Renewal),
        (
            plain().structure(BLOCKS).quantile(Quantile::Interpolated),
            Part::Structure,
            Part::Quantile,
        ),
        (plain().gradient(near()).criterion(RANDOM), Part::Gradient, Part::Criterion),
        (plain().gradient(near()).structure(BLOCKS), Part::Gradient, Part::Structure),
        (plain().drop(drop(DropRule::Smallest)).criterion(RANDOM), Part::Drop, Part::Criterion),
        (plain().drop(drop(DropRule::Smallest)).structure(BLOCKS), Part::Drop, Part::Structure),
        (zero().gradient(Constant::new(0.5).expect("θ")), Part::Gradient, Part::Remainder),
        (zero().pruned_update(PrunedUpdate::EveryNth(2)), Part::Update, Part::Remainder),
        (zero().drop(drop(DropRule::Longest)), Part::Drop, Part::Remainder),
        (plain().criterion(Saliency).renewal(TopK::EVERY_STEP), Part::Criterion, Part::Cadence),
        (
            plain().criterion(Mest::default()).renewal(swap(1, RANDOM)),
            Part::Criterion,
            Part::Cadence,
        ),
        (plain().renewal(swap(1, Gradient)), Part::Growth, Part::Cadence),
        (clocked().renewal(Hold), Part::Clock, Part::Renewal),
        (clocked().criterion(flow()).renewal(Hold), Part::Clock, Part::Renewal),
        (zero().gradient(near()), Part::Gradient, Part::Remainder),
        (by_power().criterion(flow()), Part::Threshold, Part::Criterion),
        (alternating.remainder(Remainder::zero()), Part::Threshold, Part::Remainder),
    ];
    for (i, (builder, first, second)) in cases.into_iter().enumerate() {
        match builder.build() {
            Err(PruneError::Together { first: a, second: b, .. }) => {
                assert_eq!((a, b), (first, second), "case {i}");
            }
            other => panic!("case {i}: {other:?}"),
        }
    }
}

#[test]
fn each_choice_is_accepted_with_compatible_ones() {
    let swapped = || plain().renewal(swap(2, Gradient));
    for (i, builder) in [
        clocked(),
        clocked().renewal(swap(2, RANDOM)),
        plain().renewal(Hold),
        plain().criterion(flow()).renewal(Hold),
        plain().renewal(Swap { begin: Some(Box::new(flow())), ..swap(2, RANDOM) }),
        plain().operator(PowerPropagation { alpha: 2.0 }).renewal(Hold),
        plain().threshold(Threshold::Soft),
        plain().structure(PAIRS).criterion(RANDOM),
        plain().structure(BLOCKS).gradient(Constant::new(0.5).expect("θ")),
        plain().gradient(near()).drop(drop(DropRule::Smallest)),
        plain().quantile(Quantile::Interpolated),
        plain().drop(drop(DropRule::Longest)).structure(BLOCKS).criterion(RANDOM),
        plain().criterion(Saliency),
        swapped(),
        swapped().criterion(Mest::default()).remainder(Remainder::zero()),
        plain().renewal(swap(1, RANDOM)),
    ]
    .into_iter()
    .enumerate()
    {
        let built = builder.build();
        assert!(built.is_ok(), "case {i}: {:?}", built.err());
    }
}
