#!/usr/bin/env bash
# Runs every test that this machine allows, says what it skipped and why, and ends in ctest's own summary.
#   tests/run.sh [--lab] [--asan] [--tidy] [-- arguments for ctest, such as -R tcp]
# --lab    also the tests in a QEMU guest with an emulated SR-IOV card (adds a Debian suite, fetches about 85 MB the first time)
# --asan   also the unit tests under the address and undefined-behaviour sanitizers, and many threads on one stack under the thread sanitizer
# --tidy   also clang-tidy over our own code
# Missing Debian packages are installed first, with sudo where not root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lab= asan= tidy=
while [ $# -gt 0 ]; do
    case $1 in
        --lab) lab=yes ;;
        --asan) asan=yes ;;
        --tidy) tidy=yes ;;
        --) shift; break ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "run.sh: $1 is not an option; there are --lab --asan --tidy" >&2; exit 2 ;;
    esac
    shift
done

status=0
say() { printf '== %4ds  %s\n' "$SECONDS" "$*"; }

# Builds a preset: lines of progress on a terminal and in a log alike.
build() {
    local preset=$1
    shift
    say "configure $preset"
    cmake --preset "$preset" >/dev/null
    say "build $preset"
    NINJA_STATUS='[%f/%t %es] ' cmake --build --preset "$preset" "$@"
}

# ctest with its summary held back until the reasons for what was skipped are printed.
run_ctest() {
    local preset=$1 summary skipped rc=0
    shift
    summary=$(mktemp)
    ctest --preset "$preset" --parallel "$(nproc)" "$@" 2>&1 |
        awk -v summary="$summary" '/^[0-9]+% tests passed|^No tests were found/ { end = 1 } { if (end) print > summary; else { print; fflush() } }' || rc=$?
    skipped=$(why_skipped "build/$preset/Testing/Temporary/LastTest.log")
    if [ -n "$skipped" ]; then
        printf '\nSkipped, and why:\n%s\n' "$skipped"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        echo "Left out: tests labelled root (not root; run them with: sudo tests/run.sh)"
    fi
    echo
    cat "$summary"
    rm -f "$summary"
    return "$rc"
}

# The line "SKIP: reason" of each skipped test in ctest's log, tests with the same reason together.
why_skipped() {
    awk '/^[0-9]+\/[0-9]+ Test: / { name = $3 }
         /^SKIP: / { sub(/^SKIP: /, ""); if (!($0 in names)) order[++n] = $0; names[$0] = names[$0] " " name }
         END { for (i = 1; i <= n; i++) printf "  %s:%s\n", order[i], names[order[i]] }' "$1" 2>/dev/null || true
}

say "packages"
needs=(--tests)
if [ -n "$tidy" ]; then
    needs+=(--tidy)
fi
cmake/install-deps.sh "${needs[@]}"

if [ -n "$lab" ]; then
    export SHUNT_LAB=1
    say "set up the lab"
    tests/lab/setup.sh || { say "the lab could not be set up; its tests will fail"; status=1; }
fi

if [ -n "$tidy" ]; then
    say "clang-tidy"
    cmake --preset fuzz >/dev/null
    run-clang-tidy-19 -quiet -p build/fuzz "^$PWD/(src|pmd|preload)/" || status=1
fi

selection=()
if [ "$(id -u)" -ne 0 ]; then
    selection=(-LE '^root$')
fi

if [ -n "$asan" ]; then
    build asan --target unit_tests
    say "unit tests under the sanitizers"
    run_ctest asan -L '^unit$' "${selection[@]}" "$@" || status=1
    build tsan --target threads_test
    say "many threads under the thread sanitizer"
    run_ctest tsan -R '^threads_test$' || status=1
fi

build release
say "tests"
run_ctest release "${selection[@]}" "$@" || status=1
exit "$status"
