#!/bin/sh
# Starts a server on the files in DIR/data: it has to have all keys that are named in the file ACKS:
#
#   redis-acked.sh DIR ACKS
. "${0%/*}/redis-lib.sh"
redis "$1/data" no
wanted=$(sort -n "$2" | tail -n 1)
found=$(redis-cli -s socket dbsize)
[ "$found" -ge "$wanted" ] || { echo "key $wanted was set, there are $found"; exit 1; }
