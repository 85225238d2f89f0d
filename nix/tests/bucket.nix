# Copies in an S3 bucket, of Garage; when the host's own backups are gone, the bucket has them.
{
  name = "pgcellar-bucket";

  nodes.machine =
    { pkgs, ... }:
    let
      id = "GK000000000000000000000001";
      secret = "0000000000000000000000000000000000000000000000000000000000000001";
    in
    {
      environment.etc = {
        "garage.toml".text = ''
          metadata_dir = "/var/lib/garage/meta"
          data_dir = "/var/lib/garage/data"
          db_engine = "sqlite"
          replication_factor = 1
          rpc_bind_addr = "127.0.0.1:3901"
          rpc_secret = "${secret}"

          [s3_api]
          s3_region = "garage"
          api_bind_addr = "127.0.0.1:3900"
        '';
        "test/id".text = id;
        "test/secret".text = secret;
      };
      systemd = {
        services.garage = {
          wantedBy = [ "multi-user.target" ];
          environment = {
            GARAGE_DEFAULT_ACCESS_KEY = id;
            GARAGE_DEFAULT_SECRET_KEY = secret;
            GARAGE_DEFAULT_BUCKET = "backups";
          };
          serviceConfig = {
            ExecStart = "${pkgs.garage_2}/bin/garage -c /etc/garage.toml server --single-node --default-bucket";
            StateDirectory = "garage";
          };
        };
        tmpfiles.rules = [
          "C /run/aws-id 0400 root root - /etc/test/id"
          "C /run/aws-secret 0400 root root - /etc/test/secret"
        ];
      };
      services.pgcellar.instances.main = {
        localServer = true;
        databases = [ "shop" ];
        settings = {
          AWS_S3_BUCKET = "backups";
          AWS_ENDPOINT_URL = "http://127.0.0.1:3900";
          AWS_REGION = "garage";
        };
        credentials = {
          aws-access-key-id = "/run/aws-id";
          aws-secret-access-key = "/run/aws-secret";
        };
      };
    };

  testScript = ''
    machine.wait_for_unit("shop.service")
    machine.wait_for_unit("garage.service")
    machine.wait_for_open_port(3900)

    with subtest("a backup is copied"):
        machine.succeed("systemctl start pgcellar-backup@main.service")
        machine.succeed("pgcellar -i main list --store s3 | grep shop")
        machine.succeed("pgcellar -i main verify latest --store s3")

    with subtest("the bucket has it when the host has not"):
        machine.succeed("rm -r /var/backups/pgcellar/main")
        machine.succeed("install -d -o pgcellar -g pgcellar -m 700 /var/backups/pgcellar/main")
        machine.succeed("pgcellar -i main restore latest --as postgres --target-database again")
        rows = machine.succeed("sudo -u postgres psql -XAtc 'SELECT count(*) FROM orders' again").strip()
        assert rows == "20000", rows
  '';
}
