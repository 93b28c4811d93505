//! Lists the suites that can be named in the current folder.

fn main() -> anyhow::Result<()> {
    for (name, title) in taper_suite::available(".".as_ref())? {
        println!("{name:<32} {title}");
    }
    Ok(())
}
