//! The client, against daemons and against servers that follow a script.

mod events;
mod examples;
mod faults;
mod files;
mod files_scripted;
mod https;
mod ready;
mod ready_addresses;
mod requests;
