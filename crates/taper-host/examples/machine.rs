//! Prints a description of the machine, as in records.

fn main() {
    println!("{:#?}", taper_host::machine());
    println!("results folders of this machine are named DATE-{}", taper_host::host());
}
