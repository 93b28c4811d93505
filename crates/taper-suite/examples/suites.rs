//! Lists the suites that are available in the current folder.

fn main() -> anyhow::Result<()> {
    for (name, title) in taper_suite::available(".".as_ref())? {
        println!("{name:<32} {title}");
    }
    Ok(())
}
