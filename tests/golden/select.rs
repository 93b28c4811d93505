//! Golden test of the global magnitude threshold over several layers: the kernel and the pruner.

use crate::check::Check;
use crate::reader::{Fields, Folder};
use candle_core::Var;
use taper::core::{LayerId, LayerInfo, LayerKind, Sparsity, Step};
use taper::kernels::{mask::Mask, select};
use taper::prune::{Pruner, Quantile};
use taper::schedule::{Curve, Ramp};

#[test]
fn golden_global_threshold_and_counts() {
    let folder = Folder::of_tests();
    let (json, tensors) = (folder.json("global_threshold"), folder.tensors("global_threshold"));
    let mut check = Check::new("global threshold");
    for group in json.list("groups") {
        let names: Vec<&str> =
            group.list("layers").iter().map(|layer| layer[0].as_str().expect("a name")).collect();
        let layers: Vec<&[f32]> = names.iter().map(|name| tensors.f32(name)).collect();
        let n: u64 = layers.iter().map(|w| w.len() as u64).sum();
        let vars: Vec<(LayerInfo, Var)> = names
            .iter()
            .map(|&name| {
                let shape = tensors.shape(name).to_vec();
                let kind = if shape.len() == 2 { LayerKind::Linear } else { LayerKind::Conv };
                let var = Var::from_tensor(&tensors.tensor(name)).expect("a variable");
                (LayerInfo { name: name.into(), kind, shape }, var)
            })
            .collect();
        check.equal("weights", format_args!("{}", group.text("group")), n, group.count("total"));

        for row in group.list("ratios") {
            let ratio = row.real("ratio");
            let name = format!("{}, ratio {ratio}", group.text("group"));
            let want = row.real("threshold_official_f32") as f32;
            let at = select::interpolated(&layers, ratio);
            check.equal(
                "bits of the threshold",
                format_args!("{name}: {at:e} for {want:e}"),
                at.to_bits(),
                want.to_bits(),
            );
            let exact = row.real("threshold_exact_f64");
            check.relative("threshold", format_args!("{name}"), f64::from(at), exact, 1e-6);
            for (index, value) in [("index_floor", "value_floor"), ("index_ceil", "value_ceil")] {
                let below = select::exact(&layers, n - 1 - row.count(index));
                check.equal(
                    "magnitude of a rank",
                    format_args!("{name}, {index}"),
                    f64::from(below.at),
                    row.real(value),
                );
            }
            let n_zeros: Vec<u64> =
                layers.iter().map(|w| w.len() as u64 - Mask::above(w, at).n_kept()).collect();
            let is_rounded = row.flag("count_depends_on_rounding");
            if !is_rounded {
                let total = n_zeros.iter().sum::<u64>();
                check.equal("zeros", format_args!("{name}"), total, row.count("zeros"));
                check.equal(
                    "zeros of the layers",
                    format_args!("{name}"),
                    &n_zeros,
                    &row.counts("zeros_per_layer"),
                );
                let (got, want) = (Sparsity::of(n - total, n).get(), row.real("achieved_sparsity"));
                check.within("achieved sparsity", format_args!("{name}"), got, want, 1e-12);
            }
            // Ratio 0 is dense training, and the pruner rejects a target of 1.
            if ratio > 0.0 && ratio < 1.0 {
                let target = Sparsity::new(ratio).expect("a sparsity");
                let constant = Ramp::new(Curve::OneShot, Step(0), Step(0), target);
                let builder =
                    Pruner::builder(vars.clone(), constant, 1).quantile(Quantile::Interpolated);
                let mut pruner = builder.build().expect("a pruner");
                let gates = pruner.begin_step(Step(0)).expect("gates");
                check.equal("threshold of the pruner", format_args!("{name}"), pruner.cut(), want);
                let pruned =
                    pruner.report().layers.iter().map(|l| l.info.n_weights() - l.n_kept).collect();
                check.equal("zeros by the pruner", format_args!("{name}"), pruned, n_zeros);
                let has_gate = gates.get(LayerId(0)).is_some();
                check.equal("whether there is a gate", format_args!("{name}"), has_gate, at > 0.0);
            }
        }
    }
    check.finish();
}
