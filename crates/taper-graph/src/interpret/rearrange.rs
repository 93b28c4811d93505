//! Padding and upsampling of planes.

use crate::Pad;

/// A plane with a border.
pub(crate) fn padded<T: Copy + Into<f64>>(plane: &[T], from: [usize; 2], pad: &Pad) -> Vec<f64> {
    let [top, left, bottom, right] = pad.sizes;
    let width = left + from[1] + right;
    let mut values = vec![f64::from(pad.value); (top + from[0] + bottom) * width];
    for row in 0..from[0] {
        for column in 0..from[1] {
            values[(top + row) * width + left + column] = plane[row * from[1] + column].into();
        }
    }
    values
}

/// Each pixel repeated in rows and columns.
pub(crate) fn upsampled<T: Copy + Into<f64>>(
    plane: &[T],
    from: [usize; 2],
    factors: [usize; 2],
) -> Vec<f64> {
    let rows = (0..from[0] * factors[0]).map(|row| row / factors[0]);
    let pixel = |row: usize| {
        (0..from[1] * factors[1])
            .map(move |column| plane[row * from[1] + column / factors[1]].into())
    };
    rows.flat_map(pixel).collect()
}
