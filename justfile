# The commands of CONTRIBUTING.md; `just` lists them.

_list:
    @just --list --unsorted

# Formats all code.
format:
    cargo fmt --all

# What is refused in review: formatting, clippy, documentation.
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings
    cargo clippy -p malleus --all-targets --no-default-features --locked -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --exclude malleus-schema-test --locked --no-deps --document-private-items

# Tests that need no root and no daemon; `just test exec` runs those that have `exec` in their names.
test *name:
    MALLEUS_LIVE=never cargo test --locked -- {{ name }}

# All tests, those on real daemons included; needs root.
live *name:
    tests/install-daemons
    MALLEUS_LIVE=required cargo test --locked -- {{ name }}

# Writes what the cases with a name give as what is expected of them; review the difference.
bless name:
    MALLEUS_BLESS=1 MALLEUS_CASES={{ name }} cargo test --locked --test cases
    cargo run --quiet -- schema > schemas/playbook.schema.json
    git diff --stat

# Dependencies: versions, licences, sources.
deny:
    .ci/cargo-deny --workspace check bans licenses sources

# A minute of fuzzing for each target; `just fuzz --seconds 600 yaml`.
fuzz *arguments:
    fuzz/run {{ arguments }}

# Everything that has to hold before a merge; needs root.
ci:
    .ci/run

# What takes long or needs the network: advisories, ten minutes of fuzzing for each target, random bodies, the benchmarks.
nightly:
    .ci/cargo-deny --workspace check advisories
    fuzz/run --seconds 600
    MALLEUS_LIVE=required cargo test --locked --test integration -- --ignored ensure_pairs
    cargo bench --locked
