//! Keyed random numbers: each use starts its own small generator from a key.
//!
//! Taper has no shared generator. Weight initialization, the order of samples and augmentation each start a generator
//! from a key, such as `(seed, parameter name)` or `(seed, epoch, index)`. Results therefore do not depend on the order
//! of calls, on threads, or on where a run resumes.
//!
//! # References
//! splitmix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

use crate::hash::fnv1a;

/// splitmix64: one 64-bit state, period 2⁶⁴.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator with this state.
    pub fn from_state(state: u64) -> Self {
        Self { state }
    }

    /// A generator for one parameter: the state is FNV-1a of `"{seed}/{name}"`.
    pub fn for_name(seed: u64, name: &str) -> Self {
        Self::from_state(fnv1a(format!("{seed}/{name}").as_bytes()))
    }

    /// A generator for a tuple of numbers, such as (seed, epoch, index).
    pub fn for_key<const N: usize>(key: [u64; N]) -> Self {
        let mut mixed = Self::from_state(0x7461_7065_7200_0000 ^ N as u64);
        for part in key {
            mixed.state = mixed.next_u64() ^ part;
        }
        Self::from_state(mixed.next_u64())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`, without bias.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "the bound must be at least 1");
        // Values in the last, incomplete range of n would favour small results: reject them.
        let limit = u64::MAX - u64::MAX % n;
        loop {
            let draw = self.next_u64();
            if draw < limit {
                return draw % n;
            }
        }
    }

    /// Standard normal, by the Box–Muller transform.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(2.0 * std::f64::consts::PI * self.uniform())
    }

    /// The numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_published_ones() {
        let mut rng = Rng::from_state(0);
        assert_eq!(
            [rng.next_u64(), rng.next_u64()],
            [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]
        );
        assert_eq!(Rng::for_name(1, "conv1.weight").next_u64(), 0x3acd_2512_298f_04d5);
    }

    #[test]
    fn normal_draws_have_these_bits() {
        let mut rng = Rng::from_state(3);
        let bits = (0..1000).flat_map(|_| rng.normal().to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(fnv1a(&bits), 0x2bec_167d_b1f2_486d);
    }

    #[test]
    fn keys_that_differ_anywhere_draw_differently() {
        let first = |key: [u64; 3]| Rng::for_key(key).next_u64();
        let draws = [first([0, 0, 0]), first([1, 0, 0]), first([0, 1, 0]), first([0, 0, 1])];
        for (i, a) in draws.iter().enumerate() {
            assert!(draws[i + 1..].iter().all(|b| a != b));
        }
        assert_ne!(Rng::for_key([0, 0]).next_u64(), draws[0]);
    }

    #[test]
    fn moments_of_the_distributions() {
        let mut rng = Rng::for_key([7]);
        let n = 20_000;
        let moments = |mut draw: Box<dyn FnMut() -> f64>| {
            let draws: Vec<f64> = (0..n).map(|_| draw()).collect();
            let mean = draws.iter().sum::<f64>() / n as f64;
            (mean, draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / n as f64)
        };
        let mut other = rng.clone();
        let (mean, var) = moments(Box::new(move || rng.uniform()));
        assert!((mean - 0.5).abs() < 0.01 && (var - 1.0 / 12.0).abs() < 0.003, "{mean} {var}");
        let (mean, var) = moments(Box::new(move || other.normal()));
        assert!(mean.abs() < 0.03 && (var - 1.0).abs() < 0.04, "{mean} {var}");
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut order = Rng::for_key([3]).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!(Rng::for_key([3]).permutation(0).is_empty());
    }
}
