# redis_test SERVER-SIDE CLIENT-SIDE: a redis-server and redis-benchmark with 50 clients against it, without and with pipelining.
redis_test() {
  local server=$1 client=$2 ip=$PEER_IP
  [ "$server" = peer ] || ip=$VF_IP
  start server.log "$server" redis-server --bind $ip --port 6379 --save '' --appendonly no --protected-mode no --dir "$PWD"
  case $server in
    on_vf) listening 6379 || exit 1 ;;
    peer) peer_listening 6379 || exit 1 ;;
  esac
  bench client.log -c 50 -n 1000 -t ping_mbulk,set,get,lrange_100
  if [ "$client" = peer ]; then   # one program on the VF at a time: the client on Shunt runs once
    bench pipelined.log -c 50 -n 4000 -P 16 -t set,get
    peer redis-cli -h $ip set lab "it works" > /dev/null
    [ "$(peer redis-cli -h $ip get lab)" = "it works" ] || fail "what was set was not got"
  fi
  running || fail "the server has ended"
  if [ "$server" = peer ]; then peer redis-cli -h $ip ping | grep -q PONG; fi
}
bench() {   # bench LOG ARGUMENTS...
  local log=$1; shift
  timeout -k 2 30 bash -c '. /run/lab/repo/tests/lab/lib.sh; "$@"' - "$client" \
    redis-benchmark -h $ip -p 6379 -q "$@" > "$log" 2>&1 || fail "redis-benchmark ended with status $?"
  tr '\r' '\n' < "$log" | grep 'requests per second'
  ! grep -qi error "$log" || fail "redis-benchmark saw errors"
}
