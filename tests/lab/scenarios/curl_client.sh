# limit: 60 s
# curl on Shunt, nginx on Linux: 20 MB.
. $LAB/repo/tests/lab/curl.sh
curl_test peer on_vf
