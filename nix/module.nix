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

  ofEach = make: lib.mkMerge (lib.mapAttrsToList make cfg.instances);
  isLocal = instance: instance.localServer && postgresql.enable;
  anyLocal = lib.any isLocal (lib.attrValues cfg.instances);
  # The target, which NixOS has since 25.11, also waits until the server takes writes.
  serverUnit =
    if config.systemd.targets ? postgresql then "postgresql.target" else "postgresql.service";

  # A file with one of these in the store would be for everybody to read.
  isSecretFile =
    variable:
    lib.elem variable [
      "BACKUP_AGE_IDENTITY_FILE"
      "DB_SSLKEY"
      "PGPASSFILE"
    ]
    || known.secrets ? ${lib.removeSuffix "_FILE" variable};

  # One text as it is written in the file, or a list.
  oneOrMore = types.either types.singleLineStr (types.listOf types.singleLineStr);

  typeOf =
    variable: about:
    let
      inherit (about) value;
    in
    {
      "ADDRESSES" = oneOrMore;
      "KEYS" = oneOrMore;
      "NAMES" = oneOrMore;
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
      "FILE" = types.path;
      "FOLDER" =
        if variable == "PG_BINDIR" then types.path else types.either (types.enum [ "" ]) types.externalPath;
    }
    .${toString value} or (
      if value == null then
        types.bool
      else if about.choices != null then
        types.enum about.choices
      else
        types.singleLineStr
    );

  settingOption =
    variable: about:
    mkOption {
      type = types.nullOr (typeOf variable about);
      default = null;
      description =
        about.help + lib.optionalString (about.default != null) " (`${about.default}` if it is not set)";
    };

  # What a credential is, in the words of the setting that names a file with the same.
  credentialText =
    id:
    let
      variable = lib.findFirst (name: known.secrets.${name} == id) null (lib.attrNames known.secrets);
    in
    if variable == null then
      "The secret `${id}`: the age or SSH private keys that decrypt backups."
    else
      "The secret `${id}`, in the place of `${variable}`.";

  credential = types.submodule {
    options = {
      path = mkOption {
        type = types.nullOr types.path;
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

  # A list, as one value of a variable has it.
  joined =
    variable: value:
    if !lib.isList value then
      value
    else if known.settings.${variable}.value or null == "NAMES" then
      nameList value
    else
      lib.concatStringsSep "," value;

  # What `timerConfig` says of the timer of a task; null switches it off.
  timerOf =
    instance: task:
    if task != "backup" then
      if instance.timerConfig == null then { } else instance.timerConfig.${task}
    else if instance.timerConfig == null then
      null
    else
      removeAttrs instance.timerConfig tasks;

  # When a task runs, as its variable has it; null if its timer is off.
  scheduleOf =
    instance: task:
    let
      timer = timerOf instance task;
      times = lib.toList (timer.OnCalendar or instance.schedule.${task});
    in
    if timer == null || times == [ null ] then null else lib.concatMapStringsSep "; " toString times;

  variablesOf =
    instance:
    lib.filterAttrs (_: value: value != null) (
      lib.mapAttrs joined (lib.filterAttrs (_: value: value != [ ]) instance.settings)
      // {
        DB_NAME = if instance.databases == [ ] then "*" else nameList instance.databases;
      }
      // lib.mapAttrs' (
        task: variable: lib.nameValuePair variable (scheduleOf instance task)
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

  scheduled = lib.mapAttrs' (task: variable: lib.nameValuePair variable task) known.schedules;
  variables = lib.attrNames (known.settings // known.secrets // scheduled);

  # The option for what a variable says.
  optionOf =
    variable:
    if known.secrets ? ${variable} then
      "credentials.${known.secrets.${variable}}"
    else if scheduled ? ${variable} then
      "schedule.${scheduled.${variable}}"
    else if variable == "DB_NAME" then
      "databases"
    else
      "settings.${variable}";

  # The variable that is meant by an unknown name; null if none is like it.
  nearest =
    name:
    let
      first = suits: lib.findFirst suits null variables;
      long = lib.stringLength name > 4;
      changes = lib.genAttrs variables (lib.strings.levenshtein name);
      candidates = [
        (first (variable: changes.${variable} == 1))
        (first (variable: changes.${variable} == 2))
        (first (lib.hasSuffix "_${name}"))
        (first (lib.hasPrefix "${name}_"))
      ]
      ++ lib.optional (looksOurs name) (first (variable: lib.hasPrefix variable name));
    in
    if long then lib.findFirst (variable: variable != null) null candidates else null;

  looksOurs = name: lib.any (prefix: lib.hasPrefix prefix name) known.prefixes;
  # PGPASSWORD, and secrets of the libraries.
  isSecretByName =
    name:
    !lib.elem name variables
    && !lib.hasSuffix "_FILE" name
    && builtins.match ".*(PASSWORD|PASSWD|SECRET|TOKEN).*" name != null;
  # Names that are neither ours nor like ours are for the libraries: HTTPS_PROXY, AWS_PROFILE.
  isUnknown = name: !lib.elem name variables && (looksOurs name || nearest name != null);

  serverPort = postgresql.settings.port;

  # A path in tmpfiles.d(5), between the single quotes that NixOS puts around it.
  tmpfilesPath = lib.replaceStrings [ "%" "\\" "'" ] [ "%%" "\\\\" "\\'" ];

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
      inStore = path: path != null && lib.hasPrefix "${builtins.storeDir}/" (toString path);
      readable = "everybody on this host could read it, as it is in the Nix store: ";
      outside = ''give the path of a file outside of it as a string, such as "/run/secrets/pgcellar"'';
      ofSetting = variable: value: [
        (unless (
          known.secrets ? ${variable}
        ) ".settings.${variable}: ${readable}give this secret by ${option}.${optionOf variable}")
        (unless (
          scheduled ? ${variable} || variable == "DB_NAME"
        ) ".settings.${variable}: set ${option}.${optionOf variable} instead")
        (unless (
          isSecretByName variable && !isUnknown variable
        ) ".settings.${variable}: ${readable}give this secret by ${option}.environmentFile")
        (unless (isUnknown variable) ".settings.${variable}: pgcellar knows no such variable; ${
          lib.optionalString (nearest variable != null) "is ${optionOf (nearest variable)} meant? "
        }pgcellar.env(5) has them all")
        (unless (
          builtins.match "[A-Za-z_][A-Za-z0-9_]*" variable == null
        ) ".settings.${lib.strings.escapeNixIdentifier variable}: this cannot be the name of a variable")
        (unless
          (lib.any (text: builtins.match ".*://[^/]*:[^/]*@.*" (toString text) != null) (lib.toList value))
          ".settings.${variable}: ${readable}give the variable with this URL's password by ${option}.environmentFile"
        )
        (unless (isSecretFile variable && inStore value) ".settings.${variable}: ${readable}${outside}")
        (unless (
          isSecretFile variable && credentialOf variable != null
        ) ".settings.${variable}: ${option}.credentials gives the same secret: keep one of them")
      ];
      # The credential with what is in a file that a setting names.
      credentialOf =
        variable:
        instance.credentials.${
          if variable == "BACKUP_AGE_IDENTITY_FILE" then
            "age-identity"
          else
            known.secrets.${lib.removeSuffix "_FILE" variable} or ""
        } or null;
      ofCredential = id: credential: [
        (unless (
          credential != null && (credential.path == null) == (credential.encrypted == null)
        ) ".credentials.${id}: set either path or encrypted")
        (unless (credential != null && inStore credential.path)
          ".credentials.${id}: ${readable}${outside}, or encrypt the secret with systemd-creds and set ${option}.credentials.${id}.encrypted"
        )
      ];
      ofTask =
        task:
        unless
          (
            (timerOf instance task).OnCalendar or null != null
            && instance.schedule.${task} != packaged "pgcellar-${task}@.timer" "OnCalendar"
          )
          ".schedule.${task}: ${option}.timerConfig.${
            lib.optionalString (task != "backup") "${task}."
          }OnCalendar says something else: keep one of them";
    in
    [
      (unless (builtins.match "[A-Za-z0-9_][A-Za-z0-9_.-]*" name == null)
        ": the name of an instance is made of letters, digits, '_', '-' and '.', and begins with none of the last two"
      )
      (unless (
        instance.enable && instance.localServer && !postgresql.enable
      ) ".localServer: there is no server on this host: services.postgresql.enable is off")
      (unless (
        instance.localServer && set.DB_USER or "pgcellar" != "pgcellar"
      ) ".settings.DB_USER: with ${option}.localServer the role is pgcellar")
      (unless (
        instance.localServer && !lib.hasPrefix "/" (set.DB_HOST or "/")
      ) ".settings.DB_HOST: with ${option}.localServer the server is reached by its socket")
      (unless (instance.localServer && set.DB_PORT or serverPort != serverPort)
        ".settings.DB_PORT: with ${option}.localServer the port is that of services.postgresql, ${toString serverPort}; leave one of the two out"
      )
      (unless (lib.elem "" instance.databases) ".databases: a name is empty; all databases are backed up where the list is")
      (unless (inStore instance.environmentFile) ".environmentFile: ${readable}${outside}")
    ]
    ++ lib.concatLists (lib.mapAttrsToList ofSetting set)
    ++ lib.concatLists (lib.mapAttrsToList ofCredential instance.credentials)
    ++ map ofTask tasks;

  timerSettings =
    let
      value = types.oneOf [
        types.bool
        types.int
        types.float
        types.singleLineStr
      ];
    in
    types.attrsOf (types.either value (types.listOf value));

  # Drop-ins for one service. A run that is going on is not stopped by a switch.
  dropIn = instance: service: {
    overrideStrategy = "asDropin";
    restartIfChanged = false;
    path = [ pkgs.util-linux ];
    # No more than an order: a backup does not start a server that somebody has stopped.
    after = lib.mkIf (isLocal instance) [ "postgresql-pgcellar.service" ];
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
            Whether the timers of this instance run. Without them the instance stays: `pgcellar -i NAME` lists, restores and
            backs up by hand. The timers of an instance that is taken out of the configuration of a running system end with
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
            type = types.nullOr (types.either types.singleLineStr (types.nonEmptyListOf types.singleLineStr));
            default = packaged "pgcellar-${task}@.timer" "OnCalendar";
            example = [
              "Mon..Fri 22:30"
              "Sat,Sun 12:00"
            ];
            description = ''
              When the ${task} task runs: a calendar expression as in {manpage}`systemd.time(7)`, a cron line, or a list of
              these. `null` switches its timer off.
            '';
          }
        );
        timerConfig = mkOption {
          type = types.nullOr (
            types.submodule {
              freeformType = timerSettings;
              options = lib.genAttrs (lib.remove "backup" tasks) (
                task:
                mkOption {
                  type = timerSettings;
                  default = { };
                  example.RandomizedDelaySec = "2h";
                  description = "The same for the timer of the ${task} task.";
                }
              );
            }
          );
          default = { };
          example = {
            OnCalendar = "00:05";
            RandomizedDelaySec = "1h";
          };
          description = ''
            Settings of the backup task's timer, as {manpage}`systemd.timer(5)` has them. `OnCalendar` takes the place of
            `schedule.backup`. `null` switches the timer off. Where `RandomizedDelaySec` is more than an hour, set
            `MONITOR_RECENT_HOURS` too, or a late backup is told as missing.
          '';
        };
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
                description = credentialText id;
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
          type = types.nullOr types.path;
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
          DB_PORT = lib.mkDefault serverPort;
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

  config = lib.mkIf (cfg.instances != { }) {
    assertions = lib.concatLists (lib.mapAttrsToList assertionsOf cfg.instances);

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
            task:
            pkgs.writeTextDir "lib/systemd/system/pgcellar@${name}.target.d/${task}.conf" "# ${task} is off.\n"
          ) (lib.filter (task: scheduleOf instance task == null) tasks)
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
              ${tmpfilesPath folder}.d = {
                mode = "0700";
                user = "pgcellar";
                group = "pgcellar";
              };
            }
        );
      };

      # A switch stops a target that it does not start again, and the timers with it (X- options in NixOS's manual, "Unit
      # handling").
      targets = ofEach (
        name: instance: {
          "pgcellar@${name}" = {
            overrideStrategy = "asDropin";
          }
          // (
            if instance.enable then
              { wantedBy = [ "multi-user.target" ]; }
            else
              {
                unitConfig = {
                  X-OnlyManualStart = true;
                  X-StopOnReconfiguration = true;
                };
              }
          );
        }
      );

      timers = ofEach (
        name: instance:
        lib.concatMapAttrs
          (
            task: timer:
            lib.optionalAttrs (timer != { }) {
              "pgcellar-${task}@${name}" = {
                overrideStrategy = "asDropin";
                timerConfig = timer;
              };
            }
          )
          (
            lib.genAttrs tasks (
              task:
              lib.optionalAttrs (timerOf instance task != null) (
                removeAttrs (timerOf instance task) [ "OnCalendar" ]
              )
            )
          )
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
            path = lib.unique (map (instance: instance.postgresqlPackage) (lib.attrValues cfg.instances));
          };
        }
        # Its name does not begin with pgcellar-, or it would be confined as the tasks are.
        (lib.mkIf anyLocal {
          postgresql-pgcellar = {
            description = "Role of the PostgreSQL backups";
            wantedBy = [ "multi-user.target" ];
            requires = [ serverUnit ];
            after = [ serverUnit ];
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              User = "postgres";
              ExecStart = "${postgresql.package}/bin/psql --no-psqlrc --quiet --port=${toString serverPort} --dbname=postgres --file=${./role.sql}";
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
