use super::*;

fn told(names: &[&str], meant: Meant) -> Vec<(String, Option<String>, Option<Harm>)> {
    let declared = crate::cli::Cli::variables();
    let bucket = ("AWS_S3_BUCKET".to_owned(), !names.contains(&"AWS_BUCKET"));
    let set = names.iter().map(|name| (name.trim_end_matches('=').to_owned(), !name.ends_with('='))).chain([bucket]);
    let set = set.collect();
    let found = unknown(&set, &declared, meant);
    found.into_iter().map(|found| (found.name, found.nearest, found.harm)).collect()
}

/// What is reported of a name, in a process and in a file of settings.
const NAMES: &[(&str, Option<&str>, Option<Harm>)] = &[
    ("BACKUP_COMPRESION", Some("BACKUP_COMPRESSION"), None),
    ("BACKUP_DIRECTORY", Some("BACKUP_DIR"), None),
    ("BAKCUP_DIR", Some("BACKUP_DIR"), None),
    ("DB_HOSTNAME", Some("DB_HOST"), None),
    ("DB_PASWORD", Some("DB_PASSWORD"), None),
    ("RETENTION_DAYS", Some("BACKUP_RETENTION_DAYS"), Some(Harm::Removal)),
    ("BACKUP_RETENTION", Some("BACKUP_RETENTION_DAYS"), Some(Harm::Removal)),
    ("BACKUP_RETENTION_DAY", Some("BACKUP_RETENTION_DAYS"), Some(Harm::Removal)),
    ("BACKUP_KEEP_DAYLY", Some("BACKUP_KEEP_DAILY"), Some(Harm::Removal)),
    ("BACKUP_S3_KEEP_MONTLY", Some("BACKUP_S3_KEEP_MONTHLY"), Some(Harm::Removal)),
    ("RETENTION_SHEDULE", Some("RETENTION_SCHEDULE"), None),
    ("RESTORE_STAGING", Some("RESTORE_STAGING_DIR"), None),
    ("RESTORE_DIRECTORY", None, None),
    ("MONITOR_SCHEDUL", Some("MONITOR_SCHEDULE"), None),
    ("DRILL_JOB", Some("DRILL_JOBS"), None),
    ("PG_BINDIRS", Some("PG_BINDIR"), None),
    ("FORCE_RESTOR", Some("FORCE_RESTORE"), None),
    ("AWS_REGOIN", Some("AWS_REGION"), None),
    ("AWS_DEFAULT_REGION", Some("AWS_REGION"), None),
    ("AWS_ENDPOINT", Some("AWS_ENDPOINT_URL"), Some(Harm::Amazon)),
    ("AWS_ENDPIONT_URL", Some("AWS_ENDPOINT_URL"), Some(Harm::Amazon)),
    ("AWS_S3_ENDPOINT", Some("AWS_ENDPOINT_URL"), Some(Harm::Amazon)),
    ("AWS_BUCKET", Some("AWS_S3_BUCKET"), None),
    ("AWS_SECRET_KEY", Some("AWS_SECRET_ACCESS_KEY"), None),
    ("SMTP_PASSWORD", Some("SMTP_PASS"), None),
    ("SMPT_HOST", Some("SMTP_HOST"), None),
    ("NOTIFICATION_MAIL", Some("NOTIFICATION_EMAIL"), None),
    ("SCHEDULE", Some("BACKUP_SCHEDULE"), None),
    ("RETENTION_DAY", Some("BACKUP_RETENTION_DAYS"), Some(Harm::Removal)),
    ("BACKUP_KEEP_DAYS", Some("BACKUP_KEEP_DAILY"), Some(Harm::Removal)),
    ("BACKUP_PATH", Some("BACKUP_DIR"), None),
    ("BACKUP_S3_BUCKET", Some("AWS_S3_BUCKET"), None),
    ("BACKUP_PASSWORD", None, None),
    ("RETENTION_SCHEDUL", Some("RETENTION_SCHEDULE"), None),
];

#[test]
fn misspelt_names_are_reported_with_the_intended_one() {
    for (name, nearest, harm) in NAMES {
        let expected = [((*name).to_owned(), nearest.map(str::to_owned), *harm)];
        for meant in [Meant::ForOthersToo, Meant::ForUs] {
            assert_eq!(told(&[name], meant), expected, "{meant:?}");
        }
        // An empty variable says nothing, and does no harm.
        assert!(told(&[&format!("{name}=")], Meant::ForUs).iter().all(|(_, _, harm)| harm.is_none()));
    }
}

/// What a container or a host has anyway.
#[test]
fn variables_of_other_programs_are_not_reported() {
    let foreign = [
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_USE_PATH_STYLE_ENDPOINT",
        "AWS_XRAY_DAEMON_ADDRESS",
        "DB_PORT_5432_TCP_ADDR",
        "DB_SERVICE_HOST",
        "DB_SERVICE_PORT",
        "FORCE_COLOR",
        "GOSU_VERSION",
        "HOSTNAME",
        "NB_USER",
        "PGDATA",
        "PGHOST",
        "PGUSER",
        "PG_MAJOR",
        "PG_SHA256",
        "PG_VERSION",
        "S3_BUCKET",
        "SHLVL",
        "SNMP_HOST",
    ];
    for name in foreign {
        assert_eq!(told(&[name], Meant::ForOthersToo), []);
    }
    // Others' name beside ours says nothing of ours.
    assert_eq!(told(&["AWS_DEFAULT_REGION", "AWS_REGION"], Meant::ForOthersToo), []);
    assert_eq!(told(&["AWS_ENDPOINT", "AWS_ENDPOINT_URL"], Meant::ForOthersToo), []);
}

#[test]
fn known_variables_are_not_reported() {
    let read = [
        "AWS_CA_BUNDLE",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROFILE",
        "BACKUP_DIR",
        "DB_PASSWORD",
        "LC_ALL",
        "MONITOR_SCHEDULE",
        "MONITOR_UNIT",
        "PGPASSFILE",
        "TMPDIR",
        "TZ",
        "https_proxy",
    ];
    for name in read {
        for meant in [Meant::ForOthersToo, Meant::ForUs] {
            assert_eq!(told(&[name], meant), [], "{meant:?}");
        }
    }
}

#[test]
fn all_unknown_names_in_a_file_for_pgcellar_are_reported() {
    for (name, nearest) in
        [("COLOR", None), ("PG_VERSION", None), ("PGHOST", Some("DB_HOST")), ("DB_SERVICE_HOST", None)]
    {
        let found = told(&[name], Meant::ForUs);
        assert_eq!(found.len(), 1, "{name}");
        assert!(nearest.is_none() || found[0].1.as_deref() == nearest, "{found:?}");
    }
}

#[test]
fn no_harm_if_the_intended_setting_is_set() {
    for names in [["RETENTION_DAYS", "BACKUP_RETENTION_DAYS"], ["AWS_ENDPIONT_URL", "AWS_ENDPOINT_URL"]] {
        let found = told(&names, Meant::ForOthersToo);
        assert_eq!(found.iter().map(|(_, _, harm)| *harm).collect::<Vec<_>>(), [None], "{found:?}");
    }
    let found = told(&["BACKUP_KEEP_DAYLY", "BACKUP_RETENTION_DAYS"], Meant::ForOthersToo);
    assert_eq!(found[0].2, Some(Harm::Removal));
}

/// A prefix that is not here would let its misspelt variables pass.
#[test]
fn all_prefixes_of_the_options_are_checked() {
    let declared = crate::cli::Cli::variables();
    for name in ["DB_HOST", "DB_NAME", "BACKUP_DIR", "BACKUP_RETENTION_DAYS", "BACKUP_AGE_IDENTITY_FILE", "PG_BINDIR"] {
        assert!(declared.contains(name), "{name}");
    }
    for name in known(&declared).into_iter().filter(|name| name.contains('_')) {
        let all = PREFIXES.iter().chain(SHARED_PREFIXES);
        assert!(all.clone().any(|prefix| name.starts_with(prefix)), "{name}");
    }
}

#[test]
fn a_unit_has_the_variables_of_the_file_and_of_systemd() {
    let names = ["COLOR", "INVOCATION_ID", "STATE_DIRECTORY", "SYSTEMD_EXEC_PID", "LANG", "PATH", "BACKUP_DIR"];
    assert_eq!(told(&names, Meant::ForOurUnit), [("COLOR".to_owned(), None, None)]);
}
