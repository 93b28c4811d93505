//! Golden test of the loaders: labels, file sizes and pixel sums. The tests of taper-data compare the pixels.

use crate::check::Check;
use crate::reader::{Fields, Folder};
use taper::data::{Cifar, decode_png, read_parquet};

#[test]
fn golden_loader_labels_and_sums() {
    let mut check = Check::new("loaders");
    if Folder::is_chosen() && Folder::of_tests().sub("loaders").is_none() {
        eprintln!("skipped: the folder of TAPER_GOLDEN has no loaders");
        return;
    }
    for folder in [Some(Folder::of_tests()), Folder::beside()].into_iter().flatten() {
        let json = folder.json("loaders");
        check.equal(
            "classes",
            format_args!("loaders"),
            Cifar::Hundred.class_names(),
            &json.texts("classes")[..],
        );
        let (_, split) =
            read_parquet(&folder.path("loaders/train.plain.parquet")).expect("a split");
        let coarse = split.coarse().expect("coarse labels");
        for (i, item) in json.list("items").iter().enumerate() {
            let name = item.text("path");
            let fine = split.labels()[i] as usize;
            check.equal(
                "class",
                format_args!("{name}"),
                Cifar::Hundred.class_names()[fine],
                item.text("class"),
            );
            check.equal(
                "fine label",
                format_args!("{name}"),
                fine as u64,
                item.count("fine_label"),
            );
            check.equal(
                "coarse label",
                format_args!("{name}"),
                u64::from(coarse[i]),
                item.count("coarse_label"),
            );

            let png = std::fs::read(folder.path(&format!("loaders/{name}"))).expect("a file");
            check.equal("bytes", format_args!("{name}"), png.len() as u64, item.count("png_bytes"));
            let image = decode_png(&png).expect("an image");
            check.equal("pixels", format_args!("{name}"), Some(&image.pixels[..]), split.image(i));
            let sum = |pixels: &[u8]| pixels.iter().map(|&p| u64::from(p)).sum::<u64>();
            let channels: Vec<u64> = image.pixels.chunks(image.pixels.len() / 3).map(sum).collect();
            check.equal(
                "sums of the channels",
                format_args!("{name}"),
                channels,
                item.counts("channel_sums"),
            );
        }
        check.equal("images", format_args!("loaders"), split.len(), json.list("items").len());
    }
    check.finish();
}
