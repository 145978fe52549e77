# limit: 40 s
# sockperf's udp client on Shunt, its server on Linux.
. $LAB/repo/tests/lab/sockperf.sh
sockperf_test udp peer on_vf
