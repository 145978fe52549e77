#!/bin/bash
# Runs in the guest: prepares the card and its VF, then runs the scenarios of /run/lab/out/job, each with a time limit, in
# a process namespace of its own, so that nothing of it outlives it.
. /run/lab/repo/tests/lab/lib.sh
. $LAB/out/job
export LAB_STACK=$stack LAB_LOG=$log

prepare() {
  set -e
  mount --make-rprivate / 2>/dev/null || true
  load igb vfio_iommu_type1 vfio-pci
  [ "$stack" != kernel ] || load igbvf
  # The PF's netdev moves to its namespace before any VF is there: a later move would cut a running VF off. So the programs
  # on the VF have no kernel route to the peer, and what Shunt would hand to the kernel fails instead of passing unnoticed.
  n=$(netdev_of $PF)
  ip netns add peer
  ip link set "$n" netns peer
  peer ip link set lo up
  peer ip link set "$n" up
  peer ethtool -K "$n" rx off   # Linux checks every checksum by itself and counts the bad ones
  peer ip addr add $PEER_IP/24 dev "$n"
  echo 1 > /sys/bus/pci/devices/$PF/sriov_numvfs
  peer ip link set "$n" vf 0 mac $VF_MAC
  vf=$(basename "$(readlink /sys/bus/pci/devices/$PF/virtfn0)")
  until_true 10 peer_has_carrier "$n" || { echo "no carrier on the PF"; return 1; }
  case $stack in
    kernel)
      bind_driver "$vf" igbvf
      v=$(netdev_of "$vf")
      ip addr add $VF_IP/24 dev "$v"
      ip link set "$v" up ;;
    shunt) bind_driver "$vf" vfio-pci ;;
    *) echo "unknown stack '$stack'"; return 1 ;;
  esac
  printf 'export PF_NETDEV=%s VF=%s\n' "$n" "$vf" > $LAB/env
}
(prepare) || { echo "LAB: cannot prepare the card"; dmesg | tail -20; exit 1; }
. $LAB/env
touch $LAB/out/ready
uptime_is "card ready"

for s in $scenarios; do
  script=$LAB/repo/tests/lab/scenarios/$s.sh
  limit=$(sed -n 's/^# limit: \([0-9]*\) s.*/\1/p' "$script")
  read -r begin _ < /proc/uptime
  if [ -n "$pcap" ]; then
    peer tcpdump -q -i "$PF_NETDEV" -s 200 -w /tmp/$s.pcap 2>/dev/null & tcpdump=$!
    sleep 1
  fi
  timeout -k 3 "${limit:-40}" unshare --fork --pid --kill-child --mount-proc bash $LAB/repo/tests/lab/scenario.sh $s \
    < /dev/null > $LAB/out/$s.log 2>&1
  rc=$?
  [ $rc != 124 ] || echo "lab: took more than ${limit:-40} s" >> $LAB/out/$s.log
  if [ -n "$pcap" ]; then kill $tcpdump; wait $tcpdump; cp /tmp/$s.pcap $LAB/out/; fi
  if [ $rc != 0 ]; then
    for f in /tmp/$s/*.log; do [ ! -e "$f" ] || { echo "--- ${f##*/}"; tail -60 "$f"; }; done >> $LAB/out/$s.log
    { echo "--- the peer's counters"; peer ip -s link show "$PF_NETDEV"; peer ip neigh
      peer cat /proc/net/snmp | grep -E '^(Tcp|Udp|Icmp):'; echo "--- the kernel's last words"
      dmesg | tail -8; } >> $LAB/out/$s.log 2>&1
  fi
  rm -rf "/tmp/$s" /dev/hugepages/*   # EAL may leave its pages in files
  read -r end _ < /proc/uptime
  echo $rc > $LAB/out/$s.rc
  echo "LAB: $s: status $rc, $(awk "BEGIN { printf \"%.1f\", $end - $begin }") s"
done
