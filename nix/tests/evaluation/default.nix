# Evaluates the module, with the library of nixpkgs and nothing else of it:
#   nix-instantiate --eval --strict --json nix/tests/evaluation --argstr lib PATH -A cases.local
# Each of `cases` is what a configuration sets; each of `refused` ends with an error in which its text stands.
{
  lib ? <nixpkgs/lib>,
  # A flake that is an example: the module of its first machine is one of the cases.
  example ? null,
}:
let
  library = if builtins.isAttrs lib then lib else import lib;
  pkgs = import ./packages.nix { lib = library; };

  evaluate =
    configuration:
    library.evalModules {
      specialArgs = { inherit pkgs; };
      modules = [
        ./nixos.nix
        ../../module.nix
        { services.pgcellar.package = library.mkDefault pkgs.pgcellar; }
        configuration
      ];
    };

  # As the top level of NixOS does.
  checked =
    config:
    let
      failed = map (one: one.message) (library.filter (one: !one.assertion) config.assertions);
    in
    if failed == [ ] then config else throw (library.concatStringsSep "\n" failed);

  shown = value: if library.isDerivation value then value.outPath else value;

  seen =
    configuration:
    let
      config = checked (evaluate configuration).config;
      file = source: if source ? text then { inherit (source) script text; } else toString source;
    in
    {
      etc = library.mapAttrs (_: entry: file entry.source) config.environment.etc;
      inherit (config) users;
      inherit (config.systemd) targets timers;
      services = library.mapAttrs (
        _: service: service // library.optionalAttrs (service ? path) { path = map shown service.path; }
      ) config.systemd.services;
      tmpfiles = config.systemd.tmpfiles.settings;
      packages = map (
        one: if one ? text then { ${one.path} = one.text; } else shown one
      ) config.systemd.packages;
      inherit (config.services.postgresql) authentication;
    };

  machines =
    ((import example).outputs {
      nixpkgs.lib.nixosSystem = machine: machine;
      pgcellar.nixosModules.default = { };
    }).nixosConfigurations;
in
{
  cases = library.mapAttrs (_: seen) (
    import ./cases.nix { inherit pkgs; }
    // library.optionalAttrs (example != null) {
      example = {
        imports = library.filter builtins.isAttrs (library.head (library.attrValues machines)).modules;
        services.postgresql = {
          enable = true;
          package = pkgs.postgresql;
        };
      };
    }
  );
  refused = library.mapAttrs (_: one: {
    inherit (one) message;
    result = builtins.deepSeq (seen one.configuration) "not refused";
  }) (import ./refused.nix { inherit pkgs; });
  documentation = import ./documentation.nix {
    lib = library;
    inherit (evaluate { }) options;
  };
}
