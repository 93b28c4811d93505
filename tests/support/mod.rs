//! Test helpers: running the program as a user does, temporary folders, and test data.

#![allow(dead_code, reason = "each test uses a part of it")]

mod python;
pub mod tutorial;

#[allow(unused_imports, reason = "each test uses a part of it")]
pub use python::{python, skip};

use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use taper::core::rng::Rng;

/// The program under test.
pub fn taper(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taper"));
    // A user's settings must not reach the tests.
    for name in [
        "RUST_LOG",
        "HF_ENDPOINT",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HF_TOKEN",
        "HUGGINGFACE_HUB_CACHE",
        "RAYON_NUM_THREADS",
    ] {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// Exit code and output of a finished program.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    Said {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Runs the program, which must succeed.
#[track_caller]
pub fn succeed(args: &[&str]) -> Said {
    let said = run(&mut taper(args));
    assert_eq!(said.code, Some(0), "taper {args:?}\n{}\n{}", said.out, said.err);
    said
}

/// Runs the program, which must end with `code` and one line of error that contains all `parts`.
#[track_caller]
pub fn refuse(args: &[&str], code: i32, parts: &[&str]) {
    let said = run(&mut taper(args));
    assert_eq!(said.code, Some(code), "taper {args:?}\n{}\n{}", said.out, said.err);
    let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "taper {args:?}: one sentence of error, not\n{}", said.err);
    for part in parts {
        assert!(errors[0].contains(part), "taper {args:?}: `{part}` is not in\n{}", errors[0]);
    }
    assert!(!said.err.contains("panicked"), "taper {args:?}\n{}", said.err);
}

/// A temporary folder, deleted at the end of the test.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).expect("a writable folder");
        self.text(name)
    }
}

/// Root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Bytes of a file that must exist.
#[track_caller]
pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Content of a JSON file that must exist.
#[track_caller]
pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&bytes(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The folder with CIFAR-100 as parquet, if it is on this machine.
pub fn cifar100() -> Option<PathBuf> {
    Some(repository().join("../shared/data/cifar100")).filter(|folder| folder.is_dir())
}

/// A folder in the layout of CIFAR-100's binary version, with random images.
pub fn cifar_of_noise(folder: &Folder) -> String {
    let mut rng = Rng::for_key([100]);
    std::fs::create_dir(folder.path("data")).expect("a folder");
    for (name, n) in [("train", 96), ("test", 32)] {
        let mut bytes = Vec::new();
        for i in 0..n {
            bytes.extend([(i % 20) as u8, (i % 100) as u8]);
            bytes.extend((0..3072).map(|_| rng.next_u64() as u8));
        }
        folder.write(&format!("data/{name}.bin"), bytes);
    }
    folder.text("data")
}

/// The code blocks in this language on a Markdown page.
pub fn code(page: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open) = (Vec::new(), None);
    for event in pulldown_cmark::Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(of))) if *of == *language => {
                open = Some(String::new());
            }
            Event::Text(text) => {
                if let Some(block) = &mut open {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => blocks.extend(open.take()),
            _ => {}
        }
    }
    blocks
}

/// Writes an image as PNG with 8 bits per channel; `dims` is channels, height, width.
pub fn png(folder: &Folder, name: &str, dims: [u32; 3], pixels: &[u8]) -> String {
    let [channels, height, width] = dims;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(pixels).expect("pixels");
    writer.finish().expect("an end");
    folder.write(name, bytes)
}

/// All files below `folder` with a name that ends in `ending`.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The text of a file that must exist.
pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
