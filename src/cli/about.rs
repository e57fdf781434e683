//! What the program says of itself to shells and to `man`.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use super::Code;
use super::args::Cli;
use super::console::Console;

/// `malleus completions SHELL`.
pub(crate) fn completions(shell: Shell) -> Result<Code> {
    print(&script(shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "malleus", &mut script);
    script
}

/// `malleus man`: the program's page, then one for each command.
pub(crate) fn man() -> Result<Code> {
    print(&manual()?)
}

fn manual() -> Result<Vec<u8>> {
    let mut pages = Vec::new();
    let mut command = Cli::command();
    command.build();
    let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
    for one in std::iter::once(&command).chain(commands) {
        clap_mangen::Man::new(one.clone())
            .render(&mut pages)
            .context("cannot write the manual page")?;
    }
    Ok(pages)
}

fn print(bytes: &[u8]) -> Result<Code> {
    Console::data(bytes).context("cannot write to stdout")?;
    Ok(Code::Fine)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};
    use clap_complete::Shell;

    use super::{manual, script};
    use crate::cli::args::Cli;

    #[test]
    fn every_command_is_completed_and_has_its_page() {
        let manual = String::from_utf8(manual().unwrap()).unwrap();
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(manual.contains(&format!(".TH malleus-{name} 1")), "{name}");
            for shell in Shell::value_variants() {
                let script = String::from_utf8(script(*shell)).unwrap();
                assert!(script.contains(name), "{shell}: {name}");
            }
        }
    }
}
