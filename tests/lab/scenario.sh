#!/bin/bash
# scenario.sh NAME: one scenario, in the guest and in its own process namespace.
. /run/lab/repo/tests/lab/lib.sh
mkdir -p "/tmp/$1"
cd "/tmp/$1" || exit 1
(set -e; . "$LAB/repo/tests/lab/scenarios/$1.sh")
