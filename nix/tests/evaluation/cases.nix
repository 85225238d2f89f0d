# Configurations, whose unit settings tests/golden/nix has.
{ pkgs }:
let
  server.services.postgresql = {
    enable = true;
    package = pkgs.postgresql;
  };
in
{
  local = {
    imports = [ server ];
    services.pgcellar.instances.main = {
      localServer = true;
      databases = [
        "shop"
        ''wine, "red"''
      ];
      settings.BACKUP_KEEP_DAILY = 14;
    };
  };

  tcp = {
    services.pgcellar.instances.shop = {
      databases = [ "shop" ];
      postgresqlPackage = pkgs.postgresql_18;
      settings = {
        DB_HOST = "db.example.org";
        DB_PORT = 5433;
        DB_USER = "backup";
        DB_SSLMODE = "verify-full";
        BACKUP_DIR = "/srv/my backups";
        TZ = "Europe/Berlin";
        MONITOR_MAX_DEVIATION = 6.5;
      };
      credentials.db-password = "/run/secrets/db-password";
      schedule.backup = "*-*-* 00/6:00:00";
    };
  };

  bucket = {
    services.pgcellar.instances.main = {
      settings = {
        DB_HOST = "10.0.0.5";
        BACKUP_DIR = "";
        AWS_S3_BUCKET = "backups";
        AWS_ENDPOINT_URL = "https://minio.example.org:9000";
        BACKUP_AGE_RECIPIENTS = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        SMTP_HOST = "smtp.example.org";
        SMTP_USER = "backup@example.org";
        NOTIFICATION_EMAIL = "Ops <ops@example.org>, dba@example.org";
        MONITOR_REPORT = "weekly";
      };
      credentials = {
        db-password.encrypted = "/etc/nixos/db-password.cred";
        aws-access-key-id.encrypted = "/etc/nixos/key.cred";
        aws-secret-access-key.encrypted = "/etc/nixos/secret.cred";
        smtp-password.encrypted = "/etc/nixos/smtp.cred";
        ping-url = "/run/secrets/ping-url";
      };
    };
  };

  two = {
    imports = [ server ];
    services.pgcellar.instances = {
      one = {
        localServer = true;
        databases = [ "one" ];
      };
      two = {
        package = pkgs.other;
        databases = [ "two" ];
        settings.DB_HOST = "two.example.org";
        environmentFile = "/run/secrets/two.env";
      };
      three.enable = false;
    };
  };

  # Lists, timers, and names that systemd would read otherwise.
  lists = {
    imports = [ server ];
    services.pgcellar.instances = {
      main = {
        localServer = true;
        schedule = {
          backup = [
            "Mon..Fri 22:30"
            "0 12 * * 6"
          ];
          monitor = "hourly";
        };
        timerConfig = {
          RandomizedDelaySec = "1h";
          Persistent = false;
          drill = {
            OnCalendar = [
              "Sat 03:00"
              "Wed 03:00"
            ];
            OnBootSec = [
              "15min"
              "1d"
            ];
          };
        };
        settings = {
          BACKUP_DIR = "/srv/100%/o'hara's";
          BACKUP_AGE_RECIPIENTS = [
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
            "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
          ];
          BACKUP_EXCLUDE_DATABASES = [
            "scratch"
            ''wine, "red"''
          ];
          NOTIFICATION_EMAIL = [
            ''"Ops, $HOME" <ops@example.org>''
            "dba@example.org"
          ];
          SMTP_HOST = "smtp.example.org";
          DB_PORT = 5432;
        };
      };
      # In the same folder.
      other = {
        databases = [ "wine" ];
        timerConfig = null;
        schedule.drill = null;
        settings.BACKUP_DIR = "/srv/100%/o'hara's";
        settings.BACKUP_EXCLUDE_DATABASES = [ ];
      };
    };
  };

  # Without timers, and with all that a restore needs.
  disabled = {
    imports = [ server ];
    services.pgcellar.instances.main = {
      enable = false;
      localServer = true;
      databases = [ "shop" ];
      credentials.age-identity = "/run/secrets/age";
    };
  };

  # NixOS before 25.11 has no postgresql.target.
  older = {
    imports = [ server ];
    before2511 = true;
    services.pgcellar.instances.main.localServer = true;
  };

  off = {
    services.pgcellar.instances.main = {
      databases = [ "shop" ];
      schedule = {
        backup = null;
        retention = null;
      };
      settings.MONITOR_RECENT_HOURS = 48;
    };
  };

  none = { };
}
