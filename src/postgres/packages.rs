//! The Debian packages that have an extension or a library.

/// Those whose package has another name than the extension or library with hyphens: name, and what follows `postgresql-MAJOR-`
/// (packages of Debian 13 and apt.postgresql.org).
const NAMES: &[(&str, &str)] = &[
    ("address_standardizer", "postgis-3"),
    ("address_standardizer_data_us", "postgis-3"),
    ("pg_cron", "cron"),
    ("pg_partman", "partman"),
    ("pg_partman_bgw", "partman"),
    ("pg_repack", "repack"),
    ("pg_squeeze", "squeeze"),
    ("pglogical_origin", "pglogical"),
    ("pointcloud_postgis", "pointcloud"),
    ("postgis", "postgis-3"),
    ("postgis_raster", "postgis-3"),
    ("postgis_sfcgal", "postgis-3"),
    ("postgis_tiger_geocoder", "postgis-3"),
    ("postgis_topology", "postgis-3"),
    ("vector", "pgvector"),
];

/// Procedural languages: the beginning of the name, and what stands before the major version.
const LANGUAGES: &[(&str, &str)] =
    &[("plperl", "postgresql-plperl"), ("plpython3", "postgresql-plpython3"), ("pltcl", "postgresql-pltcl")];

/// Libraries and extensions of PostgreSQL itself.
const CONTRIB: &[&str] = &[
    "auth_delay",
    "auto_explain",
    "basic_archive",
    "citext",
    "hstore",
    "passwordcheck",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "postgres_fdw",
    "sepgsql",
    "uuid-ossp",
];

/// The package that has an extension or a library, for a server of this major version.
pub fn package(name: &str, major: u32) -> String {
    if CONTRIB.contains(&name) {
        return format!("postgresql-{major}");
    }
    if let Some((_, package)) = LANGUAGES.iter().find(|(language, _)| name.starts_with(language)) {
        return format!("{package}-{major}");
    }
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, package)) => format!("postgresql-{major}-{package}"),
        None => format!("postgresql-{major}-{}", name.replace('_', "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_debian() {
        let cases = [
            ("timescaledb", "postgresql-17-timescaledb"),
            ("pg_cron", "postgresql-17-cron"),
            ("pg_wait_sampling", "postgresql-17-pg-wait-sampling"),
            ("pg_stat_statements", "postgresql-17"),
            ("plpython3u", "postgresql-plpython3-17"),
        ];
        for (name, expected) in cases {
            assert_eq!(package(name, 17), expected);
        }
    }
}
