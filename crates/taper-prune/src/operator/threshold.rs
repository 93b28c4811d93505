//! Thresholding functions as operators; kernels compute them.

use super::Operator;
use taper_kernels::threshold::Threshold;

impl Operator for Threshold {
    fn threshold(&self) -> Option<Threshold> {
        Some(*self)
    }
}
