# limit: 60 s
# redis-server on Shunt, redis-benchmark on Linux.
. $LAB/repo/tests/lab/redis.sh
redis_test on_vf peer
