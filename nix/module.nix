# services.pgcellar: PostgreSQL backups by systemd timers.
#
# The units are those of the package (`systemd.packages`), with their generator, which makes schedules and folders of the
# settings in /etc/pgcellar/NAME.env. This module writes that file, puts credentials where the units look for them, and adds
# drop-ins for what only this host knows. NixOS calls every drop-in overrides.conf, and of drop-ins with one name systemd
# takes only that of the most particular unit (systemd.unit(5)): so what is for all units stands under another name.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.pgcellar;
  postgresql = config.services.postgresql;
  # With its extensions, which a drill needs too.
  serverPackage = postgresql.finalPackage or postgresql.package;

  # What the program knows of itself.
  known = lib.importJSON ./options.json;
  tasks = lib.attrNames known.schedules;

  # The first value of a key in a packaged unit.
  packaged =
    unit: key:
    let
      lines = lib.splitString "\n" (builtins.readFile (../systemd + "/${unit}"));
    in
    lib.removePrefix "${key}=" (lib.findFirst (lib.hasPrefix "${key}=") "" lines);

  enabled = lib.filterAttrs (_: instance: instance.enable) cfg.instances;
  ofEach = make: lib.mkMerge (lib.mapAttrsToList make enabled);
  anyLocal = lib.any (instance: instance.localServer) (lib.attrValues enabled);

  # A file with one of these in the store would be for everybody to read.
  isSecretFile =
    variable:
    lib.elem variable [
      "BACKUP_AGE_IDENTITY_FILE"
      "DB_SSLKEY"
    ]
    || known.secrets ? ${lib.removeSuffix "_FILE" variable};

  typeOf =
    variable: value:
    {
      "DAYS" = types.ints.unsigned;
      "HOURS" = types.number;
      "JOBS" = types.ints.positive;
      "LEVEL" = types.int;
      "N" = types.ints.unsigned;
      "NUMBER" = types.number;
      "PORT" = types.port;
      "RATE" = types.either types.ints.unsigned types.str;
      "SECONDS" = types.ints.unsigned;
      "SIZE" = types.either types.ints.unsigned types.str;
      "FILE" = if isSecretFile variable then types.externalPath else types.path;
      "FOLDER" =
        if variable == "PG_BINDIR" then types.path else types.either (types.enum [ "" ]) types.externalPath;
    }
    .${toString value} or (if value == null then types.bool else types.singleLineStr);

  settingOption =
    variable: about:
    mkOption {
      type = types.nullOr (typeOf variable about.value);
      default = null;
      description =
        about.help + lib.optionalString (about.default != null) " (`${about.default}` if it is not set)";
    };

  credential = types.submodule {
    options = {
      path = mkOption {
        type = types.nullOr types.externalPath;
        default = null;
        example = "/run/secrets/db-password";
        description = "File with the secret, outside of the Nix store. A string alone means the same.";
      };
      encrypted = mkOption {
        type = types.nullOr types.path;
        default = null;
        example = lib.literalExpression "./db-password.cred";
        description = ''
          File that `systemd-creds encrypt --name=ID.encrypted` has written on this host, where ID is the name of the
          credential. It may be in the Nix store.
        '';
      };
    };
  };

  # A list of names as DB_NAME has it: a name with a comma or a quote in it stands in quotes.
  nameList = lib.concatMapStringsSep "," (
    name:
    if builtins.match ''[^," ]+'' name != null then
      name
    else
      ''"${lib.replaceStrings [ ''"'' ] [ ''""'' ] name}"''
  );

  # A value in a file that systemd reads (EnvironmentFile= in systemd.exec(5)).
  envValue =
    value:
    let
      text =
        if lib.isBool value then
          lib.boolToString value
        # A file beside the configuration is copied to the store.
        else if lib.isPath value then
          "${value}"
        else
          toString value;
      escaped = lib.replaceStrings [ ''\'' ''"'' "`" "$" ] [ ''\\'' ''\"'' "\\`" ''\$'' ] text;
    in
    if builtins.match "[A-Za-z0-9_./:@,*+%-]+" text != null then text else ''"${escaped}"'';

  variablesOf =
    instance:
    lib.filterAttrs (_: value: value != null) (
      instance.settings
      // {
        DB_NAME = if instance.databases == [ ] then "*" else nameList instance.databases;
      }
      // lib.mapAttrs' (
        task: variable: lib.nameValuePair variable instance.schedule.${task}
      ) known.schedules
    );

  envText =
    instance:
    "# Made by services.pgcellar of NixOS.\n"
    + lib.concatStrings (
      lib.mapAttrsToList (variable: value: "${variable}=${envValue value}\n") (variablesOf instance)
    );

  # The program itself says what is wrong with its settings, before anything is switched.
  checkedFile =
    name: instance:
    pkgs.runCommand "pgcellar-${name}.env"
      {
        text = envText instance;
        passAsFile = [ "text" ];
        nativeBuildInputs = [ pkgs.buildPackages.systemd ];
        TZDIR = "${pkgs.tzdata}/share/zoneinfo";
      }
      (
        ''
          cp "$textPath" ${name}.env
        ''
        + lib.optionalString (pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform) ''
          ${lib.getExe instance.package} config check --instance=${name} ${name}.env
        ''
        + ''
          cp ${name}.env "$out"
        ''
      );

  # What may be said of one instance; each tells the option.
  assertionsOf =
    name: instance:
    let
      option = "services.pgcellar.instances.${lib.strings.escapeNixIdentifier name}";
      set = lib.filterAttrs (_: value: value != null) instance.settings;
      unless = bad: message: {
        assertion = !bad;
        message = "${option}${message}";
      };
      isOurs = variable: lib.any (prefix: lib.hasPrefix prefix variable) known.prefixes;
      isKnown = variable: known.settings ? ${variable} || known.secrets ? ${variable};
      scheduled = lib.mapAttrs' (task: variable: lib.nameValuePair variable task) known.schedules;
      ofSetting = variable: value: [
        (unless (known.secrets ? ${variable})
          ".settings.${variable}: a secret would be readable for everybody in the Nix store: give it by ${option}.credentials.${
            known.secrets.${variable} or ""
          }"
        )
        (unless (
          scheduled ? ${variable}
        ) ".settings.${variable}: set ${option}.schedule.${scheduled.${variable} or ""} instead")
        (unless (variable == "DB_NAME") ".settings.DB_NAME: set ${option}.databases instead")
        (unless (
          isOurs variable && !isKnown variable && !(scheduled ? ${variable})
        ) ".settings.${variable}: pgcellar knows no such variable; pgcellar.env(5) has them all")
        (unless (
          builtins.match "[A-Za-z_][A-Za-z0-9_]*" variable == null
        ) ".settings.${lib.strings.escapeNixIdentifier variable}: this cannot be the name of a variable")
        (unless (builtins.match ".*://[^/]*:[^/]*@.*" (toString value) != null)
          ".settings.${variable}: the password in this URL would be readable for everybody in the Nix store: give the variable by ${option}.environmentFile"
        )
        (unless (lib.hasInfix "\n" (toString value)) ".settings.${variable}: a value is one line")
      ];
      ofCredential =
        id: credential:
        unless (
          credential != null && (credential.path == null) == (credential.encrypted == null)
        ) ".credentials.${id}: set either path or encrypted";
    in
    [
      (unless (builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*" name == null)
        ": the name of an instance is made of letters, digits, '_', '-' and '.', and begins with none of the last two"
      )
      (unless (
        instance.localServer && !postgresql.enable
      ) ".localServer: there is no server on this host: services.postgresql.enable is off")
      (unless (
        instance.localServer && set.DB_USER or "pgcellar" != "pgcellar"
      ) ".settings.DB_USER: with ${option}.localServer the role is pgcellar")
      (unless (
        instance.localServer && !lib.hasPrefix "/" (set.DB_HOST or "/")
      ) ".settings.DB_HOST: with ${option}.localServer the server is reached by its socket")
    ]
    ++ lib.concatLists (lib.mapAttrsToList ofSetting set)
    ++ lib.mapAttrsToList ofCredential instance.credentials;

  # Drop-ins for one service. A run that is going on is not stopped by a switch.
  dropIn = instance: service: {
    overrideStrategy = "asDropin";
    restartIfChanged = false;
    path = [ pkgs.util-linux ];
    # No more than an order: a backup does not start a server that somebody has stopped.
    after = lib.mkIf instance.localServer [ "postgresql-pgcellar.service" ];
    # Only an instance with a program of its own needs another command than the packaged one.
    serviceConfig = lib.mkIf (instance.package != cfg.package) {
      ExecStart = [
        ""
        (lib.replaceStrings [ "/usr/bin/pgcellar" ] [ (lib.getExe instance.package) ] (
          packaged "${service}@.service" "ExecStart"
        ))
      ];
    };
  };

  instanceType = types.submodule (
    { config, ... }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
          description = ''
            Whether the timers of this instance run. The timers of an instance that is taken out of a running system end with
            `systemctl stop pgcellar@NAME.target`, or with the next boot.
          '';
        };
        package = mkOption {
          type = types.package;
          default = cfg.package;
          defaultText = lib.literalExpression "config.services.pgcellar.package";
          description = "The pgcellar that runs this instance's tasks.";
        };
        postgresqlPackage = mkOption {
          type = types.package;
          default = if postgresql.enable then serverPackage else pkgs.postgresql;
          defaultText = lib.literalExpression "if config.services.postgresql.enable then config.services.postgresql.finalPackage else pkgs.postgresql";
          description = "PostgreSQL whose `pg_dump` and `pg_restore` are called. They must be as new as the server; for drills, as old.";
        };
        databases = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          example = [ "shop" ];
          description = "Databases that are backed up; if none is named, all of them.";
        };
        schedule = lib.genAttrs tasks (
          task:
          mkOption {
            type = types.nullOr types.singleLineStr;
            default = packaged "pgcellar-${task}@.timer" "OnCalendar";
            example = "Mon..Fri *-*-* 22:30:00";
            description = ''
              When the ${task} task runs, as in {manpage}`systemd.time(7)`. `null` switches its timer off.
            '';
          }
        );
        settings = mkOption {
          type = types.submodule {
            freeformType = types.attrsOf (
              types.nullOr (
                types.oneOf [
                  types.bool
                  types.int
                  types.singleLineStr
                ]
              )
            );
            options = lib.mapAttrs settingOption (
              removeAttrs known.settings ([ "DB_NAME" ] ++ lib.attrValues known.schedules)
            );
          };
          default = { };
          example = {
            AWS_S3_BUCKET = "backups";
            BACKUP_COMPRESSION = "zstd";
            BACKUP_KEEP_DAILY = 14;
          };
          description = ''
            Settings, by the names of {manpage}`pgcellar.env(5)`. They are readable for everybody on this host, so a secret is
            refused here. The program itself checks them when the system is built.
          '';
        };
        credentials = mkOption {
          type = types.submodule {
            options = lib.genAttrs known.credentials (
              id:
              mkOption {
                type = types.nullOr (types.coercedTo types.path (path: { path = toString path; }) credential);
                default = null;
                description = "The secret `${id}`.";
              }
            );
          };
          default = { };
          example = lib.literalExpression ''
            {
              db-password = "/run/secrets/db-password";
              smtp-password.encrypted = ./smtp-password.cred;
            }
          '';
          description = ''
            Secrets: each a file outside of the Nix store, or one that systemd-creds has encrypted. systemd hands them to the
            tasks that need them ({manpage}`systemd.exec(5)`, "Credentials").
          '';
        };
        environmentFile = mkOption {
          type = types.nullOr types.externalPath;
          default = null;
          example = "/run/secrets/pgcellar.env";
          description = ''
            File with further settings as in {manpage}`systemd.exec(5)`, `EnvironmentFile=`, outside of the Nix store. It may
            hold secrets. Schedules and folders in it are not seen.
          '';
        };
        localServer = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Back up the server of `services.postgresql`: a role `pgcellar` is made that may read everything, and the user
            `pgcellar` is let in as that role by the server's socket.
          '';
        };
      };
      config.settings = lib.mkMerge [
        { PG_BINDIR = lib.mkDefault "${config.postgresqlPackage}/bin"; }
        (lib.mkIf config.localServer {
          DB_HOST = lib.mkDefault "/run/postgresql";
          DB_PORT = lib.mkDefault postgresql.settings.port;
          DB_USER = lib.mkDefault "pgcellar";
        })
      ];
    }
  );
in
{
  options.services.pgcellar = {
    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.pgcellar";
      description = "The pgcellar whose units and command this host has.";
    };
    instances = mkOption {
      type = types.attrsOf instanceType;
      default = { };
      example = lib.literalExpression ''
        {
          main = {
            localServer = true;
            databases = [ "shop" ];
            settings.BACKUP_KEEP_DAILY = 14;
          };
        }
      '';
      description = ''
        Backups of one server each, by a name that units and folders carry: `pgcellar-backup@NAME.service`,
        {file}`/var/backups/pgcellar/NAME`.
      '';
    };
  };

  config = lib.mkIf (enabled != { }) {
    assertions = lib.concatLists (lib.mapAttrsToList assertionsOf enabled);

    users = {
      users.pgcellar = {
        isSystemUser = true;
        group = "pgcellar";
        home = "/var/lib/pgcellar";
        description = "PostgreSQL backups";
      };
      groups.pgcellar = { };
      # What restores in a drill's sandbox.
      users.pgcellar-drill = {
        isSystemUser = true;
        group = "pgcellar-drill";
        description = "Drills of PostgreSQL backups";
      };
      groups.pgcellar-drill = { };
    };

    environment = {
      systemPackages = [ cfg.package ];
      etc = ofEach (
        name: instance:
        {
          "pgcellar/${name}.env".source = checkedFile name instance;
        }
        // lib.optionalAttrs (instance.environmentFile != null) {
          "pgcellar/${name}.secrets".source = instance.environmentFile;
        }
        // lib.concatMapAttrs (
          id: credential:
          if credential == null then
            { }
          else if credential.encrypted != null then
            { "credstore.encrypted/pgcellar.${name}.${id}.encrypted".source = credential.encrypted; }
          else
            { "credstore/pgcellar.${name}.${id}".source = credential.path; }
        ) instance.credentials
      );
    };

    systemd = {
      packages = lib.mkMerge [
        [
          cfg.package
          (pkgs.writeTextDir "lib/systemd/system/pgcellar-.service.d/30-secrets.conf" ''
            # The environmentFile of an instance, also for what `pgcellar -i NAME` runs.
            [Service]
            EnvironmentFile=-/etc/pgcellar/%i.secrets
          '')
        ]
        # In the place of the packaged file by which the target starts the timer. The monitor misses a masked one.
        (ofEach (
          name: instance:
          map (
            task: pkgs.writeTextDir "lib/systemd/system/pgcellar@${name}.target.d/${task}.conf" "# ${task} is off.\n"
          ) (lib.filter (task: instance.schedule.${task} == null) tasks)
        ))
      ];

      tmpfiles = {
        packages = [ cfg.package ];
        settings.pgcellar = ofEach (
          _: instance:
          let
            folder = instance.settings.BACKUP_DIR;
          in
          lib.optionalAttrs
            (
              !lib.elem folder [
                null
                ""
              ]
            )
            {
              ${folder}.d = {
                mode = "0700";
                user = "pgcellar";
                group = "pgcellar";
              };
            }
        );
      };

      targets = ofEach (
        name: _: {
          "pgcellar@${name}" = {
            overrideStrategy = "asDropin";
            wantedBy = [ "multi-user.target" ];
          };
        }
      );

      services = lib.mkMerge [
        (ofEach (
          name: instance:
          lib.listToAttrs (
            lib.concatMap (
              task:
              map (service: lib.nameValuePair "${service}@${name}" (dropIn instance service)) [
                "pgcellar-${task}"
                "pgcellar-${task}-alert"
                "pgcellar-fallback-${task}"
              ]
            ) tasks
          )
        ))
        # A drill is held by the server programs of the backup's version.
        {
          "pgcellar-drill-sandbox@" = {
            overrideStrategy = "asDropin";
            restartIfChanged = false;
            path = lib.unique (map (instance: instance.postgresqlPackage) (lib.attrValues enabled));
          };
        }
        # Its name does not begin with pgcellar-, or it would be confined as the tasks are.
        (lib.mkIf anyLocal {
          postgresql-pgcellar = {
            description = "Role of the PostgreSQL backups";
            wantedBy = [ "multi-user.target" ];
            requires = [ "postgresql.target" ];
            after = [ "postgresql.target" ];
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              User = "postgres";
              ExecStart = "${postgresql.package}/bin/psql --no-psqlrc --quiet --port=${toString postgresql.settings.port} --dbname=postgres --file=${./role.sql}";
            };
          };
        })
      ];
    };

    services.postgresql.authentication = lib.mkIf anyLocal (
      lib.mkBefore ''
        local all pgcellar peer
      ''
    );
  };
}
