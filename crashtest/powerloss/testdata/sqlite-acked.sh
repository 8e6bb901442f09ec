#!/bin/sh
# Looks at the database DIR/db: it has to hold all rows that are named in the file ACKS:
#
#   sqlite-acked.sh DIR ACKS
dir=$1 acks=$2
wanted=$(sort -n "$acks" | tail -n 1)
found=$(sqlite3 "$dir/db" "select coalesce(max(n), 0) from t" 2>/dev/null)
[ "${found:-0}" -ge "$wanted" ] || { echo "row $wanted was committed, the last one is ${found:-0}"; exit 1; }
