"""Servers and clients of Debian's in their packaged configuration, a table: what is written to the folder, the server's command, the client's,
and what the client must and must not print. docs/programs.md says what came of a minute of each.

In files and commands $folder, $listen, $address, $port, $seconds, $python and $scripts stand for the run's own. What prepares and what the
client does is the shell's, which ends at the first command that fails.
"""
import dataclasses
import re
import shlex
import signal
import string

import cases
from harness import HERE, SECONDS, Failed, Skipped

TAP = ("tap-server",)
FORKS = ("tap-server", "tap-client")  # processes that share a listener; tried before memif's links reached every process


@dataclasses.dataclass(frozen=True)
class Entry:
    name: str
    needs: str  # programs
    server: str
    client: str
    figure: str = ""  # a pattern with one number, all that are found are added up; without a number they are counted
    unit: str = ""
    refuse: str = ""  # a pattern that must not be in what the client printed
    files: dict = dataclasses.field(default_factory=dict)
    prepare: str = ""  # before the server starts, on the kernel
    helper: str = ""  # on the kernel beside the server, such as the web server behind a proxy
    helper_ready: str = ""
    ready: str = ""  # what the server prints when it listens; without it the socket tells
    end: int = signal.SIGTERM
    paths: tuple = ("memif", "tap-server", "tap-client")  # where it works


def fill(run, text):
    values = {"folder": run.folder, "listen": run.listen, "address": run.address, "port": cases.PORT, "seconds": max(1, int(SECONDS)),
              "python": "/usr/bin/python3", "scripts": HERE / "programs"}
    return string.Template(text).substitute(values)


def play(entry, run):
    run.need(*entry.needs.split())
    if run.path not in (*entry.paths, "kernel"):
        raise Skipped(f"not for this path, but for {' '.join(entry.paths)}")
    run.file("small", b"x" * 1024)
    for name, content in entry.files.items():
        run.file(name, fill(run, content))
    if entry.prepare:
        run.beside("prepare", "sh", "-ec", fill(run, entry.prepare)).wait(60)
    if entry.helper:
        run.beside("helper", "sh", "-ec", "exec " + fill(run, entry.helper)).wait_for_line(entry.helper_ready)
    server = run.server(*shlex.split(fill(run, entry.server)), ready=entry.ready or cases.PORT)
    text = run.client("sh", "-ec", "exec 2>&1; " + fill(run, entry.client), timeout=SECONDS * 3 + 60)
    if entry.refuse and (found := re.search(entry.refuse, text)):
        raise Failed(f"the client says: {found[0]}")
    server.stop(entry.end, seconds=15)
    if not entry.figure:
        return "done"
    numbers = [float(found[1]) if found.re.groups else 1 for found in re.finditer(entry.figure, text, re.MULTILINE)]
    if not numbers or min(numbers) <= 0:
        raise Failed(f"no {entry.unit or 'figure'} in what the client printed: {text.strip()[-300:]}")
    return f"{sum(numbers):.0f} {entry.unit}"


ECHOES = {"figure": r"(\d+) per second", "unit": "per second"}
WRK = "wrk --timeout 20s -t 1 -c 64 -d ${seconds}s http://$address:$port/small"
WRK_FIGURE = {"figure": r"Requests/sec: +([0-9.]+)", "unit": "requests/s", "refuse": r"Socket errors.*|Non-2xx.*"}
AB = "ab -q -k -t $seconds -n 100000000 -c 32 http://$address:$port/small"
AB_FIGURE = {"figure": r"Requests per second: +([0-9.]+)", "unit": "requests/s", "refuse": r"Failed requests: +[1-9].*|Non-2xx.*"}
# A large file and its sum, for clients that fetch it.
LARGE = "cd $folder; head -c 20000000 /dev/urandom > large; sha256sum large > sum; mkdir -p got; chmod 777 got"
NGINX = """master_process off; daemon off; pid $folder/nginx.pid; error_log stderr notice; events { worker_connections 512; }
http { client_body_temp_path $folder/t1; proxy_temp_path $folder/t2; fastcgi_temp_path $folder/t3; uwsgi_temp_path $folder/t4; scgi_temp_path $folder/t5;
       access_log off; server { listen 127.0.0.1:7200; listen $listen:7300; root $folder; } }"""
NGINX_READY = r'using the "epoll" event method'
WEB_BEHIND = {"helper": "nginx -p $folder -e stderr -c $folder/nginx.conf", "helper_ready": NGINX_READY}
BEHIND = NGINX.replace("listen $listen:7300; ", "")
DNS = {"queries": "".join(f"host{i}.example.test A\n" for i in range(100))}
DNSPERF = "dnsperf -s $address -p $port -d $folder/queries -l $seconds -c 8; dnsperf -m tcp -s $address -p $port -d $folder/queries -l $seconds -c 8"
DNS_FIGURE = {"figure": r"Queries per second: +([0-9.]+)", "unit": "answers/s (UDP and TCP)",
              "refuse": r"Queries lost: +[0-9]+ \((?![0-4]\.).*|Response codes:(?! +NOERROR).*"}
ZONE = ("$$TTL 300\n@ SOA ns.example.test. root.example.test. 1 300 300 300 300\n@ NS ns\nns A 192.0.2.1\n" +
        "".join(f"host{i} A 192.0.2.{i}\n" for i in range(100)))
HAPROXY = {"haproxy.cfg": "frontend web\n  bind $listen:$port\n  default_backend files\nbackend files\n  server one 127.0.0.1:7200\n"}
POSTGRES = ("install -d -o postgres $folder/db; setpriv --reuid=postgres --clear-groups /usr/lib/postgresql/15/bin/initdb -D $folder/db -A trust > /dev/null; "
            "echo \"host all all 0.0.0.0/0 trust\" >> $folder/db/pg_hba.conf")
POSTGRES_SERVER = "setpriv --reuid=postgres --clear-groups --inh-caps=+net_admin,+net_raw --ambient-caps=+net_admin,+net_raw /usr/lib/postgresql/15/bin/postgres -D $folder/db -k $folder/db"
PGBENCH = ("pgbench -q -i -h $address -p $port -U postgres postgres; pgbench -h $address -p $port -U postgres -c 8 -T $seconds postgres")
PGBENCH_FIGURE = {"figure": r"^tps = ([0-9.]+)", "unit": "transactions/s", "refuse": r"number of failed transactions: [1-9].*"}

TABLE = [
    # --- Web servers
    Entry("lighttpd", "lighttpd ab", prepare="touch $folder/error.log; chmod 666 $folder/error.log", server="lighttpd -D -f $folder/lighttpd.conf", client=AB, **AB_FIGURE,
          files={"lighttpd.conf": 'include "/etc/lighttpd/lighttpd.conf"\nserver.document-root := "$folder"\nserver.bind = "$listen"\nserver.port := $port\n'
                                  'server.pid-file := "$folder/pid"\nserver.errorlog := "$folder/error.log"\n'}),
    Entry("apache2", "apache2 ab", paths=FORKS, server="env APACHE_RUN_DIR=$folder APACHE_LOCK_DIR=$folder APACHE_LOG_DIR=$folder APACHE_PID_FILE=$folder/pid APACHE_RUN_USER=www-data "
          "APACHE_RUN_GROUP=www-data apache2 -d /etc/apache2 -D FOREGROUND -C 'ServerName test' -c 'Listen $listen:$port' -c 'DocumentRoot $folder' "
          "-c '<Directory $folder>' -c 'Require all granted' -c '</Directory>'", client=AB, **AB_FIGURE),
    Entry("nghttpd", "nghttpd h2load", "nghttpd --no-tls -a $listen -d $folder $port", "h2load -D $seconds -c 16 -m 8 http://$address:$port/small",
          figure=r"finished in [^,]+, ([0-9.]+) req/s", unit="requests/s", refuse=r"[1-9]\d* (failed|errored|timeout).*"),
    Entry("webfsd", "webfsd siege", "webfsd -F -i $listen -p $port -r $folder", "siege -b -t ${seconds}S -c 16 http://$address:$port/small", figure=r"[Tt]ransaction.rate.*?([0-9.]+)",
          unit="requests/s", refuse=r"[Ff]ailed.transactions.*?[1-9]\d*"),
    Entry("mini_httpd", "mini_httpd ab", "mini_httpd -D -h $listen -p $port -d $folder", AB.replace("-k ", ""), **AB_FIGURE),
    Entry("php", "php ab", "php -S $listen:$port -t $folder", AB.replace("-k ", ""), **AB_FIGURE),
    Entry("ruby-webrick", "ruby ab", "ruby -run -e httpd $folder -b $listen -p $port", AB, **AB_FIGURE, end=signal.SIGINT),
    Entry("gunicorn", "gunicorn wrk", "gunicorn --chdir $scripts -b $listen:$port application", WRK, **WRK_FIGURE, paths=FORKS),
    Entry("uvicorn", "uvicorn wrk", "uvicorn --app-dir $scripts --no-access-log --host $listen --port $port application:asgi", WRK, **WRK_FIGURE),
    Entry("uwsgi", "uwsgi wrk", "uwsgi --plugin python3 --http-socket $listen:$port --chdir $scripts --module application --disable-logging --die-on-term", AB.replace("-k ", ""), **AB_FIGURE),
    Entry("tomcat", "java wrk", "env CATALINA_BASE=$folder/tomcat /usr/share/tomcat10/bin/catalina.sh run", WRK, **WRK_FIGURE, ready="Server startup in", paths=("tap-client",),
          prepare="cd $folder; mkdir -p tomcat/conf tomcat/logs tomcat/temp tomcat/work tomcat/webapps/ROOT; cp -r /etc/tomcat10/* tomcat/conf/; "
                  "cp small tomcat/webapps/ROOT/; sed -i 's/port=.8080./port=\"$port\"/' tomcat/conf/server.xml"),
    # --- Proxies and caches
    Entry("haproxy", "haproxy nginx wrk", "haproxy -db -f /etc/haproxy/haproxy.cfg -f $folder/haproxy.cfg", WRK, **WRK_FIGURE, **WEB_BEHIND, files={"nginx.conf": BEHIND, **HAPROXY}),
    Entry("haproxy-master", "haproxy nginx wrk", paths=FORKS, server="haproxy -W -f /etc/haproxy/haproxy.cfg -f $folder/haproxy.cfg", client=WRK, **WRK_FIGURE, **WEB_BEHIND,
          files={"nginx.conf": BEHIND, **HAPROXY}),
    Entry("varnish", "varnishd nginx ab curl", "varnishd -F -a $listen:$port -b 127.0.0.1:7200 -n $folder/varnish -s malloc,64m", "curl -sS --retry 30 --retry-connrefused -o small http://$address:$port/small; " + AB, **AB_FIGURE, **WEB_BEHIND, paths=FORKS, files={"nginx.conf": BEHIND}),
    Entry("squid", "squid nginx ab", "squid -N -f $folder/squid.conf", "ab -q -k -t $seconds -n 100000000 -c 32 -X $address:$port http://127.0.0.1:7200/small", **AB_FIGURE, **WEB_BEHIND,
          files={"nginx.conf": BEHIND, "squid.conf": "http_access allow all\ninclude /etc/squid/squid.conf\nshutdown_lifetime 1 second\nhttp_port $listen:$port\npid_filename none\n"}),
    Entry("tinyproxy", "tinyproxy nginx ab", "tinyproxy -d -c $folder/tinyproxy.conf", "ab -q -t $seconds -n 100000000 -c 32 -X $address:$port http://127.0.0.1:7200/small", **AB_FIGURE, **WEB_BEHIND,
          files={"nginx.conf": BEHIND, "tinyproxy.conf": "Listen $listen\nPort $port\nTimeout 600\nMaxClients 100\nLogLevel Error\n"}),
    Entry("stunnel", "stunnel4 nginx curl", "stunnel4 $folder/stunnel.conf", "cd $folder/got; for i in 1 2 3 4 5; do curl -sSk https://$address:$port/large -o large; sha256sum -c ../sum; done",
          figure=r"large: OK", unit="transfers of 20 MB", **WEB_BEHIND, prepare=LARGE + "; openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=test 2>/dev/null; chmod 644 key",
          files={"nginx.conf": BEHIND, "stunnel.conf": "foreground = yes\npid =\nkey = $folder/key\ncert = $folder/cert\n[web]\naccept = $listen:$port\nconnect = 127.0.0.1:7200\n"}),
    Entry("socat", "socat nginx wrk", "socat TCP-LISTEN:$port,bind=$listen,fork,reuseaddr TCP:127.0.0.1:7200", WRK, **WRK_FIGURE, **WEB_BEHIND, files={"nginx.conf": BEHIND}),
    Entry("ncat", "ncat", "ncat -l $listen $port -k --sh-exec 'cat $folder/large'", "cd $folder/got; for i in 1 2 3; do ncat --recv-only $address $port > large; sha256sum -c ../sum; done",
          figure=r"large: OK", unit="transfers of 20 MB", prepare=LARGE),
    # --- Message brokers and queues
    Entry("mosquitto", "mosquitto mosquitto_pub mosquitto_sub", "mosquitto -c $folder/mosquitto.conf", "mosquitto_sub -h $address -p $port -q 1 -t test -C 100000 | sha256sum > $folder/got & sleep 0.5; "
          "seq 100000 | tee $folder/sent | mosquitto_pub -h $address -p $port -q 1 -t test -l; wait; sha256sum < $folder/sent | cmp - $folder/got; echo 100000 messages",
          figure=r"(\d+) messages", unit="messages through", paths=TAP, files={"mosquitto.conf": "user root\nlistener $port $listen\nallow_anonymous true\n"}),
    Entry("mosquitto_pub", "mosquitto mosquitto_pub", "mosquitto -c $folder/mosquitto.conf", "seq 100000 | mosquitto_pub -h $address -p $port -q 2 -t test -l; "
          "mosquitto_pub -h $address -p $port -r -t kept -m 'was kept'; mosquitto_sub -h $address -p $port -t kept -C 1", refuse=r"\A(?!was kept)",
          files={"mosquitto.conf": "listener $port $listen\nallow_anonymous true\nmax_queued_messages 0\n"}),
    Entry("beanstalkd", "beanstalkd", "beanstalkd -l $listen -p $port", "$python $scripts/beanstalk_client.py $address $port $seconds", figure=r"(\d+) jobs per second", unit="jobs/s"),
    Entry("zeromq", "/usr/lib/python3/dist-packages/zmq", "$python $scripts/zmq_client.py server $listen $port", "$python $scripts/zmq_client.py client $address $port $seconds", figure=r"(\d+) questions", unit="questions"),
    # --- Databases
    Entry("postgresql", "pgbench", POSTGRES_SERVER + " -h $listen -p $port", PGBENCH, **PGBENCH_FIGURE, prepare=POSTGRES, end=signal.SIGINT),
    Entry("mariadb", "mariadbd mysqlslap", "mariadbd --user=mysql --datadir=$folder/db --bind-address=$listen --port=$port --socket=$folder/db/socket --init-file=$folder/init.sql",
          "mysqlslap -h $address -P $port -u test -ptest --concurrency=16 --iterations=3 --auto-generate-sql --auto-generate-sql-load-type=mixed --number-of-queries=$$((1000 * $seconds))",
          figure=r"Average number of seconds to run all queries: ([0-9.]+)", unit="s for each thousand queries and second",
          prepare="mariadb-install-db --user=mysql --datadir=$folder/db --auth-root-authentication-method=normal > /dev/null",
          files={"init.sql": "create user test@'%' identified by 'test';\ngrant all on *.* to test@'%';\n"}),
    # --- Run times
    Entry("node", "node", "node $scripts/http_server.js $listen $port", "node $scripts/http_client.js $address $port $seconds", **ECHOES),
    Entry("java", "java", "java $scripts/HttpEcho.java server $listen $port", "java $scripts/HttpEcho.java client $address $port $seconds", **ECHOES, end=signal.SIGKILL),
    # --- Names
    Entry("unbound", "unbound dnsperf", "unbound -d -c $folder/unbound.conf", DNSPERF, **DNS_FIGURE, files={**DNS, "unbound.conf":
          "server:\n interface: $listen@$port\n access-control: 0.0.0.0/0 allow\n chroot: ''\n pidfile: ''\n use-syslog: no\n local-zone: example.test static\n" +
          "".join(f" local-data: 'host{i}.example.test A 192.0.2.{i}'\n" for i in range(100))}),
    Entry("dnsmasq", "dnsmasq dnsperf", "dnsmasq -k -C /dev/null -h -R -p $port -a $listen -z --address=/example.test/192.0.2.1", DNSPERF, **DNS_FIGURE, files=DNS),
    Entry("bind9", "named dnsperf", "named -g -c $folder/named.conf", DNSPERF, **DNS_FIGURE, files={**DNS, "zone": ZONE, "named.conf":
          'options { directory "$folder"; listen-on port $port { $listen; }; listen-on-v6 { none; }; pid-file none; };\n'
          'controls { };\nzone "example.test" { type primary; file "$folder/zone"; };\n'}),
    Entry("knot", "knotd dnsperf", "knotd -c $folder/knot.conf", DNSPERF, **DNS_FIGURE, files={**DNS, "zone": ZONE, "knot.conf":
          "server:\n  rundir: $folder\n  listen: $listen@$port\ndatabase:\n  storage: $folder\nzone:\n  - domain: example.test\n    file: $folder/zone\n"}),
    Entry("nsd", "nsd dnsperf", "nsd -d -c $folder/nsd.conf", DNSPERF, **DNS_FIGURE, paths=FORKS, files={**DNS, "zone": ZONE, "nsd.conf":
          "server:\n  ip-address: $listen@$port\n  username: root\n  database: ''\n  zonesdir: $folder\n  pidfile: ''\n  xfrdfile: $folder/xfrd\n  zonelistfile: $folder/zones\n"
          "remote-control:\n  control-enable: no\nzone:\n  name: example.test\n  zonefile: zone\n"}),
    # --- Files, shells, mail, calls
    Entry("rsync", "rsync", "rsync --daemon --no-detach --config=$folder/rsyncd.conf --address=$listen --port=$port",
          "rsync -a rsync://$address:$port/tree/ $folder/got/; diff -r /usr/share/perl $folder/got; rsync -a --checksum --stats --no-h rsync://$address:$port/tree/ $folder/got/",
          figure=r"Total file size: ([0-9]+)", unit="bytes the same", prepare=LARGE, refuse=r"transferred: [1-9].*",
          files={"rsyncd.conf": "use chroot = no\n[tree]\npath = /usr/share/perl\nread only = yes\nuid = root\ngid = root\n"}),
    Entry("ssh", "ssh scp sshd", "/usr/sbin/sshd -D -e -f $folder/sshd_config", "cd $folder; SSH=\"-F none -i key -o StrictHostKeyChecking=no -o UserKnownHostsFile=known -o BatchMode=yes\"; "
          "ssh $$SSH -p $port root@$address cat $folder/large > got/large; (cd got; sha256sum -c ../sum); scp -q $$SSH -P $port large root@$address:$folder/got/large; (cd got; sha256sum -c ../sum)",
          figure=r"large: OK", unit="transfers of 20 MB", prepare=LARGE + "; mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f key; ssh-keygen -q -t ed25519 -N '' -f host; cp key.pub allowed",
          files={"sshd_config": "Port $port\nListenAddress $listen\nHostKey $folder/host\nAuthorizedKeysFile $folder/allowed\nStrictModes no\nPidFile none\nUsePAM no\nSubsystem sftp internal-sftp\n"}, ready="Server listening on"),
    Entry("aria2", "nginx aria2c", "nginx -p $folder -e stderr -c $folder/nginx.conf", "cd $folder/got; aria2c -q -x 8 -s 8 -k 1M --allow-overwrite http://$address:7300/large; sha256sum -c ../sum; "
          "rm large; wget -q http://$address:7300/large; sha256sum -c ../sum", figure=r"large: OK", unit="transfers of 20 MB", prepare=LARGE, files={"nginx.conf": NGINX}, ready=NGINX_READY),
    Entry("dropbear", "dropbear ssh", "dropbear -F -E -R -p $listen:$port -r $folder/host", "cd $folder; ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=known -o BatchMode=yes "
          "-p $port root@$address true || test $$? = 255; echo answered", figure="answered", unit="answer", prepare="dropbearkey -t ed25519 -f $folder/host > /dev/null"),
    Entry("coturn", "turnserver turnutils_uclient", "turnserver -n -L $listen -p $port --no-tls --no-dtls -z --pidfile $folder/pid --log-file stdout --userdb $folder/db",
          "turnutils_uclient -y -n 200 -m 4 -p $port $address", figure=r"(?s).*tot_recv_msgs=(\d+)", unit="messages relayed"),
    Entry("rabbitmq", "amqp-publish", "env HOME=$folder ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_NODENAME=test@localhost RABBITMQ_MNESIA_BASE=$folder/db RABBITMQ_LOG_BASE=$folder/log "
          "RABBITMQ_NODE_IP_ADDRESS=$listen RABBITMQ_NODE_PORT=$port RABBITMQ_ENABLED_PLUGINS_FILE=$folder/plugins RABBITMQ_CONFIG_FILE=$folder/rabbit.conf /usr/lib/rabbitmq/bin/rabbitmq-server",
          "U=--url=amqp://guest:guest@$address:$port; amqp-declare-queue $$U -q jobs; for i in 1 2 3 4 5 6 7 8 9 10; do amqp-publish $$U -r jobs -b message$$i; done; "
          "for i in 1 2 3 4 5 6 7 8 9 10; do test $$(amqp-get $$U -q jobs) = message$$i; echo right; done", figure="right", unit="messages through",
          files={"rabbit.conf": "loopback_users = none\n"}),
    Entry("snmpd", "snmpd snmpbulkwalk", "snmpd -f -Lo -C -c $folder/snmpd.conf udp:$listen:$port", "for i in 1 2 3 4 5; do snmpbulkwalk -v 2c -c public $address:$port .1 | tail -1; done",
          figure="^[.i].* = ", unit="walks", files={"snmpd.conf": "rocommunity public\n"}),
]
for entry_ in TABLE:
    cases.CASES[entry_.name] = lambda run, entry=entry_: play(entry, run)
    cases.BY_HAND.add(entry_.name)
