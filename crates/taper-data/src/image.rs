//! Decoding of untrusted PNGs.

use crate::{DataError, ImageShape, Result};
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};
use std::io::Cursor;

/// The largest compression ratio of deflate. A header that claims more pixel bytes than this ratio times the size of
/// the file is invalid, and nothing is allocated for it.
const LARGEST_RATIO: u128 = 1032;

/// An RGB image with 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its shape; always three channels.
    pub shape: ImageShape,
    /// `[3, height, width]`, row-major.
    pub pixels: Vec<u8>,
}

/// Decodes a PNG of colour type RGB with 8 bits per channel into planes of red, green and blue.
///
/// # Errors
/// [`DataError::Image`] for broken or truncated files, other colour types or depths (they are not converted), or a
/// header that claims more pixels than the file can contain.
pub fn decode_png(bytes: &[u8]) -> Result<Image> {
    let (shape, interleaved) = decode(bytes, None).map_err(DataError::Image)?;
    let mut pixels = vec![0; shape.len()];
    to_planes(&interleaved, &mut pixels);
    Ok(Image { shape, pixels })
}

/// Decodes a PNG with exactly the given size into `target`, `[3, height, width]`.
pub(crate) fn decode_into(
    bytes: &[u8],
    shape: ImageShape,
    target: &mut [u8],
) -> Result<(), String> {
    let (_, interleaved) = decode(bytes, Some(shape))?;
    to_planes(&interleaved, target);
    Ok(())
}

fn decode(bytes: &[u8], expected: Option<ImageShape>) -> Result<(ImageShape, Vec<u8>), String> {
    let reader = png_reader(bytes, Transformations::IDENTITY)?;
    let info = reader.info();
    let shape =
        ImageShape { channels: 3, height: info.height as usize, width: info.width as usize };
    if let Some(want) = expected.filter(|want| *want != shape) {
        return Err(format!(
            "the image is {} x {} pixels, but must be {} x {}",
            shape.width, shape.height, want.width, want.height
        ));
    }
    if (info.color_type, info.bit_depth) != (ColorType::Rgb, BitDepth::Eight) {
        return Err(format!(
            "the image has colour type {:?} with {} bits, but must be RGB with 8; convert it first",
            info.color_type, info.bit_depth as u8
        ));
    }
    Ok((shape, png_frame(reader, bytes)?))
}

/// Bytes for a few image rows, each of at most [`LARGEST_SIDE`](crate::picture::LARGEST_SIDE) pixels.
const ROWS: usize = 1 << 24;

/// A PNG reader that has read the header.
pub(crate) fn png_reader(
    bytes: &[u8],
    transformations: Transformations,
) -> Result<Reader<Cursor<&[u8]>>, String> {
    // The limit is for the buffers of the decoder: a few image rows, and chunks of the file such as EXIF data.
    let limits = Limits { bytes: bytes.len() + ROWS };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(transformations);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(undecodable)
}

/// The pixels of a PNG, interleaved, row-major.
pub(crate) fn png_frame(
    mut reader: Reader<Cursor<&[u8]>>,
    bytes: &[u8],
) -> Result<Vec<u8>, String> {
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    // The bits per pixel in the file, before any transformation.
    let n_bits = u128::from(width) * u128::from(height) * info.bits_per_pixel() as u128;
    let needed = reader
        .output_buffer_size()
        .filter(|_| n_bits / 8 / LARGEST_RATIO <= bytes.len() as u128)
        .ok_or_else(|| {
            format!("{width} x {height} pixels cannot come from {} bytes", bytes.len())
        })?;
    let mut interleaved = vec![0; needed];
    reader.next_frame(&mut interleaved).map_err(undecodable)?;
    Ok(interleaved)
}

fn undecodable(error: png::DecodingError) -> String {
    format!("the PNG cannot be decoded: {error}")
}

/// From `[height, width, 3]` to `[3, height, width]`.
fn to_planes(interleaved: &[u8], planes: &mut [u8]) {
    let area = planes.len() / 3;
    for (i, pixel) in interleaved.chunks_exact(3).enumerate() {
        for (channel, &value) in pixel.iter().enumerate() {
            planes[channel * area + i] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(color: ColorType, depth: BitDepth, width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 255, 255, 255]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    #[test]
    fn rgb_becomes_planes() {
        let png = encode(ColorType::Rgb, BitDepth::Eight, 2, 1, &[1, 2, 3, 4, 5, 6]);
        let image = decode_png(&png).unwrap();
        assert_eq!(image.shape, ImageShape { channels: 3, height: 1, width: 2 });
        assert_eq!(image.pixels, [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn other_colour_types_and_depths_are_errors() {
        for (color, depth, bytes, word) in [
            (ColorType::Grayscale, BitDepth::Eight, 4, "Grayscale"),
            (ColorType::GrayscaleAlpha, BitDepth::Eight, 8, "GrayscaleAlpha"),
            (ColorType::Rgba, BitDepth::Eight, 16, "Rgba"),
            (ColorType::Indexed, BitDepth::Eight, 4, "Indexed"),
            (ColorType::Rgb, BitDepth::Sixteen, 24, "16 bits"),
        ] {
            let png = encode(color, depth, 2, 2, &vec![0; bytes]);
            let message = decode_png(&png).unwrap_err().to_string();
            assert!(message.contains(word) && message.contains("convert"), "{message}");
        }
    }

    #[test]
    fn the_size_is_checked_before_decoding() {
        let png = encode(ColorType::Rgb, BitDepth::Eight, 2, 1, &[0; 6]);
        let message = decode_into(&png, ImageShape::CIFAR, &mut [0; 3072]).unwrap_err();
        assert!(message.contains("2 x 1") && message.contains("32 x 32"), "{message}");
    }

    #[test]
    fn truncated_and_corrupted_images_never_panic() {
        let pixels: Vec<u8> = (0..300u32).map(|i| (i * i % 251) as u8).collect();
        let png = encode(ColorType::Rgb, BitDepth::Eight, 10, 10, &pixels);
        let whole = decode_png(&png).unwrap();
        for n in 0..png.len() {
            // The last 12 bytes are the end marker, the 4 before them a checksum: without them, the pixels may be
            // complete.
            let cut = decode_png(&png[..n]);
            assert!(cut.is_err() || n + 16 >= png.len(), "{n} of {}", png.len());
            let mut bad = png.clone();
            bad[n] ^= 0x55;
            if let Ok(image) = decode_png(&bad) {
                assert_eq!(image, whole, "byte {n} changed the pixels without an error");
            }
        }
    }

    #[test]
    fn a_header_that_claims_a_huge_image_is_an_error() {
        let mut png = encode(ColorType::Rgb, BitDepth::Eight, 2, 1, &[0; 6]);
        png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let message = decode_png(&png).unwrap_err().to_string();
        assert!(message.contains("60000 x 60000 pixels cannot come from"), "{message}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &b| {
            (0..8).fold(crc ^ u32::from(b), |c, _| {
                if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 }
            })
        })
    }
}
