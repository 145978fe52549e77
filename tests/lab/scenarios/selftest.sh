# limit: 40 s
# The lab itself, without Shunt: DPDK's testpmd on the VF answers the pings of Linux on the PF.
[ "$LAB_STACK" = kernel ] && { echo "the VF belongs to the kernel here: a ping only"; vf_is_kernel=1; }
if [ -z "${vf_is_kernel:-}" ]; then
  # DPDK's shared objects load every driver they find, which takes long under emulation: leave it the few that are needed.
  dir=/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0
  mkdir pmds
  for l in bus_pci bus_vdev mempool_ring net_e1000 crypto_scheduler net_bnxt net_i40e net_ixgbe bus_dpaa common_dpaax \
      mempool_dpaa net_dpaa net_bond net_ice common_iavf net_mlx5 common_mlx5 bus_auxiliary; do
    cp $dir/librte_$l.so.23.0 pmds/
    ln -s librte_$l.so.23.0 pmds/librte_$l.so
    ln -s librte_$l.so.23.0 pmds/librte_$l.so.23
  done
  mount --bind "$PWD/pmds" $dir
  mkfifo control
  dpdk-testpmd -l 0-1 -a "$VF" --no-telemetry -m 64 -- --forward-mode=icmpecho --auto-start --total-num-mbufs=2048 -i \
    < control > testpmd.log 2>&1 & started=$!
  exec 7> control
  until_true 30 alive_and says testpmd.log 'testpmd>' || fail "testpmd did not come up"
fi
peer $LAB/busybox ping -q -c 5 -i 0.2 -w 5 $VF_IP | tee pings
says pings ' 0% packet loss'
