# Configurations that are refused, and what the message says.
{ pkgs }:
let
  main = instance: { services.pgcellar.instances.main = instance; };
  option = "services.pgcellar.instances.main";
in
{
  secret = {
    configuration = main { settings.DB_PASSWORD = "hunter2"; };
    message = "${option}.settings.DB_PASSWORD: a secret would be readable for everybody in the Nix store: give it by ${option}.credentials.db-password";
  };
  secret-in-url = {
    configuration = main { settings.HTTPS_PROXY = "http://me:hunter2@proxy:3128"; };
    message = "${option}.settings.HTTPS_PROXY: the password in this URL";
  };
  secret-file-in-store = {
    configuration = main {
      settings.DB_PASSWORD_FILE = "/nix/store/${builtins.substring 11 32 pkgs.pgcellar.outPath}-secret";
    };
    message = "`${option}.settings.DB_PASSWORD_FILE' is not of type `null or absolute path not in the Nix store'";
  };
  credential-in-store = {
    configuration = main {
      credentials.db-password = "/nix/store/${builtins.substring 11 32 pkgs.pgcellar.outPath}-secret";
    };
    message = "`${option}.credentials.db-password.path' is not of type `null or absolute path not in the Nix store'";
  };
  credential-beside-the-configuration = {
    configuration = main { credentials.db-password = /. + "${pkgs.pgcellar.outPath}/secret"; };
    message = "`${option}.credentials.db-password.path' is not of type";
  };
  credential-twice = {
    configuration = main {
      credentials.smtp-password = {
        path = "/run/secrets/x";
        encrypted = "/etc/nixos/x.cred";
      };
    };
    message = "${option}.credentials.smtp-password: set either path or encrypted";
  };
  unknown-credential = {
    configuration = main { credentials.password = "/run/secrets/x"; };
    message = "The option `${option}.credentials.password' does not exist";
  };
  environment-file-in-store = {
    configuration = main { environmentFile = "${pkgs.pgcellar}/x.env"; };
    message = "`${option}.environmentFile' is not of type";
  };
  unknown-variable = {
    configuration = main { settings.BACKUP_COMPRESION = "zstd"; };
    message = "${option}.settings.BACKUP_COMPRESION: pgcellar knows no such variable";
  };
  instance-named-again = {
    configuration = main { settings.PGCELLAR_INSTANCE = "other"; };
    message = "${option}.settings.PGCELLAR_INSTANCE: pgcellar knows no such variable";
  };
  no-variable = {
    configuration = main { settings."A B" = "x"; };
    message = ''${option}.settings."A B": this cannot be the name of a variable'';
  };
  two-lines = {
    configuration = main { settings.BACKUP_DUMP_OPTIONS = "--no-comments\nDB_NAME=x"; };
    message = "`${option}.settings.BACKUP_DUMP_OPTIONS' is not of type";
  };
  wrong-type = {
    configuration = main { settings.DB_PORT = 70000; };
    message = "`${option}.settings.DB_PORT' is not of type";
  };
  relative-folder = {
    configuration = main { settings.BACKUP_DIR = "backups"; };
    message = "`${option}.settings.BACKUP_DIR' is not of type";
  };
  instance-name = {
    configuration.services.pgcellar.instances."two words" = { };
    message = ''services.pgcellar.instances."two words": the name of an instance is made of letters'';
  };
  schedule-twice = {
    configuration = main {
      settings.BACKUP_SCHEDULE = "0 2 * * *";
      schedule.backup = "daily";
    };
    message = "${option}.settings.BACKUP_SCHEDULE: set ${option}.schedule.backup instead";
  };
  databases-twice = {
    configuration = main { settings.DB_NAME = "shop"; };
    message = "${option}.settings.DB_NAME: set ${option}.databases instead";
  };
  no-local-server = {
    configuration = main { localServer = true; };
    message = "${option}.localServer: there is no server on this host: services.postgresql.enable is off";
  };
  another-role = {
    configuration = {
      services.postgresql = {
        enable = true;
        package = pkgs.postgresql;
      };
      services.pgcellar.instances.main = {
        localServer = true;
        settings.DB_USER = "postgres";
      };
    };
    message = "${option}.settings.DB_USER: with ${option}.localServer the role is pgcellar";
  };
}
