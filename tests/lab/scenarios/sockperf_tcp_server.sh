# limit: 40 s
# sockperf's tcp server on Shunt, its client on Linux.
. $LAB/repo/tests/lab/sockperf.sh
sockperf_test tcp on_vf peer
