# The options of NixOS that the module sets or reads, as far as its evaluation needs them: what is defined is kept as it is.
# With it, the library of nixpkgs alone evaluates the module, in no time and without a NixOS.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  keep =
    type:
    mkOption {
      inherit type;
      default = { };
    };
  list = mkOption {
    type = types.listOf types.raw;
    default = [ ];
  };
  raw = types.attrsOf types.anything;
  unit = keep (types.attrsOf raw);
in
{
  options = {
    # Whether this is a NixOS without postgresql.target.
    before2511 = mkOption {
      type = types.bool;
      default = false;
    };
    assertions = mkOption {
      type = types.listOf raw;
      default = [ ];
    };
    environment = {
      etc = keep (types.attrsOf (types.attrsOf types.raw));
      systemPackages = list;
    };
    services.postgresql = {
      enable = mkOption {
        type = types.bool;
        default = false;
      };
      package = mkOption { type = types.raw; };
      authentication = mkOption {
        type = types.lines;
        default = "";
      };
      settings.port = mkOption {
        type = types.port;
        default = 5432;
      };
    };
    systemd = {
      packages = list;
      services = unit;
      targets = unit;
      timers = unit;
      tmpfiles = {
        packages = list;
        settings = keep raw;
      };
    };
    users = keep raw;
  };
  config.systemd.targets = lib.mkIf (config.services.postgresql.enable && !config.before2511) {
    postgresql.description = "PostgreSQL";
  };
}
