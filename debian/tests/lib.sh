# shellcheck shell=bash
# Functions of the tests. A test prints what it runs and sees, and ends at the first failure.
set -euo pipefail
export SYSTEMD_PAGER='' PAGER=cat LC_ALL=C.UTF-8
backups=/var/backups/pgcellar

# Tests start a unit more often than systemd's limit of 5 starts in 10 s allows.
if [ ! -e /run/systemd/system.conf.d/package-tests.conf ]; then
    mkdir -p /run/systemd/system.conf.d
    printf '[Manager]\nDefaultStartLimitIntervalSec=0\n' >/run/systemd/system.conf.d/package-tests.conf
    systemctl daemon-reexec
fi

fail() {
    printf 'FAILED: %s\n' "$*"
    journalctl --no-pager --quiet -n 25 -o cat -t pgcellar -t systemd | sed 's/^/  log: /'
    exit 1
}

# show COMMAND...: runs the command and prints its output, which is also in $seen; returns its exit code.
show() {
    local status=0
    printf '$ %s\n' "$*"
    # The journal can lag behind a unit that has ended.
    case " $* " in *" journalctl "*) journalctl --sync ;; esac
    seen=$("$@" 2>&1) || status=$?
    [ -z "$seen" ] || printf '%s\n' "$seen" | sed 's/^/  /'
    return $status
}

# sees PATTERN COMMAND...: the command's output matches.
sees() {
    local pattern=$1
    shift
    show "$@" || true
    grep -Eq -- "$pattern" <<<"$seen" || fail "the output does not match '$pattern'"
}

# nothing COMMAND...: the command prints nothing.
nothing() {
    show "$@" || true
    [ -z "$seen" ] || fail 'the output is not empty'
}

# ends STATUS COMMAND...: the command exits with this code.
ends() {
    local expected=$1 status=0
    shift
    show "$@" || status=$?
    printf '  (exit code %s)\n' "$status"
    [ "$status" = "$expected" ] || fail "expected exit code $expected"
}

# becomes SECONDS COMMAND...: the command succeeds within this time.
becomes() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "still failing: $*"
        sleep 0.1
    done
}

# sql DATABASE STATEMENT...: by standard input, because the journal keeps command lines.
sql() {
    local database=$1
    shift
    printf '%s;\n' "$@" | runuser -u postgres -- psql -qXAt -v ON_ERROR_STOP=1 -d "$database"
}

# The tasks for which the package has a timer.
tasks() {
    local timer
    for timer in /usr/lib/systemd/system/pgcellar-*@.timer; do
        timer=${timer##*/pgcellar-}
        echo "${timer%@.timer}"
    done
}

install_package() {
    [ -x /usr/bin/pgcellar ] || DEBIAN_FRONTEND=noninteractive dpkg -i /opt/test/pgcellar.deb
}

# The role that main.env recommends, and a database with large objects and a table with row security.
server() {
    install_package >/dev/null
    systemctl start postgresql
    becomes 30 sql postgres 'SELECT 1'
    [ "$(sql postgres "SELECT 1 FROM pg_roles WHERE rolname = 'pgcellar'")" ] ||
        sql postgres 'CREATE ROLE pgcellar LOGIN BYPASSRLS IN ROLE pg_read_all_data' \
            'ALTER ROLE pgcellar SET lo_compat_privileges = on'
    [ "$(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'shop'")" ] || {
        sql postgres 'CREATE DATABASE shop'
        sql shop 'CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS what FROM generate_series(1, 20000) g' \
            'ALTER TABLE orders ENABLE ROW LEVEL SECURITY' 'ALTER TABLE orders FORCE ROW LEVEL SECURITY' \
            "SELECT lo_from_bytea(0, decode(repeat('c0ffee', 1000), 'hex'))" >/dev/null
    }
}

# instance NAME LINE...: writes its settings.
instance() {
    local file=/etc/pgcellar/$1.env
    shift
    install -m 640 /dev/null "$file"
    printf '%s\n' "$@" >"$file"
    systemctl daemon-reload
}

# mail_server PORT FOLDER: accepts every mail, and stores each in a file.
mail_server() {
    mkdir -p "$2"
    cat >"$2.py" <<'PYTHON'
import os, sys, time
from aiosmtpd.controller import Controller

class Mailbox:
    async def handle_DATA(self, server, session, envelope):
        path = os.path.join(sys.argv[2], str(time.time_ns()))
        with open(path + ".new", "wb") as file:
            file.write(envelope.content)
        os.rename(path + ".new", path + ".eml")
        return "250 OK"

Controller(Mailbox(), hostname="127.0.0.1", port=int(sys.argv[1])).start()
while True:
    time.sleep(3600)
PYTHON
    becomes 20 is_free "mail-$1"
    systemd-run --quiet --collect --unit="mail-$1" python3 "$2.py" "$1" "$2"
    becomes 20 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1"
}

# read_mail FILE: prints its subject and text; $mail has both in one line.
read_mail() {
    show python3 - "$1" <<'PYTHON'
import email, email.policy, sys
mail = email.message_from_binary_file(open(sys.argv[1], "rb"), policy=email.policy.default)
print(mail["Subject"])
print(mail.get_body(("plain",)).get_content())
PYTHON
    mail=$(tr -s ' \n' ' ' <<<"$seen")
}

# arrives FOLDER NUMBER: waits for so many mails, and for the units that send them: a failure during an alert of the same unit
# starts no second one.
arrives() {
    becomes 60 has_mails "$1" "$2"
    becomes 60 no_alert_runs
}
no_alert_runs() {
    [ -z "$(systemctl list-units --state=activating,deactivating --no-legend 'pgcellar-*-alert@*' 'pgcellar-fallback-*')" ]
}

# next_mail FOLDER: waits for a mail, which must be the only one, reads it and removes it.
next_mail() {
    arrives "$1" 1
    read_mail "$(find "$1" -name '*.eml' | sort | head -n 1)"
    [ "$(mails "$1")" = 1 ] || fail "$(mails "$1") mails"
    rm "$1"/*.eml
}

# says TEXT...: the mail that was read contains each of these.
says() {
    local text
    for text in "$@"; do
        grep -qF -- "$text" <<<"$mail" || fail "the mail lacks '$text'"
    done
}

# No unit of this name is left.
is_free() { [ "$(systemctl show -P ActiveState "$1.service")" = inactive ] && ! systemctl list-units --all --no-legend "$1.service" | grep -q .; }

mails() { find "$1" -name '*.eml' | wc -l; }
has_mails() { [ "$(mails "$1")" -ge "$2" ]; }

# hold DATABASE TABLE: locks it, so that a dump waits, until `release`.
hold() {
    becomes 20 is_free holder
    systemd-run --quiet --collect --unit=holder --uid=postgres psql -qX -d "$1" -c BEGIN -c "LOCK TABLE $2" -c 'SELECT pg_sleep(600)'
    becomes 20 held
}

held() { [ "$(sql postgres "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation > 16383")" != 0 ]; }

release() {
    systemctl stop holder 2>/dev/null || true
    # It has failed if the server ended it.
    systemctl reset-failed holder 2>/dev/null || true
    sql postgres "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()" >/dev/null || true
}

# The dump waits for the lock that `hold` took.
waits_for_lock() { [ "$(sql postgres "SELECT count(*) FROM pg_locks WHERE NOT granted")" != 0 ]; }

# The message ids of src/host/event.rs.
declare -A events=(
    [made]=ecb6d96de59d4587b53e4f019dce5c7e [copied]=b2fba8b1e9754f6082e1a2e2d3bb025e
    [removed]=c8d4b1fa79774f91b6b52c1995939582 [retention-failed]=85bf673e9d19409ba47eceed86550eea
    [verified]=4cd58b8d7e564a7abaaab4f2acea9caa [damaged]=33a4c219f7ec48838a18835111c969f2
    [restored]=8526185068cd44e8a828ff1a614ca7b8 [restore-failed]=9ac9b38e4c3d4b72bb9fd37b267d838f
    [mail-failed]=28cb2a68f2d645fb90fc5909bf917f21
)

# event NAME INSTANCE PATTERN: the last such event of this instance in the journal has fields that match.
event() {
    local entry
    journalctl --sync
    printf '$ journalctl MESSAGE_ID=%s PGCELLAR_INSTANCE=%s # %s\n' "${events[$1]}" "$2" "$1"
    entry=$(journalctl -q "MESSAGE_ID=${events[$1]}" "PGCELLAR_INSTANCE=$2" -n 1 -o json)
    [ -n "$entry" ] || fail "there is no event $1 of $2"
    entry=$(jq -cS 'with_entries(select(.key | test("^(MESSAGE|_SYSTEMD_UNIT|PGCELLAR_.*)$")))' <<<"$entry")
    printf '  %s\n' "$entry"
    grep -Eq -- "$3" <<<"$entry" || fail "the entry does not match '$3'"
}

# What the generator writes to the kernel's log. A container has none: a pipe in its place shows the lines, and that a
# generator may write there although systemd mounts everything else read-only for it.
kernel_log() {
    if [ -c /dev/kmsg ]; then
        systemctl daemon-reload
        journalctl --sync
        journalctl -k -t pgcellar-generator -o cat
    else
        mkfifo /dev/kmsg
        exec 4<>/dev/kmsg
        systemctl daemon-reload
        timeout 1 cat <&4 || true
        exec 4<&-
        rm /dev/kmsg
    fi
}

has_ended() { case $(systemctl is-active "$1") in inactive | failed) ;; *) false ;; esac; }
manifests() { find "$backups/$1" -name '*.manifest.json' 2>/dev/null | wc -l; }
