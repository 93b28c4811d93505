//! The list of commands in the program's help, in groups.

use std::fmt::Write;

/// Headings and the commands below them, in the order of the help.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Train", &["train", "suite", "study", "schedule", "watch"]),
    ("Examine a network", &["eval", "predict", "inspect", "bench"]),
    ("Convert a network", &["export", "import", "shrink", "calibrate"]),
    ("Data, architectures and methods", &["fetch", "models", "methods"]),
    ("Shell", &["completions", "man", "help"]),
];

/// Replaces the one list of commands in the help by a list for each group.
pub fn in_groups(command: clap::Command) -> clap::Command {
    let (header, literal) =
        (*command.get_styles().get_header(), *command.get_styles().get_literal());
    let mut list = String::new();
    for (heading, names) in GROUPS {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "\n{header}{heading}:{header:#}");
        for name in names {
            let about = command.find_subcommand(name).and_then(clap::Command::get_about);
            let about =
                about.map_or_else(|| "Print help for a command".into(), ToString::to_string);
            let _ = writeln!(list, "  {literal}{name:<11}{literal:#}  {about}");
        }
    }
    command.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n{list}\n{header}Options:{header:#}\n{{options}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::GROUPS;
    use crate::args::Args;
    use clap::CommandFactory;

    fn leaves(command: &clap::Command) -> Vec<&clap::Command> {
        match command.has_subcommands() {
            true => command.get_subcommands().flat_map(leaves).collect(),
            false => vec![command],
        }
    }

    #[test]
    fn each_command_is_in_one_group() {
        let grouped: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Args::command();
        let mut all: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        all.push("help");
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(sorted(grouped), sorted(all));
    }

    #[test]
    fn the_help_lists_the_commands_in_lines_of_eighty_columns() {
        let help = Args::grouped().render_help().to_string();
        assert!(help.contains("\nConvert a network:\n  export       Write a network"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }

    #[test]
    fn each_command_has_two_examples_that_parse() {
        for command in leaves(&Args::command()) {
            let name = command.get_name();
            let help = command.get_after_help().unwrap_or_else(|| panic!("{name} has no examples"));
            let help = help.to_string();
            let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
            let examples: Vec<_> = lines.take_while(|line| line.starts_with("  taper ")).collect();
            assert!(examples.len() >= 2, "{name} has fewer than two examples");
            for example in examples {
                let words = example.split_whitespace().map(|word| word.replace(['\'', '\\'], ""));
                if let Err(error) = Args::grouped().try_get_matches_from(words) {
                    panic!("{example}: {error}");
                }
                assert!(
                    example.split_whitespace().any(|word| word == name),
                    "{example} is of another command"
                );
            }
        }
    }
}
