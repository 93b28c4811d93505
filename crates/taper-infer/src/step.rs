//! A step of a compiled network.

use taper_kernels::{
    Variant,
    planes::{
        Depthwise, Dots, GlobalPool, Map, Pairs, ParitySplit, PixelCopy, PlaneConv, Pool, Remap,
        Softmax,
    },
};

/// The kernel of a step, with positions in the arena.
#[derive(Debug)]
pub(crate) enum Step {
    Conv(PlaneConv),
    Depthwise(Depthwise),
    Dots(Dots),
    Remap(Remap),
    Split(ParitySplit),
    Pool(Pool),
    Global(GlobalPool),
    Map(Map),
    Pairs(Pairs),
    Gather(PixelCopy),
    Softmax(Softmax),
}

impl Step {
    /// Floats of scratch memory for a run.
    pub(crate) fn scratch(&self) -> usize {
        match self {
            Self::Remap(remap) => remap.scratch(),
            Self::Pool(pool) => pool.scratch(),
            _ => 0,
        }
    }

    /// Computes the step for one image.
    pub(crate) fn run(&self, variant: Variant, arena: &mut [f32], scratch: &mut [f32]) {
        match self {
            Self::Conv(conv) => conv.run(arena, 0..conv.n_blocks()),
            Self::Depthwise(depthwise) => depthwise.run(arena),
            Self::Dots(dots) => dots.run(arena),
            Self::Remap(remap) => remap.run(arena, scratch),
            Self::Split(split) => split.run(arena),
            Self::Pool(pool) => pool.run(variant, arena, scratch),
            Self::Global(global) => global.run(arena),
            Self::Map(map) => map.run(variant, arena),
            Self::Pairs(pairs) => pairs.run(variant, arena),
            Self::Gather(gather) => gather.run(arena),
            Self::Softmax(softmax) => softmax.run(arena),
        }
    }

    /// Name of the kernel in plans.
    pub(crate) fn kernel(&self) -> String {
        match self {
            Self::Conv(conv) => conv.name(),
            Self::Depthwise(_) => "depthwise".into(),
            Self::Dots(_) => "dense, vectors of channels".into(),
            Self::Remap(_) => "copy planes".into(),
            Self::Split(_) => "split".into(),
            Self::Pool(_) => "pool".into(),
            Self::Global(_) => "global pool".into(),
            Self::Map(_) => "elementwise".into(),
            Self::Pairs(_) => "elementwise, two inputs".into(),
            Self::Gather(_) => "copy pixels".into(),
            Self::Softmax(_) => "softmax".into(),
        }
    }

    /// Bytes of its weights and tables.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.bytes(),
            Self::Depthwise(depthwise) => depthwise.bytes(),
            Self::Dots(dots) => dots.bytes(),
            Self::Remap(remap) => 8 * remap.planes.len(),
            Self::Split(split) => 20 * split.n_planes(),
            Self::Pool(pool) => 8 * pool.planes.len(),
            Self::Global(global) => 8 * global.planes.len(),
            Self::Map(map) => 8 * map.planes.len(),
            Self::Pairs(pairs) => 12 * pairs.planes.len(),
            Self::Gather(gather) => 8 * gather.pixels.len(),
            Self::Softmax(softmax) => 8 * softmax.groups.iter().map(Vec::len).sum::<usize>(),
        }
    }
}
