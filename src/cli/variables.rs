//! Names of environment variables: malleus's own, and those of outputs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use clap::CommandFactory;
use malleus::diagnostic::Diagnostic;
use malleus::playbook::Plan;
use malleus::report::outputs::variable;

use super::args::Cli;

/// Variables that are read, or set for a command, without an option of the command line that declares them.
const UNDECLARED: [&str; 10] = [
    "MALLEUS_BEARER_FILE",
    "MALLEUS_BEARER_TOKEN",
    "MALLEUS_CLIENT_CERT",
    "MALLEUS_CLIENT_KEY",
    "MALLEUS_EXEC",
    "MALLEUS_OUTPUTS",
    "MALLEUS_SERVER_CERT",
    "MALLEUS_SIM",
    "MALLEUS_STATE_DIR",
    "MALLEUS_TOKEN",
];

static OWN: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut own = UNDECLARED.map(str::to_owned).into();
    declared(&Cli::command(), &mut own);
    own
});

fn declared(command: &clap::Command, own: &mut BTreeSet<String>) {
    let variables = command
        .get_arguments()
        .filter_map(|argument| argument.get_env()?.to_str());
    own.extend(variables.map(str::to_owned));
    for inner in command.get_subcommands() {
        declared(inner, own);
    }
}

/// Whether a variable means something to malleus itself: no output takes its name.
pub(crate) fn is_own(variable: &str) -> bool {
    OWN.contains(variable)
}

/// Warns of outputs that malleus would read as something else.
pub(crate) fn judge(plan: &Plan) -> Vec<Diagnostic> {
    plan.outputs
        .iter()
        .filter(|output| is_own(&variable(&output.name.text)))
        .map(|output| {
            let name = &output.name.text;
            let own = variable(name);
            let upper = name.to_ascii_uppercase();
            Diagnostic::warning(format!("{own} is a variable of malleus itself"))
                .at(plan.place(output.name.span), "")
                .help(format!(
                    "commands find this output in MALLEUS_OUTPUT_{upper} alone; with another name it is in a variable of that name too"
                ))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_variables_are_those_of_options_too() {
        for name in [
            "PROJECT", "TIMEOUT", "REMOTE", "KEEP", "NAME", "JOBS", "OUTPUTS", "SIM",
        ] {
            assert!(is_own(&format!("MALLEUS_{name}")), "{name}");
        }
        assert!(!is_own("MALLEUS_ADDRESS"));
        assert!(!is_own("MALLEUS_OUTPUT_PROJECT"));
    }
}
