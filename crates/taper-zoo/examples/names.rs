//! The state dict of a network: names and shapes in PyTorch's order.

fn main() -> Result<(), taper_zoo::BuildError> {
    let model = taper_zoo::build("digits-cnn", 10, 0, &candle_core::Device::Cpu)?;
    for entry in model.params().entries() {
        println!("{:<24} {:?}", entry.name, entry.var.dims());
    }
    Ok(())
}
