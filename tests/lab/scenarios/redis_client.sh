# limit: 60 s
# redis-benchmark on Shunt, redis-server on Linux.
. $LAB/repo/tests/lab/redis.sh
redis_test peer on_vf
