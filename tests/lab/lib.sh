# The guest's library: addresses, devices, programs on either side, waiting.
LAB=/run/lab
PF=0000:00:03.0
PEER_IP=10.0.0.1   # Linux, on the PF's netdev, in the namespace "peer"
VF_IP=10.0.0.2     # Shunt, on the VF
VF_MAC=02:00:00:00:01:00
[ ! -e $LAB/env ] || . $LAB/env

uptime_is() { read -r up _ < /proc/uptime; echo "LAB: $1 at $up s"; }
until_true() {   # until_true SECONDS COMMAND...: try again and again
  local end=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}
load() {   # kernel modules, with those that they need: from the guest's own tree, busybox's modprobe looks elsewhere
  local d line x n words
  d=$LAB/modules/$(uname -r)
  for m; do
    line=$(grep "/$m\.ko:" "$d/modules.dep") || { echo "no module $m"; return 1; }
    words=
    for x in ${line#*:}; do words="$x $words"; done
    for x in $words ${line%%:*}; do
      n=$(basename "$x" .ko | tr - _)
      [ -d "/sys/module/$n" ] || $LAB/busybox insmod "$d/$x" || return 1
    done
  done
}
bind_driver() {   # bind_driver ADDRESS DRIVER
  local p=/sys/bus/pci/devices/$1
  [ ! -e $p/driver ] || echo "$1" > $p/driver/unbind
  echo "$2" > $p/driver_override
  echo "$1" > /sys/bus/pci/drivers_probe
  [ "$(basename "$(readlink $p/driver)")" = "$2" ]
}
netdev_of() { ls "/sys/bus/pci/devices/$1/net"; }
peer() { ip netns exec peer "$@"; }
peer_has_carrier() { [ "$(peer cat "/sys/class/net/$1/carrier")" = 1 ]; }

# What the peer has counted as bad checksums, in IP, ICMP, TCP and UDP together. Its card leaves checking to Linux, see guest.sh.
bad_checksums() {
  peer awk '$1 in names { split(names[$1], n); for (i = 2; i <= NF; i++) if (n[i] == "InCsumErrors") sum += $i; next }
    { names[$1] = $0 } END { print sum + 0 }' /proc/net/snmp /proc/net/netstat
}
dma_faults() { dmesg | grep -c 'DMAR:.*fault' || true; }

# on_vf PROGRAM...: the program on the VF; under Shunt, or on Linux's own igbvf when the lab proves itself.
on_vf() {
  case $LAB_STACK in
    kernel) "$@" ;;
    shunt) "$LAB/build/bin/shunt" --link "pci:$VF" --ip $VF_IP/24 --log "$LAB_LOG" -- "$@" ;;
  esac
}
# start LOG SIDE PROGRAM...: SIDE is peer or on_vf; in the background, its process number in $started.
start() { local log=$1; shift; "$@" > "$log" 2>&1 & started=$!; logs="${logs:-} $log"; }
stop() { pkill "-${1:-TERM}" -P "$started"; wait "$started"; }   # its exit status is the program's
running() { kill -0 "$started" 2>/dev/null; }
pings() { peer $LAB/busybox ping -q -c 1 -W 1 $VF_IP > /dev/null; }
says() { grep -q "$2" "$1"; }
# vf_up: the program started last brought its address up (it answers a ping); fails at once if it has died.
vf_up() { until_true 20 alive_and pings || { echo "lab: no answer from $VF_IP"; return 1; }; }
# listening PORT: the server started last, on the VF, takes a connection from the peer.
listening() { vf_up && until_true 20 alive_and peer_accepts "$1" || { echo "lab: no listener on $VF_IP:$1"; return 1; }; }
peer_accepts() { peer timeout 2 bash -c "exec 3<>/dev/tcp/$VF_IP/$1" 2>/dev/null; }
# peer_listening PORT: the server on the peer's side takes a connection from its own side.
peer_listening() { until_true 20 alive_and peer_accepts_own "$1" || { echo "lab: no listener on $PEER_IP:$1"; return 1; }; }
peer_accepts_own() { peer timeout 2 bash -c "exec 3<>/dev/tcp/$PEER_IP/$1" 2>/dev/null; }
alive_and() { running || { echo "lab: the server has ended"; exit 1; }; "$@"; }
fail() { echo "lab: $*"; exit 1; }
