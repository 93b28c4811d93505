//! PNG or JPEG images of any size, converted to the input size of a network.

use crate::image::{png_frame, png_reader};
use crate::resize::resize;
use crate::{DataError, ImageShape, Result};
use png::{ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::{colorspace::ColorSpace, options::DecoderOptions};

/// A JPEG has at least one bit for a block of 64 pixels. A header that claims more pixels than this ratio times the
/// size of the file in bytes is invalid, and nothing is allocated for it.
const LARGEST_RATIO: usize = 8 * 64;

/// The largest width and height in the JPEG format.
pub(crate) const LARGEST_SIDE: usize = (1 << 16) - 1;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Whether a JPEG has its end: segments of a recorded length, of which scans are followed by coded pixels up to the next
/// marker. What follows the end, such as the video of a motion photo, does not matter. The decoder skips bytes between
/// segments, so they are skipped here, too.
fn has_end(bytes: &[u8]) -> bool {
    let next_marker = |at: usize| {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
        bytes.get(at..)?.windows(2).position(is_marker).map(|n| at + n)
    };
    let mut at = 2;
    loop {
        let Some(&[first, marker]) = bytes.get(at..at + 2) else { return false };
        if first != 0xff {
            let Some(next) = next_marker(at) else { return false };
            at = next;
            continue;
        }
        match marker {
            END_OF_IMAGE => return true,
            // A fill byte, and markers without a length.
            0xff => at += 1,
            0x01 | 0xd0..=0xd7 => at += 2,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                if marker == START_OF_SCAN {
                    let Some(next) = next_marker(at) else { return false };
                    at = next;
                }
            }
        }
    }
}

/// An image of any size with 8 bits per channel, greyscale or RGB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    /// 1 or 3.
    channels: usize,
    /// `[height, width, channels]`, row-major.
    pixels: Vec<u8>,
}

impl Picture {
    /// Decodes a PNG of any colour type and depth, or a JPEG. Transparency is dropped, 16 bits are reduced to 8, and
    /// the EXIF orientation is not applied.
    ///
    /// # Errors
    /// [`DataError::Image`] for other formats, broken or truncated files, or a header that claims more pixels than the
    /// file can contain.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let picture = match bytes {
            [0x89, b'P', b'N', b'G', ..] => Self::of_png(bytes),
            [0xff, 0xd8, 0xff, ..] => Self::of_jpeg(bytes),
            [] => Err("the file is empty".into()),
            _ => Err("it is neither PNG nor JPEG; convert it first".into()),
        };
        picture.map_err(DataError::Image)
    }

    fn of_png(bytes: &[u8]) -> std::result::Result<Self, String> {
        let reader = png_reader(bytes, Transformations::normalize_to_color8())?;
        let info = reader.info();
        let (height, width) = (info.height as usize, info.width as usize);
        let (stored, channels) = match reader.output_color_type().0 {
            ColorType::Grayscale => (1, 1),
            ColorType::GrayscaleAlpha => (2, 1),
            ColorType::Rgba => (4, 3),
            // The transformation expands palettes to RGB.
            ColorType::Rgb | ColorType::Indexed => (3, 3),
        };
        let mut pixels = png_frame(reader, bytes)?;
        if stored > channels {
            pixels = pixels.chunks_exact(stored).flat_map(|p| &p[..channels]).copied().collect();
        }
        Ok(Self { height, width, channels, pixels })
    }

    fn of_jpeg(bytes: &[u8]) -> std::result::Result<Self, String> {
        // Without this check, the decoder would fill in the missing part of the last scan.
        if !has_end(bytes) {
            return Err("the JPEG cannot be decoded: its end is missing; copy it again".into());
        }
        let undecodable = |e| format!("the JPEG cannot be decoded: {e}");
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(LARGEST_SIDE)
            .set_max_height(LARGEST_SIDE);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(undecodable)?;
        let info = decoder.info().ok_or("the JPEG has no header")?;
        let (height, width) = (usize::from(info.height), usize::from(info.width));
        if height * width / LARGEST_RATIO > bytes.len() {
            let n = bytes.len();
            return Err(format!("{width} x {height} pixels cannot come from {n} bytes"));
        }
        let (colours, channels) = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => (ColorSpace::Luma, 1),
            _ => (ColorSpace::RGB, 3),
        };
        decoder.set_options(options.jpeg_set_out_colorspace(colours));
        let pixels = decoder.decode().map_err(undecodable)?;
        match pixels.len() == height * width * channels {
            true => Ok(Self { height, width, channels, pixels }),
            false => Err(format!(
                "the JPEG has {} values, but should have {}",
                pixels.len(),
                height * width * channels
            )),
        }
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Converts the image to this shape, `[channels, height, width]`. It is resized with its aspect ratio, bilinearly with
    /// antialiasing, until it covers the shape, and cropped around its centre. For square shapes, these are the pixels
    /// of torchvision's `Resize(n)` and `CenterCrop(n)`, up to rounding. Greyscale is repeated for each RGB channel; RGB
    /// is converted to greyscale by ITU-R 601.
    ///
    /// # Errors
    /// [`DataError::Invalid`] unless the shape has 1 or 3 channels and at least one pixel.
    pub fn fit(&self, shape: ImageShape) -> Result<Vec<u8>> {
        if shape.is_empty() || ![1, 3].contains(&shape.channels) {
            return Err(DataError::Invalid(format!(
                "the network takes images of {} x {} x {}, but an image file needs 1 or 3 channels and at least one pixel",
                shape.channels, shape.height, shape.width
            )));
        }
        // The size of the whole picture after scaling. u128, as sizes of files are not trusted.
        let (height, width) = (self.height as u128, self.width as u128);
        let (rows, columns) = (shape.height as u128, shape.width as u128);
        let (tall, wide) = match height * columns >= width * rows {
            true => (height * columns / width, columns),
            false => (rows, width * rows / height),
        };
        // The part that the shape shows of it, in pixels of the picture.
        let part = |size: usize, scaled: u128, n: usize| {
            let step = size as f64 / scaled as f64;
            let from = ((scaled as f64 - n as f64) / 2.0).round_ties_even() * step;
            from..from + n as f64 * step
        };
        let dims = [self.height, self.width, self.channels];
        let part = [part(self.height, tall, shape.height), part(self.width, wide, shape.width)];
        let scaled = resize(&self.pixels, dims, part, [shape.height, shape.width]);
        let plane = |channel: usize| scaled.iter().skip(channel).step_by(self.channels).copied();
        Ok(match (self.channels, shape.channels) {
            (1, n) => scaled.repeat(n),
            (_, 1) => scaled.chunks_exact(3).map(grey).collect(),
            _ => plane(0).chain(plane(1)).chain(plane(2)).collect(),
        })
    }
}

/// The ITU-R 601 greyscale value of an RGB pixel, rounded.
fn grey(colour: &[u8]) -> u8 {
    let parts = colour.iter().zip([299, 587, 114]);
    ((parts.map(|(&value, share)| u32::from(value) * share).sum::<u32>() + 500) / 1000) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use png::BitDepth;

    fn png(color: ColorType, depth: BitDepth, width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 10, 20, 30]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    const fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape { channels, height, width }
    }

    #[test]
    fn every_colour_type_of_png_is_read() {
        use BitDepth::{Eight, One, Sixteen};
        for (color, depth, data, wanted) in [
            (ColorType::Grayscale, Eight, &[1, 2][..], &[1, 2][..]),
            (ColorType::Grayscale, One, &[0b0100_0000], &[0, 255]),
            (ColorType::Grayscale, Sixteen, &[7, 0, 9, 0], &[7, 9]),
            (ColorType::GrayscaleAlpha, Eight, &[1, 0, 2, 255], &[1, 2]),
            (ColorType::Rgb, Eight, &[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]),
            (ColorType::Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 9], &[1, 2, 3, 4, 5, 6]),
            (ColorType::Indexed, One, &[0b0100_0000], &[0, 0, 0, 10, 20, 30]),
        ] {
            let picture = Picture::decode(&png(color, depth, 2, 1, data)).unwrap();
            assert_eq!((picture.height(), picture.width()), (1, 2));
            assert_eq!(picture.pixels, wanted, "{color:?} {depth:?}");
        }
    }

    const COLOURS: &[u8] = include_bytes!("../testdata/pictures/colours.jpg");
    const PROGRESSIVE: &[u8] = include_bytes!("../testdata/pictures/progressive.jpg");
    const GREY: &[u8] = include_bytes!("../testdata/pictures/grey.jpg");

    #[test]
    fn jpegs_are_read() {
        for (bytes, channels) in [(COLOURS, 3), (PROGRESSIVE, 3), (GREY, 1)] {
            let picture = Picture::decode(bytes).unwrap();
            assert_eq!((picture.height, picture.width, picture.channels), (8, 8, channels));
            for (at, pixel) in picture.pixels.chunks_exact(channels).enumerate() {
                let value = (20 * (at / 8) + 12 * (at % 8)) as u8;
                for (found, wanted) in pixel.iter().zip([value, 255 - value, 77]) {
                    // The error of JPEG compression; in Pillow, it is up to 21.
                    assert!(found.abs_diff(wanted) <= 22, "pixel {at}: {pixel:?} of {value}");
                }
            }
        }
    }

    #[test]
    fn truncated_and_corrupted_jpegs_never_panic() {
        for whole in [COLOURS, PROGRESSIVE, GREY] {
            for n in 0..whole.len() {
                // The last two bytes are the end marker.
                let cut = Picture::decode(&whole[..n]);
                assert!(cut.is_err() || n + 2 >= whole.len(), "{n} of {}", whole.len());
                for flip in [0x01, 0x55, 0xff] {
                    let mut bad = whole.to_vec();
                    bad[n] ^= flip;
                    let _ = Picture::decode(&bad);
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_jpeg_with_bytes_between_segments_is_found() {
        for whole in [COLOURS, PROGRESSIVE, GREY] {
            // After the start of the image and the first segment.
            let at = 4 + usize::from(u16::from_be_bytes([whole[4], whole[5]]));
            let stray = [&whole[..at], &[0], &whole[at..]].concat();
            assert!(has_end(&stray));
            assert!(!has_end(&stray[..stray.len() - 20]));
        }
    }

    #[test]
    fn what_follows_a_jpeg_does_not_matter() {
        // As in motion photos, with bytes that look like markers.
        for whole in [COLOURS, PROGRESSIVE, GREY] {
            for trailer in [&b"ftypmp42"[..], b"\xff\xda\x00\x08....", b"\xff\xd9\xff\xda"] {
                let with = Picture::decode(&[whole, trailer].concat()).unwrap();
                assert_eq!(with, Picture::decode(whole).unwrap());
            }
        }
    }

    #[test]
    fn a_png_with_much_exif_data_is_read() {
        let mut bytes = Vec::new();
        let mut info = png::Info::with_size(2, 1);
        info.color_type = ColorType::Grayscale;
        info.exif_metadata = Some(vec![7; 3 << 20].into());
        let encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
        encoder.write_header().unwrap().write_image_data(&[3, 9]).unwrap();
        assert!(bytes.len() > 3 << 20, "{}", bytes.len());
        assert_eq!(Picture::decode(&bytes).unwrap().pixels, [3, 9]);
    }

    #[test]
    fn a_header_that_claims_a_huge_image_is_an_error() {
        let at = GREY.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        let mut huge = GREY.to_vec();
        huge[at + 5..at + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
        let message = Picture::decode(&huge).unwrap_err().to_string();
        assert!(message.contains("60000 x 60000 pixels cannot come from 171 bytes"), "{message}");
    }

    #[test]
    fn greyscale_and_rgb_are_converted_to_the_channels_of_the_network() {
        let grey = Picture { height: 1, width: 2, channels: 1, pixels: vec![5, 9] };
        assert_eq!(grey.fit(shape(1, 1, 2)).unwrap(), [5, 9]);
        assert_eq!(grey.fit(shape(3, 1, 2)).unwrap(), [5, 9, 5, 9, 5, 9]);
        let colours = vec![255, 0, 0, 10, 20, 30];
        let colours = Picture { height: 1, width: 2, channels: 3, pixels: colours };
        assert_eq!(colours.fit(shape(3, 1, 2)).unwrap(), [255, 10, 0, 20, 0, 30]);
        // 0.299·255 = 76.2; 2.99 + 11.74 + 3.42 = 18.15.
        assert_eq!(colours.fit(shape(1, 1, 2)).unwrap(), [76, 18]);
        for impossible in [shape(4, 1, 2), shape(3, 0, 2)] {
            assert!(colours.fit(impossible).is_err());
        }
    }

    const WANTED: [[u8; 16]; 3] = [
        [89, 92, 41, 98, 121, 98, 105, 75, 73, 119, 145, 134, 115, 136, 133, 114],
        [101, 38, 46, 58, 63, 95, 139, 65, 111, 165, 144, 114, 53, 102, 83, 83],
        [2, 5, 12, 23, 20, 29, 41, 57, 57, 76, 99, 125, 75, 100, 128, 159],
    ];

    #[test]
    fn pixels_are_those_of_torchvision() {
        // torchvision 0.29 on a PIL image: Compose([Resize(4), CenterCrop(4)]), whose resizing rounds after each of two passes.
        for ((height, width), wanted) in
            [((6, 11), WANTED[0]), ((9, 5), WANTED[1]), ((2, 3), WANTED[2])]
        {
            let pixels = (0..height * width).map(|i| (i * i * 7 % 251) as u8).collect();
            let found = Picture { height, width, channels: 1, pixels }.fit(shape(1, 4, 4)).unwrap();
            let is_close = found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(is_close, "{height} x {width}: {found:?}, not {wanted:?}");
        }
    }

    #[test]
    fn the_crop_is_centred_and_has_the_aspect_ratio_of_the_network() {
        let pixels = vec![0, 1, 2, 3, 4, 5, 6, 7];
        let wide = Picture { height: 2, width: 4, channels: 1, pixels };
        assert_eq!(wide.fit(shape(1, 2, 2)).unwrap(), [1, 2, 5, 6]);
        let tall = Picture { height: 4, width: 2, ..wide };
        assert_eq!(tall.fit(shape(1, 2, 2)).unwrap(), [2, 3, 4, 5]);
    }

    #[test]
    fn errors_name_files_that_are_not_images() {
        let message = |bytes: &[u8]| Picture::decode(bytes).unwrap_err().to_string();
        assert!(message(b"").contains("is empty"));
        assert!(message(b"GIF89a...").contains("neither PNG nor JPEG"));
        assert!(message(b"\x89PNG\r\n\x1a\n").contains("the PNG cannot be decoded"));
        assert!(message(b"\xff\xd8\xff\xe0").contains("the JPEG cannot be decoded"));
    }
}
