# limit: 40 s
# sockperf's udp server on Shunt, its client on Linux.
. $LAB/repo/tests/lab/sockperf.sh
sockperf_test udp on_vf peer
