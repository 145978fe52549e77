# limit: 40 s
# sockperf's tcp client on Shunt, its server on Linux.
. $LAB/repo/tests/lab/sockperf.sh
sockperf_test tcp peer on_vf
