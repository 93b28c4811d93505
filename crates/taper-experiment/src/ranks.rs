//! Checks that ranks that train together run the same experiment.

use crate::{
    compute::{BUILT_FROM, Compute},
    error::usage,
    setup::Setup,
};
use taper::{distributed::Ranks, record::run::hash};

/// Checks that all ranks have the same program, data, experiment and choice of kernels. Their processors may differ.
/// Every rank calls it, and all get the same result.
pub(crate) fn expect_one_experiment(
    ranks: &Ranks,
    setup: &Setup,
    compute: &Compute,
) -> anyhow::Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let arguments = "start the same program with the same arguments on all ranks";
    let program = format!("{BUILT_FROM:?} {}", env!("CARGO_PKG_VERSION"));
    let data = setup.data.fingerprint.clone();
    for (value, what, remedy) in [
        (program.into(), "programs", arguments),
        (data.into(), "data", "give all ranks the same data, such as a shared folder"),
        (setup.record.clone(), "experiments", arguments),
        (compute.choice_name().into(), "values of --kernels", arguments),
    ] {
        // The first sixteen hexadecimal digits of a hash.
        let digits = hash(&value).chars().take(16).collect::<String>();
        let number = u64::from_str_radix(&digits, 16).unwrap_or_default();
        ranks.expect_same(number, what, remedy).map_err(usage)?;
    }
    if compute.device != "cpu" {
        return Err(usage(format!(
            "{} ranks train on the CPU only, but the device is {}; leave out --device, or start one rank",
            ranks.size(),
            compute.device
        )));
    }
    Ok(())
}
