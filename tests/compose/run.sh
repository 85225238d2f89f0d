# shellcheck shell=bash
# Runs the commands of the chapters, and keeps their output.

failed=0
commands=0

chapter() { # chapter TITLE
    printf '\n== %s\n' "$*" | tee -a "$record"
}

# Runs a command in the project, and checks its exit code (alternatives separated by |, or * for any) and its output, which
# must match every PATTERN.
run() { # run EXITS COMMAND [PATTERN...]
    local expected=$1 command=$2 status=0 verdict=passed output=$scratch/output pattern
    shift 2
    commands=$((commands + 1))
    bash -c "$command" >"$output" 2>&1 </dev/null || status=$?
    case "|$expected|" in
    "|*|" | *"|$status|"*) ;;
    *) verdict="FAILED: expected exit code $expected" ;;
    esac
    for pattern in "$@"; do
        grep -Eq -- "$pattern" "$output" || verdict="FAILED: the output does not match $pattern"
    done
    [ "$verdict" = passed ] || failed=$((failed + 1))
    {
        printf '\n$ %s\nexit code %s, %s\n' "$command" "$status" "$verdict"
        if [ "$verdict" = passed ]; then shorten "$output"; else sed 's/^/    /' "$output"; fi
    } | tee -a "$record"
}

# The first lines of an output, and its last one.
shorten() { # shorten FILE
    tr -d '\r' <"$1" | cut -c 1-160 | awk '
        NR <= 8 { print "    " $0 }
        { last = $0 }
        END { if (NR > 9) print "    … (" NR " lines)"; if (NR > 8) print "    " last }'
}

# Types answers into a command that asks at a terminal.
typed() { # typed EXITS COMMAND ANSWERS [PATTERN...]
    local expected=$1 command=$2 answers=$3
    shift 3
    printf '%b' "$answers" >"$scratch/answers"
    # A user needs some time, and stays at the terminal.
    run "$expected" "{ sleep 2; while read -r answer; do echo \"\$answer\"; sleep 1; done <$scratch/answers; } |
        script --quiet --return --command '$command' /dev/null" "$@"
}

# Waits until the output of a command matches a pattern.
await() { # await SECONDS COMMAND PATTERN
    local command=$2 pattern=$3 end=$((SECONDS + $1))
    until bash -c "$command" 2>&1 </dev/null | grep -Eq -- "$pattern"; do
        if [ "$SECONDS" -ge "$end" ]; then
            run 0 "$command" "$pattern"
            return 0
        fi
        sleep 0.5
    done
    run '*' "$command" "$pattern"
}

# Waits for a moment at which no run of "* * * * *" is about to begin, and the last one has ended.
within_the_minute() {
    until [[ $(date +%S) == [1-3]* ]]; do sleep 1; done
}

# Runs SQL as the database's superuser.
sql() { # sql QUERY [DATABASE]
    docker exec nestjs_starter_db psql --no-psqlrc --quiet --tuples-only --no-align --username=postgres \
        --set=ON_ERROR_STOP=1 --dbname="${2:-nestjs_starter_db}" --command="$1"
}

verdict() {
    printf '\n== %s of %s commands passed (%s s); the images:\n' "$((commands - failed))" "$commands" \
        "$((SECONDS - began))" | tee -a "$record"
    docker images --filter dangling=false --format '   {{.Repository}}:{{.Tag}} {{.Size}}' | sort | tee -a "$record"
    [ "$failed" = 0 ]
}
