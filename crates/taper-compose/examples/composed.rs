//! Prints a TOML file, merged with the files that it extends, and with settings on top.

use taper_compose::{Setting, load, put};

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let Some(file) = words.next() else { anyhow::bail!("pass a TOML file") };
    let (mut table, files) = load(file.as_ref(), "file", |_, _| Ok(()))?;
    for word in words {
        let Setting { key, value } = Setting::parse(&word)?;
        put(&mut table, &key, value)?;
    }
    println!("# {} files\n{}", files.len(), toml::to_string(&table)?);
    Ok(())
}
