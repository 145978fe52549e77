#!/bin/bash
# scenario.sh NAME: one scenario, in the guest and in its own process namespace. Whatever it does, no checksum that reaches
# Linux may be bad (a scenario that spoils some says so by a file "spoilt"), and the card must keep to the memory it was given.
. /run/lab/repo/tests/lab/lib.sh
mkdir -p "/tmp/$1"
cd "/tmp/$1" || exit 1
before=$(bad_checksums) faults=$(dma_faults)
(set -e; . "$LAB/repo/tests/lab/scenarios/$1.sh") || exit
bad=$(($(bad_checksums) - before))
[ -e spoilt ] || [ $bad = 0 ] || fail "the peer saw $bad bad checksums"
[ "$(dma_faults)" = "$faults" ] || fail "the IOMMU refused the card access to memory"
