# A sockperf ping-pong: sockperf_test tcp|udp SERVER-SIDE CLIENT-SIDE. Sides are on_vf and peer.
sockperf_test() {
  local proto=$1 server=$2 client=$3 ip=$PEER_IP tcp=
  [ "$server" = peer ] || ip=$VF_IP
  [ "$proto" = udp ] || tcp=--tcp
  start server.log "$server" sockperf server $tcp -i $ip -p 11111
  case $server-$proto in
    peer-*) until_true 20 alive_and peer_bound "$proto" || fail "the server did not bind" ;;
    on_vf-tcp) listening 11111 || exit 1 ;;
    on_vf-udp) vf_up || exit 1; sleep 1 ;;
  esac
  timeout -k 2 25 bash -c '. /run/lab/repo/tests/lab/lib.sh; "$@"' - "$client" \
    sockperf ping-pong $tcp -i $ip -p 11111 -m 64 -t 3 --full-rtt > client.log 2>&1 || fail "the client ended with status $?"
  grep -E 'Valid Duration|dropped messages|percentile 50|percentile 99\.0|MAX|MIN' client.log
  received=$(sed -n 's/.*\[Valid Duration\].*ReceivedMessages=\([0-9]*\).*/\1/p' client.log)
  [ "${received:-0}" -ge 20 ] || fail "only ${received:-no} answers"
  says client.log '# dropped messages = 0; # duplicated messages = 0; # out-of-order messages = 0' ||
    fail "messages lost or doubled"
  running || fail "the server has ended"
  stop INT || fail "the server ended with status $? on SIGINT"
}
peer_bound() { peer ss -Hln "--$1" "sport = :11111" | grep -q .; }
