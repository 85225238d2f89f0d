# A password that systemd decrypts; nothing on the disk tells it.
{
  name = "pgcellar-credentials";

  nodes.machine = {
    services.postgresql.settings.password_encryption = "scram-sha-256";
    services.pgcellar.instances.main = {
      databases = [ "shop" ];
      settings = {
        DB_HOST = "127.0.0.1";
        DB_USER = "reader";
      };
      # It is encrypted to the machine, so the test makes it.
      credentials.db-password.encrypted = "/var/lib/test/db-password.cred";
    };
  };

  testScript = ''
    machine.wait_for_unit("shop.service")
    # Not in a command line, which the journal keeps.
    machine.succeed(
        "echo \"CREATE ROLE reader LOGIN BYPASSRLS PASSWORD 'hush hush' IN ROLE pg_read_all_data;"
        " ALTER ROLE reader SET lo_compat_privileges = on\" | sudo -u postgres psql -X"
    )

    with subtest("without it the server lets nobody in"):
        machine.fail("systemctl start pgcellar-backup@main.service")
        status = machine.succeed("systemctl show -P ExecMainStatus pgcellar-backup@main.service").strip()
        assert status == "77", status

    with subtest("with it"):
        machine.succeed("mkdir -p /var/lib/test")
        machine.succeed(
            "printf 'hush hush' | systemd-creds encrypt --name=db-password.encrypted - /var/lib/test/db-password.cred"
        )
        machine.succeed("systemctl start pgcellar-backup@main.service")
        machine.succeed("pgcellar -i main verify latest")

    with subtest("it is told nowhere"):
        machine.fail("journalctl -o json --all | grep 'hush hush'")
        machine.fail("grep -r 'hush hush' /etc/static /var/backups /var/lib/test")
  '';
}
