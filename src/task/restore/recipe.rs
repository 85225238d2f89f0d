//! `restore --recipe`: a bash script that restores one backup with PostgreSQL's and the system's programs alone. It is made
//! from the manifest, so printing it needs no server, and a private key only for the details of an encrypted backup.

use std::fmt::Write as _;

use crate::catalogue::manifest::{DatabaseProperties, FileRole, Manifest, StoredFile};
use crate::config::dump_options::HAS_STATISTICS;
use crate::config::restore::LeftOut;
use crate::config::{Format, S3Access, startup_options};
use crate::error::{Error, Kind, Result};
use crate::pipeline::compress::Method;
use crate::postgres::client::identifier;
use crate::postgres::properties::{PropertyStatement, create_database, parameters, statements};
use crate::printable::printable;
use crate::restore::archive::{major, must_have_definitions};
use crate::restore::details::lacking;
use crate::restore::parameters::{LASTING, is_parameter};
use crate::restore::source::RestoreSource;
use crate::restore::timescaledb;
use crate::stdout;

#[cfg(test)]
mod tests;

/// The call of psql: without the user's settings, ending at an error, with texts in UTF-8.
const PSQL: &str = "PGCLIENTENCODING=UTF8 psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1";

/// The option that gives pg_restore a list without a file.
const USE_LIST: &str = " --use-list=<(echo \"$list\")";

/// The command that removes the statement that makes the schema `public` from a script. It is under its heading, and before
/// any row.
const SCRIPT_WITHOUT_PUBLIC: &str = "LC_ALL=C sed '1,/^COPY /{/^-- Name: public; Type: SCHEMA; /,/^CREATE SCHEMA public;$/s/^CREATE SCHEMA public;$//}'";

/// Prints the script. `s3` is how to reach the bucket that has the backup, if it is in one.
///
/// # Errors
/// `Usage` for a dump without a manifest; `Data` for a manifest that lacks something.
pub fn show(source: &RestoreSource, target: &str, s3: &S3Access, left_out: LeftOut) -> Result<()> {
    let RestoreSource::Backup(store, known) = source else {
        return Err(Error::new(Kind::Usage, "a file without a manifest has no recipe")
            .hint("decompress it, and give it to pg_restore or psql"));
    };
    let manifest = &known.manifest;
    if let Some(unknown) = lacking(manifest) {
        log::warn!("{}: the recipe is without them", printable(&unknown));
    }
    must_have_definitions(manifest)?;
    let bucket = match store.path_of(&manifest.id)? {
        Some(_) => None,
        None => Some(Bucket { location: store.location(), region: s3.region(), endpoint: s3.endpoint_url() }),
    };
    let script = script(manifest, target, bucket.as_ref(), left_out)?;
    stdout::print(script)
}

/// The bucket from which the script downloads the files.
struct Bucket<'a> {
    /// `s3://BUCKET/PREFIX`.
    location: String,
    region: &'a str,
    endpoint: Option<&'a str>,
}

/// The script that restores this backup into a new database `target`.
fn script(manifest: &Manifest, target: &str, bucket: Option<&Bucket<'_>>, left_out: LeftOut) -> Result<String> {
    let parts = [
        head(manifest, target, bucket.is_some(), left_out),
        settings(manifest, target)?,
        bucket.map_or(Ok(String::new()), |bucket| download(manifest, bucket))?,
        hashes(manifest)?,
        globals(manifest)?,
        creation(manifest, target)?,
        sessions(manifest)?,
        contents(manifest, left_out)?,
        after_timescaledb(manifest),
        properties(manifest, target, left_out)?,
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(parts.join("\n"))
}

/// The files, from the bucket into the folder in which the script runs.
fn download(manifest: &Manifest, bucket: &Bucket<'_>) -> Result<String> {
    let mut aws = format!("aws s3 cp --only-show-errors --region {}", quoted(bucket.region)?);
    if let Some(url) = bucket.endpoint {
        aws.push_str(&format!(" --endpoint-url {}", quoted(url)?));
    }
    let from = |key: &str| quoted(&format!("{}/{key}", bucket.location.trim_end_matches('/')));
    let mut lines = String::from("# The files, from the bucket; aws finds its keys in AWS_ACCESS_KEY_ID and so on.\n");
    let folder = format!("{}/", manifest.id);
    if manifest.files.iter().any(|file| file.key.starts_with(&folder)) {
        let to = quoted(&format!("./{folder}"))?;
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{aws} --recursive {} {to}", from(&folder)?);
    }
    for file in manifest.files.iter().filter(|file| !file.key.starts_with(&folder)) {
        let _ = writeln!(lines, "{aws} {} {}", from(&file.key)?, quoted(&format!("./{}", file.key))?);
    }
    Ok(lines)
}

fn head(manifest: &Manifest, target: &str, in_bucket: bool, left_out: LeftOut) -> String {
    let key = match &manifest.encryption {
        None => String::new(),
        Some(encryption) if encryption.recipients.is_empty() => {
            " KEY\n# where KEY is the file with a private key of those that it is encrypted to.".to_owned()
        }
        Some(encryption) => format!(
            " KEY\n# where KEY is the file with a private key of one of these:\n#   {}",
            encryption.recipients.iter().map(|key| printable(key)).collect::<Vec<_>>().join("\n#   ")
        ),
    };
    let partial = match manifest.lacking() {
        Some(lacking) => format!("# The backup is partial: {}.\n", printable(&lacking)),
        None => String::new(),
    };
    let unknown = match (&manifest.concealed, manifest.details()) {
        (None, _) => String::new(),
        (Some(_), details) => format!(
            "# It was printed without a private key, and so it is without the database's owner, privileges, settings and\n\
             # comment: print it again with --age-identity-file, or take them from {}.\n",
            details.map_or_else(|| "the archive".to_owned(), |file| printable(&file.key)),
        ),
    };
    let place = match in_bucket {
        true => "a folder with room for the backup, which is fetched from a bucket",
        false => "the folder that has the backup",
    };
    format!(
        "#!/usr/bin/env bash\n\
         # Restores {id}, a backup of the database '{database}', into a new database '{target}',\n\
         # with stock programs alone. Made{server}{pg_dump}, in the {format} format.\n\
         {partial}{unknown}#\n\
         # Run it in {place}:  bash THIS_FILE{key}\n\
         # It connects as PGHOST, PGPORT, PGUSER and PGPASSWORD say, and needs {rights}.\n\
         # Take psql and pg_restore of the server's own version{major}.\n\
         # It stops at the first error; drop the unfinished database before you run it again.\n",
        id = printable(&manifest.id),
        database = printable(&manifest.database),
        target = printable(target),
        server = comment(" on PostgreSQL ", &manifest.server.version),
        pg_dump = comment(" by pg_dump ", &manifest.pg_dump),
        format = manifest.format,
        rights = match left_out.owners {
            true => "a role that may create databases",
            false => "the rights of a superuser",
        },
        major = match manifest.server.version_num / 10_000 {
            0 => String::new(),
            major => format!(", which should be {major} or newer"),
        },
    )
}

/// A text in the heading; empty if it is unknown, as of an adopted dump.
fn comment(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{}", printable(text)) }
}

fn settings(manifest: &Manifest, target: &str) -> Result<String> {
    // psql takes a name with an equals sign for a connection string.
    let database = format!("dbname='{}'", target.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut text = format!("set -euo pipefail\numask 077\ndatabase={}\n", quoted(&database)?);
    if manifest.encryption.is_some() {
        text.push_str("key=${1:-${KEY:?is not set: name the file of the private key as the first argument}}\n");
    }
    Ok(text)
}

/// The files are compared with the hashes in the manifest, in the form that `sha256sum --check` reads: a name with a
/// backslash or a line end in it is escaped, and a backslash before the hash says so.
fn hashes(manifest: &Manifest) -> Result<String> {
    let mut lines = String::new();
    for StoredFile { key, stored_sha256, .. } in &manifest.files {
        if stored_sha256.len() != 64 || !stored_sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let message = format!("the manifest of {} has no SHA-256 of {}", printable(&manifest.id), printable(key));
            return Err(Error::new(Kind::Data, message));
        }
        let escaped = key.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        let mark = if escaped == *key { "" } else { "\\" };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{mark}{stored_sha256}  {escaped}");
    }
    Ok(format!("# The files are what was written.\nsha256sum --check --strict {}", here(&lines)))
}

fn globals(manifest: &Manifest) -> Result<String> {
    let Some(file) = manifest.files(FileRole::Globals).next() else { return Ok(String::new()) };
    let script = printable(&plain(manifest, file, "less")?);
    let applied = printable(&plain(manifest, file, "psql --no-psqlrc --dbname=postgres")?);
    Ok(format!(
        "# Create the roles that the server lacks first. Read the globals first: applied, they also change the roles \
         that\n\
         # are there, with passwords and rights.\n#   {script}\n#   {applied}\n"
    ))
}

fn creation(manifest: &Manifest, target: &str) -> Result<String> {
    let properties = &manifest.properties;
    let tablespace = Some(properties.tablespace.as_str()).filter(|name| !matches!(*name, "" | "pg_default"));
    let sql = create_database(target, properties, manifest.server.version_num / 10_000, tablespace)?;
    let mut text = format!(
        "# The database, with what cannot be changed later.\n{PSQL} --dbname=postgres {}",
        here(&format!("{sql};\n"))
    );
    let mut parameters = lines(parameters(target, properties));
    if timescaledb::schema(&manifest.contents.extensions).is_some() {
        let _ = writeln!(parameters, "ALTER DATABASE {} SET {} = on;", identifier(target), timescaledb::RESTORING);
    }
    if !parameters.is_empty() {
        text.push_str("\n# Its settings, by which views, constraints and indexes are computed.\n");
        let _ = write!(text, "{PSQL} --single-transaction --dbname=postgres {}", here(&parameters));
    }
    Ok(text)
}

/// Leaves TimescaleDB's restoring mode.
fn after_timescaledb(manifest: &Manifest) -> String {
    let Some(schema) = timescaledb::schema(&manifest.contents.extensions) else { return String::new() };
    let sql = here(&format!("SELECT {}.timescaledb_post_restore();\n", identifier(schema)));
    format!("# TimescaleDB was in its restoring mode.\n{PSQL} --dbname=\"$database\" {sql}")
}

/// The parameters of the sessions that load.
fn sessions(manifest: &Manifest) -> Result<String> {
    let DatabaseProperties { settings, session_parameters, .. } = &manifest.properties;
    let sets = |name: &str| settings.iter().any(|setting| setting.name.eq_ignore_ascii_case(name));
    let computed = session_parameters.iter().filter(|(name, _)| is_parameter(name) && !sets(name));
    let computed = computed.map(|(name, value)| (name.as_str(), value.as_str()));
    let role = sets("role").then_some(("role", "none"));
    let options = startup_options(LASTING.iter().copied().chain(role).chain(computed));
    Ok(format!(
        "# No time limit ends the load, and the settings of the server that was backed up apply here too.\n\
         export PGOPTIONS={}\n",
        quoted(&options)?
    ))
}

/// Options of pg_restore for what is left out, each with a blank before it. The planner's statistics, which an older server does not
/// take, are gathered by ANALYZE.
fn options(manifest: &Manifest, left_out: LeftOut) -> String {
    let all = [
        (left_out.owners, " --no-owner"),
        (left_out.privileges, " --no-privileges"),
        (major(&manifest.pg_dump) >= HAS_STATISTICS, " --no-statistics"),
    ];
    all.into_iter().filter_map(|(is_left_out, option)| is_left_out.then_some(option)).collect()
}

fn contents(manifest: &Manifest, left_out: LeftOut) -> Result<String> {
    let options = options(manifest, left_out);
    let public = may_make_public(manifest);
    let load = match manifest.format {
        Format::Directory => folder(manifest, left_out)?,
        Format::Plain => {
            let sed = if public { format!("{SCRIPT_WITHOUT_PUBLIC} | ") } else { String::new() };
            let psql = "psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=\"$database\" > /dev/null";
            plain(manifest, archive(manifest)?, &format!("{sed}{psql}"))?
        }
        format => {
            let file = archive(manifest)?;
            // pg_restore stops after the last block of an archive, and the program that writes to it would fail.
            let pg_restore = |rest: &str| format!("{{ pg_restore --format={format} {rest} && cat > /dev/null; }}");
            let (listed, by_list) = match public {
                true => (without_public(manifest, &plain(manifest, file, &pg_restore("--list"))?, left_out), USE_LIST),
                false => (String::new(), ""),
            };
            let load = pg_restore(&format!("--exit-on-error{options} --dbname=\"$database\"{by_list}"));
            format!("{listed}{}", plain(manifest, file, &load)?)
        }
    };
    Ok(format!(
        "# Its contents, and statistics for the planner: queries are slow without these, but nothing is \
         missing.\n{load}\n\
         {PSQL} --dbname=\"$database\" --command=ANALYZE || echo 'run ANALYZE again later' >&2\n"
    ))
}

/// Whether the archive may have the statement `CREATE SCHEMA public`: pg_dump writes it where --schema names the schema.
/// The dumps of other tools do not contain its options.
fn may_make_public(manifest: &Manifest) -> bool {
    lacks_options(manifest) || manifest.dump_options.iter().any(|option| option.starts_with("--schema="))
}

/// Whether the options of pg_dump are unknown.
fn lacks_options(manifest: &Manifest) -> bool {
    manifest.adopted.is_some() || manifest.concealed.is_some()
}

/// The steps that leave the schema `public` out of a list of the archive's entries, which `list` prints, and give the schema
/// that a new database has to the owner that the archive names.
fn without_public(manifest: &Manifest, list: &str, left_out: LeftOut) -> String {
    // In the dump of another tool the entry may be there only for the owner.
    let comment = if lacks_options(manifest) { "" } else { "COMMENT ON SCHEMA public IS NULL;\n" };
    let owner = if left_out.owners { "" } else { "ALTER SCHEMA public OWNER TO :\"owner\";\n" };
    format!(
        "# A new database has the schema public already: its comment and its owner are the archive's.\n\
         list=$({list})\n\
         owner=$(sed -n 's/^[0-9]*; 2615 [0-9]* SCHEMA - public //p' <<< \"$list\")\n\
         list=$(sed '/^[0-9]*; 2615 [0-9]* SCHEMA - public /d' <<< \"$list\")\n\
         if [ -n \"$owner\" ]; then\n\
         {PSQL} --dbname=\"$database\" --set=owner=\"$owner\" {}fi\n",
        here(&format!("{comment}{owner}"))
    )
}

fn archive(manifest: &Manifest) -> Result<&StoredFile> {
    let first = manifest.files(FileRole::Archive).next();
    first.ok_or_else(|| Error::new(Kind::Data, format!("the manifest of {} names no archive", printable(&manifest.id))))
}

/// With several jobs one section comes after the other: jobs that take all of them at once give out rights in any order,
/// and make the triggers of a partitioned table while the rows of its partitions still arrive.
fn folder(manifest: &Manifest, left_out: LeftOut) -> Result<String> {
    let options = options(manifest, left_out);
    let folder = quoted(&format!("./{}", manifest.id))?;
    let ready = match &manifest.encryption {
        None => format!("archive={folder}"),
        Some(_) => {
            let bytes: u64 = manifest.files(FileRole::Archive).map(|file| file.plain_bytes).sum();
            format!(
                "# The decrypted archive, {bytes} bytes, lies in memory until the end.\n\
                 archive=$(mktemp --directory --tmpdir=\"${{TMPDIR:-/dev/shm}}\")\n\
                 trap 'rm -r \"$archive\"' EXIT\n\
                 for file in {folder}/*.age; do\n    \
                     age --decrypt --identity \"$key\" < \"$file\" > \"$archive/$(basename \"$file\" .age)\"\n\
                 done"
            )
        }
    };
    let pg_restore = format!("pg_restore --format=directory --exit-on-error{options} --dbname=\"$database\"");
    let (listed, by_list) = match may_make_public(manifest) {
        true => (without_public(manifest, "pg_restore --format=directory --list \"$archive\"", left_out), USE_LIST),
        false => (String::new(), ""),
    };
    // The tables of its catalog have foreign keys, of which the archive does not tell.
    let jobs = match timescaledb::schema(&manifest.contents.extensions) {
        Some(_) => "",
        None => " --jobs=\"$(nproc)\"",
    };
    Ok(format!(
        "{ready}\n\
         {listed}{pg_restore} --section=pre-data{by_list} \"$archive\"\n\
         {pg_restore} --section=data{jobs} \"$archive\"\n\
         {pg_restore} --section=post-data --jobs=\"$(nproc)\" \"$archive\""
    ))
}

/// The properties of the database come last: some of them would keep its data from being loaded.
fn properties(manifest: &Manifest, target: &str, left_out: LeftOut) -> Result<String> {
    let sql = lines(statements(target, &manifest.properties, left_out)?);
    if sql.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("# Its owner and privileges.\n{PSQL} --single-transaction --dbname=postgres {}", here(&sql)))
}

fn lines(statements: Vec<PropertyStatement>) -> String {
    statements.into_iter().map(|statement| statement.sql + ";\n").collect()
}

/// A stored file decrypted, decompressed, and handed to a program.
fn plain(manifest: &Manifest, file: &StoredFile, program: &str) -> Result<String> {
    let mut programs: Vec<&str> = Vec::new();
    if manifest.encryption.is_some() {
        programs.push("age --decrypt --identity \"$key\"");
    }
    programs.extend(match manifest.method(file) {
        Method::None => None,
        Method::Gzip => Some("gunzip"),
        Method::Bzip2 => Some("bunzip2"),
        Method::Xz => Some("unxz"),
        Method::Zstd => Some("unzstd"),
    });
    programs.push(program);
    let mut stages = programs.into_iter();
    let first = stages.next().unwrap_or(program);
    let rest: String = stages.map(|program| format!(" | {program}")).collect();
    Ok(format!("{first} < {}{rest}", quoted(&file.key)?))
}

/// A here-document; its end is a line that the text does not have.
fn here(text: &str) -> String {
    let mut end = "END".to_owned();
    while text.lines().any(|line| line == end) {
        end.push('_');
    }
    format!("<<'{end}'\n{text}{end}\n")
}

fn quoted(text: &str) -> Result<String> {
    shlex::try_quote(text).map(std::borrow::Cow::into_owned).map_err(|_| {
        Error::new(Kind::Data, format!("'{}' has a zero byte, which no shell can have", text.escape_debug()))
    })
}
