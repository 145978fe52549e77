# curl_test SERVER-SIDE CLIENT-SIDE: curl fetches 20 MB from nginx; what arrived must be what was sent.
curl_test() {
  local server=$1 client=$2 ip=$PEER_IP
  [ "$server" = peer ] || ip=$VF_IP
  mkdir -p www var
  head -c 20971520 /dev/urandom > www/file
  cat > nginx.conf <<END
daemon off; master_process off; user root; pid $PWD/var/pid; error_log $PWD/nginx.log;
events { worker_connections 64; }
http { access_log off; sendfile ${SENDFILE:-on}; client_body_temp_path $PWD/var/b; proxy_temp_path $PWD/var/p;
  fastcgi_temp_path $PWD/var/f; uwsgi_temp_path $PWD/var/u; scgi_temp_path $PWD/var/s;
  server { listen $ip:8080; root $PWD/www; } }
END
  start server.log "$server" nginx -p "$PWD" -e "$PWD/nginx.log" -c "$PWD/nginx.conf"
  case $server in
    on_vf) listening 8080 || exit 1 ;;
    peer) peer_listening 8080 || exit 1 ;;
  esac
  timeout -k 2 40 bash -c '. /run/lab/repo/tests/lab/lib.sh; "$@"' - "$client" \
    curl -sS --fail -o got -w '%{size_download} bytes in %{time_total} s\n' http://$ip:8080/file > client.log 2>&1 ||
    fail "curl ended with status $?"
  tail -1 client.log
  sent=$(sha256sum < www/file)
  [ "$(sha256sum < got)" = "$sent" ] || fail "the file arrived damaged"
  echo "sha256 is the same: ${sent%% *}"
  running || fail "the server has ended"
}
