# Configurations that are refused, and what the message says.
{ pkgs }:
let
  main = instance: { services.pgcellar.instances.main = instance; };
  option = "services.pgcellar.instances.main";
  inStore = ''everybody on this host could read it, as it is in the Nix store: give the path of a file outside of it as a string, such as "/run/secrets/pgcellar"'';
in
{
  secret = {
    configuration = main { settings.DB_PASSWORD = "hunter2"; };
    message = "${option}.settings.DB_PASSWORD: everybody on this host could read it, as it is in the Nix store: give this secret by ${option}.credentials.db-password";
  };
  secret-of-a-library = {
    configuration = main { settings.PGPASSWORD = "hunter2"; };
    message = "${option}.settings.PGPASSWORD: everybody on this host could read it, as it is in the Nix store: give this secret by ${option}.environmentFile";
  };
  password-file-in-store = {
    configuration = main { settings.PGPASSFILE = "${pkgs.pgcellar}/pgpass"; };
    message = "${option}.settings.PGPASSFILE: ${inStore}";
  };
  secret-in-url = {
    configuration = main { settings.HTTPS_PROXY = "http://me:hunter2@proxy:3128"; };
    message = "${option}.settings.HTTPS_PROXY: everybody on this host could read it, as it is in the Nix store: give the variable with this URL's password by ${option}.environmentFile";
  };
  secret-file-in-store = {
    configuration = main {
      settings.DB_PASSWORD_FILE = "/nix/store/${builtins.substring 11 32 pkgs.pgcellar.outPath}-secret";
    };
    message = "${option}.settings.DB_PASSWORD_FILE: ${inStore}";
  };
  credential-in-store = {
    configuration = main {
      credentials.db-password = "/nix/store/${builtins.substring 11 32 pkgs.pgcellar.outPath}-secret";
    };
    message = "${option}.credentials.db-password: ${inStore}, or encrypt the secret with systemd-creds";
  };
  credential-beside-the-configuration = {
    configuration = main { credentials.db-password = /. + "${pkgs.pgcellar.outPath}/secret"; };
    message = "${option}.credentials.db-password: ${inStore}";
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
    message = "${option}.environmentFile: ${inStore}";
  };
  unknown-variable = {
    configuration = main { settings.BACKUP_COMPRESION = "zstd"; };
    message = "${option}.settings.BACKUP_COMPRESION: pgcellar knows no such variable; is settings.BACKUP_COMPRESSION meant?";
  };
  unknown-variable-like-no-other = {
    configuration = main { settings.MONITOR_XYZZY = "zstd"; };
    message = "${option}.settings.MONITOR_XYZZY: pgcellar knows no such variable; pgcellar.env(5) has them all";
  };
  misspelt-without-prefix = {
    configuration = main { settings.AWS_REGOIN = "eu-central-1"; };
    message = "${option}.settings.AWS_REGOIN: pgcellar knows no such variable; is settings.AWS_REGION meant?";
  };
  misspelt-schedule = {
    configuration = main { settings.RETENTION_SHEDULE = "daily"; };
    message = "${option}.settings.RETENTION_SHEDULE: pgcellar knows no such variable; is schedule.retention meant?";
  };
  misspelt-secret = {
    configuration = main { settings.DB_PASSWD = "hunter2"; };
    message = "${option}.settings.DB_PASSWD: pgcellar knows no such variable; is credentials.db-password meant?";
  };
  without-the-prefix = {
    configuration = main { settings.RETENTION_DAYS = 3; };
    message = "${option}.settings.RETENTION_DAYS: pgcellar knows no such variable; is settings.BACKUP_RETENTION_DAYS meant?";
  };
  with-more-behind = {
    configuration = main { settings.DB_HOSTNAME = "db"; };
    message = "${option}.settings.DB_HOSTNAME: pgcellar knows no such variable; is settings.DB_HOST meant?";
  };
  choice = {
    configuration = main { settings.BACKUP_COMPRESSION = "lz4"; };
    message = "`${option}.settings.BACKUP_COMPRESSION' is not of type `null or one of";
  };
  secret-twice = {
    configuration = main {
      settings.SMTP_PASS_FILE = "/run/secrets/x";
      credentials.smtp-password = "/run/secrets/y";
    };
    message = "${option}.settings.SMTP_PASS_FILE: ${option}.credentials gives the same secret: keep one of them";
  };
  keys-twice = {
    configuration = main {
      settings.BACKUP_AGE_IDENTITY_FILE = "/run/secrets/x";
      credentials.age-identity.encrypted = "/etc/nixos/y.cred";
    };
    message = "${option}.settings.BACKUP_AGE_IDENTITY_FILE: ${option}.credentials gives the same secret";
  };
  empty-name = {
    configuration = main { databases = [ "" ]; };
    message = "${option}.databases: a name is empty";
  };
  no-schedule = {
    configuration = main { schedule.backup = [ ]; };
    message = "`${option}.schedule.backup' is not of type";
  };
  two-schedules = {
    configuration = main {
      schedule.backup = "daily";
      timerConfig.OnCalendar = "hourly";
    };
    message = "${option}.schedule.backup: ${option}.timerConfig.OnCalendar says something else: keep one of them";
  };
  schedule-that-is-off = {
    configuration = main {
      schedule.drill = null;
      timerConfig.drill.OnCalendar = "weekly";
    };
    message = "${option}.schedule.drill: ${option}.timerConfig.drill.OnCalendar says something else";
  };
  two-lines-in-a-list = {
    configuration = main { settings.NOTIFICATION_EMAIL = [ "a@example.org\nDB_NAME=x" ]; };
    message = ''[definition 1-entry 1]"' is not of type'';
  };
  another-port = {
    configuration = {
      services.postgresql = {
        enable = true;
        package = pkgs.postgresql;
        settings.port = 5433;
      };
      services.pgcellar.instances.main = {
        localServer = true;
        settings.DB_PORT = 5432;
      };
    };
    message = "${option}.settings.DB_PORT: with ${option}.localServer the port is that of services.postgresql, 5433; leave one of the two out";
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
