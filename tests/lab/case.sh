#!/bin/bash
# case.sh boot | NAME: a ctest case of the lab. "boot" runs every scenario in one guest, the others report their result.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${SHUNT_TEST_BUILD_DIR:?}/lab
[ "${SHUNT_LAB:-}" = 1 ] || { echo "SKIP: the QEMU lab was not asked for (tests/run.sh --lab, or SHUNT_LAB=1)"; exit 77; }
if [ "$1" = boot ]; then
  "$here/run" --out "$out" all
  [ $? -le 1 ]   # a scenario that failed is a failure of its own case
  exit
fi
[ -e "$out/$1.rc" ] || { echo "the guest left no result for $1; see $out/console.log"; exit 1; }
cat "$out/$1.log"
rc=$(cat "$out/$1.rc")
[ "$rc" != 77 ] || rc=1   # not a skip
exit "$rc"
