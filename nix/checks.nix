# What needs no virtual machine.
{
  lib,
  cargo,
  clippy,
  deadnix,
  jq,
  nixfmt,
  nixosOptionsDoc,
  pgcellar,
  pkgs,
  runCommand,
  rustfmt,
  statix,
  writeText,
}:
let
  evaluation = import ./tests/evaluation { inherit lib; };
  nixFiles = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
  };
  cases = lib.mapAttrsToList (
    name: case: "${name} ${writeText "${name}.json" (builtins.toJSON case)}"
  ) evaluation.cases;
in
{
  clippy = pgcellar.overrideAttrs (old: {
    pname = "pgcellar-clippy";
    nativeBuildInputs = old.nativeBuildInputs ++ [ clippy ];
    buildPhase = "cargo clippy --offline --all-targets -- -D warnings";
    doCheck = false;
    dontInstall = true;
    postBuild = "touch $out";
  });

  fmt =
    runCommand "pgcellar-fmt"
      {
        nativeBuildInputs = [
          cargo
          deadnix
          nixfmt
          rustfmt
          statix
        ];
      }
      ''
        (cd ${pgcellar.src} && cargo fmt --check)
        cd ${nixFiles}
        find . -name '*.nix' -exec nixfmt --check {} +
        statix check .
        deadnix --fail .
        touch $out
      '';

  # The unit settings of several configurations are those in tests/golden/nix.
  module = runCommand "pgcellar-module" { nativeBuildInputs = [ jq ]; } ''
    while read -r name file; do
      jq . "$file" | diff -u ${../tests/golden/nix}/"$name.json" -
    done <<'CASES'
    ${lib.concatStringsSep "\n" cases}
    CASES
    touch $out
  '';

  # The options' documentation renders as in NixOS's manual.
  documentation =
    let
      inherit
        (lib.evalModules {
          specialArgs = { inherit pkgs; };
          modules = [
            ./tests/evaluation/nixos.nix
            ./module.nix
          ];
        })
        options
        ;
    in
    (nixosOptionsDoc { options.services = { inherit (options.services) pgcellar; }; })
    .optionsCommonMark;
}
