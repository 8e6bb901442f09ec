# What the scripts redis-*.sh have in common:
#
#   redis DIR APPENDFSYNC
#
# starts a server on the files in DIR, waits until it answers, and goes to DIR. It ends with the
# script. Its socket has a short name there, and no port is used. Where the server refuses its log,
# the log is repaired as the server's message says: at the end of a log, which was not synced, ext4
# may show zeros.
redis() {
	cd "$1" || exit 1
	trap 'kill -9 $server 2>/dev/null; wait $server 2>/dev/null' EXIT
	start "$2" && return
	echo y | redis-check-aof --fix appendonlydir/appendonly.aof.manifest >/dev/null 2>&1
	start "$2" && return
	echo "the server does not start"
	exit 1
}

start() {
	redis-server --port 0 --unixsocket socket --appendonly yes --appendfsync "$1" --save "" \
		--dir . --logfile "" --daemonize no >/dev/null 2>&1 &
	server=$!
	until [ "$(redis-cli -s socket ping 2>/dev/null)" = PONG ]; do
		kill -0 $server 2>/dev/null || return 1
		sleep 0.02
	done
}
