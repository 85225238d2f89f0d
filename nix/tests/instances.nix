# Two instances side by side have their own folders, settings and timers; one has secrets in a file, and one timer is off.
{
  name = "pgcellar-instances";

  nodes.machine = {
    services.postgresql.ensureDatabases = [ "second" ];
    systemd.tmpfiles.rules = [
      "f /run/second.env 0400 root root - BACKUP_COMPRESSION=zstd"
    ];
    services.pgcellar.instances = {
      one = {
        localServer = true;
        databases = [ "shop" ];
      };
      two = {
        localServer = true;
        databases = [ "second" ];
        schedule.retention = null;
        settings.BACKUP_DIR = "/srv/second";
        environmentFile = "/run/second.env";
      };
    };
  };

  testScript = ''
    machine.wait_for_unit("shop.service")
    machine.succeed("systemctl start pgcellar-backup@one.service pgcellar-backup@two.service")

    with subtest("each has its own"):
        assert "second" not in machine.succeed("pgcellar -i one list")
        assert "shop" not in machine.succeed("pgcellar -i two list")
        machine.succeed("ls /var/backups/pgcellar/one/shop_*.manifest.json /srv/second/second_*.manifest.json")
        assert "/srv" not in machine.succeed("systemctl show -P ReadWritePaths pgcellar-backup@one.service")

    with subtest("the file of the environment counts"):
        machine.succeed("ls /srv/second/second_*.dump.zst")
        machine.succeed("ls /var/backups/pgcellar/one/shop_*.dump.gz")

    with subtest("a timer that is off"):
        machine.fail("systemctl is-active pgcellar-retention@two.timer")
        machine.succeed("systemctl is-active pgcellar-retention@one.timer pgcellar-backup@two.timer")
        machine.fail("pgcellar -i two monitor check | grep retention@two.timer")
  '';
}
