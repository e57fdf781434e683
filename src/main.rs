//! The `malleus` command. Everything it does is in the library; see [`malleus`].

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
