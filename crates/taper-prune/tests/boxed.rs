//! Boxed trait objects behave like their contents.

use taper_core::{LayerId, LayerInfo, LayerKind, Sparsity, Step};
use taper_prune::{
    criterion::{Criterion, Gradient, Magnitude, SynFlow, View},
    operator::{Operator, PowerPropagation},
    renewal::{Hold, Moment, Renewal, Swap, TopK},
    structure::{FilterUnits, NOfM, Single, Structure},
};

fn info() -> LayerInfo {
    LayerInfo { name: "fc.weight".into(), kind: LayerKind::Linear, shape: vec![2, 4] }
}

#[test]
fn a_box_has_the_checks_and_properties_of_a_structure() {
    let boxed = |structure: Box<dyn Structure>| structure;
    assert!(boxed(Box::new(FilterUnits)).check(&info()).is_err());
    assert!(boxed(Box::new(Single)).is_single());
    let half = Sparsity::new(0.5).unwrap();
    assert_eq!(boxed(Box::new(NOfM { n: 2, m: 4 })).quota(&info(), half), Some(4));
}

#[test]
fn a_box_has_the_checks_and_properties_of_a_renewal() {
    let boxed = |renewal: Box<dyn Renewal>| renewal;
    let grow = Some(Box::new(Gradient) as _);
    let swap = Swap { every: 0, grow, begin: Some(Box::new(Magnitude)), ..Swap::default() };
    let swap = boxed(Box::new(swap));
    assert!(swap.check().is_err() && swap.grows_by().is_some() && swap.begins_by().is_some());
    let top_k = boxed(Box::new(TopK::EVERY_STEP));
    assert!(top_k.is_top_k() && !top_k.holds());
    let (dense, half) = (Sparsity::DENSE, Sparsity::new(0.5).unwrap());
    let now = Moment { step: Step(3), imposed: half, wanted: dense, target: half };
    assert!(boxed(Box::new(Hold)).restarts(&now));
}

#[test]
fn a_box_has_the_scores_and_properties_of_a_criterion() {
    let boxed = |criterion: Box<dyn Criterion>| criterion;
    let (info, weights) = (info(), [1.0; 8]);
    let (id, step) = (LayerId(0), Step(0));
    let view = View { id, info: &info, weights: &weights, gradient: None, step };
    assert_eq!(boxed(Box::new(Magnitude)).magnitude(&view, 0.25), Some(0.25));
    assert_eq!(*boxed(Box::new(Magnitude)).scores(&view), weights);
    assert!(boxed(Box::new(Gradient)).needs_gradient());
    assert!(boxed(Box::new(SynFlow { rounds: 2 })).measure().is_some());
}

#[test]
fn a_box_has_the_checks_of_an_operator() {
    let operator: Box<dyn Operator> = Box::new(PowerPropagation { alpha: 0.5 });
    assert!(operator.check().is_err() && operator.has_backward());
}
