//! The simulated daemons: how true they are, and the program on them.

mod clients;
mod cluster;
mod faults;
mod fidelity;
mod https;
mod panics;
