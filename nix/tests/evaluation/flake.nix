# Evaluates the outputs of flake.nix with a nixpkgs that is the library and names: what each output is made of is shown, and
# the packages' own expressions are evaluated on the way.
{
  lib,
  system,
  flake,
}:
let
  # File sets need a Nix that is newer than Debian's.
  library =
    import lib
    // (
      if builtins ? readFileType then
        { }
      else
        {
          fileset = {
            toSource = { root, ... }: root;
            unions = map (
              path:
              assert builtins.pathExists path;
              path
            );
            fileFilter = _: path: path;
          };
        }
    );
  names = import ./packages.nix { lib = library; };

  # A package whose expression is evaluated to its end.
  made = kind: arguments: builtins.deepSeq (describe arguments) (names.package kind arguments);
  describe =
    value:
    if builtins.isFunction value then
      "function"
    else if library.isDerivation value then
      value.outPath
    else if builtins.isAttrs value then
      library.mapAttrs (_: describe) (
        removeAttrs value [
          "override"
          "overrideDerivation"
        ]
      )
    else if builtins.isList value then
      map describe value
    else if builtins.isPath value then
      baseNameOf value
    else
      value;

  # The module of a machine, with the options that nothing here knows taken as they come.
  machine =
    modules:
    (library.evalModules {
      specialArgs.pkgs = pkgs;
      modules = [
        ./nixos.nix
        { _module.freeformType = library.types.lazyAttrsOf library.types.anything; }
      ]
      ++ modules;
    }).config;
  evaluated =
    modules:
    let
      config = machine modules;
    in
    {
      failed = map (one: one.message) (library.filter (one: !one.assertion) config.assertions);
      instances = library.mapAttrs (_: instance: instance.databases) config.services.pgcellar.instances;
      files = library.attrNames config.environment.etc;
    };

  pkgs = library.fix (
    self:
    names
    // library.genAttrs [
      "age"
      "bashInteractive"
      "cacert"
      "cargo"
      "cargo-deny"
      "clippy"
      "coreutils"
      "deadnix"
      "garage_2"
      "installShellFiles"
      "jq"
      "makeBinaryWrapper"
      "nixfmt"
      "nixfmt-tree"
      "postgresql_14"
      "postgresql_17"
      "rust-analyzer"
      "rustfmt"
      "shellcheck"
      "statix"
      "systemd"
      "tini"
    ] (name: names.package name { })
    // {
      lib = library;
      # As nixpkgs has those that it has dropped, and those with known holes.
      postgresql_13 = throw "postgresql_13 has been removed since it reached its EOL upstream";
      postgresql_15 = names.package "postgresql-15" {
        outPath = throw "postgresql-15 is marked as insecure";
      };
      pkgs = self;
      callPackage = library.callPackageWith self;
      callPackages = library.callPackagesWith self;
      stdenv = {
        buildPlatform.canExecute = _: true;
        hostPlatform = library.systems.elaborate system;
      };
      rustPlatform.buildRustPackage =
        arguments:
        made arguments.pname (arguments // { name = arguments.pname; })
        // {
          overrideAttrs =
            change:
            self.rustPlatform.buildRustPackage (arguments // change (arguments // { name = arguments.pname; }));
        };
      dockerTools = {
        buildLayeredImage = arguments: made "image-${arguments.name}" arguments;
        fakeNss = names.package "fake-nss" { } // {
          override = made "fake-nss";
        };
      };
      mkShell = made "shell";
      nixosOptionsDoc = arguments: {
        optionsCommonMark = made "options.md" {
          options = map (option: option.name) (library.optionAttrSetToDocList arguments.options);
        };
      };
      python3.withPackages =
        choose: names.package "python3" { packages = choose { aiosmtpd = "aiosmtpd"; }; };
      writeText = name: text: names.package name { inherit text; };
      testers.runNixOSTest =
        test:
        let
          arguments = import (library.head test.imports);
        in
        names.package arguments.name {
          inherit (arguments) testScript;
          nodes = library.mapAttrs (
            _: node:
            evaluated (
              test.defaults.imports
              ++ [
                node
                { services.postgresql.package = names.postgresql; }
              ]
            )
          ) arguments.nodes;
        };
    }
  );

  outputs = (import flake).outputs {
    self = outputs // {
      outPath = dirOf flake;
    };
    nixpkgs = {
      lib = library;
      legacyPackages = library.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        one: if one == system then pkgs else throw "another system is asked for: ${one}"
      );
    };
  };

  shown =
    package:
    library.filterAttrs (_: value: value != null) {
      inherit (package) name;
      nodes = package.nodes or null;
      # PostgreSQL's programs in an image.
      clients =
        if package ? fakeRootCommands then
          library.filter (version: library.hasInfix "/postgresql/${version}/bin" package.fakeRootCommands) (
            map toString (library.range 10 20)
          )
        else
          null;
    };
in
{
  packages = library.mapAttrs (_: shown) outputs.packages.${system};
  checks = library.mapAttrs (_: shown) outputs.checks.${system};
  devShells = library.mapAttrs (_: shown) outputs.devShells.${system};
  formatter = outputs.formatter.${system}.name;
  modules = library.mapAttrs (
    _: module:
    evaluated [
      module
      { services.pgcellar.instances.main.databases = [ "shop" ]; }
    ]
  ) outputs.nixosModules;
  overlays = library.mapAttrs (
    _: overlay: library.mapAttrs (_: shown) (overlay pkgs pkgs)
  ) outputs.overlays;
}
