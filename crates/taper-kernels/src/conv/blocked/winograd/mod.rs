//! 3×3 convolutions with 2.25 times fewer multiplications.
//!
//! Winograd's minimal filtering: a tile of 4×4 input pixels `d` and a 3×3 weight `g` are brought to sixteen points each,
//! the former by additions alone; what multiplies is one product per point, summed over channels; and sixteen sums
//! are brought back to 2×2 pixels:
//!
//! ```text
//! Aᵀ·((G·g·Gᵀ) ⊙ (Bᵀ·d·B))·A
//! ```
//!
//! It rounds otherwise than the direct sum, by about as much as that does itself, and spreads what is not finite over a
//! tile. The gradient of the weight is the same, transposed.
//!
//! # References
//! Winograd, "Arithmetic complexity of computations"; Lavin and Gray (arXiv:1509.09308), whose F(2×2, 3×3) this is.

pub(super) mod output;
pub(super) mod weight_grad;

use super::{gather::Gather, packed::Packed};
use crate::{
    conv::ConvShape,
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
};

/// Points of a tile.
const POINTS: usize = 16;

/// Whether this convolution can be computed so: output, gradient of the input and gradient of the weight.
pub(super) fn fits(shape: &ConvShape) -> bool {
    let is_plain = shape.kernel == (3, 3) && shape.stride == 1 && shape.dilation == 1;
    let is_wide = shape.groups == 1 && shape.channels_in >= 8 && shape.channels_out >= 8;
    let is_even = shape.height.is_multiple_of(2) && shape.width.is_multiple_of(2);
    is_plain && is_wide && is_even && shape.padding == 1
}

/// Buffers of points, used again from band to band.
pub(super) type Buffers<'a> = (&'a mut Vec<Lanes>, &'a mut Vec<Lanes>);

/// Makes room for one column of points, on sides of so many channels, of so many tiles each.
fn make_room(buffers: &mut Buffers, channels: (usize, usize), tiles: usize) {
    for (buffer, channels) in [(&mut *buffers.0, channels.0), (&mut *buffers.1, channels.1)] {
        if buffer.len() < 4 * channels * tiles {
            buffer.resize(4 * channels * tiles, Lanes::ZERO);
        }
    }
}

/// One column of the points of a row of input tiles: `[row of points, channel, tile]`.
struct InputPoints<'a> {
    gather: &'a Gather,
    source: &'a Packed<'a>,
    row: usize,
    column: usize,
    first: usize,
    tiles: usize,
    cols: usize,
    to: &'a mut [Lanes],
}

impl Kernel for InputPoints<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { gather, source, .. } = self;
        let channels = gather.src_channels();
        assert!(self.to.len() >= 4 * channels * self.tiles);
        let corner = gather.window().next().expect("a kernel has taps");
        // Bᵀ: each point is the sum or the difference of two columns.
        let (left, right) = [(0, 2), (1, 2), (2, 1), (1, 3)][self.column];
        let (left, right, is_sum) = (left * LANES, right * LANES, self.column == 1);
        for channel in 0..channels {
            // SAFETY: four rows of `2·cols + 2` pixels each, and four places for each tile.
            unsafe {
                let at = source.place(gather.src_row(self.row)) + gather.place(corner, channel);
                let at = at as usize;
                let rows: [*const f32; 4] = std::array::from_fn(|row| {
                    let at = at + row * gather.packed_row();
                    source.pixels()[at..at + 2 * self.cols + 2].as_ptr().cast::<f32>()
                });
                let to = self.to[channel * self.tiles + self.first..].as_mut_ptr().cast::<f32>();
                let step = channels * self.tiles * LANES;
                for i in (0..self.cols * LANES).step_by(S::WIDTH) {
                    let at = i / LANES * 2 * LANES + i % LANES;
                    let mut points = [S::splat(0.0); 4];
                    for (point, row) in points.iter_mut().zip(rows) {
                        let (left, right) =
                            (S::load(row.add(at + left)), S::load(row.add(at + right)));
                        *point = if is_sum { S::add(left, right) } else { S::sub(left, right) };
                    }
                    let [a, b, c, d] = points;
                    S::store(to.add(i), S::sub(a, c));
                    S::store(to.add(step + i), S::add(b, c));
                    S::store(to.add(2 * step + i), S::sub(c, b));
                    S::store(to.add(3 * step + i), S::sub(b, d));
                }
            }
        }
    }
}
