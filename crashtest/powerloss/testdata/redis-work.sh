#!/bin/sh
# Sets keys one by one in a server on the files in DIR, and acknowledges each:
#
#   redis-work.sh DIR APPENDFSYNC
#
# What a crash left is gone on from.
. "${0%/*}/redis-lib.sh"
redis "$1" "$2"
n=$(redis-cli -s socket dbsize)
for i in $(seq $((n + 1)) $((n + 12))); do
	echo "set $i value-$i"
done | redis-cli -s socket | while read -r said; do
	n=$((n + 1))
	[ "$said" = OK ] || { echo "set $n: $said" >&2; exit 1; }
	echo "ack $n"
done
