//! Relative paths.

use std::path::{Component, Path, PathBuf};

/// A path relative to a folder, with `/` between its parts; the absolute path if they have nothing in common.
pub(crate) fn relative(path: &Path, dir: &Path) -> String {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        path.components().fold(PathBuf::new(), |mut resolved, part| {
            match part {
                Component::ParentDir => drop(resolved.pop()),
                part => resolved.push(part),
            }
            resolved
        })
    };
    let (path, dir) = (absolute(path), absolute(dir));
    let n_common = path.iter().zip(dir.iter()).take_while(|(a, b)| a == b).count();
    if n_common == 0 {
        return path.display().to_string();
    }
    let up = dir.iter().skip(n_common).map(|_| "..".into());
    let down = path.iter().skip(n_common).map(|part| part.to_string_lossy());
    up.chain(down).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_a_folder() {
        let told = |path: &str, dir: &str| relative(Path::new(path), Path::new(dir));
        assert_eq!(told("/a/runs/x/p", "/a/results/y"), "../../runs/x/p");
        assert_eq!(told("/a/results/y/p", "/a/results/y"), "p");
        assert_eq!(told("runs/p", "out"), "../runs/p");
        assert_eq!(told("/a/b/runs/p", "/a/b/../out"), "../b/runs/p");
    }
}
