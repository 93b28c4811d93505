//! Transforms tiles of planes to points, and sums of points back to pixels.

use super::{POINTS, PointSizes, SIDE, TILE, TileGrid};
use crate::{
    conv::blocked::{arena::turn_channels, geometry::Slots},
    lanes::{LANES, Lanes},
    simd::{Kernel, Simd},
};

/// Which transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// `Bᵀ·d·B` of tiles of 6×6 pixels, which overlap by two.
    Input,
    /// `A·g·Aᵀ` of tiles of 4×4 pixels.
    Grad,
}

/// Planes of an image, and how they lie.
#[derive(Clone, Copy)]
pub(in super::super) struct ImagePlanes<'a> {
    pub(in super::super) planes: &'a [f32],
    pub(in super::super) slots: Slots,
    /// Floats from one row to the next.
    pub(in super::super) pitch: usize,
    pub(in super::super) channels: usize,
}

/// Transforms all tiles of an image to points.
pub(super) struct ToPoints<'a> {
    pub(super) from: ImagePlanes<'a>,
    pub(super) tiles: TileGrid,
    pub(super) transform: Transform,
    pub(super) sizes: PointSizes,
    /// Index of the image's first tile among those of all images.
    pub(super) first: usize,
    pub(super) to: &'a mut [Lanes],
    /// Memory for rows with channels in the lanes.
    pub(super) rows: &'a mut Vec<Lanes>,
}

/// Rows that are kept with channels in the lanes: those of a tile, and those that share vectors with them.
fn ring(pitch: usize) -> usize {
    if pitch >= LANES / 2 { 8 } else { 32 }
}

impl Kernel for ToPoints<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { from, tiles, transform, sizes, first, to, rows } = self;
        // A column beside the plane on each side.
        let width = tiles.columns * TILE + 2;
        let ring = ring(from.pitch);
        rows.clear();
        rows.resize(ring * width, Lanes::ZERO);
        assert!(to.len() >= sizes.len() && first + tiles.len() <= sizes.tiles);
        let (above, reach) = match transform {
            Transform::Input => (1, SIDE),
            Transform::Grad => (0, TILE),
        };
        for group in 0..sizes.groups {
            rows.fill(Lanes::ZERO);
            let mut next = 0;
            for i in 0..tiles.rows {
                // Rows up to the last of the tile; those past the plane are zero.
                let end = i * TILE + reach - above;
                while next < end.min(tiles.height) {
                    // SAFETY: the caller guarantees the instruction set.
                    next = unsafe { turn::<S>(&from, &tiles, group, next, rows, (ring, width)) };
                }
                for y in next.max(tiles.height)..end {
                    rows[y % ring * width..][..width].fill(Lanes::ZERO);
                }
                for j in 0..tiles.columns {
                    let at: [usize; SIDE] = std::array::from_fn(|r| {
                        // The row above the first one is zero: its place is unused until the ring is full.
                        let y = (i * TILE + r + ring - above) % ring;
                        y * width + j * TILE + 1 - above
                    });
                    let tile = group * sizes.tiles + first + i * tiles.columns + j;
                    let to = &mut to[tile..];
                    // SAFETY: each row has the pixels of a tile, and `to` the place of each point.
                    unsafe {
                        S::call(OneTile { rows, at, transform, step: sizes.point(), to });
                    }
                }
            }
        }
    }
}

/// Moves the channels of a group into the lanes, for all rows in the vectors that begin at row `y`; returns the row
/// after them.
#[inline(always)]
unsafe fn turn<S: Simd>(
    from: &ImagePlanes,
    tiles: &TileGrid,
    group: usize,
    y: usize,
    rows: &mut [Lanes],
    (ring, width): (usize, usize),
) -> usize {
    let ImagePlanes { planes, slots, pitch, channels } = *from;
    let n_rows = (LANES / pitch).max(1).min(tiles.height - y);
    let filled = (channels - group * LANES).min(LANES);
    let begin = group * LANES * slots.len + slots.above + y * pitch;
    for part in (0..tiles.width.min(pitch)).step_by(LANES) {
        let mut block = [Lanes::ZERO; LANES];
        // SAFETY: the caller guarantees the instruction set.
        unsafe { turn_channels::<S>(&planes[begin + part..], slots.len, filled, &mut block) };
        for r in 0..n_rows {
            let n = (tiles.width - part).min(LANES).min(pitch);
            let to = &mut rows[(y + r) % ring * width + part + 1..][..n];
            to.copy_from_slice(&block[r * pitch % LANES..][..n]);
        }
    }
    y + n_rows
}

/// One tile of sixteen channels.
struct OneTile<'a> {
    rows: &'a [Lanes],
    /// Where each row of the tile begins.
    at: [usize; SIDE],
    transform: Transform,
    /// Vectors from one point to the next.
    step: usize,
    to: &'a mut [Lanes],
}

impl Kernel for OneTile<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rows, at, transform, step, to } = self;
        let n = if transform == Transform::Input { SIDE } else { TILE };
        let from = at.map(|at| rows[at..][..n].as_ptr().cast::<f32>());
        assert!(to.len() > (POINTS - 1) * step);
        let to = to.as_mut_ptr().cast::<f32>();
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: a tile of the input has six columns, one of the gradient four; each point has a place.
            unsafe {
                let mut left = [[S::splat(0.0); SIDE]; SIDE];
                for r in 0..n {
                    let mut row = [S::splat(0.0); SIDE];
                    for (x, row) in row.iter_mut().enumerate().take(n) {
                        *row = S::load(from[r].add(x * LANES + part));
                    }
                    left[r] = transform.apply::<S>(row);
                }
                for x in 0..SIDE {
                    let column = std::array::from_fn(|r| left[r][x]);
                    let points = transform.apply::<S>(column);
                    for (r, point) in points.into_iter().enumerate() {
                        S::store(to.add((r * SIDE + x) * step * LANES + part), point);
                    }
                }
            }
        }
    }
}

impl Transform {
    /// Along one side.
    #[inline(always)]
    unsafe fn apply<S: Simd>(self, d: [S::V; SIDE]) -> [S::V; SIDE] {
        // SAFETY: the caller guarantees the instruction set.
        unsafe {
            let (two, four) = (S::splat(2.0), S::splat(4.0));
            let minus = |value: f32| S::splat(-value);
            match self {
                Self::Input => {
                    let a = S::fma(minus(4.0), d[2], d[4]);
                    let b = S::fma(minus(4.0), d[1], d[3]);
                    let (c, e) = (S::sub(d[4], d[2]), S::sub(d[3], d[1]));
                    [
                        S::fma(four, d[0], S::fma(minus(5.0), d[2], d[4])),
                        S::add(a, b),
                        S::sub(a, b),
                        S::fma(two, e, c),
                        S::fma(minus(2.0), e, c),
                        S::fma(four, d[1], S::fma(minus(5.0), d[3], d[5])),
                    ]
                }
                Self::Grad => {
                    let (a, b) = (S::add(d[0], d[2]), S::add(d[1], d[3]));
                    let (c, e) = (S::fma(four, d[2], d[0]), S::fma(four, d[3], d[1]));
                    [
                        d[0],
                        S::add(a, b),
                        S::sub(a, b),
                        S::fma(two, e, c),
                        S::fma(minus(2.0), e, c),
                        d[3],
                    ]
                }
            }
        }
    }
}

/// `Aᵀ` along one side.
#[inline(always)]
unsafe fn back<S: Simd>(m: [S::V; SIDE]) -> [S::V; TILE] {
    // SAFETY: the caller guarantees the instruction set.
    unsafe {
        let (sum, difference) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum2, difference2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], sum), sum2),
            S::fma(S::splat(2.0), difference2, difference),
            S::fma(S::splat(4.0), sum2, sum),
            S::add(S::fma(S::splat(8.0), difference2, difference), m[5]),
        ]
    }
}

/// Transforms the sums of an image back to pixels.
pub(super) struct FromPoints<'a> {
    pub(super) from: &'a [Lanes],
    pub(super) sizes: PointSizes,
    /// Index of the image's first tile among those of all images.
    pub(super) first: usize,
    pub(super) tiles: TileGrid,
    pub(super) channels: usize,
    pub(super) planes: &'a mut [f32],
    pub(super) slots: Slots,
    pub(super) pitch: usize,
    pub(super) rows: &'a mut Vec<Lanes>,
}

impl Kernel for FromPoints<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { from, sizes, first, tiles, channels, planes, slots, pitch, rows } = self;
        assert!(from.len() >= sizes.len() && first + tiles.len() <= sizes.tiles);
        // All rows of sixteen channels, with whole vectors of pixels.
        let width = (tiles.columns * TILE).max(pitch).next_multiple_of(TILE);
        rows.clear();
        rows.resize(tiles.rows * TILE * width + LANES, Lanes::ZERO);
        for group in 0..sizes.groups {
            for i in 0..tiles.rows {
                for j in 0..tiles.columns {
                    let tile = group * sizes.tiles + first + i * tiles.columns + j;
                    let to = &mut rows[i * TILE * width + j * TILE..];
                    let from = &from[tile..];
                    // SAFETY: a tile has four rows of four pixels.
                    unsafe { S::call(OneBack { from, step: sizes.point(), to, width }) };
                }
            }
            let filled = (channels - group * LANES).min(LANES);
            let begin = group * LANES * slots.len + slots.above;
            let plane = tiles.height * pitch;
            for at in (0..plane).step_by(LANES) {
                // The pixels of a vector of each plane.
                let mut block = [Lanes::ZERO; LANES];
                let (y, x) = (at / pitch, at % pitch);
                let n_rows = (LANES / pitch).max(1).min(tiles.height - y);
                let n = pitch.min(LANES).min(tiles.width.saturating_sub(x));
                for r in 0..n_rows {
                    let row = &rows[(y + r) * width + x..][..n];
                    block[r * pitch % LANES..][..n].copy_from_slice(row);
                }
                let mut turned = [Lanes::ZERO; LANES];
                // SAFETY: a block is sixteen vectors.
                unsafe { S::transpose(block.as_ptr().cast(), LANES, &mut turned) };
                for (channel, turned) in turned.iter().enumerate().take(filled) {
                    planes[begin + channel * slots.len + at..][..LANES].copy_from_slice(&turned.0);
                }
            }
        }
    }
}

/// One tile of sixteen channels.
struct OneBack<'a> {
    from: &'a [Lanes],
    step: usize,
    to: &'a mut [Lanes],
    /// Vectors from one row to the next.
    width: usize,
}

impl Kernel for OneBack<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { from, step, to, width } = self;
        assert!(from.len() > (POINTS - 1) * step && to.len() >= (TILE - 1) * width + TILE);
        let (from, to) = (from.as_ptr().cast::<f32>(), to.as_mut_ptr().cast::<f32>());
        for part in (0..LANES).step_by(S::WIDTH) {
            // SAFETY: the lengths were asserted.
            unsafe {
                let mut left = [[S::splat(0.0); SIDE]; TILE];
                for x in 0..SIDE {
                    let place = |r: usize| (r * SIDE + x) * step * LANES + part;
                    let column = std::array::from_fn(|r| S::load(from.add(place(r))));
                    let back = back::<S>(column);
                    for r in 0..TILE {
                        left[r][x] = back[r];
                    }
                }
                for (r, row) in left.into_iter().enumerate() {
                    for (x, pixel) in back::<S>(row).into_iter().enumerate() {
                        S::store(to.add((r * width + x) * LANES + part), pixel);
                    }
                }
            }
        }
    }
}
