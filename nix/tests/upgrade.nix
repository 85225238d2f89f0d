# What version 0.1.0 has left on a host is listed, verified, restored and gone on with.
{
  name = "pgcellar-upgrade";

  nodes.machine = {
    environment.etc."state".source = ../../tests/state/0.1.0;
    services.pgcellar.instances.main = {
      localServer = true;
      databases = [ "shop" ];
    };
  };

  testScript = ''
    machine.wait_for_unit("shop.service")
    machine.succeed("cp -rL /etc/state /var/backups/pgcellar/main")
    machine.succeed("chown -R pgcellar: /var/backups/pgcellar/main && chmod -R u=rwX,go= /var/backups/pgcellar/main")

    old = "shop_20261101_020000"
    machine.succeed(f"pgcellar -i main list | grep {old}")
    machine.succeed(f"pgcellar -i main verify {old}")
    machine.succeed(f"pgcellar -i main restore {old} --as postgres --target-database old")
    machine.succeed("systemctl start pgcellar-backup@main.service pgcellar-retention@main.service")
    machine.succeed(f"pgcellar -i main list | grep -v {old} | grep shop_")
  '';
}
