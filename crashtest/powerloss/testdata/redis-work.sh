#!/bin/sh
# Sets keys one by one in a server on the files in DIR/data, and acknowledges each:
#
#   redis-work.sh DIR APPENDFSYNC
#
# The empty database is durable before it gets its name: a server may not start on what a cut leaves
# of its very first start. What a crash left later is gone on from. The server is shut down in the
# end: while it syncs each second, it may answer before it has written, and what is killed then would
# be lost without a power cut.
. "${0%/*}/redis-lib.sh"
end() {
	redis-cli -s socket shutdown nosave >/dev/null 2>&1
	wait $server
}
if [ ! -e "$1/data" ]; then
	rm -rf "$1/new"
	mkdir "$1/new"
	(redis "$1/new" always && end) || exit 1
	sync -f "$1/new"
	mv "$1/new" "$1/data"
	sync "$1"
fi
redis "$1/data" "$2"
n=$(redis-cli -s socket dbsize)
for i in $(seq $((n + 1)) $((n + 12))); do
	echo "set $i value-$i"
done | redis-cli -s socket | while read -r said; do
	n=$((n + 1))
	[ "$said" = OK ] || { echo "set $n: $said" >&2; exit 1; }
	echo "ack $n"
done || exit 1
end
