# Every machine has a server with the database shop, whose table has 20,000 rows.
{ pkgs, ... }:
{
  services.postgresql = {
    enable = true;
    ensureDatabases = [ "shop" ];
  };
  systemd.services.shop = {
    wantedBy = [ "multi-user.target" ];
    requires = [ "postgresql.target" ];
    after = [ "postgresql.target" ];
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      User = "postgres";
    };
    path = [ pkgs.postgresql ];
    script = ''
      psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname=shop <<'SQL'
      CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS what FROM generate_series(1, 20000) g;
      ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
      ALTER TABLE orders FORCE ROW LEVEL SECURITY;
      SELECT lo_from_bytea(0, decode(repeat('c0ffee', 1000), 'hex'));
      SQL
    '';
  };
}
