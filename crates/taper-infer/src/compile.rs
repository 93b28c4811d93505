//! Compiles a graph to steps on an arena.

use crate::{
    InferError, Options,
    arena::Arena,
    choose::Chooser,
    draft::{Drafts, Work},
    lower::{Lowered, check_all, check_size, lower, planes_of},
    memory::{ALIGNMENT, places, unify_halos},
    pack::pack,
    place::Places,
    step::Step,
    value::Plane,
};
use taper_graph::{Graph, GraphError, passes};
use taper_kernels::{
    Variant,
    planes::{Layout, flush},
};

/// The description of a step in a plan.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) dims: Vec<usize>,
    pub(crate) nonzeros: usize,
    pub(crate) weights: usize,
}

/// A network as steps on an arena, for one image at a time.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) variant: Variant,
    pub(crate) steps: Vec<Step>,
    pub(crate) labels: Vec<Label>,
    pub(crate) input_dims: Vec<usize>,
    pub(crate) output_dims: Vec<usize>,
    /// Floats of an arena.
    pub(crate) arena: usize,
    /// Floats of scratch memory.
    scratch: usize,
    /// Rows of constant pixels, with their positions in the arena.
    constants: Vec<(usize, Vec<f32>)>,
    /// Position in the arena of each row of an image; a row has `columns` pixels.
    rows: Vec<usize>,
    columns: usize,
    /// Position in the arena of each element of the result.
    output: Vec<u32>,
}

/// Compiles a graph.
pub(crate) fn compile(graph: &Graph, options: &Options) -> Result<Compiled, InferError> {
    let variant = match options.variant {
        Some(variant) if variant.is_available() => variant,
        Some(variant) => {
            let message = format!("this machine has no {variant} instructions");
            return Err(InferError::Options(message));
        }
        None => Variant::from_env().map_err(|e| InferError::Options(e.to_string()))?,
    };
    compile_by(graph, variant, &mut Chooser::new(options.deterministic))
}

/// Compiles a graph with kernels from `chooser`.
pub(crate) fn compile_by(
    graph: &Graph,
    variant: Variant,
    chooser: &mut Chooser,
) -> Result<Compiled, InferError> {
    for (i, node) in graph.nodes.iter().enumerate() {
        check_size(&node.dims).map_err(|e| e.at(graph, i))?;
    }
    check_all(graph)?;
    let graph = &passes::optimized(graph)?;
    let input_dims = graph.input_dims().to_vec();
    let [_, _, columns] = planes_of(&input_dims).map_err(|e| e.at(graph, Graph::INPUT))?;
    let Lowered { drafts, input, output } = lower(graph, variant.lanes())?;
    let Drafts { steps: drafts, mut regions, .. } = drafts;
    unify_halos(&mut regions);
    let (places, end) = places(&regions, &drafts, &input.regions(), &output.regions());
    // A plane of zeros, read by channels that have fewer weights than the channels computed together with them.
    let zeros = end;
    let largest = regions.iter().map(|r| r.layout.stride()).max().unwrap_or(0);
    let arena = zeros.saturating_add(largest.next_multiple_of(ALIGNMENT));
    if arena > (u32::MAX / 4) as usize {
        let largest = drafts.iter().max_by_key(|draft| draft.dims.iter().product::<usize>());
        let named = largest.map(|draft| format!(", {:?} of `{}`", draft.dims, draft.name));
        return Err(GraphError::new(format!(
            "the values of an image take more than 4 GiB of memory (the largest{}); make the image smaller",
            named.unwrap_or_default()
        ))
        .into());
    }
    let at = |plane: Plane| {
        let layout = &regions[plane.region].layout;
        (places[plane.region] + layout.halo + plane.index * layout.stride()) as u32
    };
    let here = Places { variant, at: &at, arena, zeros: zeros as u32 };
    let (mut steps, mut labels) = (Vec::new(), Vec::new());
    for draft in drafts {
        let (name, dims) = (draft.name, draft.dims);
        let [nonzeros, weights] = match &draft.work {
            Work::Conv(recipe) => recipe.counts,
            _ => [0, 0],
        };
        labels.push(Label { name, dims, nonzeros, weights });
        steps.push(pack(draft.work, &here, chooser));
    }
    let mut constants = Vec::new();
    for (i, region) in regions.iter().enumerate() {
        let Layout { rows, columns, pitch, .. } = region.layout;
        let Some(values) = &region.constant else { continue };
        for (row, values) in values.chunks(columns).enumerate() {
            let first = at(Plane { region: i, index: row / rows }) as usize;
            constants.push((first + row % rows * pitch, values.to_vec()));
        }
    }
    let row = |&plane: &Plane| {
        let (first, pitch) = (at(plane) as usize, input.layout.pitch);
        (0..input.layout.rows).map(move |y| first + y * pitch)
    };
    Ok(Compiled {
        variant,
        scratch: steps.iter().map(Step::scratch).max().unwrap_or(0),
        steps,
        labels,
        input_dims,
        output_dims: graph.output_dims().to_vec(),
        arena,
        constants,
        rows: input.planes.iter().flat_map(row).collect(),
        columns,
        output: here.pixels(&output).collect(),
    })
}

impl Compiled {
    /// Elements of an image.
    pub(crate) fn input_len(&self) -> usize {
        self.rows.len() * self.columns
    }

    /// Elements of a result.
    pub(crate) fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Memory for an image, with the constants filled in.
    pub(crate) fn arena(&self) -> Arena {
        let mut arena = Arena::new(self.arena, self.scratch);
        for (at, values) in &self.constants {
            arena.floats()[*at..at + values.len()].copy_from_slice(values);
        }
        arena
    }

    /// Bytes of an arena.
    pub(crate) fn arena_bytes(&self) -> usize {
        Arena::bytes(self.arena, self.scratch)
    }

    /// Copies an image into the arena.
    pub(crate) fn load(&self, arena: &mut Arena, image: &[f32]) {
        let floats = arena.floats();
        for (&at, row) in self.rows.iter().zip(image.chunks(self.columns)) {
            let pixels = floats[at..at + self.columns].iter_mut();
            pixels.zip(row).for_each(|(to, &from)| *to = flush(from));
        }
    }

    /// Computes the results of whole images.
    pub(crate) fn run(&self, arena: &mut Arena, images: &[f32], results: &mut [f32]) {
        for (i, image) in images.chunks(self.input_len()).enumerate() {
            self.load(arena, image);
            self.steps.iter().for_each(|step| arena.step(step, self.variant));
            let floats = arena.floats();
            let results = &mut results[i * self.output_len()..][..self.output_len()];
            results.iter_mut().zip(&self.output).for_each(|(r, &at)| *r = floats[at as usize]);
        }
    }
}
