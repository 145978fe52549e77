#!/usr/bin/env bash
# Installs the Debian 12 packages that Shunt is built from, only those that are missing.
#   cmake/install-deps.sh [--demo] [--tests] [--tidy]
# --demo adds what examples/demo.sh runs, --tests the programs that the tests run, --tidy the compilers for clang-tidy and fuzzing.
# Uses sudo where not root.
set -euo pipefail

build=(ca-certificates git g++ cmake ninja-build pkg-config libdpdk-dev libboost-dev libmimalloc-dev libgtest-dev libgmock-dev
    libbenchmark-dev libfmt-dev libtomlplusplus-dev libcli11-dev nlohmann-json3-dev iproute2 python3)
demo=(sockperf)
tests=(sockperf iperf3 iperf redis-server redis-tools nginx-light wrk curl memcached netcat-openbsd libquickfix-dev ethtool
    tcpdump procps python3.11 libpython3.11-testsuite apache2-bin apache2-utils gunicorn socat)
tidy=(clang-19 clang-tidy-19 libclang-rt-19-dev clang-format)

wanted=("${build[@]}")
for argument in "$@"; do
    case $argument in
        --demo) wanted+=("${demo[@]}") ;;
        --tests) wanted+=("${tests[@]}") ;;
        --tidy) wanted+=("${tidy[@]}") ;;
        *)
            echo "install-deps.sh: $argument is not an option; there are --demo, --tests and --tidy" >&2
            exit 2
            ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    if [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | cut -c1-2)" != ii ]; then
        missing+=("$package")
    fi
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: these packages are missing and need root to install: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# Debian starts a service as soon as its package is unpacked; the tests start their own instead. A policy of the machine's
# own is put back afterwards, and what systemd was told to start at boot is told otherwise.
policy=/usr/sbin/policy-rc.d
saved=
policy_is_ours=
restore_policy() {
    if [ -n "$policy_is_ours" ]; then
        "${as_root[@]}" rm -f "$policy"
        if [ -n "$saved" ]; then
            "${as_root[@]}" mv "$saved" "$policy"
        fi
    fi
}
trap restore_policy EXIT
if [ -e "$policy" ]; then
    saved=$policy.before-shunt
    "${as_root[@]}" mv "$policy" "$saved"
fi
policy_is_ours=yes
printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
"${as_root[@]}" chmod 755 "$policy"

log=$(mktemp)
# Says what it does, keeps quiet on success, shows the whole output on failure.
run_quietly() {
    if ! "$@" </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        echo "install-deps.sh: failed: $*" >&2
        rm -f "$log"
        exit 1
    fi
}

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)
echo "install-deps: ${#missing[@]} packages are missing: ${missing[*]}"
echo "install-deps: updating the package lists"
run_quietly "${apt[@]}" update
echo "install-deps: installing (a few minutes on a bare machine)"
run_quietly "${apt[@]}" install -y --no-install-recommends "${missing[@]}"

for package in "${missing[@]}"; do
    case $package in
        redis-server | nginx-light | memcached | iperf3)
            service=${package%-light}
            if [ -d /run/systemd/system ]; then
                "${as_root[@]}" systemctl disable --now "$service" >/dev/null 2>&1 || true
            elif command -v update-rc.d >/dev/null && [ -e "/etc/init.d/$service" ]; then
                "${as_root[@]}" update-rc.d "$service" disable >/dev/null 2>&1 || true
            fi
            ;;
    esac
done
rm -f "$log"
echo "install-deps: done"
