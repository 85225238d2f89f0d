# What a change needs: `cargo build`, `cargo clippy`, `make test-unit`, `make lint-nix`.
{
  mkShell,
  age,
  cargo-deny,
  clippy,
  deadnix,
  jq,
  nixfmt,
  pgcellar,
  postgresql,
  rust-analyzer,
  rustfmt,
  shellcheck,
  statix,
}:
mkShell {
  inputsFrom = [ pgcellar ];
  packages = [
    age
    cargo-deny
    clippy
    deadnix
    jq
    nixfmt
    postgresql
    rust-analyzer
    rustfmt
    shellcheck
    statix
  ];
}
