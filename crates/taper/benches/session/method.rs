//! Pruning methods at their final sparsity, with the parts that `taper methods NAME` prints.

use anyhow::{Context, bail};
use serde::Deserialize;
use taper::{
    core::{Sparsity, Step},
    kernels::threshold::Threshold,
    nn::Model,
    prune::{
        Pruner, PrunerBuilder, Remainder,
        allocation::{Erk, Global, Pin, Pinned},
        criterion::{Criterion, Gradient, Random, Saliency},
        renewal::{Hold, Swap, SwapDecay, TopK},
        structure::NOfM,
    },
    scale::FeatherRule,
    schedule::{Cadence, Curve, Ramp},
    train::analyse,
};

/// The methods that the benchmark can time.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Dense,
    Feather,
    Gmp,
    Random,
    Set,
    Rigl,
    Snip,
    SrSte,
}

impl Method {
    /// The pruner of a model. The sparsity is at its target from the first step on.
    pub fn pruner(self, model: &dyn Model, sparsity: f64) -> anyhow::Result<Option<Pruner>> {
        let target = Sparsity::new(sparsity)?;
        if (self == Self::Dense) != target.is_dense() {
            bail!("sparsity {sparsity} does not fit: dense needs 0, each other method more than 0");
        }
        let ramp = Ramp::new(Curve::OneShot, Step::ZERO, Step(1), target);
        let builder = Pruner::builder(model.params().prunable(), ramp, 1 << 40);
        let builder = match self {
            Self::Dense => return Ok(None),
            Self::Feather => builder.remainder(Remainder::alive(FeatherRule)),
            Self::Gmp => {
                let cadence = Cadence::every(self.every())?;
                hard(builder).renewal(TopK { cadence }).remainder(Remainder::resting())
            }
            Self::Random => {
                let builder = sparse(hard(builder)).allocation(Erk::default());
                builder.criterion(Random { seed: 0 }).renewal(Hold)
            }
            Self::Set => self.swapping(builder, Random { seed: 0 }),
            Self::Rigl => self.swapping(builder, Gradient),
            Self::Snip => sparse(hard(builder)).criterion(Saliency).renewal(Hold),
            Self::SrSte => {
                // The three input channels of the first layer are not a multiple of m = 4.
                let stem = model.params().layers().first().context("no layer")?.name.clone();
                let pins = vec![Pin { pattern: stem, at_most: Sparsity::DENSE }];
                hard(builder)
                    .structure(NOfM { n: 2, m: 4 })
                    .allocation(Pinned { inner: Box::new(Global), pins })
                    .remainder(Remainder::decayed(2e-4))
            }
        };
        Ok(Some(builder.build()?))
    }

    /// Steps between two mask updates; 1 if each step updates masks, or none does.
    pub fn every(self) -> u64 {
        match self {
            Self::Set | Self::Rigl => 100,
            Self::Gmp => 10,
            Self::Dense | Self::Feather | Self::Random | Self::Snip | Self::SrSte => 1,
        }
    }

    fn swapping(self, builder: PrunerBuilder, grow: impl Criterion + 'static) -> PrunerBuilder {
        let begin = Some(Box::new(Random { seed: 0 }) as Box<dyn Criterion>);
        let grow = Box::new(grow);
        let (every, end) = (self.every(), Step(1 << 40));
        let swap = Swap {
            every,
            share: 0.3,
            decay: SwapDecay::Cosine,
            from: Step::ZERO,
            end,
            grow: Some(grow),
            begin,
            ..Swap::default()
        };
        sparse(hard(builder)).allocation(Erk::default()).renewal(swap)
    }
}

fn hard(builder: PrunerBuilder) -> PrunerBuilder {
    builder.threshold(Threshold::Hard)
}

fn sparse(builder: PrunerBuilder) -> PrunerBuilder {
    builder.remainder(Remainder::zero())
}

/// The fraction of a model's multiplications with kept weights.
pub fn multiplications(
    model: &dyn Model,
    image: [usize; 3],
    pruner: Option<&Pruner>,
) -> anyhow::Result<f64> {
    let Some(pruner) = pruner else { return Ok(1.0) };
    let analysis = analyse(model, image)?;
    let report = pruner.report();
    let left = |name: &str, macs: u64| {
        let layer = report.layers.iter().find(|layer| layer.info.name == name);
        let density = layer.map_or(1.0, |l| l.n_kept as f64 / l.info.n_weights() as f64);
        macs as f64 * density
    };
    let left: f64 = analysis.layers.iter().map(|l| left(&l.info.name, l.macs_dense)).sum();
    Ok(left / analysis.total(|layer| layer.macs_dense) as f64)
}
