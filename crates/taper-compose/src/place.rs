//! Makes paths in tables relative to their file.

use std::path::Path;
use taper_core::DATASETS;
use toml::{Table, Value};

/// Makes the paths of an experiment relative to a folder: `from`, and `data` if it is not the name of a data set.
pub fn place(table: &mut Table, folder: &Path) {
    for key in ["data", "from"] {
        if let Some(Value::String(text)) = table.get_mut(key)
            && (key == "from" || is_folder(folder, text))
        {
            *text = folder.join(&*text).display().to_string();
        }
    }
}

/// Whether a data set is a folder, not a name (with an optional revision after `@`). A word that is neither counts as a
/// name: a later message lists the names.
fn is_folder(beside: &Path, data: &str) -> bool {
    let name = data.split_once('@').map_or(data, |(name, _)| name);
    !DATASETS.contains(&name)
        && (name.contains(['/', '\\', '.'])
            || beside.join(data).exists()
            || Path::new(data).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_placed_and_names_are_not() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(root.path().join("photos")).expect("creates");
        std::fs::create_dir(root.path().join("digits")).expect("creates");
        let placed = |key: &str, text: &str| {
            let mut table = Table::from_iter([(key.to_owned(), Value::from(text))]);
            place(&mut table, root.path());
            table[key].as_str().expect("text") == root.path().join(text).display().to_string()
        };
        assert!(placed("data", "photos") && placed("data", "../x") && placed("from", "net"));
        // A folder with that name in the working directory is not meant.
        assert!(placed("data", "src"));
        assert!(!placed("data", "digits") && !placed("data", "cifar10@v1.0"));
        assert!(!placed("data", "cifar1000") && !placed("other", "photos"));
    }
}
