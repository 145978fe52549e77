# sockperf_test tcp|udp SERVER-SIDE CLIENT-SIDE: a ping-pong, then throughput, with one server that counts. Sides: on_vf, peer.
sockperf_test() {
  local proto=$1 server=$2 client=$3 ip=$PEER_IP tcp= extra=0
  [ "$server" = peer ] || ip=$VF_IP
  [ "$proto" = udp ] || tcp=--tcp
  [ "$proto-$client" != udp-on_vf ] || extra=3   # Shunt starts at the first datagram, when sockperf's clock is running
  start server.log "$server" sockperf server $tcp -i $ip -p 11111
  case $server-$proto in
    peer-*) until_true 20 alive_and peer_bound || fail "the server did not bind" ;;
    on_vf-tcp) listening 11111 || exit 1 ;;
    on_vf-udp) vf_up || exit 1 ;;
  esac
  ping_pong
  throughput
}
sockperf_client() {   # sockperf_client LOG MODE ARGUMENTS...
  local log=$1 mode=$2; shift 2
  timeout -k 2 25 bash -c '. /run/lab/repo/tests/lab/lib.sh; "$@"' - "$client" \
    sockperf "$mode" $tcp -i $ip -p 11111 "$@" > "$log" 2>&1 || fail "sockperf $mode ended with status $?"
}
ping_pong() {
  sockperf_client client.log ping-pong -m 64 -t $((2 + extra)) --full-rtt
  grep -E 'Valid Duration|dropped messages|percentile 50|percentile 99\.0|MAX|MIN' client.log
  local received; received=$(number client.log '\[Valid Duration\].*ReceivedMessages=\([0-9]*\)')
  [ "${received:-0}" -ge 20 ] || fail "only ${received:-no} answers"
  says client.log '# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0' ||
    fail "messages lost or doubled"
  running || fail "the server has ended"
}
# Datagrams are paced: the emulated card loses some of a flood without a word. What Linux drops because its server is slow to
# read, it counts.
throughput() {
  local pings sent received overflowed pace=
  overflowed=$(peer_overflows)
  [ "$proto" = tcp ] || pace=--mps=2000
  # Bound to its address the client is Shunt's before sockperf's clock runs; else it would make up for the start by a burst.
  [ "$proto-$client" != udp-on_vf ] || pace+=" --client_ip=$VF_IP"
  sockperf_client throughput.log throughput -m 1400 -t 1 $pace
  stop INT || fail "the server ended with status $? on SIGINT"
  pings=$(number client.log '\[Total Run\].*SentMessages=\([0-9]*\)')
  sent=$(number throughput.log 'Total of \([0-9]*\) messages sent')
  received=$(number server.log 'Total \([0-9]*\) messages received')
  overflowed=$(($(peer_overflows) - overflowed))
  echo "throughput: ${sent:-none} messages of 1400 bytes sent; with the $pings pings ${received:-none} received, $overflowed dropped by the full buffer of Linux"
  [ "${sent:-0}" -ge 100 ] || fail "too few messages sent"
  if [ "$proto" = tcp ]; then
    [ "${received:-0}" = $((pings + sent)) ] || fail "what was sent is not what was received"
  else
    [ $((received + overflowed)) -ge $((pings + sent * 9 / 10)) ] || fail "more than a tenth of the datagrams was lost"
  fi
}
peer_overflows() { peer awk '$1 == "Udp:" && $6 ~ /^[0-9]/ { print $6 }' /proc/net/snmp; }
number() { sed -n "s/.*$2.*/\\1/p" "$1" | head -1; }
peer_bound() { peer ss -Hln "--$proto" "sport = :11111" | grep -q .; }
