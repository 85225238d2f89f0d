# Packages that are never built: a name and a path each. What would be built from a text shows the text.
{ lib }:
let
  package =
    name: rest:
    {
      type = "derivation";
      inherit name;
      outPath = "/nix/store/${lib.fixedWidthString 32 "0" ""}-${name}";
      meta.mainProgram = lib.head (lib.splitString "-" name);
    }
    // rest;
in
rec {
  inherit package;
  pgcellar = package "pgcellar-0.1.0" { };
  other = package "pgcellar-0.2.0" { };
  postgresql = package "postgresql-17" { };
  postgresql_18 = package "postgresql-18" { };
  util-linux = package "util-linux" { };
  tzdata = package "tzdata" { };
  buildPackages.systemd = package "systemd" { };
  stdenv.buildPlatform.canExecute = _: true;
  stdenv.hostPlatform = { };
  runCommand =
    name: attributes: script:
    package name { inherit script; } // attributes;
  writeTextDir = path: text: package "dropin" { inherit path text; };
}
