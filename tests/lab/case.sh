#!/bin/bash
# case.sh boot | NAME: a ctest case of the lab. "boot" runs every scenario in one guest, the others report their result.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${SHUNT_TEST_BUILD_DIR:?}/lab
[ "${SHUNT_LAB:-}" = 1 ] || { echo "SKIP: the QEMU lab was not asked for (tests/run.sh --lab, or SHUNT_LAB=1)"; exit 77; }
if [ "$1" = boot ]; then
  [ "${2:-}" = tied ] || exec setpriv --pdeathsig TERM bash "$0" boot tied   # when ctest is killed, this and the guest end as well
  setpriv --pdeathsig TERM "$here/run" --out "$out" all &
  trap 'kill $! 2>/dev/null; wait $!; exit 143' INT TERM HUP
  wait $!
  rc=$?
  [ $rc -le 1 ] && exit 0   # a scenario that failed is a failure of its own case
  ls "$out"/*.rc > /dev/null 2>&1 && [ $rc = 125 ] && exit 0   # so is one that did not run, when others did
  exit 1
fi
if [ ! -e "$out/$1.rc" ]; then
  echo "the guest left no result for $1; the end of $out/console.log:"
  tail -15 "$out/console.log"
  exit 1
fi
cat "$out/$1.log"
rc=$(cat "$out/$1.rc")
[ "$rc" != 77 ] || rc=1   # not a skip
exit "$rc"
