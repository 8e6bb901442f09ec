# What the scripts redis-*.sh have in common:
#
#   redis DIR APPENDFSYNC
#
# starts a server on the files in DIR, waits until it answers, and goes to DIR. It ends with the
# script. Its socket has a short name there, and no port is used.
redis() {
	cd "$1" || exit 1
	redis-server --port 0 --unixsocket socket --appendonly yes --appendfsync "$2" --save "" \
		--dir . --logfile "" --daemonize no >/dev/null 2>&1 &
	server=$!
	trap 'kill -9 $server 2>/dev/null; wait $server 2>/dev/null' EXIT
	until [ "$(redis-cli -s socket ping 2>/dev/null)" = PONG ]; do
		kill -0 $server 2>/dev/null || { echo "the server does not start"; exit 1; }
		sleep 0.02
	done
}
