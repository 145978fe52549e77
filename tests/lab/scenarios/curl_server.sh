# limit: 60 s
# nginx on Shunt, curl on Linux: 20 MB.
. $LAB/repo/tests/lab/curl.sh
curl_test on_vf peer
