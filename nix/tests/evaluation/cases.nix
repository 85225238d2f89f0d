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
