# A backup that fails is one mail.
{
  name = "pgcellar-mail";

  nodes.machine =
    { pkgs, ... }:
    {
      systemd.services.mailbox = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          StateDirectory = "mailbox";
          ExecStart = "${
            pkgs.python3.withPackages (python: [ python.aiosmtpd ])
          }/bin/python ${pkgs.writeText "mailbox.py" ''
            import time
            from aiosmtpd.controller import Controller

            class Mailbox:
                async def handle_DATA(self, server, session, envelope):
                    with open(f"/var/lib/mailbox/{time.time_ns()}.eml", "wb") as file:
                        file.write(envelope.content)
                    return "250 OK"

            Controller(Mailbox(), hostname="127.0.0.1", port=2525).start()
            while True:
                time.sleep(3600)
          ''}";
        };
      };
      services.pgcellar.instances.main = {
        localServer = true;
        databases = [ "shop" ];
        settings = {
          SMTP_HOST = "127.0.0.1";
          SMTP_PORT = 2525;
          SMTP_TLS = "none";
          NOTIFICATION_EMAIL = "ops@example.org";
        };
      };
    };

  testScript = ''
    machine.wait_for_unit("shop.service")
    machine.wait_for_open_port(2525)

    with subtest("a good backup is no mail"):
        machine.succeed("systemctl start pgcellar-backup@main.service")
        machine.fail("ls /var/lib/mailbox/*.eml")

    with subtest("a failed one is one mail"):
        machine.succeed("systemctl stop postgresql.service")
        machine.fail("systemctl start pgcellar-backup@main.service")
        machine.wait_until_succeeds("ls /var/lib/mailbox/*.eml")
        machine.wait_until_succeeds("systemctl show -P ActiveState pgcellar-backup-alert@main.service | grep inactive")
        machine.succeed("grep -l '^Subject:.*shop\\|^Subject:.*main' /var/lib/mailbox/*.eml")
        assert machine.succeed("ls /var/lib/mailbox | wc -l").strip() == "1"
  '';
}
