#!/bin/sh
# Starts a server on the files in DIR/data, if there are any: it has to have the first keys without a
# gap, each with its value:
#
#   redis-whole.sh DIR
. "${0%/*}/redis-lib.sh"
[ -e "$1/data" ] || exit 0
redis "$1/data" no
found=$(redis-cli -s socket dbsize)
for i in $(seq "$found"); do
	echo "get $i"
done | redis-cli -s socket | awk '$0 != "value-" NR {print "key " NR " has " $0; exit 1}'
