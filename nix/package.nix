# The program, its generator, and its units with the paths of the store.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  makeBinaryWrapper,
  postgresql,
  systemd,
  tzdata,
  util-linux,
}:
let
  manifest = lib.importTOML ../Cargo.toml;
  made = "target/${stdenv.hostPlatform.rust.cargoShortTarget}/release";
in
rustPlatform.buildRustPackage {
  pname = manifest.package.name;
  inherit (manifest.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../README.md
      ../benches
      ../clippy.toml
      ../doc
      ../examples
      ../fuzz/corpus
      ../nix/options.json
      ../rustfmt.toml
      ../src
      ../systemd
      ../tests
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [
    installShellFiles
    makeBinaryWrapper
  ];

  cargoBuildFlags = [
    "--bins"
    "--example=docs"
  ];

  # The others start PostgreSQL servers, buckets and mail servers; the NixOS tests have those of the system.
  cargoTestFlags = [
    "--lib"
    "--bins"
    "--test=nix"
  ];
  nativeCheckInputs = [
    systemd
    util-linux
  ];
  env.TZDIR = "${tzdata}/share/zoneinfo";
  # The zone of a host by its path, which the sandbox does not have.
  checkFlags = [ "--skip=config::retention::tests::zones" ];

  postInstall = ''
    units=$out/lib/systemd/system
    install -D -m 644 -t "$units" systemd/*.service systemd/*.timer systemd/*.target systemd/*.slice systemd/*.socket
    for folder in systemd/*.d; do
      install -D -m 644 -t "$units/''${folder#systemd/}" "$folder"/*.conf
    done
    substituteInPlace "$units"/*.service --replace-fail /usr/bin/pgcellar "$out/bin/pgcellar"
    install -D -m 644 -t "$out/lib/systemd/catalog" systemd/pgcellar.catalog
    install -D -m 644 -t "$out/lib/tmpfiles.d" systemd/pgcellar.tmpfiles
    mv "$out/lib/tmpfiles.d/pgcellar.tmpfiles" "$out/lib/tmpfiles.d/pgcellar.conf"

    # The generator asks systemd-analyze whether a schedule is one.
    install -D -m 755 -t "$out/libexec/pgcellar" "$out/bin/pgcellar-generator"
    rm "$out/bin/pgcellar-generator"
    makeWrapper "$out/libexec/pgcellar/pgcellar-generator" "$out/lib/systemd/system-generators/pgcellar-generator" \
      --suffix PATH : ${lib.makeBinPath [ systemd ]}

    wrapProgram "$out/bin/pgcellar" --suffix PATH : ${
      lib.makeBinPath [
        postgresql
        systemd
        util-linux
      ]
    }
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    ${made}/examples/docs docs
    installManPage docs/man/*
    installShellCompletion --cmd pgcellar --bash docs/completions/pgcellar.bash --zsh docs/completions/_pgcellar \
      --fish docs/completions/pgcellar.fish
  '';

  meta = {
    inherit (manifest.package) description;
    license = lib.licenses.asl20;
    mainProgram = "pgcellar";
    platforms = lib.platforms.linux;
  };
}
