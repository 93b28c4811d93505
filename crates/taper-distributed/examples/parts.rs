//! Prints the images of a batch that each rank computes:
//! `cargo run -p taper-distributed --example parts -- RANKS IMAGES`.

use taper_distributed::{Ranks, Threads};

fn main() {
    let mut numbers = std::env::args().skip(1).map_while(|text| text.parse::<usize>().ok());
    let (size, n) = (numbers.next().unwrap_or(4).max(1), numbers.next().unwrap_or(128));
    for ranks in Threads::connected(size).into_iter().map(Ranks::new) {
        match ranks.images(n) {
            Some(images) => println!("rank {}: images {images:?}", ranks.rank()),
            None => println!("rank {}: all {n} images", ranks.rank()),
        }
    }
}
