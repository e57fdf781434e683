//! The `malleus` command.
fn main() {}
