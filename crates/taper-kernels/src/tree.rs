//! Sums over a batch, taken as a tree.
//!
//! Parts are merged in twos: the first with the second, the third with the fourth, and so on. What comes of it is merged in
//! the same way until one is left. A last part without another goes on as it is. The tree depends on the number of parts
//! alone, and whoever has the parts from a multiple of a power of two on can merge that many without knowing of others.

/// Merges parts as a tree; the second part is merged into the first. `None` if there is none.
pub(crate) fn merge<T>(
    parts: impl IntoIterator<Item = T>,
    mut merge: impl FnMut(T, T) -> T,
) -> Option<T> {
    // Roots of whole subtrees from left to right, with their heights, which decrease.
    let mut roots: Vec<(u32, T)> = Vec::new();
    for part in parts {
        let mut root = (0, part);
        while let Some((height, left)) = roots.pop_if(|(height, _)| *height == root.0) {
            root = (height + 1, merge(left, root.1));
        }
        roots.push(root);
    }
    let (_, last) = roots.pop()?;
    Some(roots.into_iter().rev().fold(last, |right, (_, left)| merge(left, right)))
}

/// Overwrites `totals` with the sums of parts of their length, or of none, which adds nothing.
pub(crate) fn add_up<'a>(totals: &mut [f32], parts: impl IntoIterator<Item = &'a [f32]>) {
    let mut spare = Vec::new();
    let leaves = parts
        .into_iter()
        .map(|part| if part.is_empty() { PartSum::None } else { PartSum::Part(part) });
    let root = merge(leaves, |left, right| left.add(right, &mut spare));
    // Zero is added, as it is where a sum starts at zero: a negative zero becomes a positive one.
    match root.as_ref().and_then(PartSum::values) {
        Some(sum) => totals.iter_mut().zip(sum).for_each(|(total, sum)| *total = 0.0 + sum),
        None => totals.fill(0.0),
    }
}

/// The sum of some parts.
enum PartSum<'a> {
    None,
    Part(&'a [f32]),
    Of(Vec<f32>),
}

impl PartSum<'_> {
    /// Adds two sums, with memory that others no longer need.
    fn add(self, other: Self, spare: &mut Vec<Vec<f32>>) -> Self {
        match (self, other) {
            (Self::None, sum) | (sum, Self::None) => sum,
            (Self::Part(left), Self::Part(right)) => {
                let mut sum = spare.pop().unwrap_or_default();
                sum.clear();
                sum.extend(left.iter().zip(right).map(|(left, right)| left + right));
                Self::Of(sum)
            }
            (Self::Of(mut sum), Self::Part(part)) | (Self::Part(part), Self::Of(mut sum)) => {
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                Self::Of(sum)
            }
            (Self::Of(mut left), Self::Of(right)) => {
                left.iter_mut().zip(&right).for_each(|(left, right)| *left += right);
                spare.push(right);
                Self::Of(left)
            }
        }
    }

    fn values(&self) -> Option<&[f32]> {
        match self {
            Self::None => None,
            Self::Part(part) => Some(part),
            Self::Of(sum) => Some(sum),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as text, such as `((01)2)`.
    fn tree(parts: std::ops::Range<usize>) -> Option<String> {
        merge(parts.map(|i| i.to_string()), |left, right| format!("({left}{right})"))
    }

    #[test]
    fn parts_are_merged_in_twos() {
        assert_eq!(tree(0..0), None);
        assert_eq!(tree(0..1).unwrap(), "0");
        assert_eq!(tree(0..3).unwrap(), "((01)2)");
        assert_eq!(tree(0..7).unwrap(), "(((01)(23))((45)6))");
        assert_eq!(tree(0..9).unwrap(), "((((01)(23))((45)(67)))8)");
    }

    #[test]
    fn aligned_parts_are_merged_without_the_others() {
        let whole = tree(0..8).unwrap();
        let halves = [tree(0..4).unwrap(), tree(4..8).unwrap()];
        assert_eq!(whole, format!("({}{})", halves[0], halves[1]));
    }

    #[test]
    fn vectors_are_added_as_single_numbers_are() {
        // Numbers whose sum depends on the order.
        let values: Vec<[f32; 2]> =
            (0..23).map(|i| [(i as f32 * 0.7).sin() * 1e4, 1.0 / (i + 1) as f32]).collect();
        for n in 0..values.len() {
            // Every third adds nothing.
            let parts: Vec<&[f32]> =
                (0..n).map(|i| if i % 3 == 1 { &[][..] } else { &values[i][..] }).collect();
            let mut sums = [f32::NAN; 2];
            add_up(&mut sums, parts.iter().copied());
            for (at, sum) in sums.iter().enumerate() {
                let leaves = parts.iter().map(|part| part.get(at).copied());
                let want = merge(leaves, |a, b| match (a, b) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                });
                assert_eq!(*sum, want.flatten().unwrap_or(0.0), "{n} parts");
            }
        }
    }

    #[test]
    fn negative_zeros_add_up_to_a_positive_one() {
        let mut sum = [1.0];
        add_up(&mut sum, [&[-0.0][..], &[-0.0]]);
        assert_eq!(sum[0].to_bits(), 0);
    }
}
