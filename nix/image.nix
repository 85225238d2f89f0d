# The image of Dockerfile.backup, without a Debian in it: the same entry point, command, user, folders and names.
{
  lib,
  pkgs,
  dockerTools,
  cacert,
  coreutils,
  bashInteractive,
  pgcellar,
  tini,
  tzdata,
  util-linux,
}:
let
  # Client programs for servers of these major versions, as far as nixpkgs has them, where pgcellar looks for them. The name of
  # a version that nixpkgs has dropped may still be there, and throws; one with known holes throws when its path is asked for.
  isThere =
    version:
    (builtins.tryEval (pkgs ? "postgresql_${version}" && pkgs."postgresql_${version}".outPath != ""))
    .value;
  versions = lib.filter isThere [
    "13"
    "14"
    "15"
    "16"
    "17"
    "18"
    "19"
  ];
  user = "10001";
in
dockerTools.buildLayeredImage {
  name = "pgcellar";
  tag = pgcellar.version;

  contents = [
    bashInteractive
    cacert
    coreutils
    pgcellar
    tini
    tzdata
    (dockerTools.fakeNss.override {
      extraPasswdLines = [
        "pgcellar:x:${user}:${user}:PostgreSQL backups:/var/lib/pgcellar:/sbin/nologin"
      ];
      extraGroupLines = [ "pgcellar:x:${user}:" ];
    })
  ];

  fakeRootCommands = ''
    mkdir -p backup usr/bin usr/local/bin tmp var/tmp
    chmod 1777 tmp var/tmp
    ln -s ${lib.getExe pgcellar} usr/bin/pgcellar
    ln -s ${lib.getExe' util-linux "setpriv"} usr/bin/setpriv
    for name in backup-database.sh restore-database.sh backup-monitor.sh; do
      ln -s /usr/bin/pgcellar "backup/$name"
    done
    ln -s /usr/bin/pgcellar usr/local/bin/aws
    install -o 0 -g ${user} -m 640 ${../docker/backup.env} backup/backup.env
    for folder in backups var/lib/pgcellar var/log/backup; do
      install -d -o ${user} -g ${user} -m 700 "$folder"
    done
  ''
  + lib.concatMapStrings (version: ''
    mkdir -p usr/lib/postgresql/${version}
    ln -s ${pkgs."postgresql_${version}"}/bin usr/lib/postgresql/${version}/bin
  '') versions;
  enableFakechroot = false;

  config = {
    Entrypoint = [
      "tini"
      "--"
    ];
    Cmd = [
      "pgcellar"
      "schedule"
    ];
    User = "${user}:${user}";
    WorkingDir = "/backup";
    Env = [
      "PATH=/usr/local/bin:/usr/bin:/bin"
      "BACKUP_DIR=/backups"
      "PGCELLAR_ENV_FILE=/backup/backup.env"
      "TZDIR=/share/zoneinfo"
      "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
    ];
    Volumes = {
      "/backups" = { };
      "/var/log/backup" = { };
      "/var/tmp" = { };
    };
    # Times are in nanoseconds.
    Healthcheck = {
      Test = [
        "CMD"
        "pgcellar"
        "--quiet"
        "monitor"
        "check"
        "--fail-on"
        "critical"
      ];
      Interval = 60 * 1000000000;
      Timeout = 50 * 1000000000;
      StartPeriod = 60 * 1000000000;
      Retries = 2;
    };
    Labels = {
      "org.opencontainers.image.title" = "pgcellar";
      "org.opencontainers.image.description" = pgcellar.meta.description;
      "org.opencontainers.image.licenses" = "Apache-2.0";
      "org.opencontainers.image.version" = pgcellar.version;
    };
  };
}
