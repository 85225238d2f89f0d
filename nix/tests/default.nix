# The tests in virtual machines, one a capability: `nix build .#checks.x86_64-linux.local`.
{
  lib,
  testers,
  module,
}:
lib.mapAttrs
  (
    _: test:
    testers.runNixOSTest {
      imports = [ test ];
      defaults.imports = [
        module
        ./shop.nix
      ];
    }
  )
  {
    local = ./local.nix;
    bucket = ./bucket.nix;
    mail = ./mail.nix;
    credentials = ./credentials.nix;
    instances = ./instances.nix;
    upgrade = ./upgrade.nix;
  }
