# A server on the same host: a timer backs it up, and a backup is restored beside the database and in its place.
{
  name = "pgcellar-local";

  nodes.machine.services.pgcellar.instances.main = {
    localServer = true;
    databases = [ "shop" ];
    schedule.backup = "*-*-* 03:30:00";
  };

  testScript = ''
    machine.wait_for_unit("shop.service")
    machine.wait_for_unit("pgcellar@main.target")

    with subtest("the timers have the schedules of the settings"):
        calendar = machine.succeed("systemctl show -P TimersCalendar pgcellar-backup@main.timer")
        assert "OnCalendar=*-*-* 03:30:00" in calendar, calendar
        machine.succeed("systemctl is-active pgcellar-{backup,drill,retention,monitor}@main.timer")

    with subtest("a backup is made by the confined user"):
        machine.succeed("systemctl start pgcellar-backup@main.service")
        assert machine.succeed("systemctl show -P User pgcellar-backup@main.service").strip() == "pgcellar"
        machine.succeed("pgcellar -i main list | grep shop")
        machine.succeed("pgcellar -i main verify latest")

    with subtest("a drill proves it"):
        machine.succeed("systemctl start pgcellar-drill@main.service")
        machine.succeed("ls /var/backups/pgcellar/main/shop_*.drill.json")

    with subtest("it is restored beside the database"):
        machine.succeed("pgcellar -i main restore latest --as postgres --target-database beside")
        rows = machine.succeed("sudo -u postgres psql -XAtc 'SELECT count(*) FROM orders' beside").strip()
        assert rows == "20000", rows

    with subtest("it replaces the database"):
        machine.succeed("sudo -u postgres psql -Xc 'DELETE FROM orders' shop")
        machine.succeed("pgcellar -i main restore latest --as postgres --force --target-database shop")
        rows = machine.succeed("sudo -u postgres psql -XAtc 'SELECT count(*) FROM orders' shop").strip()
        assert rows == "20000", rows

    with subtest("the other tasks run"):
        machine.succeed("systemctl start pgcellar-retention@main.service pgcellar-monitor@main.service")
        machine.fail("systemctl --failed --plain --no-legend | grep pgcellar")
  '';
}
