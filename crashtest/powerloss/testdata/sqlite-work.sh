#!/bin/sh
# Commits rows one by one in the database DIR/db, and acknowledges each:
#
#   sqlite-work.sh DIR JOURNAL_MODE SYNCHRONOUS
#
# What a crash left is gone on from.
dir=$1 journal=$2 sync=$3
n=$(sqlite3 "$dir/db" 'select max(n) from t' 2>/dev/null)
n=${n:-0}
{
	echo ".output /dev/null"
	echo "pragma journal_mode=$journal;"
	echo "pragma synchronous=$sync;"
	echo "create table if not exists t(n integer primary key, s text);"
	echo ".output stdout"
	row() { # their sizes differ, so that pages are split and overflow
		echo "insert into t values($1, printf('%.*c', $(($1 * 977 % 3000)), 'x'));"
	}
	for i in $(seq $((n + 1)) $((n + 15))); do
		row $i
		echo "select 'ack $i';"
	done
	# A transaction that does not fit into the cache, and is written back while it
	# goes on: by SQLite, and by the kernel, which does not ask when.
	echo "pragma cache_size=4; begin;"
	for i in $(seq $((n + 16)) $((n + 40))); do
		row $i
		[ $((i % 8)) != 0 ] || echo ".shell sync $dir/db"
	done
	echo "commit; select 'ack $((n + 40))';"
} | stdbuf -oL sqlite3 "$dir/db"
