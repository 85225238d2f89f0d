{
  description = "pgcellar: PostgreSQL backups for a systemd host";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      each =
        make:
        nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
          system: make nixpkgs.legacyPackages.${system} self.packages.${system}
        );
    in
    {
      packages = each (
        pkgs: own: {
          default = own.pgcellar;
          pgcellar = pkgs.callPackage ./nix/package.nix { };
          image = pkgs.callPackage ./nix/image.nix { inherit (own) pgcellar; };
        }
      );

      overlays.default = final: _: { pgcellar = final.callPackage ./nix/package.nix { }; };

      nixosModules = {
        default = self.nixosModules.pgcellar;
        pgcellar =
          { lib, pkgs, ... }:
          {
            imports = [ ./nix/module.nix ];
            services.pgcellar.package = lib.mkDefault self.packages.${pkgs.stdenv.hostPlatform.system}.pgcellar;
          };
      };

      checks = each (
        pkgs: own:
        {
          package = own.pgcellar;
        }
        // pkgs.callPackages ./nix/checks.nix { inherit (own) pgcellar; }
        // pkgs.callPackages ./nix/tests { module = self.nixosModules.pgcellar; }
      );

      devShells = each (
        pkgs: own: { default = pkgs.callPackage ./nix/dev-shell.nix { inherit (own) pgcellar; }; }
      );

      formatter = each (pkgs: _: pkgs.nixfmt-tree);
    };
}
