//! Describes the machine that it runs on, as records do.

fn main() {
    println!("{:#?}", taper_host::machine());
    println!("results folders of it are called DATE-{}", taper_host::host());
}
