#!/usr/bin/env bash
# An unmodified program on the kernel's loopback and on Shunt, one table. Needs no NIC, no hugepages, no root where the packages
# are there. The programs measured are Debian's sockperf, server on one core, client on another; Shunt's wire is memif.
set -euo pipefail

usage() {
    cat <<'END'
usage: examples/demo.sh [--build-dir DIR] [--rounds N] [--seconds N]

Installs what is missing (Debian 12; sudo where not root), builds Shunt, then runs sockperf's ping-pong of 64 bytes, TCP and
UDP, over the kernel's loopback and over Shunt on a memif wire, both ends spinning on a core each, and prints one table.

  --build-dir DIR  use the programs of this build folder; install nothing but sockperf, build nothing
  --rounds N       rounds of the four measurements, 1 to 20 (default 3); the table shows medians
  --seconds N      seconds a measurement, 2 to 60 (default 3)
  --help           this text
END
}

fail() {
    echo "demo: $*" >&2
    exit 1
}
say() { echo "demo: $*" >&2; }

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build_dir=
rounds=3
seconds=3
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --build-dir | --rounds | --seconds) [ $# -ge 2 ] || fail "$1 needs a value; see --help" ;;&
        --build-dir) build_dir=$2; shift 2 ;;
        --rounds) rounds=$2; shift 2 ;;
        --seconds) seconds=$2; shift 2 ;;
        *) fail "$1 is not an option; see --help" ;;
    esac
done
in_range() { [[ $1 =~ ^[0-9]{1,3}$ ]] && [ "$((10#$1))" -ge "$2" ] && [ "$((10#$1))" -le "$3" ]; }
in_range "$rounds" 1 20 || fail "--rounds $rounds: give a number from 1 to 20"
in_range "$seconds" 2 60 || fail "--seconds $seconds: give a number from 2 to 60"
rounds=$((10#$rounds)) seconds=$((10#$seconds))

# What the caller's environment says to Shunt or to the loader is not part of this.
unset LD_PRELOAD "${!SHUNT_@}"
export LC_ALL=C

work=$(mktemp -d "${TMPDIR:-/tmp}/shunt-demo.XXXXXX")
children=()
cleanup() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in "${children[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${children[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- Preparation ------------------------------------------------------------------------------------------------------------------
# Runs a long command quietly with a line every few seconds; its output appears when it fails.
patiently() {
    local what=$1 log=$work/long.log pid started=$SECONDS said=0
    shift
    say "$what"
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    children=("$pid")
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - started - said)) -ge 10 ]; then
            said=$((SECONDS - started))
            say "  $said s: $(tail -n 1 "$log" | tr -d '\r' | cut -c 1-90)"
        fi
    done
    if ! wait "$pid"; then
        tail -n 30 "$log" >&2
        children=()
        fail "this went wrong: $what (the end of its output is above)"
    fi
    children=()
}

install_packages() {
    command -v apt-get >/dev/null || fail "this machine has no apt-get; Shunt is built on Debian 12"
    "$source_dir/cmake/install-deps.sh" "$@" >&2 || fail "packages are missing; run cmake/install-deps.sh $* as root and start again"
}

build() {
    build_dir=$source_dir/build/release
    if [ -e "$build_dir" ] && [ ! -w "$build_dir" ] || [ ! -e "$source_dir/build" ] && [ ! -w "$source_dir" ]; then
        [ -x "$build_dir/bin/shunt" ] || fail "$build_dir cannot be written; clone into a folder of your own"
        say "build/release belongs to somebody else: using what is built there"
        return
    fi
    cd "$source_dir"
    patiently "configuring the build" cmake --preset release
    patiently "building Shunt (some minutes the first time)" cmake --build --preset release --target shunt_launcher shunt_preload
}

choose_cores() {
    local list part first last core
    cores=()
    list=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
    for part in ${list//,/ }; do
        first=${part%-*} last=${part#*-}
        for ((core = first; core <= last && ${#cores[@]} < 2; core++)); do
            cores+=("$core")
        done
    done
    [ ${#cores[@]} -eq 2 ] || fail "two cores are needed, one for each end; this machine lends us ${#cores[@]}"
}

# Per cent of all processors' time that somebody used in the last half second.
busy_percent() {
    local before after
    before=$(head -n 1 /proc/stat)
    sleep 0.5
    after=$(head -n 1 /proc/stat)
    printf '%s\n%s\n' "$before" "$after" |
        awk '{t = 0; for (i = 2; i <= 9; i++) t += $i; i = $5 + $6; if (NR == 2) printf "%d\n", 100 * (1 - (i - idle) / (t - total + 0.001)); idle = i; total = t}'
}

check_idle() {
    local busy i
    for i in 1 2 3 4; do
        busy=$(busy_percent)
        [ "$busy" -lt 15 ] && return 0
        sleep 1
    done
    say "warning: something else keeps the processors $busy % busy; the figures will be worse than they should be"
}

# --- One measurement --------------------------------------------------------------------------------------------------------------
# Leaves the server's pid in server_pid. Arguments: the command.
start_server() {
    local log=$1 i
    shift
    timeout -k 2 $((seconds + 30)) taskset -c "${cores[0]}" "$@" >"$log" 2>&1 </dev/null &
    server_pid=$!
    children=("$server_pid")
    for ((i = 0; i < 100; i++)); do
        grep -qs 'to block on socket' "$log" && return 0
        kill -0 "$server_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

stop_server() {
    kill "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    children=()
}

# "p50 p99 p99.9 messages_a_second" from sockperf's report; nothing when it is not complete, or when an answer was lost on the
# way and the client stood still (messages times their round trips must fill the time).
read_report() {
    awk '
        /\[Valid Duration\]/ {
            for (i = 1; i <= NF; i++) {
                if ($i ~ /^RunTime=/) time = substr($i, 9) + 0
                if ($i ~ /^ReceivedMessages=/) received = substr($i, 18) + 0
            }
        }
        match($0, /avg-latency=[0-9.]+/) { average = substr($0, RSTART + 12, RLENGTH - 12) }
        /percentile 50\.000/ { p50 = $NF }
        /percentile 99\.000/ { p99 = $NF }
        /percentile 99\.900/ { p999 = $NF }
        END {
            if (received < 1000 || time <= 0 || p999 == "" || received * 2 * average < 0.5e6 * time) exit 1
            printf "%s %s %s %.0f\n", p50, p99, p999, received / time
        }' "$1"
}

# sockperf keeps a record for each message, for 600,000 a second unless told otherwise, and gives up when they come faster: as they do here.
messages_per_second_max=2000000

measure_once() {
    local path=$1 protocol=$2 tcp=() server=() client=() address=127.0.0.1 log=$work/$1-$2
    [ "$protocol" = tcp ] && tcp=(--tcp)
    port=$((port >= 29000 ? 21000 : port + 1))
    if [ "$path" = shunt ]; then
        address=10.77.0.1
        wire=$((wire + 1))
        server=("$build_dir/bin/shunt" --profile latency --link "memif:demo-$$-$wire" --ip 10.77.0.1/24)
        client=("$build_dir/bin/shunt" --profile latency --link "memif:demo-$$-$wire" --ip 10.77.0.2/24)
    fi
    if start_server "$log.server" "${server[@]}" sockperf server "${tcp[@]}" --nonblocked -i "$address" -p "$port"; then
        timeout -k 2 $((seconds + 10)) taskset -c "${cores[1]}" "${client[@]}" \
            sockperf ping-pong "${tcp[@]}" --nonblocked -i "$address" -p "$port" -m 64 -t "$seconds" --mps="$messages_per_second_max" \
            >"$log.client" 2>&1 </dev/null &
        children+=("$!")
        wait "$!" || true
    else
        : >"$log.client"
    fi
    stop_server
    read_report "$log.client" >"$log.line"
}

# A UDP ping-pong stands still when one datagram is lost, so a measurement that gives no figures is tried again.
measure() {
    local path=$1 protocol=$2 try
    for try in 1 2 3; do
        if measure_once "$path" "$protocol"; then
            cat "$work/$path-$protocol.line" >>"$work/$path-$protocol.figures"
            return
        fi
        say "  no figures from $protocol on $path in attempt $try of 3"
    done
    {
        tail -n 5 "$work/$path-$protocol.server" "$work/$path-$protocol.client"
    } >&2
    fail "sockperf's $protocol ping-pong does not run on $path; the ends of its two outputs are above"
}

# --- The table --------------------------------------------------------------------------------------------------------------------
# Medians of each column, then the p50's smallest and largest.
medians() {
    awk '
        { for (c = 1; c <= 4; c++) v[c, NR] = $c }
        function sorted(c,   i, j, t) {
            for (i = 2; i <= NR; i++)
                for (j = i; j > 1 && v[c, j] + 0 < v[c, j - 1] + 0; j--) { t = v[c, j]; v[c, j] = v[c, j - 1]; v[c, j - 1] = t }
        }
        function median(c) { sorted(c); return NR % 2 ? v[c, (NR + 1) / 2] : (v[c, NR / 2] + v[c, NR / 2 + 1]) / 2 }
        END {
            for (c = 1; c <= 4; c++) printf "%s ", median(c)
            print v[1, 1], v[1, NR]
        }' "$work/$1-$2.figures"
}

print_table() {
    local protocol path p50 p99 p999 rate low high kernel_p50 ratio disagree=
    printf '\nsockperf ping-pong, 64 bytes, both ends spinning on a core each; half round trips in microseconds, medians of the rounds (%d)\n\n' "$rounds"
    printf '%-9s %-8s %8s %8s %8s %12s %8s   %s\n' protocol path p50 p99 p99.9 messages/s ratio "p50 of the rounds"
    for protocol in tcp udp; do
        for path in kernel shunt; do
            read -r p50 p99 p999 rate low high < <(medians "$path" "$protocol")
            [ "$path" = kernel ] && kernel_p50=$p50
            ratio=$(awk -v k="$kernel_p50" -v s="$p50" 'BEGIN { printf "%.1f", k / s }')
            printf '%-9s %-8s %8.3f %8.3f %8.3f %12.0f %7sx   %.3f to %.3f\n' "$protocol" "$path" "$p50" "$p99" "$p999" "$rate" "$ratio" "$low" "$high"
            awk -v l="$low" -v h="$high" 'BEGIN { exit h > 1.3 * l ? 0 : 1 }' && disagree=yes
        done
    done
    printf '\nratio: how many times shorter the half round trip is (p50) than on the kernel, same protocol\n'
    if [ -n "$disagree" ]; then
        echo "note: the rounds disagree by more than 30 %: something else used the processors, or their host moved them"
    fi
}

main() {
    local round protocol path
    [ "$(uname -m)" = x86_64 ] || fail "this machine is $(uname -m); Shunt is for x86_64"
    if [ -n "$build_dir" ]; then
        command -v sockperf >/dev/null || install_packages --demo
        build_dir=$(cd "$build_dir" 2>/dev/null && pwd) || fail "--build-dir: there is no such folder"
    else
        install_packages --demo
        build
    fi
    [ -x "$build_dir/bin/shunt" ] || fail "$build_dir/bin/shunt is not there; run without --build-dir to build it"
    [ -e "$build_dir/lib/libshunt_preload.so" ] || fail "$build_dir/lib/libshunt_preload.so is not there; run without --build-dir to build it"
    choose_cores
    check_idle
    port=$((21000 + $$ % 8000)) wire=0
    say "measuring: rounds: $rounds; about $((rounds * 4 * (seconds + 2))) s; server on core ${cores[0]}, client on core ${cores[1]}"
    for ((round = 1; round <= rounds; round++)); do
        for protocol in tcp udp; do
            for path in kernel shunt; do
                measure "$path" "$protocol"
                say "  round $round of $rounds: $protocol on $path: p50 $(cut -d ' ' -f 1 "$work/$path-$protocol.line") us"
            done
        done
    done
    print_table
}

main
