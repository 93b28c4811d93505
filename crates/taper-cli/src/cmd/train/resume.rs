//! Builds the command that resumes a stopped run.

use crate::args::Train;
use std::path::Path;

/// The words of a `train` command as a line for a shell, with the options for resuming.
///
/// The new options come before the user's words: after `--` they would not be options.
pub fn command(words: &[String], args: &Train, folder: &Path) -> String {
    let (program, rest) = words.split_at(words.len().min(2));
    let mut line: Vec<String> = program.to_vec();
    if !args.resume {
        line.push("--resume".into());
    }
    if args.out.is_none() {
        line.extend(["--out".into(), folder.display().to_string()]);
    }
    // Without --force: the folder now contains this run.
    let n_flags = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
    let (flags, files) = rest.split_at(n_flags);
    line.extend(flags.iter().filter(|word| *word != "--force").cloned());
    line.extend_from_slice(files);
    line.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// A word, quoted for a shell.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn parsed(words: &[&str]) -> Box<Train> {
        match Args::try_parse_from(words).expect("a command").command {
            Command::Train(args) => args,
            other => panic!("{other:?}"),
        }
    }

    /// The resume command for a command line of a run in `folder`.
    fn line(words: &[&str], folder: &str) -> String {
        let text: Vec<String> = words.iter().map(|&word| word.into()).collect();
        command(&text, &parsed(words), folder.as_ref())
    }

    #[test]
    fn options_for_resuming_go_before_files() {
        assert_eq!(
            line(&["taper", "train", "--", "e.toml"], "runs/x"),
            "taper train --resume --out runs/x -- e.toml"
        );
        let resumed = parsed(&["taper", "train", "--resume", "--out", "runs/x", "--", "e.toml"]);
        assert!(resumed.resume && resumed.out.is_some() && resumed.experiment.is_some());
        assert_eq!(
            line(&["taper", "train", "e.toml", "--out=a", "--resume"], "a"),
            "taper train e.toml --out=a --resume"
        );
        // A file may have the name of an option.
        assert_eq!(
            line(&["taper", "train", "--out", "a", "--", "--resume"], "a"),
            "taper train --resume --out a -- --resume"
        );
    }

    #[test]
    fn force_is_removed_but_a_file_of_that_name_is_kept() {
        assert_eq!(
            line(&["taper", "train", "--force", "--out", "a", "--", "--force"], "a"),
            "taper train --resume --out a -- --force"
        );
    }

    #[test]
    fn words_that_a_shell_would_split_are_quoted() {
        assert_eq!(
            line(&["my tools/taper", "train", "--set", "prune.schedule=\"linear\""], "my runs/o'x"),
            r#"'my tools/taper' train --resume --out 'my runs/o'\''x' --set 'prune.schedule="linear"'"#
        );
        assert_eq!(quoted(String::new()), "''");
    }
}
