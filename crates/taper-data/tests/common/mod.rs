//! Generated test files: PNGs, and parquet files with the columns of the hub.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod hub;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// A row: the PNG, the label, and the coarse label. Each may be missing.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) png: Option<Vec<u8>>,
    pub(crate) label: Option<i64>,
    pub(crate) coarse: Option<i64>,
}

/// Pixels of image `i`, `[32, 32, 3]`: they depend on `i`, channel and position.
pub(crate) fn pixels(i: usize) -> Vec<u8> {
    (0..3072).map(|p| (i * 31 + p * 7 + p * p / 97) as u8).collect()
}

/// The same pixels as planes, `[3, 32, 32]`.
pub(crate) fn planes(i: usize) -> Vec<u8> {
    let interleaved = pixels(i);
    (0..3)
        .flat_map(|c| interleaved.iter().skip(c).step_by(3).copied().collect::<Vec<_>>())
        .collect()
}

pub(crate) fn png(width: u32, height: u32, color: png::ColorType, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

pub(crate) fn rgb(i: usize) -> Vec<u8> {
    png(32, 32, png::ColorType::Rgb, &pixels(i))
}

/// `n` rows of CIFAR-100 (or CIFAR-10) from image `first` on.
pub(crate) fn rows(hundred: bool, first: usize, n: usize) -> Vec<Row> {
    (first..first + n)
        .map(|i| Row {
            png: Some(rgb(i)),
            label: Some(if hundred { i % 100 } else { i % 10 } as i64),
            coarse: hundred.then_some((i % 20) as i64),
        })
        .collect()
}

/// A parquet file with one row group for each slice.
pub(crate) fn parquet_file(groups: &[&[Row]], hundred: bool, snappy: bool) -> Vec<u8> {
    let labels = match hundred {
        true => "optional int64 fine_label; optional int64 coarse_label;",
        false => "optional int64 label;",
    };
    let schema = format!(
        "message schema {{ optional group img {{ optional binary bytes; optional binary path (UTF8); }} {labels} }}"
    );
    write(&schema, groups, hundred, snappy)
}

pub(crate) fn write(schema: &str, groups: &[&[Row]], hundred: bool, snappy: bool) -> Vec<u8> {
    let compression = if snappy { Compression::SNAPPY } else { Compression::UNCOMPRESSED };
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(snappy)
        .build();
    write_with(schema, groups, hundred, properties)
}

/// A CIFAR-10 file with one row group, written with these properties.
pub(crate) fn cifar10_file(rows: &[Row], properties: WriterProperties) -> Vec<u8> {
    let schema = "message schema { optional group img { optional binary bytes; optional binary path (UTF8); } \
                  optional int64 label; }";
    write_with(schema, &[rows], false, properties)
}

fn write_with(
    schema: &str,
    groups: &[&[Row]],
    hundred: bool,
    properties: WriterProperties,
) -> Vec<u8> {
    let mut out = Vec::new();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties)).unwrap();
    for rows in groups {
        let mut group = writer.next_row_group().unwrap();

        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> =
            rows.iter().filter_map(|r| r.png.clone()).map(ByteArray::from).collect();
        let levels: Vec<i16> = rows.iter().map(|r| if r.png.is_some() { 2 } else { 1 }).collect();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();

        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();

        let mut integers: Vec<Vec<Option<i64>>> = vec![rows.iter().map(|r| r.label).collect()];
        if hundred {
            integers.push(rows.iter().map(|r| r.coarse).collect());
        }
        for values in integers {
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
            let values: Vec<i64> = values.into_iter().flatten().collect();
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    out
}
