#!/bin/sh
# Looks at the database DIR/db: it has to be whole, and to hold the first rows without a gap:
#
#   sqlite-whole.sh DIR
dir=$1
[ -e "$dir/db" ] || exit 0
whole=$(sqlite3 "$dir/db" 'pragma integrity_check' 2>&1)
[ "$whole" = ok ] || { echo "damaged: $whole" | tail -n 1; exit 1; }
found=$(sqlite3 "$dir/db" "select count(*), coalesce(max(n), 0), coalesce(sum(length(s) <> n * 977 % 3000), 0) from t" 2>/dev/null)
IFS='|' read -r rows last odd <<end
${found:-0|0|0}
end
[ "$rows" = "$last" ] && [ "$odd" = 0 ] || { echo "$rows rows, the last is $last, $odd differ"; exit 1; }
