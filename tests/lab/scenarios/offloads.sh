# limit: 40 s
# The port alone, as Shunt opens it: checksums on receive and on send are the card's, and right.
[ "$LAB_STACK" = shunt ] || { echo "only where Shunt has the VF"; exit 0; }
peer ethtool -K "$PF_NETDEV" gro off   # else Linux shows merged frames, whose sums are not those of the wire
start offloads.log "$LAB/build/test/lab_offloads" "$VF"
until_true 15 alive_and says offloads.log 'the port offers' || fail "the port did not open"
before=$(bad_checksums)
peer python3 -B "$LAB/repo/tests/lab/offloads.py" "$PF_NETDEV" "$VF_MAC" > peer.log 2>&1 || fail "$(cat peer.log)"
wait "$started" || { cat offloads.log; fail "the port and software disagree"; }
cat offloads.log peer.log
[ "$(bad_checksums)" -gt "$before" ] || fail "Linux did not count the frames that were spoilt: its counter proves nothing"
touch spoilt
