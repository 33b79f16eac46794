//! Text that is made from the grammar: shell completions and the manual page.

use std::io;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::{Man, roff};

use crate::cli::grammar::{AFTER, NAME, start_command};
use crate::cli::verbs;
use crate::settings::entry::ValueKind;
use crate::settings::table::TABLE;

/// Returns the completion script for this shell.
pub fn completions(shell: Shell) -> String {
    let verbs = verbs::NAMES
        .iter()
        .filter_map(|name| verbs::verb_grammar(name));
    let start = start_command().disable_help_subcommand(true);
    let whole = verbs.fold(start, Command::subcommand);
    // The grammar of a start has no choices: there a wrong choice is a wrong setting (exit code
    // 78), not a wrong command line.
    let mut whole = TABLE.iter().fold(whole, |command, entry| match entry.kind {
        ValueKind::Choice(words) => {
            command.mut_arg(entry.flag, |arg| arg.value_parser(words.to_vec()))
        }
        _ => command,
    });
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole, NAME, &mut script);
    // clap_complete 4.6.11 writes the hyphens of our name in two ways, so bash would find no
    // words for the verbs.
    let (wrong, right) = (NAME.replace('-', "__subcmd__"), NAME.replace('-', "__"));
    String::from_utf8_lossy(&script).replace(&wrong, &right)
}

/// Returns the manual page in roff.
pub fn manual() -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to a vector does not fail.
    let _ = render(&mut page);
    page
}

fn render(page: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(start_command());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    let mut after = roff::Roff::new();
    for (heading, text) in AFTER {
        after.control("SH", [heading.to_uppercase().as_str()]);
        after.control("nf", []);
        for line in text.lines() {
            after.text([roff::roman(line)]);
        }
        after.control("fi", []);
    }
    after.to_writer(page)?;
    man.render_version_section(page)
}
